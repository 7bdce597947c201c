"""The embedded data set: five motions of coloured shapes that single frames cannot tell apart.

make demo                                                          # this file
make demo-baseline                                                 # :baseline, sees frames alone
vid3d train --config=demo:smoke --workdir=runs/smoke    # all of it, in about a minute

The same motions one after another in long recordings, with pauses: docs/timeline.md.

vid3d train    --config=demo:untrimmed --workdir=runs/untrimmed    # or untrimmed-baseline
vid3d evaluate --workdir=runs/untrimmed --events=val --choose
vid3d evaluate --workdir=runs/untrimmed --events=test
"""

from vid3d.config import default


def get_config(arg: str = ""):
    c = default()
    c.data.source = "synthetic"
    c.data.synthetic.groups = 100
    c.data.synthetic.videos_per_group = 2
    c.data.size = 32
    c.model.input = "difference"
    c.model.features = (16, 32, 32)
    c.model.pool = (1, 2, 2)
    c.model.norm = "batch"
    c.model.hidden = 0
    c.model.feature_dropout = 0.0
    c.model.dropout = 0.2
    c.optim.learning_rate = 2e-3
    c.optim.schedule = "cosine"
    c.train.batch_size = 16
    c.train.epochs = 10

    if arg.startswith("untrimmed"):
        c.data.synthetic.untrimmed = True
        c.data.synthetic.groups = 60
        c.data.background = "Pause"
        c.data.sampling = "random"
        c.predict.overlap = 0.8

    if arg in ("baseline", "untrimmed-baseline"):
        c.model.input = "frames"
        c.model.kernel = (1, 3, 3)
        c.model.head = "time_average"
    elif arg == "smoke":
        c.data.synthetic.groups = 15
        c.data.synthetic.videos_per_group = 1
        c.model.features = (8, 16)
        c.augment.brightness = 0.1
        c.augment.contrast = 0.1
        c.train.batch_size = 8
        c.train.epochs = 4
    elif arg not in ("", "untrimmed"):
        raise ValueError(
            f"demo has no preset {arg!r}: there is smoke, baseline, untrimmed and "
            "untrimmed-baseline"
        )
    return c
