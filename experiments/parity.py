"""Compares vid3d with references on any weights: python experiments/parity.py FOLDER

For each architecture, FOLDER has the weights, ARCH.pth (or .pyth, .safetensors), and ARCH.npz with
`x`, the reference's input, clips of (N, C, T, H, W) float32, and `y`, its logits. Prints the
largest difference per file and exits non-zero if one is above 1e-3 (for logits above a hundred 1e-5
of the largest, because of float32 rounding), or if there is nothing to compare.

A reference that ends in a softmax (pytorchvideo's X3D) is recognised by rows that sum to one. Its
probabilities are compared with ours, averaged over the windows of a large clip in the same way.
"""

from __future__ import annotations

import sys
from pathlib import Path

import jax
import numpy as np

from vid3d import config, errors, models
from vid3d.models import layers
from vid3d.weights import published, tensor_file

LIMIT = 1e-3
SUFFIXES = (".pth", ".pyth", ".safetensors")


def difference(weights: Path, arrays: Path) -> tuple[float, float]:
    """The largest difference between our logits and the reference's, and the limit."""
    with np.load(arrays) as file:
        clips_NCTHW, expected = file["x"], file["y"]
    clips_BTHWC = np.ascontiguousarray(clips_NCTHW.transpose(0, 2, 3, 4, 1), np.float32)
    name = published.architecture(weights.stem, tensor_file.read(weights))
    model = config.default().model
    model.name = name
    module = models.build(model, expected.shape[-1])
    variables = models.shapes(module, clips_BTHWC.shape[1:])
    variables, notes = published.load(weights, name=name, variables=variables)
    if notes:
        raise errors.UserError(f"{notes[0]}, but {arrays.name} has {expected.shape[-1]} logits")

    @jax.jit
    def apply(variables, clips):
        logits, state = module.apply(
            variables,
            clips,
            train=False,
            mutable=["intermediates"],
            capture_intermediates=lambda layer, _: layer.name == layers.HEAD,
        )
        (windows,) = state["intermediates"][layers.HEAD]["__call__"]
        return logits, jax.nn.softmax(windows).reshape(len(clips), -1, logits.shape[-1]).mean(1)

    softmax = expected.min() >= 0 and np.allclose(expected.sum(-1), 1, atol=1e-4)
    found = np.concatenate(
        [apply(variables, clips_BTHWC[n : n + 1])[int(softmax)] for n in range(len(clips_BTHWC))]
    )
    limit = max(LIMIT, 1e-5 * float(np.abs(expected).max()))
    return float(np.abs(found - expected).max()), limit


def main(folder: str) -> int:
    files = sorted(path for path in Path(folder).glob("*") if path.suffix in SUFFIXES)
    passed = 0
    for weights in files:
        arrays = weights.with_suffix(".npz")
        try:
            if not arrays.is_file():
                raise errors.UserError(f"{arrays} is not there")
            largest, limit = difference(weights, arrays)
            passed += largest <= limit  # False for NaN
            print(f"{weights.name:24} {largest:.2e} {'ok' if largest <= limit else 'TOO LARGE'}")
        except errors.UserError as error:
            print(f"{weights.name:24} error: {error}")
    if not files:
        print(f"{folder}: no {', '.join(SUFFIXES)} files")
    return 0 if files and passed == len(files) else 1


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    sys.exit(main(sys.argv[1]))
