"""SIGTERM and Ctrl-C as requests."""

from __future__ import annotations

import signal


class StopSignal:
    """Takes SIGTERM and the first SIGINT as a request to save and stop; a second SIGINT interrupts at once."""

    def __init__(self):
        self.requested = False

    def __enter__(self) -> StopSignal:
        self.before = {s: signal.signal(s, self.request) for s in (signal.SIGTERM, signal.SIGINT)}
        return self

    def __exit__(self, *_) -> None:
        for number, handler in self.before.items():
            signal.signal(number, handler)

    def request(self, number: int, _) -> None:
        self.requested = True
        signal.signal(signal.SIGINT, signal.default_int_handler)
