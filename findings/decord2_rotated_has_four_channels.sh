#!/usr/bin/env bash
# decord2 3.4.0, on MP4 that is rotated by 90 or 270 degrees (any upright phone video).
# VideoReader returns arrays of shape (height, width, 4), with the rows of the picture torn: the buffer of three bytes a pixel is
# read as four. Rotated by 180 and upright videos have three channels and are right.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
command -v ffmpeg >/dev/null || { apt-get update -qq && apt-get install -y -qq ffmpeg; } >/dev/null
cat > look.py <<"END"
import struct
import subprocess

import numpy as np
from decord import VideoReader

run = lambda command: subprocess.run(command.split(), stdout=-1, check=True).stdout
run("ffmpeg -v error -f lavfi -i testsrc=s=176x144:r=25:d=0.4 -c:v libx264 -crf 8 -pix_fmt yuv420p plain.mp4")
plain, seen = open("plain.mp4", "rb").read(), {}
at = plain.find(b"tkhd") + 44
for angle, (a, b, c, d) in {0: (1, 0, 0, 1), 90: (0, 1, -1, 0), 180: (-1, 0, 0, -1), 270: (0, -1, 1, 0)}.items():
    numbers = [a << 16, b << 16, 0, c << 16, d << 16, 0, 0, 0, 1 << 30]
    with open("turned.mp4", "wb") as file:
        file.write(plain[:at] + struct.pack(">9i", *numbers) + plain[at + 36 :])
    frame = VideoReader("turned.mp4")[0].asnumpy()
    raw = run("ffmpeg -v error -i turned.mp4 -frames:v 1 -f rawvideo -pix_fmt rgb24 -")
    truth = np.frombuffer(raw, np.uint8).reshape(*frame.shape[:2], 3).astype(int)
    mean = np.abs(frame[..., :3] - truth).mean()
    seen[angle] = frame.shape[2], bool(mean < 5)
    print(f"{angle}: shape {frame.shape}, mean difference {mean:.1f}")
raise SystemExit(bool(seen != {0: (3, True), 90: (4, False), 180: (3, True), 270: (4, False)}))
END
python3 -m venv venv
venv/bin/pip install -q decord2==3.4.0 numpy==2.2.6
venv/bin/python look.py
