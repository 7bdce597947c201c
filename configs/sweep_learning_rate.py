"""How large may steps be? Learning rates over three orders of magnitude, with Adam and SGD.

vid3d sweep   --config=sweep_learning_rate --workdir=runs/rates --parallel=2    # 8 runs
vid3d compare runs/rates --evaluate
"""

from vid3d.presets import demo


def get_config(arg: str = ""):
    c = demo.get_config("smoke")
    c.data.synthetic.groups = 120
    c.data.size = 16
    c.train.batch_size = 16
    c.train.epochs = 4
    return c


def sweep(add):
    for optimizer in ("adam", "sgd"):
        for rate in (1e-4, 1e-3, 1e-2, 1e-1):
            add(**{"optim.name": optimizer, "optim.learning_rate": rate})
