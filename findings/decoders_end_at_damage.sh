#!/usr/bin/env bash
# av (PyAV) 18.1.0 and opencv-python-headless 5.0.0.93, on an MP4 of 50 frames, one packet of which is damaged, so that the H.264
# decoder reports an error. FFmpeg's command says so and goes on: 49 frames. PyAV raises InvalidDataError after the frames before the packet;
# OpenCV's read() returns False there, as it does at the end, with no way to tell the two apart. A loop over PyAV's demux() that
# catches the error of one packet gets the frames after it, too.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
command -v ffmpeg >/dev/null || { apt-get update -qq && apt-get install -y -qq ffmpeg; } >/dev/null
ffmpeg -v error -f lavfi -i testsrc2=s=176x144:r=25:d=2 -c:v libx264 -g 10 -bf 0 -pix_fmt yuv420p clip.mp4
cat > look.py <<"END"
import subprocess

import av
import cv2

with av.open("clip.mp4") as container:
    packet = [packet for packet in container.demux(video=0) if packet.size][25]
    position, size = packet.pos, packet.size
data = bytearray(open("clip.mp4", "rb").read())
data[position : position + size] = b"\x55" * size
open("clip.mp4", "wb").write(data)

command = "ffmpeg -v quiet -i clip.mp4 -fps_mode passthrough -f rawvideo -pix_fmt gray -"
counts = {"ffmpeg": len(subprocess.run(command.split(), stdout=-1).stdout) // (176 * 144)}
capture, counts["OpenCV"] = cv2.VideoCapture("clip.mp4", cv2.CAP_FFMPEG), 0
while capture.read()[0]:
    counts["OpenCV"] += 1
counts["PyAV"], raised = 0, "nothing"
with av.open("clip.mp4") as container:
    try:
        for _ in container.decode(video=0):
            counts["PyAV"] += 1
    except av.error.InvalidDataError as error:
        raised = type(error).__name__
counts["PyAV, packet by packet"] = 0
with av.open("clip.mp4") as container:
    for packet in container.demux(video=0):
        try:
            counts["PyAV, packet by packet"] += len(packet.decode())
        except av.error.InvalidDataError:
            continue
print(counts, f"PyAV raises {raised}")
early = counts["OpenCV"] <= 25 and counts["PyAV"] <= 25 and raised == "InvalidDataError"
raise SystemExit(bool(counts["ffmpeg"] != 49 or not early or counts["PyAV, packet by packet"] != 49))
END
python3 -m venv venv
venv/bin/pip install -q av==18.1.0 opencv-python-headless==5.0.0.93 numpy==2.2.6
venv/bin/python look.py 2>/dev/null
