#!/usr/bin/env bash
# decord2 3.4.0, on an MP4 that was trimmed without encoding again (ffmpeg -ss 0.72 -c copy: an edit list that hides 18 frames).
# len() is 50, the packets of the index; the 32 frames that are shown come first and the last of them 18 times more, while
# get_frame_timestamp() counts the hidden ones: frame 0, which is shown at 0 s, is said to be at -0.72 s. So the times of all frames
# are wrong, by 0.72 s, and the end stands still. One line on standard error speaks of corrupted frames.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
command -v ffmpeg >/dev/null || { apt-get update -qq && apt-get install -y -qq ffmpeg; } >/dev/null
ffmpeg -v error -f lavfi -i "nullsrc=s=64x64:r=25:d=2,geq=lum=40+4*N:cb=128:cr=128" -c:v libx264 -g 50 -pix_fmt yuv420p whole.mp4
ffmpeg -v error -ss 0.72 -i whole.mp4 -c copy clip.mp4
cat > look.py <<"END"
from decord import VideoReader

reader = VideoReader("clip.mp4")
frames = [reader[n].asnumpy() for n in range(len(reader))]
same = sum((a == frames[-1]).all() for a in frames) - 1
first = float(reader.get_frame_timestamp(0).ravel()[0])
print(f"{len(frames)} frames, the last one repeated {same} times; frame 0 at {first:.2f} s")
raise SystemExit(bool(len(frames) != 50 or same != 18 or abs(first + 0.72) > 0.05))
END
python3 -m venv venv
venv/bin/pip install -q decord2==3.4.0 numpy==2.2.6
venv/bin/python look.py 2>/dev/null
