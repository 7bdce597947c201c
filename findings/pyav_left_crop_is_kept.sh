#!/usr/bin/env bash
# av (PyAV) 18.1.0 with FFmpeg 8.1, and FFmpeg 5.1's command: H.264 that crops 4 columns at the left and 2 at the right of 176.
# The stream says 170 columns, the frames have 174: FFmpeg drops the right crop and keeps the left one, since a pointer that is
# moved by 4 bytes would not be aligned. Only with the flag "unaligned" do frames have 170 columns. The first 4 columns are what the
# encoder meant to hide, and everything is shifted by 4 pixels against a decoder that crops.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
command -v ffmpeg >/dev/null || { apt-get update -qq && apt-get install -y -qq ffmpeg; } >/dev/null
ffmpeg -v error -f lavfi -i testsrc2=s=176x144:r=25:d=0.2 -c:v libx264 -pix_fmt yuv420p \
  -bsf:v h264_metadata=crop_left=4:crop_right=2 clip.mp4
cat > look.py <<"END"
import av

sizes = {}
for flag in (False, True):
    with av.open("clip.mp4") as container:
        stream = container.streams.video[0]
        if flag:
            stream.codec_context.options = {"flags": "unaligned"}
        claimed = stream.width
        sizes[flag] = next(container.decode(stream)).width
print(f"the stream claims {claimed} columns; frames have {sizes[False]}, with the flag {sizes[True]}")
raise SystemExit(bool((claimed, sizes[False], sizes[True]) != (170, 174, 170)))
END
python3 -m venv venv
venv/bin/pip install -q av==18.1.0
venv/bin/python look.py
ffmpeg -v error -i clip.mp4 -frames:v 1 -c:v ppm -f image2 -update 1 frame.ppm
width=$(head -c 20 frame.ppm | sed -n 2p | cut -d" " -f1)
echo "the command writes $width columns"
test "$width" = 174
