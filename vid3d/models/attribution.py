"""Where and when a network looks: Grad-CAM and integrated gradients of clips.

Both are gradients of one class's logit, in evaluation mode. `vid3d.inference.explain` draws them.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any, cast

import jax
import jax.numpy as jnp
from flax import linen as nn

from vid3d.errors import UserError

METHODS = ("gradcam", "integrated_gradients")
FEWEST_CELLS = 5  # of a map's height and width: a coarser one tells no place from another
STEPS = 32  # of the integral

Variables = dict[str, Any]


def last_maps(module: nn.Module, variables: Variables, clips_BTHWC: jax.Array) -> list[str]:
    """The modules whose outputs are the deepest maps that still tell places apart.

    A network sows the output of each stage; of those with at least `FEWEST_CELLS` rows and columns
    it is the last one, or one per pathway.

    Args:
        module: built without `remat`.
        variables: of the module.
        clips_BTHWC: normalised clips, or their shape and dtype.

    Raises:
        UserError: no map has that many.
    """
    called: dict[str, Any] = {}
    found: list[str] = []

    def record(call: Callable, args: tuple, options: dict, context: Any) -> Any:
        output = call(*args, **options)
        if is_child(context):
            called[context.module.name] = output
        return output

    def look(variables: Variables, clips_BTHWC: jax.Array) -> None:
        with nn.intercept_methods(record):
            _, state = module.apply(variables, clips_BTHWC, train=False, mutable=["intermediates"])
        deepest: dict[str, str] = {}
        for stage, (sown,) in state["intermediates"].items():
            pathway = re.fullmatch(r"(.*)stage\d+", stage)
            if pathway and min(sown.shape[2:4]) >= FEWEST_CELLS:
                # A stage is sown as its last module returns it: the same object.
                deepest[pathway[1]] = next(n for n, output in called.items() if output is sown)
        found.extend(deepest.values())

    jax.eval_shape(look, variables, clips_BTHWC)
    if not found:
        height, width = clips_BTHWC.shape[2:4]
        raise UserError(
            f"this network has no map of {FEWEST_CELLS}x{FEWEST_CELLS} or more for clips of "
            f"{height}x{width} pixels: use the method integrated_gradients"
        )
    return found


def is_child(context: Any) -> bool:
    """Whether an intercepted call is that of a module right below the network."""
    return context.method_name == "__call__" and len(context.module.path) == 1


def gradcam(
    module: nn.Module, variables: Variables, clips_BTHWC: jax.Array, label: jax.Array
) -> jax.Array:
    """Grad-CAM: which places of the last maps raise the logit of a class, to first order.

    The channels of a map are summed, each weighted by the mean of the logit's gradient over the
    map, and what is negative is cut off. With two pathways, both are brought to the clip's size and
    added.

    Selvaraju, Cogswell, Das, Vedantam, Parikh, Batra, "Grad-CAM: Visual Explanations from Deep
    Networks via Gradient-based Localization", ICCV 2017, over time as well.

    Args:
        module: built without `remat`.
        variables: of the module.
        clips_BTHWC: float32, normalised.
        label: class number of each clip, int [B].

    Returns:
        float32 [B, T, H, W], 0 or more, linearly interpolated to the clip's frames and pixels.

    Raises:
        UserError: no map of the network tells places apart.
    """
    maps = coarse_gradcam(module, variables, clips_BTHWC, label)
    shape = clips_BTHWC.shape[:4]
    return cast(jax.Array, sum(jax.image.resize(map_BTHW, shape, "linear") for map_BTHW in maps))


def coarse_gradcam(
    module: nn.Module, variables: Variables, clips_BTHWC: jax.Array, label: jax.Array
) -> list[jax.Array]:
    """Grad-CAM in the size of the maps, float32 [B, T', H', W'] per pathway; see `gradcam`."""
    names = last_maps(module, variables, clips_BTHWC)

    def logit(shifts: list[jax.Array]) -> tuple[jax.Array, dict[str, jax.Array]]:
        maps: dict[str, jax.Array] = {}

        def shift(call: Callable, args: tuple, options: dict, context: Any) -> Any:
            output = call(*args, **options)
            if is_child(context) and context.module.name in names:
                maps[context.module.name] = output
                return output + shifts[names.index(context.module.name)]
            return output

        with nn.intercept_methods(shift):
            return class_logit(module, variables, clips_BTHWC, label), maps

    shapes = jax.eval_shape(lambda: logit([jnp.zeros(())] * len(names))[1])
    nothing = [jnp.zeros(shapes[name].shape, shapes[name].dtype) for name in names]
    gradients, maps = jax.grad(logit, has_aux=True)(nothing)
    found = []
    for name, gradient_BTHWC in zip(names, gradients, strict=True):
        weights_BC = gradient_BTHWC.astype(jnp.float32).mean(axis=(1, 2, 3))
        raised = jnp.einsum("bthwc,bc->bthw", maps[name].astype(jnp.float32), weights_BC)
        found.append(nn.relu(raised))
    return found


def integrated_gradients(
    module: nn.Module,
    variables: Variables,
    clips_BTHWC: jax.Array,
    label: jax.Array,
    baseline_BTHWC: jax.Array,
    *,
    steps: int = STEPS,
) -> jax.Array:
    """Integrated gradients: what each pixel adds to the logit of a class, from a baseline on.

    The sum over all pixels is the difference between the logits of the clip and of the baseline,
    but for the error of the sum that stands for the integral (midpoint rule).

    Sundararajan, Taly, Yan, "Axiomatic Attribution for Deep Networks", ICML 2017.

    Args:
        module: the network.
        variables: of the module.
        clips_BTHWC: float32, normalised.
        label: class number of each clip, int [B].
        baseline_BTHWC: the clip that shows nothing, such as each clip's mean over time.
        steps: points at which the gradient is taken.

    Returns:
        float32 [B, T, H, W], the channels added; either sign.
    """
    change_BTHWC = clips_BTHWC - baseline_BTHWC
    gradient = jax.grad(lambda x: class_logit(module, variables, x, label))

    def add(total_BTHWC: jax.Array, share: jax.Array) -> tuple[jax.Array, None]:
        return total_BTHWC + gradient(baseline_BTHWC + share * change_BTHWC), None

    shares = (jnp.arange(steps, dtype=jnp.float32) + 0.5) / steps
    total_BTHWC, _ = jax.lax.scan(add, jnp.zeros_like(clips_BTHWC), shares)
    return (change_BTHWC * total_BTHWC / steps).sum(axis=-1)


def class_logit(
    module: nn.Module, variables: Variables, clips_BTHWC: jax.Array, label: jax.Array
) -> jax.Array:
    """The sum of the clips' logits of their classes; clips do not influence each other."""
    logits_BK = cast(jax.Array, module.apply(variables, clips_BTHWC, train=False))
    return jnp.take_along_axis(logits_BK, label[:, None], axis=1).sum()
