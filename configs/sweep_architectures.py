"""Which architecture at equal FLOPs? Six of them on the embedded data set, at 1.1 GFLOPs per clip.

vid3d sweep   --config=sweep_architectures --workdir=runs/architectures    # 6 runs
vid3d compare runs/architectures --evaluate
vid3d summary --config=sweep_architectures \\
    --config.model.name=s3d --config.data.size=48    # the FLOPs of one

The FLOPs are equal within 6%. The published architectures have fixed widths, so that the size of
the clip makes them equally expensive: networks with fewer FLOPs per pixel get larger clips. The
plain network keeps the 32x32 of configs/demo.py, and its channels are chosen to fit. All take frame
differences and are trained from scratch with the same recipe. The results are in
experiments/README.md.
"""

from vid3d.presets import demo

# Clip sizes at 1.1 GFLOPs (two for each multiply-add): 1.09, 1.10, 1.11, 1.09, 1.05, 1.09.
SIZES = {"conv3d": 32, "r3d_18": 16, "mc3_18": 16, "r2plus1d_18": 16, "s3d": 48, "x3d_s": 96}


def get_config(arg: str = ""):
    c = demo.get_config()
    c.data.synthetic.groups = 120
    c.data.synthetic.videos_per_group = 1
    c.data.num_frames = 11  # ten differences
    c.model.features = (48, 100, 100)
    c.model.norm_momentum = 0.9  # s3d's default suits long training runs
    c.optim.learning_rate = 5e-4
    c.train.batch_size = 8
    c.train.epochs = 8
    return c


def sweep(add):
    for name, size in SIZES.items():
        add(**{"model.name": name, "data.size": size})
