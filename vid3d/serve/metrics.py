"""What a server counts, in the text format of Prometheus."""

from __future__ import annotations

import time

import numpy as np
from prometheus_client import (
    CONTENT_TYPE_LATEST,
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    ProcessCollector,
    generate_latest,
)
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from vid3d.engine import Network

__all__ = ["CONTENT_TYPE_LATEST", "Measured", "Metrics"]

SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)
CLIPS = (1, 2, 4, 8)


class Metrics:
    """The counters of one server."""

    def __init__(self) -> None:
        registry = CollectorRegistry()
        ProcessCollector(registry=registry)
        self._registry = registry
        self.requests = Counter(
            "vid3d_requests", "Requests answered.", ["path", "status"], registry=registry
        )
        self.request_seconds = Histogram(
            "vid3d_request_seconds", "From the head of a request to the end of its answer.",
            ["path"], buckets=SECONDS, registry=registry,
        )  # fmt: skip
        self.in_progress = Gauge(
            "vid3d_requests_in_progress", "Requests without an answer yet.", registry=registry
        )
        self.batch_clips = Histogram(
            "vid3d_batch_clips", "Clips per call of the network.", buckets=CLIPS, registry=registry
        )
        self.batch_seconds = Histogram(
            "vid3d_batch_seconds", "A call of the network.", buckets=SECONDS, registry=registry
        )

    def text(self) -> bytes:
        """All counters, as Prometheus reads them."""
        return generate_latest(self._registry)

    def measured(self, network: Network) -> Network:
        """A network whose calls are counted."""
        return Counted(network, self)


class Counted:
    """A network whose calls are counted; see `Network`."""

    def __init__(self, network: Network, metrics: Metrics):
        self.engine, self.precision = network.engine, network.precision
        self._network, self._metrics = network, metrics

    def __call__(self, clips_BTHWC: np.ndarray) -> np.ndarray:
        self._metrics.batch_clips.observe(len(clips_BTHWC))
        with self._metrics.batch_seconds.time():
            return self._network(clips_BTHWC)


class Measured:
    """Counts the requests to an application."""

    def __init__(self, app: ASGIApp, metrics: Metrics):
        self.app, self.metrics = app, metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return await self.app(scope, receive, send)
        began, status = time.perf_counter(), 500

        async def send_noting(message: Message) -> None:
            nonlocal status
            status = message.get("status", status)
            await send(message)

        with self.metrics.in_progress.track_inprogress():
            try:
                await self.app(scope, receive, send_noting)
            finally:
                route = scope.get("route")  # not what was asked for: that may be anything
                path = getattr(route, "path", "other")
                self.metrics.requests.labels(path, str(status)).inc()
                self.metrics.request_seconds.labels(path).observe(time.perf_counter() - began)
