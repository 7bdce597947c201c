"""TensorBoard's writer: that of tensorboardX, without PyTorch.

It would load PyTorch where that is installed, which takes more than a second.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

hidden = "torch" not in sys.modules
if hidden:
    # An import of it fails, as where it is not installed.
    sys.modules["torch"] = None  # type: ignore[assignment]  # Python's documented way
try:
    from tensorboardX import SummaryWriter
finally:
    if hidden:
        del sys.modules["torch"]


class Board(SummaryWriter):
    """The events of a training run; an error of the disk is kept for `check`.

    In tensorboardX it would end the thread that writes, and training would wait for ever once the
    queue is full.
    """

    def __init__(self, folder: Path, *, purge_step: int):
        """Takes the folder, and the first step that replaces what other files in it say."""
        super().__init__(str(folder), purge_step=purge_step)
        events = self.file_writer.event_writer
        self._disk = events._ev_writer = events._worker._record_writer = _Disk(events._ev_writer)
        # Directly: `flush` does not wait for what its queue still holds.
        events.add_event = lambda event: self._disk.write_event(event)

    def check(self) -> None:
        """Raises the OSError that writing has met, if any."""
        if error := self._disk.error:
            raise OSError(error.errno, error.strerror, self.logdir)


class _Disk:
    """tensorboardX's writer of a file, up to the first error."""

    def __init__(self, writer: Any):
        self.writer = writer
        self.error: OSError | None = None

    def __getattr__(self, name: str) -> Any:
        method = getattr(self.writer, name)

        def call(*args: Any) -> Any:
            try:
                return None if self.error else method(*args)
            except OSError as error:
                self.error = error

        return call
