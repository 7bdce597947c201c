"""Your own videos: a folder with a sub-folder per class, or with manifest.csv.

The columns of the manifest are path, label and, optionally, group, split or fold.

vid3d doctor   --config=videos --config.data.root=DIR                       # look first
vid3d train    --config=videos --config.data.root=DIR --workdir=runs/mine
vid3d evaluate --workdir=runs/mine

For a few hundred videos. On 193 surveillance clips of fights (about 97 of them for training;
experiments/README.md, section 2) the test accuracy is 0.774 (95% interval 0.715 to 0.831; the
majority 0.554), and training takes less than a minute of processor time after the decoding.
"""

from vid3d.config import default


def get_config(arg: str = ""):
    c = default()
    c.data.source = "auto"
    c.data.num_frames = 26
    c.data.size = 32
    c.data.sampling = "uniform"
    c.data.color = "gray"
    c.augment.flip = "auto"
    c.augment.crop = "resized"
    c.augment.crop_scale = (0.4, 1.0)
    c.model.features = (16, 32, 64, 64)
    c.model.pool = (2, 2, 2)
    c.model.input = "log_speed"
    c.model.norm = "batch"
    c.model.head = "statistics"
    c.model.hidden = 0
    c.model.feature_dropout = 0.0
    c.model.dropout = 0.3
    c.optim.name = "adamw"
    c.optim.learning_rate = 2e-3
    c.optim.weight_decay = 1e-2
    c.optim.schedule = "cosine"
    c.optim.ema = 0.98
    c.train.epochs = 16
    c.checkpoint.choose = "last"  # with few validation videos, the best is chance

    if arg == "tutorial":  # the tutorial's network and recipe, at 112x112 for a CPU
        c = default()
        c.data.source = "auto"
        c.data.size = 112
        c.data.stored_frames = 10
        c.train.epochs = 30
    elif arg:
        raise ValueError(f"videos has no preset {arg!r}: there is tutorial")
    return c
