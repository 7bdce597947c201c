"""One server for most tests: a process of its own, over loopback."""

from __future__ import annotations

import http.client
import json
import subprocess
import urllib.parse
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from fixtures.processes import launch
from inference.conftest import (  # noqa: F401  # fixtures
    colour_weights,
    make_workdir,
    videos,
    workdir,
    write_video_fixture,
)

pytest.importorskip("fastapi", reason="the extra serve is not installed")
BOUNDARY = "limit-of-a-part"


class Answer(NamedTuple):
    status: int
    headers: Any
    content: bytes

    def json(self) -> Any:
        return json.loads(self.content)


class Site(NamedTuple):
    """A running server."""

    url: str
    process: Any

    def ask(self, path: str, body: Any = None, *, media: str = "video/mp4", **headers: str):
        """The answer to a GET or, with a body, to a POST."""
        connection = http.client.HTTPConnection(urllib.parse.urlsplit(self.url).netloc, timeout=120)
        try:
            given = {"Content-Type": media} if body is not None else {}
            method = "GET" if body is None else "POST"
            connection.request(method, path, body, given | headers)
            answer = connection.getresponse()
            return Answer(answer.status, answer.headers, answer.read())
        finally:
            connection.close()

    def send(self, path: str, content: bytes, *, name: str = "clip.avi", **headers: str):
        """The answer to a form with one file."""
        return self.ask(path, form(content, name), media=FORM, **headers)


FORM = f"multipart/form-data; boundary={BOUNDARY}"


def form(content: bytes, name: str) -> bytes:
    head = (
        f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="video"; filename="{name}"\r\n\r\n'
    )
    return head.encode() + content + f"\r\n--{BOUNDARY}--\r\n".encode()


@pytest.fixture(scope="session")
def start_site(workdir) -> Iterator[Callable[..., Site]]:  # noqa: F811
    """`start_site("--token=...")`: a server of the small network, on a free port."""
    running = []

    def started(*arguments: str) -> Site:
        command = ("serve", f"--workdir={workdir}", "--port=0", *arguments)
        process = launch(*command, stderr=subprocess.STDOUT)
        running.append(process)
        while not (line := process.stdout.readline()).startswith("http://"):
            assert line, "the server ended at its start"
        return Site(line.split()[0], process)

    yield started
    for process in running:
        process.close()


@pytest.fixture(scope="session")
def site(start_site) -> Site:
    """A server with small limits."""
    limits = ("--max-seconds=30", "--max-pixels=3000000", "--max-upload=2", "--max-concurrent=4")
    return start_site(*limits)


@pytest.fixture(scope="session")
def content(videos) -> dict[str, bytes]:  # noqa: F811
    """The bytes of each video."""
    return {name: Path(path).read_bytes() for name, path in videos.items()}
