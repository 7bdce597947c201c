#!/usr/bin/env bash
# tensorboardX 2.6.5: SummaryWriter.flush() returns before the newest figures are in the event file.
# Events wait in a queue that another thread empties; flush() only flushes the file. A program that flushes and is then killed
# loses figures that it believes stored: here 1 to 5 of 20. One that copies the file away copies an old one.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
cat > write.py <<"END"
import os
import signal

import numpy as np
from tensorboardX import SummaryWriter

writer = SummaryWriter("events")
writer.add_scalar("first", 1.0, 0)
for step in range(1, 21):
    writer.add_image("picture", np.zeros((3, 256, 256), np.uint8), step)
    writer.add_scalar(f"figure-{step}", 1.0, step)
writer.flush()
os.kill(os.getpid(), signal.SIGKILL)
END
cat > look.py <<"END"
import glob

(path,) = glob.glob("events/*")
content = open(path, "rb").read()
stored = sum(f"figure-{step}".encode() + b"\x15" in content for step in range(1, 21))
print(f"20 figures written and flushed, then killed: {stored} of them are in the file")
raise SystemExit(stored == 20)
END
python3 -m venv venv
venv/bin/pip install -q tensorboardX==2.6.5 numpy==2.3.4 pillow==12.0.0
venv/bin/python write.py || true
venv/bin/python look.py
