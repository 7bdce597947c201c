"""Children that stay for a while after a call, so that the next one finds them started."""

from __future__ import annotations

import atexit
import contextlib
import os
import threading
from collections.abc import Iterator

from vid3d.video import decoder_handle
from vid3d.video.decoder_pool import Pool

KEPT_SECONDS = 30.0  # without work, after which they end
# Beginnings of the environment variables that a child obeys; libraries set others as they load.
OBEYED = ("LD_", "OPENCV_", "PYTHON")


class KeptDecoders:
    """The pool of this process: one caller at a time has it, others get one of their own."""

    def __init__(self) -> None:
        """Starts nothing yet."""
        self._pool, self._process = Pool(), os.getpid()
        self._lock = threading.Lock()
        self._environment: dict[str, str] = {}  # in which the children were started
        self._timer: threading.Timer | None = None
        atexit.register(self.end)

    @contextlib.contextmanager
    def borrow(self) -> Iterator[Pool]:
        """The kept pool; or a new one, which ends with the call.

        A new one while another caller has it, and in a fork, whose children these are not.
        """
        if os.getpid() != self._process or not self._lock.acquire(blocking=False):
            pool = Pool()
            try:
                yield pool
            finally:
                pool.end()
            return
        try:
            if self._timer:
                self._timer.cancel()
            environment = {
                name: value
                for name, value in decoder_handle.child_environment().items()
                if name.startswith(OBEYED)
            }
            if environment != self._environment:
                self._pool.end()
            self._environment = environment
            yield self._pool
        finally:
            if self._pool.children:
                self._timer = threading.Timer(KEPT_SECONDS, self.end)
                self._timer.daemon = True
                self._timer.start()
            self._lock.release()

    def end(self) -> None:
        """Ends the children, unless they are lent or another process's."""
        if os.getpid() == self._process and self._lock.acquire(blocking=False):
            try:
                self._pool.end()
            finally:
                self._lock.release()


KEPT = KeptDecoders()
