#!/usr/bin/env bash
# av (PyAV) 18.1.0 (FFmpeg 8.1) against FFmpeg 5.1's command, on H.264 tagged with the matrix YCgCo.
# frame.to_ndarray(format="rgb24") raises OSError [Errno 95] Operation not supported: the scaler of FFmpeg 8 refuses a matrix it does
# not know. FFmpeg 5.1 converts the same file without a word as if it were BT.601, which is wrong by 96 levels in the mean. Through zimg
# (the filter zscale) the picture is right. The planes themselves are decoded by both.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
command -v ffmpeg >/dev/null || { apt-get update -qq && apt-get install -y -qq ffmpeg; } >/dev/null
ffmpeg -v error -f lavfi -i "testsrc2=s=176x144:r=25:d=0.2,format=gbrp,zscale=matrix=ycgco:range=limited,format=yuv444p" \
  -c:v libx264 -qp 0 -colorspace ycgco clip.mp4
ffmpeg -v error -f lavfi -i "testsrc2=s=176x144:r=25:d=0.2,format=gbrp" -frames:v 1 -f rawvideo -pix_fmt rgb24 source.raw
ffmpeg -v error -i clip.mp4 -frames:v 1 -f rawvideo -pix_fmt rgb24 command.raw
ffmpeg -v error -i clip.mp4 -vf zscale=matrix=gbr:range=full,format=gbrp -frames:v 1 -f rawvideo -pix_fmt rgb24 zimg.raw
cat > look.py <<"END"
import av
import numpy as np

source, command, zimg = (np.fromfile(f"{n}.raw", np.uint8).astype(int) for n in ("source", "command", "zimg"))
wrong, right = np.abs(command - source).mean(), np.abs(zimg - source).mean()
with av.open("clip.mp4") as container:
    frame = next(container.decode(video=0))
planes = len(frame.planes)
try:
    frame.to_ndarray(format="rgb24")
    raised = "nothing"
except OSError as error:
    raised = f"OSError {error.errno}"
print(f"PyAV: {planes} planes, to_ndarray raises {raised}; FFmpeg 5.1 is off by {wrong:.1f} levels, zimg by {right:.1f}")
raise SystemExit(bool(raised != "OSError 95" or wrong < 20 or right > 3))
END
python3 -m venv venv
venv/bin/pip install -q av==18.1.0 numpy==2.2.6
venv/bin/python look.py
