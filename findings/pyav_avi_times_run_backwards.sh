#!/usr/bin/env bash
# av (PyAV) 18.1.0, on H.264 with B-frames in AVI, which has no presentation times.
# Frames come in the right order, but their pts are those of the packets that the decoder had just been fed: they go back in
# between (12 of 24 times here). frame.dts ascends by one and is None for the last frames, which come when the decoder is emptied. Who
# sorts frames by pts, or keeps only later ones, shuffles or loses frames.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
command -v ffmpeg >/dev/null || { apt-get update -qq && apt-get install -y -qq ffmpeg; } >/dev/null
ffmpeg -v error -f lavfi -i "nullsrc=s=64x64:r=25:d=1,geq=lum=40+6*N:cb=128:cr=128" -c:v libx264 -bf 3 -pix_fmt yuv420p clip.avi
cat > look.py <<"END"
import av

with av.open("clip.avi") as container:
    frames = list(container.decode(video=0))
levels = [frame.to_ndarray(format="gray").mean() for frame in frames]
stamps, dts = [frame.pts for frame in frames], [frame.dts for frame in frames if frame.dts is not None]
back = sum(b < a for a, b in zip(stamps, stamps[1:]))
print(f"{len(frames)} frames, brightness ascends: {levels == sorted(levels)}; pts {stamps[:8]}..., {back} go back; dts {dts[:8]}...")
raise SystemExit(bool(levels != sorted(levels) or not back or dts != sorted(dts)))
END
python3 -m venv venv
venv/bin/pip install -q av==18.1.0 numpy==2.2.6
venv/bin/python look.py
