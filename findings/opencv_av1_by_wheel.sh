#!/usr/bin/env bash
# opencv-python-headless (Linux x86-64 wheels) 4.13.0.92, 4.14.0.94 and 5.0.0.93, on AV1 in MP4.
# The newest number is not the one that decodes most: 4.14.0.94 reads all frames, while 4.13.0.92 and 5.0.0.93 say isOpened() and a
# right CAP_PROP_FRAME_COUNT, and then the first read() returns False. 5.0.0.93 carries libaom for AVIF pictures all the same.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
command -v ffmpeg >/dev/null || { apt-get update -qq && apt-get install -y -qq ffmpeg; } >/dev/null
ffmpeg -v error -f lavfi -i testsrc2=s=176x144:r=25:d=1 -c:v libaom-av1 -usage realtime -cpu-used 8 -pix_fmt yuv420p clip.mp4
cat > look.py <<"END"
import sys

import cv2

capture, count = cv2.VideoCapture("clip.mp4", cv2.CAP_FFMPEG), 0
opened, claimed = capture.isOpened(), int(capture.get(cv2.CAP_PROP_FRAME_COUNT))
while capture.read()[0]:
    count += 1
print(f"{sys.argv[1]}: opened {opened}, claims {claimed} frames, reads {count}")
raise SystemExit(bool((opened, claimed, count) != (True, 25, 25 if sys.argv[1].startswith("4.14") else 0)))
END
for release in 4.13.0.92 4.14.0.94 5.0.0.93; do
  python3 -m venv "$release"
  "$release/bin/pip" install -q "opencv-python-headless==$release" numpy==2.2.6
  "$release/bin/python" look.py "$release" 2>/dev/null
done
