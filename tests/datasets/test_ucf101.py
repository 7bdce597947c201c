"""The UCF-101 presets on real AVI files with UCF-101's names and lists."""

from __future__ import annotations

import csv
import json
import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest
from fixtures.videos import write_frames

from vid3d.datasets import ucf101
from vid3d.errors import UserError

pytestmark = pytest.mark.slow

CLASSES = ("ApplyLipstick", "BoxingPunchingBag", "HulaHoop", "SumoWrestling", "YoYo")
SMALL = (
    "--config.data.size=16", "--config.data.stored_size=20,24", "--config.data.num_frames=6",
    "--config.model.features=4", "--config.model.pool=3,3,3", "--config.model.hidden=8",
    "--config.train.epochs=1", "--config.train.batch_size=8", "--config.optim.warmup=0 steps",
    "--config.eval.views=2",
)  # fmt: skip


def moving_picture(rng: np.random.Generator) -> np.ndarray:
    """A picture that moves to the right, uint8 RGB [10, 48, 64, 3]."""
    picture = cv2.resize(rng.integers(0, 256, (3, 4, 3), np.uint8), (64, 48))
    return np.stack([np.roll(picture, 3 * t, axis=1) for t in range(10)])


@pytest.fixture(scope="module")
def tree(tmp_path_factory) -> Path:
    """Five classes with a clip in each of 25 groups; split k tests the groups 7k - 6 to 7k."""
    root = tmp_path_factory.mktemp("ucf") / "UCF-101"
    rng = np.random.default_rng(0)
    names = [(c, g, f"{c}/v_{c}_g{g:02d}_c01.avi") for c in CLASSES for g in range(1, 26)]
    for _, _, name in names:
        write_frames(root / name, moving_picture(rng))
    lists = root / "ucfTrainTestlist"
    lists.mkdir()
    (lists / "classInd.txt").write_bytes(
        b"".join(f"{i} {c}\r\n".encode() for i, c in enumerate(CLASSES, 1))
    )
    for split in (1, 2, 3):
        tested = range(7 * split - 6, 7 * split + 1)
        test = [name for _, g, name in names if g in tested]
        train = [f"{name} {CLASSES.index(c) + 1}" for c, g, name in names if g not in tested]
        (lists / f"testlist0{split}.txt").write_bytes("".join(f"{n}\r\n" for n in test).encode())
        (lists / f"trainlist0{split}.txt").write_bytes("".join(f"{n}\r\n" for n in train).encode())
    return root


@pytest.mark.parametrize(
    ("preset", "protocol", "tested"),
    [
        ("five", "official1", range(1, 8)),
        ("split2", "official2", range(8, 15)),
        ("tutorial", "random (leaky)", None),
    ],
)
def test_presets_train_and_test_on_official_lists(preset, protocol, tested, tree, tmp_path, call):
    workdir = tmp_path / "run"
    call(
        "train",
        f"--config=configs/ucf101.py:{preset}",
        f"--config.data.root={tree}",
        *SMALL,
        f"--workdir={workdir}",
    )
    figures = json.loads(call("evaluate", f"--workdir={workdir}", "--json").stdout)
    assert protocol in figures["protocol"]
    assert figures["num_videos"] == figures["num_expected"]
    with (workdir / "videos.csv").open() as file:
        videos = list(csv.DictReader(file))
    assert len(videos) == 125
    if tested:
        assert figures["num_videos"] == 35
        groups = {v["path"].split("_g")[1][:2] for v in videos if v["split"] == "test"}
        assert groups == {f"{g:02d}" for g in tested}
        assert any(v["split"] == "val" for v in videos)
    with (workdir / "evaluation" / "test-best" / "predictions.csv").open() as file:
        header = next(csv.reader(file))
    expected = (
        CLASSES
        if preset == "split2"
        else ("ApplyLipstick", "SumoWrestling", "YoYo", "HulaHoop", "BoxingPunchingBag")
    )
    assert header[4:] == [f"probability:{name}" for name in expected]


def test_missing_listed_video_is_an_error(tree, tmp_path, call):
    copy = tmp_path / "UCF-101"
    shutil.copytree(tree, copy)
    (copy / "YoYo" / "v_YoYo_g03_c01.avi").unlink()
    done = call(
        "train", "--config=configs/ucf101.py:five", f"--config.data.root={copy}",
        f"--workdir={tmp_path / 'run'}", check=1,
    )  # fmt: skip
    assert "v_YoYo_g03_c01.avi" in done.stderr


def test_ucf101_mistakes_are_one_line_errors(tree, tmp_path):
    """Found without decoding, from the lists and names."""
    root = tmp_path / "UCF-101"
    (root / "YoYo").mkdir(parents=True)
    for name in ("v_YoYo_g01_c01.avi", "v_YoYo_g08_c01.avi", "holiday.mp4"):
        (root / "YoYo" / name).touch()
    with pytest.raises(UserError, match="official1 needs the folder ucfTrainTestlist"):
        ucf101.listing(root, "official1", ())
    # Without lists any other protocol works, and a foreign name is noted.
    found = ucf101.listing(root, "grouped", ())
    assert [v.group for v in found.videos] == ["YoYo_g01", "YoYo_g08"]
    assert found.notes == ("1 videos have no UCF-101 name, such as YoYo/holiday.mp4",)

    lists = root / "ucfTrainTestlist"
    shutil.copytree(tree / "ucfTrainTestlist", lists)
    # Of the classes that are asked for all have to be there.
    with pytest.raises(UserError, match=r"23 of the 25 videos .* are missing"):
        ucf101.listing(root, "official1", ("YoYo",))
    (lists / "testlist02.txt").unlink()
    with pytest.raises(UserError, match=r"official2 needs the list .*testlist02\.txt"):
        ucf101.listing(root, "official2", ())
    (root / "v_YoYo_g01_c01.AVI").touch()
    with pytest.raises(UserError, match="the same video twice"):
        ucf101.listing(root, "grouped", ())
