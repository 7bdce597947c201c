"""The addresses of a server and their description: /, /predict, /explain, /about, and so on."""

from __future__ import annotations

import asyncio
import hmac
import threading
from collections.abc import AsyncGenerator, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from importlib import resources
from typing import Any

from fastapi import Depends, FastAPI, HTTPException, Request, Response, Security
from fastapi.exceptions import RequestValidationError
from fastapi.responses import HTMLResponse, JSONResponse
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer
from starlette.exceptions import HTTPException as StarletteHTTPException
from starlette.middleware.trustedhost import TrustedHostMiddleware

from vid3d import __version__
from vid3d.errors import LimitError, UserError
from vid3d.serve import upload
from vid3d.serve.answers import About, Explained, Failure, Health, Labelled
from vid3d.serve.metrics import CONTENT_TYPE_LATEST, Measured, Metrics
from vid3d.serve.service import Service
from vid3d.serve.upload import Upload

LOOPBACK = ("127.0.0.1", "localhost", "::1")
RETRY_SECONDS = "1"
STATUS_OF = {"size": 413, "time": 504}  # of a LimitError
WHAT_FAILS = {
    400: "the form has no file or more than one, or cannot be read",
    401: "the token is missing or wrong",
    408: "the upload takes too long",
    413: "too many bytes, seconds or pixels",
    415: "the body is neither a form nor a video",
    422: "no video can be decoded from the file, or a parameter is wrong",
    503: "too many requests at a time: try again after Retry-After seconds",
    504: "the answer takes too long",
}
VIDEO: dict[str, Any] = {"type": "string", "format": "binary"}
BODY: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "content": {
            "multipart/form-data": {
                "schema": {"type": "object", "properties": {"video": VIDEO}, "required": ["video"]}
            },
            "application/octet-stream": {"schema": VIDEO},
            "video/*": {"schema": VIDEO},
        },
    }
}
# The page asks for nothing from elsewhere, whatever a label or a file name says.
PAGE_POLICY = (
    "default-src 'none'; connect-src 'self'; img-src data: blob:; media-src blob:; "
    "style-src 'unsafe-inline'; script-src 'unsafe-inline'; base-uri 'none'; form-action 'none'; "
    "frame-ancestors 'none'"
)
Work = Callable[[Upload], dict[str, Any]]


def failures(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """The description of the answers that are no success."""
    return {status: {"model": Failure, "description": WHAT_FAILS[status]} for status in statuses}


class Desk:
    """Takes uploads, at most so many at a time, and has them worked on in threads."""

    def __init__(self, service: Service):
        self.bounds = service.bounds
        self.places = threading.BoundedSemaphore(self.bounds.concurrent)
        self.threads = ThreadPoolExecutor(self.bounds.concurrent, "vid3d-serve")

    async def answer(self, request: Request, work: Work) -> dict[str, Any]:
        """What `work` makes of the upload, which is deleted then.

        A place is free again when the work has ended, even if its client is told before that it
        takes too long.

        Raises:
            HTTPException: 503 where no place is free, and whatever an upload or a video deserves.
        """
        if not self.places.acquire(blocking=False):
            raise HTTPException(503, WHAT_FAILS[503], {"Retry-After": RETRY_SECONDS})
        try:
            video = await upload.receive(request, self.bounds)
        except BaseException:
            self.places.release()
            raise

        def run() -> dict[str, Any]:
            try:
                with video.file:
                    return work(video)
            finally:
                self.places.release()

        running = asyncio.get_running_loop().run_in_executor(self.threads, run)
        running.add_done_callback(lambda future: future.cancelled() or future.exception())
        done, _ = await asyncio.wait([running], timeout=self.bounds.wait_seconds)
        if not done:
            raise HTTPException(504, f"no answer within {self.bounds.wait_seconds:g} s")
        try:
            return running.result()
        except UserError as error:
            status = STATUS_OF[error.limit] if isinstance(error, LimitError) else 422
            raise HTTPException(status, str(error)) from None


def create_app(service: Service, metrics: Metrics, *, token: str = "") -> FastAPI:
    """The application.

    Args:
        service: labels the uploads.
        metrics: counts them.
        token: that requests have to bear; without one, only requests to this machine's own names
            are answered, which keeps out the pages of others.
    """
    desk = Desk(service)

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncGenerator[None]:
        yield
        desk.threads.shutdown(wait=False, cancel_futures=True)

    app = FastAPI(
        title="vid3d", version=__version__, docs_url=None, redoc_url=None, lifespan=lifespan
    )
    app.add_middleware(
        TrustedHostMiddleware, allowed_hosts=["*"] if token else [*LOOPBACK], www_redirect=False
    )
    app.add_middleware(upload.Drained, most=service.bounds.upload_bytes)
    app.add_middleware(Measured, metrics=metrics)
    app.add_exception_handler(StarletteHTTPException, as_failure)
    app.add_exception_handler(RequestValidationError, as_failure)
    add_open_routes(app)
    add_guarded_routes(app, service, metrics, desk, token)
    return app


def add_open_routes(app: FastAPI) -> None:
    """What needs no token: the page, which holds nothing, and a sign of life."""
    page = (resources.files("vid3d.serve") / "page.html").read_text("utf-8")

    @app.get("/", response_class=HTMLResponse, summary="A page to drop a video on")
    async def get_page() -> Response:
        return HTMLResponse(page, headers={"Content-Security-Policy": PAGE_POLICY})

    @app.get("/health", summary="Whether the server answers")
    async def get_health() -> Health:
        return Health()


def add_guarded_routes(
    app: FastAPI, service: Service, metrics: Metrics, desk: Desk, token: str
) -> None:
    """What needs the token, if there is one."""
    guarded: dict[str, Any] = {"dependencies": [Depends(bearer(token))]} if token else {}
    of_token = (401,) if token else ()
    of_video = failures(400, *of_token, 408, 413, 415, 422, 503, 504)

    @app.post(
        "/predict", summary="Label a video", responses=of_video, openapi_extra=BODY,
        response_model=Labelled, response_model_exclude_none=True, **guarded,
    )  # fmt: skip
    async def predict(request: Request, frames: bool = False) -> dict[str, Any]:
        """The JSON of `vid3d predict --json`; with `frames`, what the network saw as well."""
        return await desk.answer(
            request, lambda video: service.label(video.source(), name=video.name, frames=frames)
        )

    @app.post(
        "/explain", summary="Show where the network looks (Grad-CAM)", responses=of_video,
        openapi_extra=BODY, response_model=Explained, **guarded,
    )  # fmt: skip
    async def explain(request: Request, label: str = "") -> dict[str, Any]:
        """The JSON of `vid3d explain --json`, and the frames; `label` is by default the answer."""
        return await desk.answer(
            request, lambda video: service.explain(video.source(), name=video.name, label=label)
        )

    @app.get(
        "/about", summary="The network and the limits", responses=failures(*of_token), **guarded
    )
    async def about() -> About:
        return About(**service.about())

    @app.get(
        "/metrics", summary="Counters for Prometheus", response_class=Response, **guarded,
        responses={200: {"content": {"text/plain": {}}}, **failures(*of_token)},
    )  # fmt: skip
    async def get_metrics() -> Response:
        return Response(metrics.text(), headers={"Content-Type": CONTENT_TYPE_LATEST})


def bearer(token: str) -> Callable[..., None]:
    """A dependency that lets requests with `Authorization: Bearer TOKEN` pass."""
    scheme = HTTPBearer(auto_error=False)

    def check(given: HTTPAuthorizationCredentials | None = Security(scheme)) -> None:  # noqa: B008
        text = given.credentials if given else ""
        if not hmac.compare_digest(text.encode(), token.encode()):
            raise HTTPException(401, WHAT_FAILS[401], {"WWW-Authenticate": "Bearer"})

    return check


async def as_failure(request: Request, error: Exception) -> JSONResponse:
    """Any error as the JSON of `Failure`."""
    if isinstance(error, StarletteHTTPException):
        return JSONResponse({"error": error.detail}, error.status_code, error.headers)
    assert isinstance(error, RequestValidationError)
    first = error.errors()[0]
    where = ".".join(map(str, first["loc"]))
    return JSONResponse({"error": f"{where}: {first['msg']}"}, 422)
