"""Which architecture at equal FLOPs? Six families on the embedded data set, at 1.1 GFLOPs a clip (within 6%).

vid3d sweep   --config=configs/sweep_architectures.py --workdir=runs/architectures --parallel=2    # 6 runs
vid3d compare runs/architectures --evaluate
vid3d summary --config=configs/sweep_architectures.py --config.model.name=s3d --config.data.size=48    # the FLOPs of one

A run takes 3 to 13 minutes of a crowded machine with two cores, x3d_s longer. In so few steps only conv3d leaves chance (0.20):
0.378 (95% interval 0.251 to 0.524) of 45 test videos (experiments/README.md).

The published architectures have fixed widths, so that the size of the clip is what makes them equally expensive: what
has few FLOPs a pixel sees more pixels. The plain network sees the 32x32 of configs/demo.py and gets its channels to fit.
All see plain frames, are trained from scratch, and with the same recipe.
"""

from configs import demo

# Frames and size of a clip at 1.1 GFLOPs, of two for each multiply-add: 1.09, 1.10, 1.11, 1.09, 1.05, 1.09.
CLIPS = {
    "conv3d": (10, 32),
    "r3d_18": (10, 16),
    "mc3_18": (10, 16),
    "r2plus1d_18": (10, 16),
    "s3d": (10, 48),
    "x3d_s": (10, 96),
}


def get_config(arg: str = ""):
    c = demo.get_config()
    c.data.synthetic.groups = 40
    c.data.synthetic.videos_per_group = 1
    c.model.input = "frames"
    c.model.features = (48, 100, 100)
    c.train.batch_size = 8
    c.train.epochs = 8
    return c


def sweep(add):
    for name, (num_frames, size) in CLIPS.items():
        add(**{"model.name": name, "data.num_frames": num_frames, "data.size": size})
