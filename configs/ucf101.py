"""UCF-101: a folder of v_Class_gNN_cNN.avi, flat or a folder per class, and ucfTrainTestlist/.

ucfTrainTestlist/ is in the folder or next to it.

vid3d train --config=ucf101:five --config.data.root=UCF-101 --workdir=runs/five

:tutorial   the tutorial to the letter: five classes, random split, validation on the test videos;
            printed as leaky
:four       the same with four layers
:five       the tutorial's network and classes, official split 1, validation videos split off
            the training videos by group
:all        all 101 classes, official split 1; :split2 and :split3 the other splits
"""

from vid3d.config import default

FIVE = ("ApplyLipstick", "SumoWrestling", "YoYo", "HulaHoop", "BoxingPunchingBag")


def get_config(arg: str = "five"):
    c = default()
    c.data.source = "ucf101"
    c.data.protocol = "official1"
    c.data.stored_frames = 10  # as many as the tutorial reads
    if arg in ("tutorial", "four"):
        c.data.classes = FIVE
        c.data.protocol = "random"
        c.data.validate_on_test = True
        if arg == "four":
            c.model.features = (128, 64, 32, 32)
    elif arg == "five":
        c.data.classes = FIVE
    elif arg in ("all", "split2", "split3"):
        c.data.protocol = {"all": "official1", "split2": "official2", "split3": "official3"}[arg]
        c.data.size = 112
        c.data.num_frames = 16
        c.data.sampling = "random"
        c.data.stored_size = (128, 171)
        c.data.stored_frames = 0
        c.data.store = "jpeg"
        c.data.resize = "short_side"
        c.augment.crop = "random"
        c.augment.flip = "auto"
        c.model.features = (64, 128, 256, 256, 256)
        c.model.pool = (2, 2, 2)
        c.model.norm = "batch"
        c.model.head = "average"
        c.model.hidden = 0
        c.optim.schedule = "cosine"
        c.optim.warmup = "2 epochs"
        c.train.batch_size = 32
        c.train.epochs = 60
        c.eval.views = 10
    else:
        raise ValueError(
            f"ucf101 has no preset {arg!r}: there is tutorial, four, five, all, split2, split3"
        )
    return c
