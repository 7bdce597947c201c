"""Pretrained weights for your own videos: DIR with a sub-folder per class, or with manifest.csv.

vid3d train --config=transfer:r3d_18 --config.model.init_from=r3d_18-b3b3357e.pth \\
    --config.data.root=DIR --workdir=runs/mine

:NAME         fine-tuning of any architecture with published weights (`vid3d summary --all`): a new
              last layer, and all others at a tenth of its learning rate; the clips are those that
              the weights were trained on
:NAME,probe   a linear probe: only the new last layer is trained, on the clips of evaluation (no
              crop, no flip, the middle of the video), and batch normalisation is frozen
:demo         the same for the network of configs/demo.py on two motions of the embedded data set,
:demo,probe   from a workdir that was trained on the other three:

vid3d train --config=demo --config.data.classes=Clockwise,Counterclockwise,Swing \\
    --workdir=runs/three
vid3d train --config=transfer:demo --config.model.init_from=runs/three --workdir=runs/two

With 96 training videos: 0.900 (95% interval 0.854 to 0.942) of 240 test videos, the probe 0.829
(0.779 to 0.879), from scratch 0.929 (0.896 to 0.958); each takes 1 to 3 minutes on two busy CPU
cores (experiments/README.md).
"""

from vid3d.presets import demo
from vid3d.video.clips import evaluation_sampling
from vid3d.weights import zoo


def get_config(arg: str = "r3d_18"):
    name, *words = arg.split(",")
    unknown = set(words) - {"probe"}
    if unknown:
        raise ValueError(f"transfer has no preset {arg!r}: after the name comes ,probe or nothing")
    if name == "demo":
        c = demo.get_config()
        c.data.synthetic.groups = 100
        c.data.classes = ("Leap", "Wander")
    else:
        c = zoo.preset(name)
        c.data.source = "auto"
        # Random crops if stored frames are larger than the clip, otherwise resized crops.
        roomy = min(c.data.stored_size) > c.data.size
        c.augment.crop = "random" if roomy else "resized"
        c.augment.crop_scale = (0.5, 1.0)
        c.train.batch_size = 8
    c.augment.flip = "auto"
    c.model.dropout = 0.5
    c.optim.name = "adamw"
    c.optim.learning_rate = 2e-3
    c.optim.weight_decay = 1e-2
    c.optim.schedule = "cosine"
    c.optim.warmup = "1 epoch"
    c.optim.label_smoothing = 0.1
    c.optim.backbone_rate = 0.1
    c.train.epochs = 15
    if "probe" in words:
        c.optim.backbone_rate = 0.0
        c.optim.weight_decay = 0.0
        c.optim.label_smoothing = 0.0
        c.augment.crop = "none"
        c.augment.flip = "off"
        c.data.sampling = evaluation_sampling(c.data)
    return c
