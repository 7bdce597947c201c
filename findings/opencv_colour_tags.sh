#!/usr/bin/env bash
# opencv-python-headless 4.12.0.88, 4.13.0.92 and 5.0.0.93, on one clip in H.264 whose samples are the same and whose colour tags differ.
# 4.12 heeds no tag: it takes BT.709 for BT.601 and is off by 6.4 levels of 255 in the mean. From 4.13 on, read() heeds the matrix, and
# converts primaries and transfer as well, into those of BT.709: the same samples come out 19.6 levels apart where they are tagged
# with the primaries of Display P3 (smpte432, phones), 28.4 with those of BT.2020, 42.6 with PQ. ffmpeg, PyAV's to_ndarray and
# TorchCodec convert the matrix alone. So what a network sees of one file differs from release to release, and from reader to
# reader.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
command -v ffmpeg >/dev/null || { apt-get update -qq && apt-get install -y -qq ffmpeg; } >/dev/null
for tags in "bt709 bt709" "smpte432 bt709" "bt2020 bt709" "bt709 smpte2084"; do
  read -r primaries transfer <<<"$tags"
  ffmpeg -v error -f lavfi -i "testsrc2=s=176x144:r=25:d=0.08,scale=out_color_matrix=bt709,format=yuv420p" -c:v libx264 -crf 8 \
    -colorspace bt709 -color_primaries "$primaries" -color_trc "$transfer" "$primaries-$transfer.mp4"
done
cat > look.py <<"END"
import subprocess
import sys

import cv2
import numpy as np

names, means = ("bt709-bt709", "smpte432-bt709", "bt2020-bt709", "bt709-smpte2084"), []
for name in names:
    frame = cv2.VideoCapture(f"{name}.mp4", cv2.CAP_FFMPEG).read()[1]
    command = f"ffmpeg -v error -i {name}.mp4 -frames:v 1 -f rawvideo -pix_fmt bgr24 -"
    plain = np.frombuffer(subprocess.run(command.split(), stdout=-1, check=True).stdout, np.uint8)
    means.append(round(float(np.abs(frame.astype(int) - plain.reshape(frame.shape)).mean()), 1))
print(f"{sys.argv[1]}, difference from the matrix alone:", dict(zip(names, means)))
expected = (6.4, 6.4, 6.4, 6.4) if sys.argv[1].startswith("4.12") else (0.0, 19.6, 28.4, 42.6)
raise SystemExit(any(abs(a - b) > 1.5 for a, b in zip(means, expected)))
END
for release in 4.12.0.88 4.13.0.92 5.0.0.93; do
  python3 -m venv "$release"
  "$release/bin/pip" install -q "opencv-python-headless==$release" numpy==2.2.6
  "$release/bin/python" look.py "$release" 2>/dev/null
done
