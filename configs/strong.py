"""From scratch, with strong regularisation.

vid3d train --config=strong --config.data.root=DIR --workdir=runs/strong
vid3d train --config=strong:r3d_18 --config.data.root=DIR --workdir=runs/strong-r3d
vid3d train --config=strong:demo --workdir=runs/strong-demo

The network is that of configs/videos.py, any architecture on clips of its own, or, as `:demo`, that
of configs/demo.py:

FEW="--config.data.synthetic.groups=40 --config.data.synthetic.videos_per_group=1"
vid3d train --config=strong:demo $FEW --workdir=runs/few

With 130 training videos: 0.689 (95% interval 0.517 to 0.821) of 45 test videos of 9 sources, after
5 minutes on a crowded machine; configs/demo.py as it is 0.711 (0.520 to 0.849) after as many
epochs: no difference that 45 videos could show (experiments/README.md).

Random resized crop, mirrored clips, mixup and CutMix, label smoothing, stochastic depth or dropout,
AdamW with decay of the kernels alone, cosine with warm-up, clipped gradients, the moving average of
the weights. Where the classes are of unequal size, `:NAME,weights` weighs them in the loss and
`:NAME,sampling` draws them equally often.
"""

from vid3d.presets import demo, videos
from vid3d.weights import zoo


def get_config(arg: str = "videos"):
    name, *words = arg.split(",")
    unknown = set(words) - {"weights", "sampling"}
    if unknown:
        raise ValueError(
            f"strong has no preset {arg!r}: after the name comes ,weights or ,sampling"
        )
    if name == "demo":
        c = demo.get_config()
    elif name == "videos":
        c = videos.get_config()
        c.eval.every, c.checkpoint.choose = "4 epochs", "best"
    else:
        c = zoo.preset(name)
        c.data.source = "auto"
        c.data.short = "loop"
        c.model.dropout = 0.5
        if name not in ("c3d", "s3d"):
            c.model.stochastic_depth = 0.1
        c.train.batch_size = 16
    c.augment.crop = "resized"
    c.augment.crop_scale = (0.5, 1.0)
    c.augment.flip = "auto"
    c.augment.mixup = 0.2
    c.augment.cutmix = 1.0
    c.optim.name = "adamw"
    c.optim.learning_rate = 2e-3
    c.optim.weight_decay = 0.05
    c.optim.schedule = "cosine"
    c.optim.warmup = "2 epochs"
    c.optim.clip_norm = 1.0
    c.optim.label_smoothing = 0.1
    c.optim.ema = 0.99
    c.train.epochs = 20
    if "weights" in words:
        c.optim.class_weights = "balanced"
    if "sampling" in words:
        c.train.balance_classes = True
    return c
