"""A stand-in for Google Cloud Storage: the part of its JSON API that its clients use.

The clients are gcsfs, google-cloud-storage and tensorstore. It lacks what the real one lacks: an
object is written whole or not at all, nothing is appended to or locked, and there are no folders
to make, rename or find empty. It reports each request before it answers, so that a test can kill
the process that asked.
"""

from __future__ import annotations

import base64
import contextlib
import hashlib
import json
import re
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qsl, unquote, urlsplit

NAME = "bucket"
OBJECT = re.compile(r"/storage/v1/b/([^/]+)/o/(.+?)(?:/(rewriteTo|moveTo)/(?:b/[^/]+/)?o/(.+))?")


class Bucket:
    """One bucket on a free port of this machine; a context manager.

    Attributes:
        objects: name -> (generation, content).
        watch: is called with "GET", "PUT" or "DELETE" and the object's name; where it returns true
            the answer is 403.
    """

    def __init__(self) -> None:
        self.objects: dict[str, tuple[int, bytes]] = {}
        self.uploads: dict[str, tuple[str, bytes]] = {}
        self.generation = 0
        self.lock = threading.RLock()
        self.watch: Callable[[str, str], object] = lambda method, name: None
        bucket = self
        self.server = ThreadingHTTPServer(
            ("127.0.0.1", 0), type("Handler", (Handler,), {"bucket": bucket})
        )
        self.server.daemon_threads = True

    def __enter__(self) -> Bucket:
        threading.Thread(target=self.server.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self.server.shutdown()
        self.server.server_close()

    @property
    def environment(self) -> dict[str, str]:
        """Variables that send the clients here."""
        url = f"http://127.0.0.1:{self.server.server_port}"
        return {
            "STORAGE_EMULATOR_HOST": url,
            "TENSORSTORE_GCS_HTTP_URL": url,
            "GOOGLE_AUTH_TOKEN_FOR_TESTING": "any",
            "GOOGLE_CLOUD_PROJECT": "project",
            # Would ask for the bucket's kind over gRPC.
            "GCSFS_EXPERIMENTAL_ZB_HNS_SUPPORT": "false",
        }

    def names(self, prefix: str = "") -> list[str]:
        """The objects below a prefix."""
        with self.lock:
            return sorted(name for name in self.objects if name.startswith(prefix))

    def read(self, name: str) -> bytes:
        return self.objects[name][1]

    def put(self, name: str, content: bytes) -> None:
        with self.lock:
            self.generation += 1
            self.objects[name] = self.generation, content


class Handler(BaseHTTPRequestHandler):
    """The answers; each request is one method of the JSON API."""

    bucket: Bucket
    protocol_version = "HTTP/1.1"

    def log_message(self, *_: object) -> None:
        pass

    def handle(self) -> None:
        with contextlib.suppress(ConnectionError):  # a client that was killed
            super().handle()

    def answer(self, code: int, content: bytes = b"", **headers: object) -> None:
        self.send_response(code)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), str(value))
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)

    def answer_json(self, value: object, code: int = 200, **headers: object) -> None:
        self.answer(code, json.dumps(value).encode(), Content_Type="application/json", **headers)

    def fail(self, code: int, message: str) -> None:
        self.answer_json({"error": {"code": code, "message": message}}, code)

    def resource(self, name: str) -> dict[str, object]:
        generation, content = self.bucket.objects[name]
        return {
            "kind": "storage#object",
            "bucket": NAME,
            "name": name,
            "size": str(len(content)),
            "generation": str(generation),
            "metageneration": "1",
            "md5Hash": base64.b64encode(hashlib.md5(content).digest()).decode(),
            "etag": str(generation),
            "timeCreated": "2020-01-01T00:00:00.000Z",
            "updated": "2020-01-01T00:00:00.000Z",
        }

    def parse(self) -> tuple[str, dict[str, str], bytes]:
        """(path as it was sent, parameters, body)."""
        url = urlsplit(self.path)
        if self.headers.get("Transfer-Encoding") == "chunked":
            body = b""
            while size := int(self.rfile.readline(), 16):
                body += self.rfile.read(size)
                self.rfile.readline()
            self.rfile.readline()
        else:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        return url.path, dict(parse_qsl(url.query, keep_blank_values=True)), body

    def refused(self, method: str, name: str, parameters: dict[str, str]) -> bool:
        """Answers where the test or a precondition forbids the request."""
        if self.bucket.watch(method, name):
            self.fail(403, f"Forbidden: {method} {name}")
            return True
        found = self.bucket.objects.get(name, (0, b""))[0]
        asked, unlike = (parameters.get(f"ifGeneration{key}") for key in ("Match", "NotMatch"))
        if asked is not None and int(asked) != found:
            self.fail(412, "Precondition Failed")
            return True
        if unlike is not None and int(unlike) == found:
            self.answer(304)
            return True
        return False

    def do_GET(self) -> None:
        path, parameters, _ = self.parse()
        path = path.removeprefix("/download")
        bucket = re.match(r"/storage/v1/b/([^/]+)", path)
        if not bucket or bucket[1] != NAME:
            return self.fail(404, "The specified bucket does not exist.")
        if path == f"/storage/v1/b/{NAME}":
            return self.answer_json({"kind": "storage#bucket", "name": NAME, "id": NAME})
        with self.bucket.lock:
            if path.rstrip("/") == f"/storage/v1/b/{NAME}/o":
                return self.answer_json(self.listing(parameters))
            name = unquote(OBJECT.fullmatch(path)[2])
            if self.refused("GET", name, parameters):
                return None
            if name not in self.bucket.objects:
                return self.fail(404, f"No such object: {NAME}/{name}")
            if parameters.get("alt") != "media":
                return self.answer_json(self.resource(name))
            generation, content = self.bucket.objects[name]
        headers = {"x_goog_generation": generation, "Content_Type": "application/octet-stream"}
        if asked := re.fullmatch(r"bytes=(\d*)-(\d*)", self.headers.get("Range", "")):
            if not content or (asked[1] and int(asked[1]) >= len(content)):
                return self.answer(416)
            first = int(asked[1]) if asked[1] else max(len(content) - int(asked[2]), 0)
            last = len(content) - 1
            if asked[1] and asked[2]:
                last = min(int(asked[2]), last)
            headers["Content_Range"] = f"bytes {first}-{last}/{len(content)}"
            return self.answer(206, content[first : last + 1], **headers)
        return self.answer(200, content, **headers)

    def listing(self, parameters: dict[str, str]) -> dict[str, object]:
        prefix, delimiter = parameters.get("prefix", ""), parameters.get("delimiter")
        items, prefixes = [], set()
        for name in self.bucket.names(prefix):
            if name < parameters.get("startOffset", "") or (
                "endOffset" in parameters and name >= parameters["endOffset"]
            ):
                continue
            below, found, _ = name[len(prefix) :].partition(delimiter or "\0")
            if delimiter and found:
                prefixes.add(prefix + below + delimiter)
            else:
                items.append(self.resource(name))
        if "maxResults" in parameters:
            items = items[: int(parameters["maxResults"])]
        return {"kind": "storage#objects", "items": items, "prefixes": sorted(prefixes)}

    def do_POST(self) -> None:
        path, parameters, body = self.parse()
        if "upload_id" in parameters:
            return self.go_on(parameters, body)
        if path.startswith("/upload/"):
            return self.upload(parameters, body)
        match = OBJECT.fullmatch(path)
        source, target = unquote(match[2]), unquote(match[4])
        with self.bucket.lock:
            if self.refused("PUT", target, {}):
                return None
            if source not in self.bucket.objects:
                return self.fail(404, f"No such object: {NAME}/{source}")
            self.bucket.put(target, self.bucket.read(source))
            if match[3] == "moveTo":
                del self.bucket.objects[source]
                return self.answer_json(self.resource(target))
            return self.answer_json({"done": True, "resource": self.resource(target)})

    def upload(self, parameters: dict[str, str], body: bytes) -> None:
        kind, name = parameters["uploadType"], parameters.get("name", "")
        if kind == "resumable":
            name = name or json.loads(body)["name"]
            key = str(len(self.bucket.uploads))
            self.bucket.uploads[key] = name, b""
            host = self.headers["Host"]
            where = (
                f"http://{host}/upload/storage/v1/b/{NAME}/o?uploadType=resumable&upload_id={key}"
            )
            return self.answer(200, Location=where)
        if kind == "multipart":
            boundary = re.search(r'boundary="?([^";]+)', self.headers["Content-Type"])
            mark = b"--" + boundary[1].encode()
            about, content = (
                re.split(rb"\r?\n\r?\n", part, maxsplit=1)[1] for part in body.split(mark)[1:3]
            )
            name, body = json.loads(about)["name"], re.sub(rb"\r?\n\Z", b"", content)
        return self.store(name, body, parameters)

    def store(self, name: str, content: bytes, parameters: dict[str, str]) -> None:
        with self.bucket.lock:
            if not self.refused("PUT", name, parameters):
                self.bucket.put(name, content)
                self.answer_json(self.resource(name))

    def do_PUT(self) -> None:
        _, parameters, body = self.parse()
        self.go_on(parameters, body)

    def go_on(self, parameters: dict[str, str], body: bytes) -> None:
        """A piece of a resumable upload; the object is there with the last one."""
        key = parameters["upload_id"]
        name, before = self.bucket.uploads[key]
        whole = before + body
        if self.headers.get("Content-Range", "").endswith("/*"):
            self.bucket.uploads[key] = name, whole
            return self.answer(308, Range=f"bytes=0-{len(whole) - 1}")
        return self.store(name, whole, parameters)

    def do_DELETE(self) -> None:
        path, parameters, _ = self.parse()
        name = unquote(OBJECT.fullmatch(path)[2])
        with self.bucket.lock:
            if self.refused("DELETE", name, parameters):
                return None
            if self.bucket.objects.pop(name, None) is None:
                return self.fail(404, f"No such object: {NAME}/{name}")
        return self.answer(204)
