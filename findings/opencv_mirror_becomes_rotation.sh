#!/usr/bin/env bash
# opencv-python-headless 5.0.0.93, on MP4 whose display matrix mirrors (front cameras write it, and editors that flip).
# VideoCapture takes any matrix for a rotation: left-right mirrors come out turned by 180 degrees, top-bottom mirrors untouched,
# transpositions turned by 90. CAP_PROP_ORIENTATION_META reads 180, 0 and 90. ffmpeg and ffplay mirror.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
command -v ffmpeg >/dev/null || { apt-get update -qq && apt-get install -y -qq ffmpeg; } >/dev/null
cat > look.py <<"END"
import struct
import subprocess

import cv2
import numpy as np

run = lambda command: subprocess.run(command.split(), stdout=-1, check=True).stdout
run("ffmpeg -v error -f lavfi -i testsrc=s=160x128:r=25:d=0.2 -c:v libx264 -crf 8 -pix_fmt yuv420p plain.mp4")
plain = open("plain.mp4", "rb").read()
at, seen = plain.find(b"tkhd") + 44, {}
matrices = {"left-right": (-1, 0, 0, 1), "top-bottom": (1, 0, 0, -1), "transposed": (0, 1, 1, 0)}
for name, (a, b, c, d) in matrices.items():
    numbers = [a << 16, b << 16, 0, c << 16, d << 16, 0, 0, 0, 1 << 30]
    with open(f"{name}.mp4", "wb") as file:
        file.write(plain[:at] + struct.pack(">9i", *numbers) + plain[at + 36 :])
    capture = cv2.VideoCapture(f"{name}.mp4", cv2.CAP_FFMPEG)
    _, frame = capture.read()
    raw = run(f"ffmpeg -v error -i {name}.mp4 -frames:v 1 -f rawvideo -pix_fmt bgr24 -")
    truth = np.frombuffer(raw, np.uint8).reshape(frame.shape).astype(int)
    ways = {"right": frame, "to be mirrored left-right": frame[:, ::-1], "to be mirrored top-bottom": frame[::-1]}
    best = min(ways, key=lambda way: np.abs(ways[way] - truth).mean())
    seen[name] = int(capture.get(cv2.CAP_PROP_ORIENTATION_META)), best
    print(f"{name}: orientation {seen[name][0]}, the picture is {best}")
expected = [(180, "to be mirrored top-bottom"), (0, "to be mirrored top-bottom")]
raise SystemExit(bool(list(seen.values())[:2] != expected or seen["transposed"][0] != 90 or seen["transposed"][1] == "right"))
END
python3 -m venv venv
venv/bin/pip install -q opencv-python-headless==5.0.0.93 numpy==2.2.6
venv/bin/python look.py
