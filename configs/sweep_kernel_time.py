"""How much time does a 3D-CNN need? Kernels of 1, 3 and 5 in time, on 1, 5, 10 and 16 frames.

The input is plain frames, and features are averaged over time, so that a kernel of 1 sees no
motion. Motions of the embedded data set repeat every ten frames: 1 and 5 frames are less than a
period.

vid3d sweep   --config=sweep_kernel_time --workdir=runs/kernel-time --parallel=2  # 12
vid3d compare runs/kernel-time --evaluate
"""

from vid3d.presets import demo


def get_config(arg: str = ""):
    c = demo.get_config("smoke")
    c.data.synthetic.groups = 120
    c.data.size = 16
    c.model.input = "frames"
    c.model.head = "time_average"
    c.model.features = (8, 16)
    c.optim.learning_rate = 4e-3
    c.train.batch_size = 16
    c.train.epochs = 8
    return c


def sweep(add):
    for kernel in (1, 3, 5):
        for frames in (1, 5, 10, 16):
            add(**{"model.kernel": (kernel, 3, 3), "data.num_frames": frames})
