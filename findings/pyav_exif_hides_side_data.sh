#!/usr/bin/env bash
# av (PyAV) 18.1.0 against 19.0.2, on a JPEG with an EXIF segment that says orientation 6 (a phone held upright).
# FFmpeg 8 attaches the EXIF and a display matrix to the picture. PyAV 18.1 names no type 31 of side data: reading frame.side_data raises
# ValueError, so that the matrix cannot be read either, nor any other side data of the picture; the pixels are decoded. 19.0.2 reads both.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
command -v ffmpeg >/dev/null || { apt-get update -qq && apt-get install -y -qq ffmpeg; } >/dev/null
ffmpeg -v error -f lavfi -i testsrc=s=96x64:r=1:d=1 -frames:v 1 plain.jpg
cat > look.py <<"END"
import struct
import sys

import av

plain = open("plain.jpg", "rb").read()
entry = struct.pack("<HHIHH", 0x112, 3, 1, 6, 0)
exif = b"Exif\0\0II*\0" + struct.pack("<IH", 8, 1) + entry + bytes(4)
with open("phone.jpg", "wb") as file:
    file.write(plain[:2] + b"\xff\xe1" + struct.pack(">H", len(exif) + 2) + exif + plain[2:])
with av.open("phone.jpg") as container:
    frame = next(container.decode(video=0))
try:
    seen = ", ".join(sorted(entry.type.name for entry in frame.side_data))
except ValueError as error:
    seen = f"ValueError: {error}"
print(f"PyAV {av.__version__}: {frame.width}x{frame.height}, rotation {frame.rotation}, side data: {seen}")
raise SystemExit(bool(seen != sys.argv[1]))
END
python3 -m venv venv
venv/bin/pip install -q av==18.1.0
venv/bin/python look.py "ValueError: 31 is not a valid Type"
if venv/bin/python -c 'import sys; sys.exit(sys.version_info < (3, 12))'; then
  venv/bin/pip install -q av==19.0.2
  venv/bin/python look.py "DISPLAYMATRIX, EXIF"
fi
