#!/usr/bin/env bash
# tensorflow-datasets 4.9.10 (features.Video) with FFmpeg 5.1's command, on variable frame rates and a late start.
# Frames are taken through FFmpeg at a constant rate: 50 frames that slow down come back as 112, gaps filled with copies; 50 frames
# that begin after 1.5 s come back as 88, 38 of them copies of the first. A network that is trained on "n frames" sees another
# speed than OpenCV, PyAV or TorchCodec show, which give 50. Nothing is printed.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
command -v ffmpeg >/dev/null || { apt-get update -qq && apt-get install -y -qq ffmpeg; } >/dev/null
picture="nullsrc=s=64x64:r=25:d=2,geq=lum=40+4*N:cb=128:cr=128"
ffmpeg -v error -f lavfi -i "$picture,setpts=(N+N*N/40)/25/TB" -fps_mode passthrough -c:v libx264 -pix_fmt yuv420p slower.mp4
ffmpeg -v error -f lavfi -i "$picture" -c:v libx264 -pix_fmt yuv420p plain.mp4
ffmpeg -v error -f lavfi -i sine=d=4 -itsoffset 1.5 -i plain.mp4 -map 1:v -map 0:a -c:v copy late.mp4
cat > look.py <<"END"
import av
import tensorflow_datasets as tfds

counts = {}
for name in ("plain", "slower", "late"):
    frames = tfds.features.Video(shape=(None, None, None, 3)).encode_example(f"{name}.mp4")
    with av.open(f"{name}.mp4") as container:
        counts[name] = sum(1 for _ in container.decode(video=0)), len(frames)
    print(f"{name}: {counts[name][0]} frames in the file, {counts[name][1]} in tfds")
right = counts["plain"] == (50, 50) and counts["slower"][0] == counts["late"][0] == 50
raise SystemExit(bool(not right or counts["slower"][1] < 100 or counts["late"][1] != 88))
END
python3 -m venv venv
venv/bin/pip install -q tensorflow-datasets==4.9.10 tensorflow-cpu==2.20.0 av==18.1.0
venv/bin/python look.py 2>/dev/null
