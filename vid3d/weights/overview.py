"""All architectures compared, each on the clips that its published weights were trained on."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace

from ml_collections import ConfigDict
from rich import box
from rich.table import Table

from vid3d import config as configs, models
from vid3d.errors import UserError, suggest
from vid3d.models import summary
from vid3d.weights import zoo

KINETICS_CLASSES = 400
WIDE = 105  # columns of a terminal that has room for all columns of the table
# Layers after the last pooling see the whole clip, though window by window if the clip is large.
AFTER_POOLING = ("head_hidden", "classes")


def presets(
    names: Sequence[str] = (), overrides: Iterable[tuple[str, str]] = ()
) -> dict[str, ConfigDict]:
    """The config per architecture: `zoo.preset`, and the tutorial's for conv3d.

    Args:
        names: architectures; () means all.
        overrides: (key, text) pairs for each config, such as ("model.dtype", "bfloat16").

    Raises:
        UserError: an unknown name, or an invalid override.
    """
    chosen = {}
    for name in names or models.NAMES:
        if name not in models.NAMES:
            near = suggest(name, models.NAMES)
            raise UserError(
                f"there is no architecture {name!r}, only {', '.join(models.NAMES)}{near}"
            )
        config = configs.default() if name == "conv3d" else zoo.preset(name)
        for key, text in overrides:
            configs.apply(config, key, text)
        configs.validate(config)
        chosen[name] = config
    return chosen


def render(
    chosen: dict[str, ConfigDict],
    speeds: dict[str, tuple[float, float]] | None = None,
    *,
    width: int = WIDE,
) -> Table:
    """The table for `rich.print`, with 400 classes.

    Args:
        chosen: as `presets` returns them.
        speeds: clips per second of (training, prediction) by name, if they were measured.
        width: of the terminal; on a narrow one, speeds replace the receptive field.
    """
    sees = not speeds or width >= WIDE
    table = Table(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), title="with 400 classes")
    table.add_column("architecture", no_wrap=True)
    headings = ("frames\nx size", "para-\nmeters", "GFLOPs\n/ clip")
    for heading in (*headings, *(("sees\nframes", "sees\npixels") if sees else ())):
        table.add_column(heading, justify="right", no_wrap=True)
    if speeds:
        table.add_column("train\nclips/s", justify="right", no_wrap=True)
        table.add_column("predict\nclips/s", justify="right", no_wrap=True)
    table.add_column("Kinetics-400\ntop-1, published", justify="right")
    for name, config in chosen.items():
        found = summary.summarise(config, num_classes=KINETICS_CLASSES)
        convolved = [row for row in found.rows if row.name not in AFTER_POOLING]
        frames, rows, _ = replace(found, rows=tuple(convolved)).receptive_field
        cells = [
            f"{config.data.num_frames} x {config.data.size}",
            summary.quantity(found.parameters).strip(),
            f"{found.flops / 1e9:.1f}",
            *((summary.extent(frames), summary.extent(rows)) if sees else ()),
        ]
        if speeds:
            cells += [f"{speed:.3g}" for speed in speeds[name]] if name in speeds else ["", ""]
        entry = zoo.ENTRIES.get(name, zoo.Entry())
        table.add_row(name, *cells, f"{entry.top1:.1f} ({entry.protocol})" if entry.top1 else "-")
    table.caption = (
        "FLOPs: two for each multiply-add of convolutions and dense layers. Accuracy in percent, "
        "as stated by torchvision 0.28 (r3d_18, mc3_18, r2plus1d_18, s3d) and the model zoo of "
        "pytorchvideo (x3d, slow, slowfast)"
    )
    return table
