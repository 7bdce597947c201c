#!/usr/bin/env bash
# av 18.1.0, opencv-python-headless 5.0.0.93, torchcodec 0.13.0 and FFmpeg 5.1's command, on two videos of one size in a file, the
# second of which is marked as the default.
# FFmpeg's command and TorchCodec decode the second. OpenCV and the usual PyAV idioms (streams.video[0], decode(video=0)) decode the
# first; PyAV's streams.best("video") is the second. Where a data set has such files, two loaders train on different pictures.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
command -v ffmpeg >/dev/null || { apt-get update -qq && apt-get install -y -qq ffmpeg; } >/dev/null
ffmpeg -v error -f lavfi -i color=black:s=64x64:r=25:d=1 -f lavfi -i color=white:s=64x64:r=25:d=1 -map 0 -map 1 \
  -c:v libx264 -pix_fmt yuv420p -disposition:v:0 0 -disposition:v:1 default clip.mkv
cat > look.py <<"END"
import subprocess

import av
import cv2
from torchcodec.decoders import VideoDecoder

seen = {}
command = "ffmpeg -v error -i clip.mkv -frames:v 1 -f rawvideo -pix_fmt gray -"
seen["ffmpeg"] = subprocess.run(command.split(), stdout=-1, check=True).stdout[0]
seen["OpenCV"] = int(cv2.VideoCapture("clip.mkv", cv2.CAP_FFMPEG).read()[1][0, 0, 0])
seen["TorchCodec"] = int(VideoDecoder("clip.mkv")[0][0, 0, 0])
with av.open("clip.mkv") as container:
    seen["PyAV, video=0"] = int(next(container.decode(video=0)).to_ndarray(format="gray")[0, 0])
with av.open("clip.mkv") as container:
    best = container.streams.best("video")
    seen["PyAV, best"] = int(next(container.decode(best)).to_ndarray(format="gray")[0, 0])
names = {name: "the second" if level > 128 else "the first" for name, level in seen.items()}
print(names)
raise SystemExit(bool([n for n, v in names.items() if v == "the first"] != ["OpenCV", "PyAV, video=0"]))
END
python3 -m venv venv
venv/bin/pip install -q torch==2.13.0 torchcodec==0.13.0 av==18.1.0 opencv-python-headless==5.0.0.93 numpy==2.2.6
venv/bin/python look.py
