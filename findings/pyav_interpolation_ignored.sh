#!/usr/bin/env bash
# av (PyAV) 18.1.0: frame.reformat(format="rgb24", interpolation=...) and to_ndarray(format="rgb24") of 8-bit 4:2:0 in its own size.
# All interpolations give the same bytes: the scaler takes a short cut that repeats every chroma sample over 2x2 pixels and rounds
# down. Against the same arithmetic in floating point, the result is darker by 1.0 to 1.5 levels in the mean of a channel. By way of
# yuv444p, chroma is interpolated and single pixels differ by up to 48 levels. So the choice that changes the
# pixels is the path, not the interpolation that is named.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
cat > look.py <<"END"
import av
import numpy as np

height, width = 96, 128
random = np.random.default_rng(0)
luma = random.integers(60, 190, (height, width), dtype=np.uint8)
chroma = random.integers(100, 156, (2, height // 2, width // 2), dtype=np.uint8)
planes = np.concatenate([luma.ravel(), chroma.ravel()]).reshape(-1, width)
frame = av.VideoFrame.from_ndarray(planes, format="yuv420p")
names = ("FAST_BILINEAR", "BILINEAR", "BICUBIC", "LANCZOS", "AREA", "POINT")
pictures = [frame.reformat(format="rgb24", interpolation=name).to_ndarray() for name in names]
same = all((picture == pictures[0]).all() for picture in pictures)
y = (luma - 16.0) * 255 / 219
u, v = (chroma.repeat(2, 1).repeat(2, 2) - 128.0) * 255 / 224
exact = np.stack([y + 1.402 * v, y - 0.344136 * u - 0.714136 * v, y + 1.772 * u], -1).clip(0, 255)
bias = (pictures[0] - exact).mean((0, 1))
other = frame.reformat(format="yuv444p").reformat(format="rgb24").to_ndarray()
largest = np.abs(other.astype(int) - pictures[0]).max()
print(f"{len(names)} interpolations, the same bytes: {same}; minus exact arithmetic {bias.round(2)}; by yuv444p up to {largest}")
raise SystemExit(bool(not same or bias.max() > -0.5 or bias.min() < -1.6 or largest < 20))
END
python3 -m venv venv
venv/bin/pip install -q av==18.1.0 numpy==2.2.6
venv/bin/python look.py
