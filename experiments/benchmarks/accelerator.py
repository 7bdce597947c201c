"""Training speed on one accelerator: vid3d, and PyTorch beside it where it is installed.

    python experiments/benchmarks/accelerator.py [--json] [--peak_tflops=989]
    python experiments/benchmarks/accelerator.py --model=r3d_18 --frames=16 --size=112 --batch=64

bfloat16 arithmetic, float32 parameters, Adam, uint8 clips that are normalised on the device.
"device" repeats one batch that is there already; "end to end" copies a new batch from the host's
memory for every step, one ahead, as `vid3d train` does. TFLOP are counted by `vid3d summary` (two a
multiply-add, three passes), so that the share of peak is the same measure for both. PyTorch runs
channels_last_3d, autocast to bfloat16 and `torch.compile`; the sides take turns, each in a process
of its own, medians count. Without an accelerator it runs on the CPU; take small clips there.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Callable, Iterator
from typing import NamedTuple

# A peer's process imports this file: each framework is imported by its own side alone.
import numpy as np
from peers import Peer

from vid3d import config as configs

CLASSES = 5


class Side(NamedTuple):
    """Functions from a number of steps to the seconds that they take, and the device's name."""

    device: Callable[[int], float]
    end_to_end: Callable[[int], float]
    name: str

    def device_kind(self) -> str:
        return self.name


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.add_argument("--model", default="conv3d")
    parser.add_argument("--frames", type=int, default=10)
    parser.add_argument("--size", type=int, default=224)
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--steps", type=int, default=20, help="in each round")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--peak_tflops", type=float, default=0.0, help="of the device, in bfloat16")
    options = parser.parse_args()
    clips = (options.model, options.batch, options.frames, options.size)
    sides = {"vid3d": Peer("accelerator", "vid3d", *clips)}
    try:
        sides["torch"] = Peer("accelerator", "torch", *clips)
    except ModuleNotFoundError as missing:
        if missing.name not in ("torch", "torchvision"):
            raise
    seconds = {(name, way): [] for name in sides for way in ("device", "end_to_end")}
    for _ in range(options.rounds):
        for name, side in sides.items():
            for way in ("device", "end_to_end"):
                seconds[name, way].append(side.call(way, options.steps).value)
    kind = sides["vid3d"].call("device_kind").value
    for side in sides.values():
        side.close()
    from vid3d.models.summary import summarise

    flops = 3 * summarise(config_of(*clips), num_classes=CLASSES).flops
    figures: dict[str, object] = {"device": kind, "model": options.model}
    for (name, way), found in seconds.items():
        rate = options.batch * options.steps / statistics.median(found)
        figures[f"{name}_{way}_clips_per_second"] = rate
        figures[f"{name}_{way}_tflops"] = rate * flops / 1e12
        if options.peak_tflops:
            figures[f"{name}_{way}_share_of_peak"] = rate * flops / 1e12 / options.peak_tflops
    if "torch" in sides:
        for way in ("device", "end_to_end"):
            pairs = zip(seconds["torch", way], seconds["vid3d", way], strict=True)
            figures[f"{way}_ratio_torch"] = statistics.median(a / b for a, b in pairs)
    if options.json:
        print(json.dumps(figures))
    else:
        for key, value in figures.items():
            print(f"{key:36} {value:.3f}" if isinstance(value, float) else f"{key:36} {value}")


def config_of(model: str, batch: int, frames: int, size: int):
    config = configs.default()
    config.model.name = model
    config.model.dtype = "bfloat16"
    config.data.num_frames, config.data.size = frames, size
    config.train.batch_size = batch
    return config


def host_batches(config, count: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Clips and labels out of a pool in the host's memory."""
    random = np.random.default_rng(0)
    data, batch = config.data, config.train.batch_size
    pool = random.integers(0, 256, (4, batch, data.num_frames, data.size, data.size, 3), np.uint8)
    labels = random.integers(0, CLASSES, (4, batch), np.int32)
    for number in range(count):
        yield pool[number % 4], labels[number % 4]


def vid3d(*clips) -> Side:
    import jax

    from vid3d import models, parallel
    from vid3d.training import optim, steps
    from vid3d.training.state import create

    config = config_of(*clips)
    model = models.build(config.model, CLASSES, axis_name=parallel.AXIS)
    schedule = optim.learning_rate(config.optim, total_steps=1000, steps_per_epoch=10, batch_size=8)
    optimizer = optim.build(config.optim, schedule)
    data = config.data
    clip_shape = (data.num_frames, data.size, data.size, 3)
    step = parallel.map_step(
        steps.build_train_step(model, optimizer, config, flip=False, axis_name=parallel.AXIS)
    )
    holder = [parallel.replicate(create(model, optimizer, seed=0, clip_shape=clip_shape))]

    def batches(count: int):
        for clips_BTHWC, labels_B in host_batches(config, count):
            mask_B = np.ones(len(labels_B), np.float32)
            index_B = np.arange(len(labels_B), dtype=np.int32)
            round_B = np.zeros(len(labels_B), np.int32)
            yield {
                "clips_BTHWC": clips_BTHWC,
                "labels_B": labels_B,
                "mask_B": mask_B,
                "index_B": index_B,
                "round_B": round_B,
            }

    one = next(parallel.prefetch(batches(1)))

    def run(flow) -> float:
        state = holder[0]
        start = time.perf_counter()
        for batch in flow:
            state, sums = step(state, batch)
        jax.block_until_ready(sums)
        holder[0] = state
        return time.perf_counter() - start

    run([one])
    return Side(
        lambda count: run(one for _ in range(count)),
        lambda count: run(parallel.prefetch(batches(count))),
        jax.devices()[0].device_kind,
    )


def torch(*clips) -> Side:
    """The same network in PyTorch."""
    import torch
    from torch import nn
    from train_step import torch_model

    config = config_of(*clips)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    if config.model.name == "conv3d":
        shape = (config.data.num_frames, config.data.size, config.data.size, 3)
        model = torch_model(shape)
    else:
        from torchvision.models import video

        model = getattr(video, config.model.name)(num_classes=CLASSES)
    model = model.to(device, memory_format=torch.channels_last_3d)
    optimizer = torch.optim.Adam(model.parameters(), 1e-3)

    @torch.compile
    def loss_of(clips, labels):
        with torch.autocast(device.type, torch.bfloat16):
            logits = model(clips.permute(0, 4, 1, 2, 3).float() / 255)
        return nn.functional.cross_entropy(logits.float(), labels)

    def put(batch):
        clips, labels = (torch.from_numpy(a) for a in batch)
        if device.type == "cuda":
            clips, labels = clips.pin_memory(), labels.pin_memory()
        return clips.to(device, non_blocking=True), labels.to(device, non_blocking=True).long()

    def wait() -> None:
        if device.type == "cuda":
            torch.cuda.synchronize()

    def run(flow) -> float:
        wait()
        start = time.perf_counter()
        for clips, labels in flow:
            optimizer.zero_grad(set_to_none=True)
            loss_of(clips, labels).backward()
            optimizer.step()
        wait()
        return time.perf_counter() - start

    one = put(next(host_batches(config, 1)))
    run([one, one])
    return Side(
        lambda count: run(one for _ in range(count)),
        lambda count: run(put(batch) for batch in host_batches(config, count)),
        str(device),
    )


if __name__ == "__main__":
    main()
