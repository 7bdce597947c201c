"""Which folders are splits and which are classes; doubts are noted or refused."""

from __future__ import annotations

import csv
import unicodedata
from pathlib import Path

import pytest

from vid3d.data import prepare
from vid3d.datasets import index
from vid3d.datasets.split_names import splits_by_name
from vid3d.errors import UserError


def touch(settings, *names: str) -> Path:
    """Empty files with these names; what is in a file does not matter to the index."""
    root = Path(settings.data.root)
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).touch()
    return root


def find(settings, **changed):
    with settings.unlocked():
        settings.data.update(changed)
    return index.find(settings.data, 0)


def tree(*tops: str, classes: str = "ab", count: int = 6) -> list[str]:
    return [f"{top}/{c}/{k}.mp4" for top in tops for c in classes for k in range(count)]


@pytest.mark.parametrize(
    ("train", "other", "split"),
    [
        ("train", "validate", "val"),
        ("train", "eval", "val"),
        ("train", "dev", "val"),
        ("train_256", "val_256", "val"),
        ("videos_train", "videos_val", "val"),
        ("trainset", "valset", "val"),
        ("TRAIN", "TEST", "test"),
        ("training_set", "test_set", "test"),
        ("train", "holdout", "test"),
        ("train", "held-out", "test"),
        ("train2017", "test2017", "test"),
        ("trn", "tst", "test"),
        ("kinetics_train", "kinetics_test", "test"),
    ],
)
def test_top_folders_named_like_splits_are_splits(settings, train, other, split):
    touch(settings, *tree(train, other))
    found = find(settings)
    assert found.classes == ("a", "b") and found.protocol == "folders"
    assert {v.path.split("/")[0] for v in found.split(split)} == {other}
    carved = {v.split for v in found.videos if v.path.startswith(f"{train}/")}
    assert carved <= {"train", "val", "test"} - {split}
    assert (
        f"these folders are splits by their names: {train!r} is train, {other!r} is {split}"
        in found.notes
    )


def test_eval_is_test_beside_val():
    assert splits_by_name(["train", "val", "eval"])["eval"] == "test"
    assert splits_by_name(["train", "eval", "test"])["eval"] == "val"


@pytest.mark.parametrize(
    "classes",
    [("car", "train"), ("train_station", "test_tube"), ("valid", "invalid"), ("dev", "x")],
)
def test_classes_named_like_splits_stay_classes(settings, classes):
    touch(settings, *[f"{c}/{k}.mp4" for c in classes for k in range(6)])
    assert find(settings).classes == tuple(sorted(classes))


def test_data_classes_keeps_classes_named_like_splits(settings):
    touch(settings, *tree("train", "test", "car"))
    with pytest.raises(UserError, match=r"beside them car: .* name them in data.classes"):
        find(settings)
    assert find(settings, classes=("train", "test", "car")).classes == ("train", "test", "car")
    other = index.find_unsplit(settings.data, ("car", "test", "train"))
    assert {v.label for v in other.videos} == {"car", "test", "train"}


@pytest.mark.parametrize("below", ["{split}", "clips/{split}", "{split}_256/2024"])
def test_split_folders_in_class_folders_are_splits(settings, below):
    names = [
        f"{c}/{below.format(split=split)}/{k}.mp4"
        for c in ("run", "sit")
        for split in ("train", "dev", "test")
        for k in range(4)
    ]
    touch(settings, *names)
    found = find(settings)
    assert found.classes == ("run", "sit") and found.protocol == "folders"
    for split, word in (("train", "train"), ("val", "dev"), ("test", "test")):
        assert {v.path for v in found.split(split)} == {n for n in names if f"/{word}" in n}
    assert any(n.startswith("these folders in the class folders are splits") for n in found.notes)
    aside = find(settings, protocol="random")
    assert {v.split for v in aside.videos if "/test" in v.path} != {"test"}
    assert "data.protocol=random draws other splits than those of the folders" in aside.notes


@pytest.mark.parametrize("above", ["", "train/"])
def test_class_folders_without_videos_are_noted(settings, above):
    touch(settings, *[f"{above}{c}/{k}.mp4" for c in "ab" for k in range(6)])
    touch(settings, *[f"test/{c}/{k}.mp4" for c in "ab" for k in range(2) if above])
    for name in ("c", "d/deeper", ".hidden"):
        Path(settings.data.root, above, name).mkdir(parents=True)
    touch(settings, f"{above}d/deeper/notes.txt")
    assert "2 class folders hold no videos: 'c', 'd'" in find(settings).notes
    assert not any("no videos" in note for note in find(settings, classes=("a", "b")).notes)


def test_splits_in_some_classes_only_are_refused(settings):
    touch(settings, *tree("run", classes=("train", "test")), "sit/1.mp4", "sit/2.mp4")
    with pytest.raises(UserError, match=r"run holds the splits test, train, but .* in sit are in"):
        find(settings)


def test_split_beside_unknown_split_name_is_refused(settings):
    touch(settings, *tree("train", "entrenamiento"))
    with pytest.raises(
        UserError, match=r"train, the name of a split, beside entrenamiento.*\(a, b\)"
    ):
        find(settings)
    assert find(settings, classes=("train", "entrenamiento")).classes == ("train", "entrenamiento")


def test_fold_folders_are_refused_as_classes(settings):
    touch(settings, *tree("fold1", "fold2", "fold_3"))
    with pytest.raises(UserError, match=r"holds the folds fold1, fold2, fold_3, .*column 'fold'"):
        find(settings)


def test_equal_folders_in_all_classes_are_noted(settings):
    touch(settings, *tree("apprentissage", "essai"))
    found = find(settings)
    assert found.classes == ("apprentissage", "essai")
    assert any("all 2 class folders" in n and "same names (a, b)" in n for n in found.notes)
    touch(settings, *tree("third", classes="cd"))
    assert not any("same names" in note for note in find(settings).notes)


def test_splits_without_class_folders_are_refused(settings):
    touch(settings, *[f"{s}/{k}.mp4" for s in ("train", "validate") for k in range(3)])
    with pytest.raises(UserError, match="not sorted into classes below the splits train, validate"):
        find(settings)


def test_single_top_folder_is_suggested_as_root(settings):
    root = touch(settings, *tree("videos"))
    with pytest.raises(UserError, match=f"one class only .*set data.root to {root / 'videos'}"):
        find(settings)


class TestNamesOfClasses:
    def test_class_names_lose_blanks_in_folder_and_manifest(self, settings, video, tmp_path):
        """The videos of a folder that begins with a blank are found again."""
        root = Path(settings.data.root)
        for place, label in enumerate(("walk", "walk ", " run", "sit  still")):
            for k in range(4):
                video(root / label / f"{place}{k}.avi", shade=place + 4 * k)
        assert prepare.doctor(settings, root).all_readable
        from_folder = find(settings, source="folder")
        from_manifest = find(settings, source="auto", root=str(root / "manifest.csv"))
        assert from_folder.classes == from_manifest.classes == ("run", "sit still", "walk")
        assert {(v.path, v.label, v.split) for v in from_folder.videos} == {
            (v.path, v.label, v.split) for v in from_manifest.videos
        }
        assert all(Path(from_manifest.root, v.path).is_file() for v in from_manifest.videos)
        (note,) = [note for note in from_folder.notes if "blanks" in note]
        assert "'walk ' is one class with 'walk'" in note and "' run' is 'run'" in note
        with (root / "manifest.csv").open() as file:
            assert {row["label"] for row in csv.DictReader(file)} == set(from_folder.classes)

    @pytest.mark.parametrize(
        ("one", "other", "what"),
        [
            ("Walk", "walk", "case"),
            ("Égal", "égal", "case"),
            ("café", unicodedata.normalize("NFD", "café"), "encoding"),
        ],
    )
    def test_names_that_look_alike_are_refused(self, settings, one, other, what):
        touch(settings, *[f"{c}/{k}.mp4" for c in (one, other) for k in range(6)])
        with pytest.raises(UserError, match=f"which differ in {what} only"):
            find(settings)
        assert find(settings, classes=(one, other)).classes == (one, other)

    def test_blank_class_name_is_refused(self, settings):
        touch(settings, "a/1.mp4", " /1.mp4")
        with pytest.raises(UserError, match="nothing but blanks"):
            find(settings)

    def test_blanks_in_class_names_of_other_set(self, settings):
        touch(settings, "a /1.mp4", "b/1.mp4")
        assert {v.label for v in index.find_unsplit(settings.data, ("a", "b")).videos} == {"a", "b"}
