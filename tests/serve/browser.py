"""A headless Chromium over its DevTools protocol: a page, its files, its console and requests."""

from __future__ import annotations

import base64
import contextlib
import itertools
import json
import subprocess
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import websocket


class Page:
    """An open page.

    Attributes:
        events: what the browser has reported so far, as (method, parameters).
    """

    def __init__(self, address: str):
        self.socket = websocket.create_connection(address, timeout=60, suppress_origin=True)
        self.numbers = itertools.count(1)
        self.events: list[tuple[str, dict]] = []
        for domain in ("Page", "Runtime", "Network", "Log", "DOM"):
            self.call(f"{domain}.enable")

    def call(self, method: str, **parameters: Any) -> dict:
        """Calls a method of the protocol, and returns its result."""
        number = next(self.numbers)
        self.socket.send(json.dumps({"id": number, "method": method, "params": parameters}))
        while True:
            message = json.loads(self.socket.recv())
            if message.get("id") == number:
                assert "error" not in message, (method, message)
                return message["result"]
            if "method" in message:
                self.events.append((message["method"], message["params"]))

    def evaluate(self, script: str) -> Any:
        """The value of a JavaScript expression."""
        return self.call("Runtime.evaluate", expression=script, returnByValue=True)["result"].get(
            "value"
        )

    def wait_for(self, script: str, timeout: float = 120) -> Any:
        """The value of an expression as soon as it is true."""
        limit = time.monotonic() + timeout
        while not (value := self.evaluate(script)):
            assert time.monotonic() < limit, (script, self.evaluate("document.body.innerText"))
            time.sleep(0.1)
        return value

    def choose(self, selector: str, path: Path) -> None:
        """Gives a file to an input, as a user does who chooses it."""
        root = self.call("DOM.getDocument")["root"]["nodeId"]
        node = self.call("DOM.querySelector", nodeId=root, selector=selector)["nodeId"]
        self.call("DOM.setFileInputFiles", files=[str(path)], nodeId=node)

    def picture(self, path: Path, *, width: int, height: int, scheme: str = "light") -> None:
        """Writes a PNG of the page as a screen of this size shows it."""
        feature = [{"name": "prefers-color-scheme", "value": scheme}]
        self.call("Emulation.setEmulatedMedia", features=feature)
        self.call(
            "Emulation.setDeviceMetricsOverride",
            width=width, height=height, deviceScaleFactor=1, mobile=width < 600,
        )  # fmt: skip
        path.write_bytes(base64.b64decode(self.call("Page.captureScreenshot")["data"]))

    def requested(self) -> set[str]:
        """The addresses that the page has asked for, without those of data in it."""
        urls = (p["request"]["url"] for m, p in self.events if m == "Network.requestWillBeSent")
        return {url for url in urls if not url.startswith(("data:", "blob:"))}

    def complaints(self) -> list[dict]:
        """Errors and warnings in the console, and exceptions."""
        return [
            parameters
            for method, parameters in self.events
            if method in ("Runtime.exceptionThrown", "Runtime.consoleAPICalled")
            or (method == "Log.entryAdded" and parameters["entry"]["level"] != "verbose")
        ]


@contextlib.contextmanager
def opened(chromium: str, folder: Path, url: str) -> Iterator[Page]:
    """A page in a browser of its own, with a camera that plays a test picture."""
    command = [
        chromium, "--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage",
        "--remote-debugging-port=0", f"--user-data-dir={folder}", "--no-first-run",
        "--disable-background-networking", "--disable-component-update", "--disable-sync",
        "--use-fake-device-for-media-stream", "--use-fake-ui-for-media-stream", "about:blank",
    ]  # fmt: skip
    browser = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        port = folder / "DevToolsActivePort"
        limit = time.monotonic() + 120
        while not (port.exists() and "\n" in port.read_text()):
            assert browser.poll() is None and time.monotonic() < limit, "Chromium does not start"
            time.sleep(0.1)
        number = port.read_text().split()[0]
        with urllib.request.urlopen(f"http://127.0.0.1:{number}/json") as answer:
            targets = json.load(answer)
        page = Page(next(t["webSocketDebuggerUrl"] for t in targets if t["type"] == "page"))
        page.call("Page.navigate", url=url)
        yield page
        page.socket.close()
    finally:
        browser.terminate()
        browser.wait()
