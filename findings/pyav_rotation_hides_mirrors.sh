#!/usr/bin/env bash
# av (PyAV) 18.1.0: VideoFrame.rotation is the angle of the display matrix alone.
# It reads -180 both for a picture that is turned by 180 degrees and for one that is mirrored left to right, 0 both for an upright
# picture and one that is mirrored top to bottom. Who follows it turns mirrored videos upside down or leaves them so. The mirror
# shows in the sign of the determinant of the matrix in frame.side_data alone (2x2 part, native 32-bit integers).
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
command -v ffmpeg >/dev/null || { apt-get update -qq && apt-get install -y -qq ffmpeg; } >/dev/null
cat > look.py <<"END"
import struct
import subprocess

import av

command = "ffmpeg -v error -f lavfi -i testsrc=s=160x128:r=25:d=0.2 -c:v libx264 -pix_fmt yuv420p plain.mp4"
subprocess.run(command.split(), check=True)
plain = open("plain.mp4", "rb").read()
at, seen = plain.find(b"tkhd") + 44, {}
matrices = {
    "upright": (1, 0, 0, 1), "turned by 180": (-1, 0, 0, -1),
    "mirrored left-right": (-1, 0, 0, 1), "mirrored top-bottom": (1, 0, 0, -1),
    "turned by 90": (0, 1, -1, 0), "transposed": (0, 1, 1, 0),
}
for name, (a, b, c, d) in matrices.items():
    numbers = [a << 16, b << 16, 0, c << 16, d << 16, 0, 0, 0, 1 << 30]
    with open("turned.mp4", "wb") as file:
        file.write(plain[:at] + struct.pack(">9i", *numbers) + plain[at + 36 :])
    with av.open("turned.mp4") as container:
        frame = next(container.decode(video=0))
    data = [bytes(entry) for entry in frame.side_data if entry.type.name == "DISPLAYMATRIX"]
    sign = 1
    if data:
        a, b, _, c, d, *_ = struct.unpack("9i", data[0])
        sign = 1 if a * d - b * c > 0 else -1
    seen[name] = frame.rotation, sign
    print(f"{name}: rotation {frame.rotation}, determinant {sign:+d}")
expected = [(0, 1), (-180, 1), (-180, -1), (0, -1), (-90, 1), (-90, -1)]
raise SystemExit(bool(list(seen.values()) != expected))
END
python3 -m venv venv
venv/bin/pip install -q av==18.1.0
venv/bin/python look.py
