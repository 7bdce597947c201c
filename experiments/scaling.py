"""Scale on paper: what one training step costs on a TPU v5e, from the compiled step.

    pip install 'libtpu==0.0.42.*'            # the compiler; no TPU is needed
    python experiments/scaling.py             # half an hour on a busy machine with 2 cores

The step is the one that `vid3d train` maps over the devices, compiled by XLA's TPU compiler for a
slice of 8 chips that need not be there. FLOPs and bytes are XLA's own count for one chip,
all-reduced bytes are read off the compiled program, and everything else is arithmetic on them and
on the rates below. Writes experiments/scaling.md.
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path

os.environ.setdefault("JAX_PLATFORMS", "cpu")
os.environ.update(
    TPU_SKIP_MDS_QUERY="1", TPU_ACCELERATOR_TYPE="v5litepod-8", TPU_WORKER_HOSTNAMES="localhost"
)

import jax
import jax.numpy as jnp
import numpy as np
from jax.experimental import topologies
from jax.sharding import Mesh, PartitionSpec as P
from ml_collections import ConfigDict

from vid3d import config as configs, models
from vid3d.ops import convolution
from vid3d.training import optim, steps
from vid3d.training.state import create

# https://docs.cloud.google.com/tpu/docs/v5e, table of key specifications.
# FLOPs a second, bfloat16; float32 convolutions take one bfloat16 pass at JAX's default precision.
FLOPS = 197e12
HBM = 819e9  # bytes a second
LINK = 400e9 / 4 / 2  # bytes a second through one of the four ports, one way
CHIPS_PER_HOST = 8
NETWORK = 2 * 100e9 / 8  # bytes a second into a host
MEMORY = 512 * 2**30  # bytes of a host

CHIPS, TOPOLOGY = 8, "v5e:2x4"
PER_CHIP = 8  # clips
BYTES = {"f32": 4, "bf16": 2, "s32": 4, "u32": 4, "pred": 1, "u8": 1, "f16": 2}
STORED = 128 * 171 * 3  # bytes of a frame, configs/ucf101.py:all
JPEG = 10  # times smaller than raw, the lower end of what config.py says of data.store

# Videos and seconds a video: Soomro et al. 2012 (13,320 clips, 27 hours), Kay et al. 2017
# (306,245 clips of about 10 s).
DATA_SETS = {"UCF-101": (13_320, 27 * 3600 / 13_320), "Kinetics-400": (306_245, 10.0)}
FPS = 25


@dataclass(frozen=True)
class Step:
    """One compiled step on one chip.

    FLOPs, bytes to and from its memory, bytes all-reduced, bytes from the host.
    """

    name: str
    clip: str
    parameters: int
    flops: float
    moved: float
    reduced: int
    host: int
    peak_memory: int

    @property
    def seconds(self) -> float:
        """The least that the step can take: the slower of arithmetic and memory."""
        return max(self.flops / FLOPS, self.moved / HBM)

    def reduce_seconds(self, chips: int) -> float:
        """A ring all-reduce, both ways around, on one port each way."""
        return 2 * (chips - 1) / chips * self.reduced / (2 * LINK)

    def efficiency(self, chips: int) -> float:
        """Share of the time not spent waiting, if arithmetic hides nothing of the all-reduce."""
        return self.seconds / (self.seconds + self.reduce_seconds(chips))


def compile_step(name: str, config: ConfigDict, num_classes: int, mesh: Mesh) -> Step:
    """Compiles a config's training step for a mesh with the axis "batch"; nothing is computed."""
    model = models.build(config.model, num_classes, axis_name="batch")
    schedule = optim.learning_rate(
        config.optim, total_steps=1000, steps_per_epoch=100, batch_size=64
    )
    optimizer = optim.build(config.optim, schedule)
    shape = (config.data.num_frames, config.data.size, config.data.size, 3)
    state = jax.eval_shape(lambda: create(model, optimizer, seed=0, clip_shape=shape))
    stored = (shape[0], *(config.data.stored_size or shape[1:3]), 3)
    batch = PER_CHIP * mesh.size
    arrays = {
        "clips_BTHWC": jax.ShapeDtypeStruct((batch, *stored), jnp.uint8),
        "labels_B": jax.ShapeDtypeStruct((batch,), jnp.int32),
        "mask_B": jax.ShapeDtypeStruct((batch,), jnp.float32),
        "index_B": jax.ShapeDtypeStruct((batch,), jnp.int32),
        "round_B": jax.ShapeDtypeStruct((batch,), jnp.int32),
    }
    step = steps.build_train_step(model, optimizer, config, flip=False, axis_name="batch")
    mapped = jax.shard_map(
        step, mesh=mesh, in_specs=(P(), P("batch")), out_specs=(P(), P()), check_vma=False
    )
    compiled = jax.jit(mapped, donate_argnums=0).lower(state, arrays).compile()
    cost, memory = compiled.cost_analysis(), compiled.memory_analysis()
    return Step(
        name=name,
        clip="x".join(map(str, stored[:3])),
        parameters=sum(x.size for x in jax.tree.leaves(state.params)),
        flops=cost["flops"],
        moved=cost["bytes accessed"],
        reduced=reduced_bytes(compiled.as_text()),
        host=sum(x.size * x.dtype.itemsize for x in arrays.values()) // mesh.size,
        peak_memory=memory.temp_size_in_bytes + memory.argument_size_in_bytes,
    )


def reduced_bytes(program: str) -> int:
    """The bytes that the all-reduces of a compiled program sum up on each chip."""
    total = 0
    for line in program.splitlines():
        found = re.search(r"= (.*?) all-reduce(?:-start)?\(", line)
        if found:
            for kind, extents in re.findall(r"\b([a-z]+\d*)\[([\d,]*)\]", found[1]):
                total += BYTES[kind] * int(np.prod([int(n) for n in extents.split(",") if n]))
    return total


def large() -> ConfigDict:
    """SlowFast's slow pathway, a 3D ResNet-50, in bfloat16.

    On 8 frames of 224x224 cut out of 256x256.
    """
    config = configs.default()
    config.model.name = "slow_r50"
    config.model.dtype = "bfloat16"
    config.data.num_frames = 8
    config.data.stored_size = (256, 256)
    config.augment.crop = "random"
    config.optim.name = "sgd"
    return config


def tutorial() -> ConfigDict:
    return configs.load("configs/ucf101.py:five")


def main() -> None:
    # Where JAX sees nothing but a CPU, convolutions trace their CPU form alone: here the other
    # one is wanted.
    convolution._by_platform = lambda *arrays, cpu, default: default(*arrays)
    chips = topologies.get_topology_desc(TOPOLOGY, platform="tpu").devices
    mesh = Mesh(np.array(chips), ("batch",))
    found = []
    for name, config, num_classes in (
        ("the tutorial's network", tutorial(), 5),
        ("slow_r50, bfloat16", large(), 400),
    ):
        found.append(compile_step(name, config, num_classes, mesh))
        print(found[-1], flush=True)
    text = page(found)
    Path("experiments/scaling.md").write_text(text)
    print(text)


def page(found: list[Step]) -> str:
    lines = [
        "# Scale on paper",
        "",
        (
            "Written by `python experiments/scaling.py`; nothing here was measured on a TPU. The "
            "training step is compiled by XLA's TPU"
        ),
        (
            f"compiler for {CHIPS} chips of a TPU v5e with {PER_CHIP} clips a chip; FLOPs and "
            "bytes are the compiler's count for one chip and one step."
        ),
        "",
        f"| a step on one chip | {' | '.join(s.name for s in found)} |",
        f"|---|{'---|' * len(found)}",
    ]

    def row(title: str, cells: list[str]) -> None:
        lines.append(f"| {title} | {' | '.join(cells)} |")

    row("stored clip", [s.clip for s in found])
    row("parameters", [f"{s.parameters:,}" for s in found])
    row("FLOPs", [f"{s.flops / 1e9:,.0f} G" for s in found])
    row("bytes to and from its memory", [f"{s.moved / 1e9:.2f} GB" for s in found])
    row("bytes all-reduced", [f"{s.reduced / 1e6:.1f} MB" for s in found])
    row("bytes from the host", [f"{s.host / 1e6:.1f} MB" for s in found])
    row("memory of the chip in use", [f"{s.peak_memory / 2**30:.1f} of 16 GiB" for s in found])
    row("arithmetic at the peak rate", [f"{s.flops / FLOPS * 1e3:.2f} ms" for s in found])
    row("memory at the peak rate", [f"{s.moved / HBM * 1e3:.2f} ms" for s in found])
    for chips in (8, 64):
        row(
            f"all-reduce over {chips} chips",
            [f"{s.reduce_seconds(chips) * 1e3:.2f} ms" for s in found],
        )
    for chips in (8, 64):
        row(
            f"**efficiency at {chips} chips, at least**",
            [f"**{s.efficiency(chips):.0%}**" for s in found],
        )
    row("clips a second and chip, at most", [f"{PER_CHIP / s.seconds:,.0f}" for s in found])
    lines += [
        "",
        (
            "The step takes at least the longer of the two times at the peak rates. The efficiency "
            "supposes that it takes no longer, and that"
        ),
        (
            "nothing of the all-reduce runs behind it; a real step takes longer, which hides more, "
            "so that this is a lower bound. The"
        ),
        (
            "all-reduce is a ring in both directions on one port each way; a torus has more. Its "
            "time hardly depends on the number of chips."
        ),
        (
            f"Rates: {FLOPS / 1e12:.0f} TFLOP/s, {HBM / 1e9:.0f} GB/s, {LINK / 1e9:.0f} GB/s a "
            "port and direction ([TPU v5e](https://docs.cloud.google.com/tpu/docs/v5e))."
        ),
        "",
        "## Where the input becomes the limit",
        "",
        f"A host feeds {CHIPS_PER_HOST} chips. At the rates above its chips ask for",
        "",
    ]
    for s in found:
        clips = PER_CHIP / s.seconds * CHIPS_PER_HOST
        frames = int(s.clip.split("x")[0])
        share = clips * s.host / PER_CHIP / NETWORK
        lines.append(
            f"- {s.name}: {clips:,.0f} clips a second, {clips * s.host / PER_CHIP / 1e9:.1f} "
            f"GB/s of raw frames ({share:.0%} of the "
            f"host's network), or {clips * frames:,.0f} JPEG frames a second to decode"
        )
    lines += [
        "",
        (
            "| data set | frames | raw, 128x171 | JPEG, a tenth | "
            "in the memory of one host (512 GiB) |"
        ),
        "|---|---|---|---|---|",
    ]
    for name, (videos, seconds) in DATA_SETS.items():
        frames = videos * seconds * FPS
        raw = frames * STORED
        fits = "raw" if raw < MEMORY else "JPEG" if raw / JPEG < MEMORY else "neither"
        lines.append(
            f"| {name} | {frames / 1e6:.1f} M | {raw / 1e9:,.0f} GB | {raw / JPEG / 1e9:,.0f} GB "
            f"| {fits} |"
        )
    lines += [
        "",
        (
            "A set that fits raw is read from memory, and the host only copies. One that fits as "
            "JPEG is decoded on the host in every epoch: the"
        ),
        (
            "frames a second above, times the seconds that a core needs for a frame, are the cores "
            "that it takes. One that fits neither way is"
        ),
        "read from disk or over the network as well.",
        "",
    ]  # fmt: skip
    return "\n".join(lines)


if __name__ == "__main__":
    main()
