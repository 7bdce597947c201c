"""Published PyTorch weights -> Flax variables, tensor by tensor.

The layouts are those of torchvision (r3d_18, mc3_18, r2plus1d_18, s3d) and of pytorchvideo (x3d_xs,
x3d_s, x3d_m, slow_r50, slowfast_r50).
"""

from __future__ import annotations

import contextlib
import re
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from flax.traverse_util import flatten_dict, unflatten_dict

from vid3d import models
from vid3d.errors import UserError
from vid3d.models.layers import HEAD
from vid3d.models.normalise import clip_shape
from vid3d.weights import tensor_file, zoo

RESNET = (
    (r"^layer(\d)\.(\d+)\.", lambda m: f"stage{m[1]}_block{int(m[2]) + 1}."),
    (r"downsample\.0$", "shortcut"),
    (r"downsample\.1$", "shortcut_norm"),
    (r"(conv\d)\.0\.0$", r"\1_spatial"),
    (r"(conv\d)\.0\.1$", r"\1_spatial_norm"),
    (r"(conv\d)\.0\.3$", r"\1_temporal"),
    (r"conv(\d)\.0$", r"conv\1"),
    (r"conv(\d)\.1$", r"norm\1"),
    (r"^fc$", "classes"),
)
PLAIN_STEM = ((r"^stem\.0$", "stem_conv"), (r"^stem\.1$", "stem_norm"))
FACTORED_STEM = (
    (r"^stem\.0$", "stem_spatial"),
    (r"^stem\.1$", "stem_spatial_norm"),
    (r"^stem\.3$", "stem_temporal"),
    (r"^stem\.4$", "stem_norm"),
)
S3D_BLOCKS = {5: "3b", 6: "3c", 8: "4b", 9: "4c", 10: "4d", 11: "4e", 12: "4f", 14: "5b", 15: "5c"}
S3D = (
    (r"^features\.0\.0\.", "conv1_spatial."),
    (r"^features\.0\.1\.", "conv1_temporal."),
    (r"^features\.2\.", "conv2_reduce."),
    (r"^features\.3\.0\.", "conv2_spatial."),
    (r"^features\.3\.1\.", "conv2_temporal."),
    (r"^features\.(\d+)\.", lambda m: f"mixed_{S3D_BLOCKS.get(int(m[1]), m[1])}."),
    (r"(branch[12])\.0\.", r"\1_reduce."),
    (r"(branch[12])\.1\.0\.", r"\1_spatial."),
    (r"(branch[12])\.1\.1\.", r"\1_temporal."),
    (r"branch3\.1\.", "branch3."),
    (r"^classifier\.1$", "classes"),
    (r"\.0$", ".conv"),
    (r"\.1$", ".norm"),
)
BOTTLENECK = (
    (r"res_blocks\.(\d+)\.", lambda m: f"block{int(m[1]) + 1}."),
    (r"branch1_conv$", "shortcut"),
    (r"branch1_norm$", "shortcut_norm"),
    (r"branch2\.", ""),
)
X3D = (
    (r"^blocks\.0\.conv\.conv_t$", "stem_spatial"),  # pytorchvideo swapped these two names
    (r"^blocks\.0\.conv\.conv_xy$", "stem_temporal"),
    (r"^blocks\.0\.norm$", "stem_norm"),
    (r"^blocks\.5\.pool\.pre_conv$", "head_expand"),
    (r"^blocks\.5\.pool\.pre_norm$", "head_norm"),
    (r"^blocks\.5\.pool\.post_conv$", "head_hidden"),
    (r"^blocks\.5\.proj$", "classes"),
    (r"^blocks\.(\d)\.", r"stage\1_"),
    (r"norm_b\.0$", "norm_b"),
    (r"norm_b\.1\.block\.0$", "gate.squeeze"),
    (r"norm_b\.1\.block\.2$", "gate.excite"),
    *BOTTLENECK,
)
SLOW = (
    (r"^blocks\.0\.(conv|norm)$", r"stem_\1"),
    (r"^blocks\.5\.proj$", "classes"),
    (r"^blocks\.(\d)\.", r"stage\1_"),
    *BOTTLENECK,
)
SLOWFAST = (
    (r"^blocks\.0\.", "stem."),
    (r"^blocks\.6\.proj$", "classes"),
    (r"^blocks\.(\d)\.", r"stage\1."),
    (r"^(\w+)\.multipathway_blocks\.0\.", r"\1_"),
    (r"^(\w+)\.multipathway_blocks\.1\.", r"fast_\1_"),
    (r"^(\w+)\.multipathway_fusion\.", r"\1_fusion_"),
    (r"conv_fast_to_slow$", "conv"),
    *BOTTLENECK,
)

# Substitutions, applied in order, that turn the name of a PyTorch module into our path.
NAMES = {
    "r3d_18": (*PLAIN_STEM, *RESNET),
    "r3d_34": (*PLAIN_STEM, *RESNET),
    "mc3_18": (*PLAIN_STEM, *RESNET),
    "r2plus1d_18": (*FACTORED_STEM, *RESNET),
    "r2plus1d_34": (*FACTORED_STEM, *RESNET),
    "s3d": S3D,
    "x3d_xs": X3D,
    "x3d_s": X3D,
    "x3d_m": X3D,
    "slow_r50": SLOW,
    "slowfast_r50": SLOWFAST,
    "slowfast_r50_8x8": SLOWFAST,
}
MOST_NAMED = 20  # tensors of each kind in a message, if the file fits another architecture


class MisfitError(UserError):
    """Tensors that do not match an architecture; the message lists all of them."""

    longest = sys.maxsize

    def __init__(self, lead: str, problems: Mapping[str, list[str]]):
        """Takes the beginning of the message, and the tensors by what is wrong with them."""
        self.lead, self.problems = lead, problems
        super().__init__(self.text(max(map(len, problems.values()))))

    def text(self, most: int) -> str:
        """The message with at most so many tensors of each kind."""
        listed = []
        for word, items in self.problems.items():
            more = f" and {len(items) - most} more" if len(items) > most else ""
            if items:
                listed.append(f"{len(items)} {word}: {', '.join(items[:most])}{more}")
        return f"{self.lead}: {'; '.join(listed)}"


def load(
    path: str | Path, *, name: str, variables: Mapping, new_head: bool = False
) -> tuple[dict, list[str]]:
    """Replaces freshly initialised variables by the tensors of a published file.

    Args:
        path: see `tensor_file.read`.
        name: `config.model.name`.
        variables: of that architecture, as `module.init` returns them.
        new_head: keep the last layer of `variables` even if that of the file would fit, for other
            classes of the same number. If it does not fit, it is kept in any case.

    Returns:
        The variables with float32 arrays of the file, and notes for the user: that the last layer
        was not loaded.

    Raises:
        UserError: no published layout for the architecture, an unreadable file, or missing, surplus
            or misshapen tensors. All of these are listed, or only some if the file fits another
            architecture, which is named.
    """
    if name not in NAMES:
        raise UserError(
            f"there are no published weights for config.model.name={name!r}; there are for "
            f"{', '.join(NAMES)}"
        )
    tensors = tensor_file.read(path)
    if architecture(name, tensors) != name:
        raise UserError(
            f"{path} is config.model.name={architecture(name, tensors)!r}, not {name!r}"
        )
    found = convert(tensors, name=name, wanted=by_path(variables))
    try:
        return place(found, variables, origin=str(path), name=name, new_head=new_head)
    except MisfitError as error:
        fitting = " or ".join(fits(tensors))
        if not fitting:
            raise
        raise UserError(f"{error.text(MOST_NAMED)}; it fits {fitting}") from None


def by_path(variables: Mapping) -> dict[str, Any]:
    """The leaves of a tree by path, such as "params/stem_conv/kernel"."""
    return {"/".join(key): leaf for key, leaf in flatten_dict(dict(variables)).items()}


def place(
    found: Mapping[str, np.ndarray],
    variables: Mapping,
    *,
    origin: str,
    name: str,
    new_head: bool = False,
) -> tuple[dict, list[str]]:
    """Replaces freshly initialised variables by tensors under our paths; see `load`.

    Args:
        found: tensors, named as by `by_path`.
        variables: of the architecture, as `module.init` returns them.
        origin: the file or folder of the tensors, for messages.
        name: `config.model.name`.
        new_head: see `load`.

    Raises:
        MisfitError: missing, surplus or misshapen tensors.
    """
    wanted = by_path(variables)
    notes = []
    head = {key for key in wanted if f"/{HEAD}/" in key}
    published = sorted({found[key].shape[-1] for key in head & set(found)})
    own = wanted[f"params/{HEAD}/bias"].size
    if new_head or published != [own]:
        found = {key: tensor for key, tensor in found.items() if key not in head}
        classes = f"{published[0]} classes" if published else "no classes"
        notes.append(f"{Path(origin).name} has {classes}: the last layer starts anew, for {own}")
    else:
        head = set()

    problems = {
        "missing": sorted(set(wanted) - set(found) - head),
        "too many": sorted(set(found) - set(wanted)),
        "misshapen": [
            f"{key} {found[key].shape} instead of {wanted[key].shape}"
            for key in sorted(set(found) & set(wanted))
            if found[key].shape != wanted[key].shape
        ],
    }
    if any(problems.values()):
        raise MisfitError(f"{origin} does not fit config.model.name={name!r}", problems)
    merged = {tuple(key.split("/")): found.get(key, value) for key, value in wanted.items()}
    return unflatten_dict(merged), notes


def fits(tensors: Mapping[str, np.ndarray]) -> list[str]:
    """The architectures that these tensors match, up to the last layer."""
    fitting = []
    modules = {key.rpartition(".")[0] for key in tensors}
    for name, ((stem, _), *_) in NAMES.items():
        if not any(re.search(stem, module) for module in modules):
            continue  # another family
        config = zoo.preset(name)
        blank = models.shapes(models.build(config.model, 2), clip_shape(config.data))
        found = convert(tensors, name=name, wanted=by_path(blank))
        with contextlib.suppress(MisfitError):
            place(found, blank, origin="", name=name, new_head=True)
            fitting.append(name)
    return fitting


def convert(
    tensors: Mapping[str, np.ndarray], *, name: str, wanted: Mapping[str, Any]
) -> dict[str, np.ndarray]:
    """A PyTorch network's tensors under our paths and in our layout; unknown names stay.

    Kernels change from OITHW to THWIO, dense layers (and 1x1x1 convolutions that are dense layers
    here) from OI to IO.
    """
    found = {}
    for torch_name, tensor in tensors.items():
        module, _, leaf = torch_name.rpartition(".")
        if leaf == "num_batches_tracked":
            continue
        path = module
        for pattern, replacement in NAMES[name]:
            path = re.sub(pattern, replacement, path)
        path = path.replace(".", "/")
        norm = f"params/{path}/scale" in wanted
        key = {
            "weight": f"params/{path}/{'scale' if norm else 'kernel'}",
            "bias": f"params/{path}/bias",
            "running_mean": f"batch_stats/{path}/mean",
            "running_var": f"batch_stats/{path}/var",
        }.get(leaf, torch_name)
        if leaf == "weight" and tensor.ndim > 1:
            dense = tensor.ndim == 2 or (key in wanted and len(wanted[key].shape) == 2)
            tensor = (
                tensor.reshape(tensor.shape[:2]).T if dense else tensor.transpose(2, 3, 4, 1, 0)
            )
        found[key if key in wanted else torch_name] = np.ascontiguousarray(tensor, np.float32)
    return found


def architecture(name: str, tensors: Mapping[str, np.ndarray]) -> str:
    """The architecture of a published file: pytorchvideo's "slowfast_r50" is our 8x8."""
    if name == "slowfast_r50":
        fusion = tensors.get("blocks.0.multipathway_fusion.conv_fast_to_slow.weight")
        if fusion is not None and fusion.shape[2] == 7:
            return "slowfast_r50_8x8"
    return name
