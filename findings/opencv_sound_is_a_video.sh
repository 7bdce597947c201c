#!/usr/bin/env bash
# opencv-python-headless 5.0.0.93, on an MP3 of 2 seconds with a cover picture.
# VideoCapture opens it as a video: isOpened() is True, CAP_PROP_FPS reads 90000 and CAP_PROP_FRAME_COUNT about 180000, and one frame
# is read, the cover. A folder that is filtered by "does it open, is the count above n" lets such files in.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
command -v ffmpeg >/dev/null || { apt-get update -qq && apt-get install -y -qq ffmpeg; } >/dev/null
ffmpeg -v error -f lavfi -i color=red:s=64x64:d=0.04 -f lavfi -i sine=d=2 -map 0 -map 1 -c:v mjpeg -strict -1 \
  -disposition:v:0 attached_pic sound.mp3
cat > look.py <<"END"
import cv2

capture, read = cv2.VideoCapture("sound.mp3", cv2.CAP_FFMPEG), 0
opened, fps, claimed = capture.isOpened(), capture.get(cv2.CAP_PROP_FPS), capture.get(cv2.CAP_PROP_FRAME_COUNT)
while capture.read()[0]:
    read += 1
print(f"opened {opened}, {fps:.0f} frames a second, claims {claimed:.0f} frames, reads {read}")
raise SystemExit(bool((opened, fps, read) != (True, 90000, 1) or not 170000 < claimed < 190000))
END
python3 -m venv venv
venv/bin/pip install -q opencv-python-headless==5.0.0.93 numpy==2.2.6
venv/bin/python look.py
