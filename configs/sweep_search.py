"""Which optimizer, learning rate, width and dropout? Twelve random draws, most of them cut short.

Runs are compared after 2 and 6 of 12 epochs, and the best third goes on.

vid3d sweep   --config=sweep_search --workdir=runs/search --dry-run       # the draws
vid3d sweep   --config=sweep_search --workdir=runs/search --parallel=2    # 12 runs
vid3d compare runs/search
"""

from vid3d.presets import demo


def get_config(arg: str = ""):
    c = demo.get_config("smoke")
    c.data.synthetic.groups = 120
    c.data.size = 16
    c.train.batch_size = 16
    c.train.epochs = 12
    return c


def sweep(add):
    add.random(
        12,
        {
            "optim.name": add.choice("adam", "sgd"),
            "optim.learning_rate": add.log_uniform(1e-4, 1e-1),
            "model.features": add.choice((4, 8), (8, 16), (16, 32)),
            "model.dropout": add.uniform(0.0, 0.5),
        },
    )
    add.halving(first=2, factor=3)
