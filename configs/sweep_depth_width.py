"""Deeper or wider? Two, three and four layers of 4, 8 and 16 features.

vid3d sweep   --config=sweep_depth_width --workdir=runs/depth-width --parallel=2  # 9
vid3d compare runs/depth-width --evaluate
"""

from vid3d.presets import demo


def get_config(arg: str = ""):
    c = demo.get_config("smoke")
    c.data.synthetic.groups = 120
    c.data.size = 16
    c.optim.learning_rate = 4e-3
    c.train.batch_size = 16
    c.train.epochs = 4
    return c


def sweep(add):
    for depth in (2, 3, 4):
        for width in (4, 8, 16):
            add(**{"model.features": (width,) * depth})
