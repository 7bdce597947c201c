#!/usr/bin/env bash
# opencv-python-headless 4.13.0.92, 4.14.0.94 and 5.0.0.93 (Linux wheels), against 4.12.0.88, on MPEG-2 that is coded interlaced.
# VideoCapture.read() returns True for every frame, the count and the time stamps are right, and the array it returns was never
# written to: it holds zeros or whatever the memory held before. Nothing is raised; FFmpeg's scaler, which refuses to convert a
# frame that is marked as interlaced into one that is not, writes a line a frame to standard error, where that is shown.
# Seen, mean difference from FFmpeg's pictures in levels of 255: progressive 0.0 in all four; interlaced 0.0 in 4.12, and 115 to 119
# in 4.13, 4.14 and 5.0.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
command -v ffmpeg >/dev/null || { apt-get update -qq && apt-get install -y -qq ffmpeg; } >/dev/null
picture="testsrc2=s=176x144:r=25:d=1"
ffmpeg -v error -f lavfi -i "$picture" -c:v mpeg2video -q:v 2 progressive.mpg
ffmpeg -v error -f lavfi -i "$picture" -c:v mpeg2video -q:v 2 -flags +ildct+ilme -top 1 interlaced.mpg
for name in progressive interlaced; do
  ffmpeg -v error -i $name.mpg -fps_mode passthrough -f rawvideo -pix_fmt bgr24 $name.raw
done
cat > look.py <<"END"
import sys

import cv2
import numpy as np

release, differences = sys.argv[1], []
for name in ("progressive", "interlaced"):
    truth = np.fromfile(f"{name}.raw", np.uint8).reshape(-1, 144, 176, 3)
    capture, means = cv2.VideoCapture(f"{name}.mpg", cv2.CAP_FFMPEG), []
    while True:
        read, frame = capture.read()
        if not read:
            break
        means.append(np.abs(frame.astype(int) - truth[len(means)]).mean())
    assert len(means) == len(truth) == 25
    differences.append(max(means))
print(f"{release}: 25 of 25 frames read; progressive differs by {differences[0]:.1f}, interlaced by {differences[1]:.1f}")
unfilled = not release.startswith("4.12")
raise SystemExit(bool(differences[0] > 3 or (differences[1] > 20) != unfilled))
END
for release in 4.12.0.88 4.13.0.92 4.14.0.94 5.0.0.93; do
  python3 -m venv "$release"
  "$release/bin/pip" install -q "opencv-python-headless==$release" numpy==2.2.6
  "$release/bin/python" look.py "$release" 2>/dev/null
done
