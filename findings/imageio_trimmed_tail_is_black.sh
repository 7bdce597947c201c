#!/usr/bin/env bash
# imageio 2.38.1 with av 18.1.0, on an MP4 that was trimmed without encoding again (ffmpeg -ss 0.72 -c copy: an edit list).
# imageio.v3.imread(plugin="pyav") makes an array for as many frames as the index has packets, 50, fills in the 32 that are shown and
# returns the rest as they are: 18 frames of zeros at the end. imiter gives 32, and plugin="FFMPEG" returns 32.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
command -v ffmpeg >/dev/null || { apt-get update -qq && apt-get install -y -qq ffmpeg; } >/dev/null
ffmpeg -v error -f lavfi -i "nullsrc=s=64x64:r=25:d=2,geq=lum=40+4*N:cb=128:cr=128" -c:v libx264 -g 50 -pix_fmt yuv420p whole.mp4
ffmpeg -v error -ss 0.72 -i whole.mp4 -c copy clip.mp4
cat > look.py <<"END"
import imageio.v3 as iio

read = iio.imread("clip.mp4", plugin="pyav")
black = int((read.max((1, 2, 3)) == 0).sum())
iterated, other = sum(1 for _ in iio.imiter("clip.mp4", plugin="pyav")), len(iio.imread("clip.mp4", plugin="FFMPEG"))
print(f"imread gives {len(read)} frames, of which {black} are zeros; imiter {iterated}, the other plugin {other}")
raise SystemExit(bool((len(read), black, iterated, other) != (50, 18, 32, 32)))
END
python3 -m venv venv
venv/bin/pip install -q imageio==2.38.1 imageio-ffmpeg==0.8.1 av==18.1.0 numpy==2.2.6
venv/bin/python look.py
