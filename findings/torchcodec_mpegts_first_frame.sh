#!/usr/bin/env bash
# torchcodec 0.13.0 with torch 2.13.0 (CPU) and FFmpeg 5.1's libraries, on H.264 in an MPEG transport stream with one key frame.
# VideoDecoder opens it and len() is right, 50, and then decoder[0] raises RuntimeError "no more frames left to decode",
# with seek_mode exact and approximate alike; it seems to seek to the first time stamp and to land behind the only key frame. The same packets
# in MP4 give 50 frames.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
command -v ffmpeg >/dev/null || { apt-get update -qq && apt-get install -y -qq ffmpeg; } >/dev/null
ffmpeg -v error -f lavfi -i testsrc2=s=176x144:r=25:d=2 -c:v libx264 -pix_fmt yuv420p -g 250 clip.mp4
ffmpeg -v error -i clip.mp4 -c copy clip.ts
cat > look.py <<"END"
from torchcodec.decoders import VideoDecoder

seen = []
for name in ("clip.mp4", "clip.ts"):
    for mode in ("exact", "approximate"):
        decoder, count, error = VideoDecoder(name, seek_mode=mode), 0, ""
        try:
            for n in range(len(decoder)):
                decoder[n]
                count += 1
        except (IndexError, RuntimeError) as caught:
            error = str(caught).split("\n")[0]
        seen.append((len(decoder), count))
        print(f"{name}, {mode}: {len(decoder)} frames claimed, {count} decoded. {error}")
raise SystemExit(bool(seen != [(50, 50), (50, 50), (50, 0), (50, 0)]))
END
python3 -m venv venv
venv/bin/pip install -q torch==2.13.0 torchcodec==0.13.0 numpy==2.2.6
venv/bin/python look.py
