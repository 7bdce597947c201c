"""Which videos are listed, with which class and split, and that leaks between splits are noted."""

from __future__ import annotations

import os
import tempfile
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given, strategies as st

from vid3d import config as configs
from vid3d.datasets import index, manifest, protocol, splits
from vid3d.datasets.videos import ListedVideo, Listing
from vid3d.errors import UserError
from vid3d.video.files import walk


def touch(root: Path, *names: str) -> Path:
    """Empty files with these names; what is in a file does not matter to the index."""
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).touch()
    return root


def find(settings, seed: int = 0, **changed):
    """The index of settings with these keys of `data` changed."""
    with settings.unlocked():
        settings.data.update(changed)
    return index.find(settings.data, seed)


def by_split(found) -> dict[str, set[str]]:
    """split -> paths."""
    return {s: {v.path for v in found.split(s)} for s in ("train", "val", "test")}


@pytest.fixture
def folder(settings) -> Path:
    """Two classes with twelve files each; every three are of one source."""
    names = [f"{c}/{c}_s{k // 3:02d}_{k}.mp4" for c in ("jump", "walk") for k in range(12)]
    return touch(Path(settings.data.root), *names)


class TestFolder:
    def test_sub_folders_are_classes_at_any_depth(self, settings):
        root = touch(Path(settings.data.root), *[f"a/x/y/{k}.MP4" for k in range(5)])
        touch(root, *[f"b/{k}.avi" for k in range(5)], "loose.avi")
        touch(root, "a/.hidden.mp4", ".trash/z.mp4", "a/notes.pdf")
        found = find(settings)
        assert found.classes == ("a", "b")
        assert Counter(v.label for v in found.videos) == {"a": 5, "b": 5}
        assert any("1 .pdf" in note for note in found.notes)
        assert "1 videos are in no class folder and were left out, such as loose.avi" in found.notes

    def test_validation_is_carved_out_of_train_folder(self, settings):
        root = Path(settings.data.root)
        touch(root, *[f"train/{c}/{k}.mp4" for c in "ab" for k in range(20)])
        touch(root, *[f"testing/{c}/{k}.mp4" for c in "ab" for k in range(3)])
        found = find(settings)
        paths_of = by_split(found)
        assert found.protocol == "folders"
        assert paths_of["test"] == {f"testing/{c}/{k}.mp4" for c in "ab" for k in range(3)}
        assert paths_of["val"] and all(path.startswith("train/") for path in paths_of["val"])
        assert any("taken out of training" in note for note in found.notes)
        assert find(settings, protocol="manifest").protocol == "folders"

    def test_class_named_train_is_a_class(self, settings):
        touch(
            Path(settings.data.root), *[f"{c}/{k}.mp4" for c in ("car", "train") for k in range(6)]
        )
        assert find(settings).classes == ("car", "train")

    def test_split_folders_beside_class_folders_are_refused(self, settings):
        touch(Path(settings.data.root), "train/a/1.mp4", "test/a/1.mp4", "extra/a/1.mp4")
        with pytest.raises(UserError, match="beside them extra"):
            find(settings)

    def test_awkward_names_and_link_cycles_are_listed(self, settings):
        root = Path(settings.data.root)
        names = ["-dash.mp4", "with space.mp4", "日本語.mp4", "ü,'\".mp4", "%03d.mp4", "a.b.mp4"]
        touch(root, *[f"{c}/{name}" for c in ("-x", "y") for name in names])
        (root / "y" / "again").symlink_to(root, target_is_directory=True)
        (root / "y" / "elsewhere").symlink_to(touch(root.parent / "more", "linked.mp4"))
        found = find(settings)
        assert {v.path for v in found.videos} >= {f"-x/{name}" for name in names}
        assert sum(v.label == "y" for v in found.videos) == len(names) + 1

    def test_undecodable_file_name_is_listed(self, settings):
        root = touch(Path(settings.data.root), *[f"{c}/{k}.mp4" for c in "ab" for k in range(5)])
        with open(os.fsencode(root) + b"/a/\xff\xfe.mp4", "wb"):
            pass
        assert len(find(settings).videos) == 11

    def test_group_pattern_keeps_sources_together(self, settings, folder):
        found = find(settings, group_pattern=r"_(s\d+)_")
        assert found.protocol == "grouped"
        assert {v.group for v in found.videos} == {"s00", "s01", "s02", "s03"}
        assert not splits.shared_groups(found.videos)
        found = find(settings, group_pattern=r"_(s0[0-2])_")
        assert "6 videos have no group and are taken as their own" in found.notes

    @pytest.mark.parametrize(
        ("changed", "message"),
        [
            (dict(root=""), "data.root is empty"),
            (dict(root="nowhere"), "no such folder"),
            (dict(group_pattern="("), "not a regular expression"),
            (dict(group_pattern="zzz"), "matches no video"),
            (dict(classes=("jmup", "walk")), "did you mean 'jump'"),
            (dict(classes=("walk", "walk")), "twice"),
            (dict(classes=("walk",)), "one class only"),
            (dict(protocol="official1"), "needs data.source=ucf101"),
            (dict(protocol="manifest"), "needs a manifest.csv"),
            (dict(source="manifest"), "there is no"),
            (dict(source="folder", root=__file__), "is a file; data.source=folder needs a folder"),
        ],
    )
    def test_mistakes_are_one_line_errors(self, settings, folder, changed, message):
        with pytest.raises(UserError, match=message) as caught:
            find(settings, **changed)
        assert "\n" not in str(caught.value)

    def test_empty_folder_and_unsorted_videos_are_refused(self, settings):
        root = Path(settings.data.root)
        root.mkdir()
        with pytest.raises(UserError, match="no videos in"):
            find(settings)
        touch(root, "1.mp4", "2.mp4")
        with pytest.raises(UserError, match="not sorted into classes"):
            find(settings)

    def test_unreadable_folder_is_named(self, settings):
        """As another user, since root may read everything."""
        with tempfile.TemporaryDirectory() as folder:
            Path(folder).chmod(0o755)
            root = touch(Path(folder), "a/1.mp4", "b/1.mp4")
            (root / "b").chmod(0)
            user = os.geteuid()
            try:
                os.seteuid(user or 65534)
                with pytest.raises(UserError, match=f"cannot read the folder {root / 'b'}: Perm"):
                    find(settings, root=folder)
            finally:
                os.seteuid(user)
                (root / "b").chmod(0o700)


class TestProtocols:
    def test_data_classes_sets_label_order(self, settings, folder):
        assert find(settings, classes=("walk", "jump")).classes == ("walk", "jump")

    def test_unknown_groups_are_noted_in_protocol(self, settings, folder):
        found = find(settings)
        assert found.protocol == "grouped (groups unknown)"
        assert any("groups are unknown" in note for note in found.notes)

    def test_random_split_of_known_groups_is_leaky(self, settings, folder):
        assert find(settings, protocol="random").protocol == "random"
        found = find(settings, protocol="random", group_pattern=r"_(s\d+)_")
        assert found.protocol == "random (leaky)"

    def test_validating_on_test_set_is_leaky(self, settings, folder):
        found = find(settings, validate_on_test=True)
        assert found.protocol.endswith("(leaky)")
        assert found.split("val") == found.split("test")
        assert len(found.split("train")) + len(found.split("test")) == len(found.videos)

    def test_class_without_test_videos_is_refused(self, settings):
        touch(Path(settings.data.root), "a/1.mp4", *[f"b/{k}.mp4" for k in range(9)])
        with pytest.raises(UserError, match=r"class 'a' has no test videos \(it has 1 .*manifest"):
            find(settings)

    def test_zero_fraction_leaves_split_empty(self, settings, folder):
        found = find(settings, val_fraction=0.0, test_fraction=0.0)
        assert len(found.split("train")) == len(found.videos)

    def test_new_videos_leave_other_splits_unchanged(self, settings):
        root = Path(settings.data.root)
        touch(root, *[f"{c}/s{g:03d}_{k}.mp4" for c in "ab" for g in range(110) for k in range(2)])
        before = find(settings, group_pattern=r"s\d+")
        touch(root, *[f"{c}/s{g:03d}_7.mp4" for c in "ab" for g in range(130)])
        touch(root, *[f"c/s{g:03d}_1.mp4" for g in range(150, 180)])
        after = {v.path: v.split for v in find(settings, group_pattern=r"s\d+").videos}
        assert all(after[v.path] == v.split for v in before.videos)

    def test_seed_changes_the_split(self, settings, folder):
        assert by_split(find(settings, seed=1)) != by_split(find(settings, seed=2))


groups = st.lists(
    st.tuples(st.sampled_from("abc"), st.integers(0, 25), st.integers(1, 4)),
    min_size=1,
    max_size=60,
)


@given(groups, st.integers(0, 5), st.floats(0.05, 0.5))
def test_sources_stay_whole_and_classes_keep_training(drawn, seed, fraction):
    videos = [
        ListedVideo(f"{label}/{g}_{i}_{k}.mp4", label, group=f"g{g}")
        for i, (label, g, count) in enumerate(drawn)
        for k in range(count)
    ]
    done = splits.assign(videos, val_fraction=fraction, test_fraction=fraction, seed=seed)
    assert not splits.shared_groups(done)
    assert {v.label for v in done if v.split == "train"} == {v.label for v in videos}


@given(st.integers(3, 30), st.integers(0, 50))
def test_three_sources_give_all_three_splits(count, seed):
    videos = [
        ListedVideo(f"{c}/{g}.mp4", c, group=f"{c}{g}") for c in "abcde" for g in range(count)
    ]
    done = splits.assign(videos, val_fraction=0.15, test_fraction=0.2, seed=seed)
    for label in "abcde":
        assert {v.split for v in done if v.label == label} == {"train", "val", "test"}


def test_split_shares_are_near_the_fractions():
    videos = [ListedVideo(f"{k}.mp4", "a", group=str(k)) for k in range(4000)]
    done = Counter(
        v.split for v in splits.assign(videos, val_fraction=0.15, test_fraction=0.2, seed=0)
    )
    assert abs(done["test"] / 4000 - 0.2) < 0.03
    assert abs(done["val"] / 3200 - 0.15) < 0.03


@given(groups, st.integers(0, 5), st.sampled_from([0.15, 0.2, 0.33]))
def test_few_sources_come_near_the_share_asked_for(drawn, seed, fraction):
    """As near as any exchange of one for another, or one more or less, could bring them."""
    counts: dict[str, Counter[str]] = {}
    for label, g, count in drawn:
        counts.setdefault(f"g{g}", Counter())[label] += count
    names = sorted(counts, key=lambda name: splits.draw(name, seed=seed, split="test"))
    counts = {name: counts[name] for name in names}
    taken = splits.nearest(counts, fraction)
    total = sum(counts.values(), Counter())

    def off(chosen: set[str]) -> float:
        """The deviation over all videos, and over each class."""
        inside = sum((counts[name] for name in chosen), Counter())
        classes = sum((inside[label] / total[label] - fraction) ** 2 for label in total)
        return classes + len(total) * (inside.total() / total.total() - fraction) ** 2

    neighbours = [taken ^ {one, other} for one in counts for other in counts]
    neighbours += [taken ^ {name} for name in counts]
    assert off(taken) <= min(map(off, neighbours)) + 1e-6


@pytest.mark.parametrize("count", [12, 20, 35])
def test_every_seed_meets_the_share_with_few_sources(count):
    videos = [
        ListedVideo(f"{c}/{g}_{k}.mp4", c, group=f"g{g}")
        for c in "abc"
        for g in range(count)
        for k in range(1 + 7 * g % 5)
    ]
    found = set()
    for seed in range(12):
        done = splits.assign(videos, val_fraction=0.15, test_fraction=0.2, seed=seed)
        counts = Counter(video.split for video in done)
        assert abs(counts["test"] / len(done) - 0.2) < 0.03
        assert abs(counts["val"] / (len(done) - counts["test"]) - 0.15) < 0.05
        found.add(frozenset(video.group for video in done if video.split == "test"))
    assert len(found) > 6  # the seed decides


@pytest.mark.parametrize("seed", range(3))
def test_the_test_split_leaves_each_class_a_source_for_validation(seed):
    videos = [ListedVideo(f"{c}/{k}.avi", c, f"{c}{k}") for c in "ab" for k in range(3)]
    done = splits.assign(videos, val_fraction=0.4, test_fraction=0.6, seed=seed)
    for label in "ab":
        assert sorted(v.split for v in done if v.label == label) == ["test", "train", "val"]


class TestShares:
    @staticmethod
    def notes(count: int, *, val: int, test: int = 20, group: str = "", by_group: bool = True):
        names = ["test"] * test + ["val"] * val + ["train"] * (count - test - val)
        videos = tuple(
            ListedVideo(f"{k}.mp4", "a", group=group, split=s) for k, s in enumerate(names)
        )
        return protocol.describe_carving(videos, set(), configs.default().data, by_group=by_group)

    def test_val_share_excludes_test_videos(self):
        assert self.notes(130, val=30, test=22) == [
            "30 of 108, 28% of the videos that are not test videos, are val videos where 15% was "
            "asked for: every class needs one, and each is drawn by itself; a manifest.csv can "
            "name the splits, and vid3d cv tests every video"
        ]

    def test_small_deviations_of_shares_are_not_noted(self):
        assert self.notes(100, val=12) == []
        (note,) = self.notes(10, val=3, test=3)
        assert note == (
            "with fewer than 100 videos, the splits are drawn together, to come near the shares "
            "asked for: new videos may move others into another split"
        )

    def test_groups_explain_uneven_shares(self):
        note, _ = self.notes(100, val=30, group="tape")
        assert "groups go whole, and no other choice comes nearer" in note
        (note,) = self.notes(100, val=30, group="tape", by_group=False)
        assert "groups go whole" not in note


class TestDrawnFolds:
    def test_sources_stay_whole_classes_are_even_and_each_video_is_tested_once(self, settings):
        sizes = {"jump": 3, "run": 2, "walk": 1}  # videos of a source
        root = Path(settings.data.root)
        for label, size in sizes.items():
            touch(root, *[f"{label}/s{k // size:02d}_{k}.mp4" for k in range(15 * size)])
        for fold in range(5):
            found = find(settings, seed=fold, folds=5, test_fold=fold, group_pattern=r"(\w+/s\d+)_")
            assert found.protocol == f"grouped, test fold {fold} of 5"
            counts = Counter((video.split, video.label) for video in found.videos)
            for label, size in sizes.items():
                assert counts["test", label] == counts["val", label] == 3 * size
            assert not splits.shared_groups(found.videos)
            following = by_split(find(settings, folds=5, test_fold=(fold + 1) % 5))
            assert following["test"] == by_split(found)["val"]

    def test_two_folds_or_no_validation_leave_the_others_to_training(self, settings, folder):
        found = find(settings, folds=2, val_fraction=0.0)
        assert not found.split("val") and len(found.split("test")) == 12
        found = find(settings, folds=3, val_fraction=0.0)
        assert not found.split("val") and len(found.split("train")) == 16
        assert find(settings, folds=2, val_fraction=0.2).split("val")
        chosen = by_split(find(settings, folds=3, test_fold=2, val_fold=1))
        assert chosen["test"] == by_split(find(settings, test_fold=1, val_fold=2))["val"]

    def test_videos_alone_may_be_drawn_and_are_called_leaky(self, settings, folder):
        found = find(settings, folds=4, protocol="random", group_pattern=r"(s\d+)")
        assert found.protocol == "random (leaky), test fold 0 of 4"
        with pytest.raises(UserError, match="the class 'jump' has 4 source groups"):
            find(settings, folds=5, protocol="auto")


class TestManifest:
    @staticmethod
    def write(settings, text: str, name: str = "manifest.csv", count: int = 8) -> Path:
        root = touch(Path(settings.data.root), *[f"{k}.mp4" for k in range(count)])
        (root / name).write_text(text)
        return root / name

    def test_manifest_splits_and_groups_are_kept(self, settings):
        rows = ["train", "train", "valid", "test"] * 2
        lines = [f"{k}.mp4,{'ab'[k // 4]},g{k},{split}" for k, split in enumerate(rows)]
        self.write(settings, "\ufeffPath, Label ,group,split\r\n" + "\r\n".join(lines) + "\r\n")
        found = find(settings)
        assert found.protocol == "manifest"
        assert [v.split for v in found.videos] == [s.replace("valid", "val") for s in rows]

    def test_source_in_two_splits_is_leaky(self, settings):
        rows = [
            f"{k}.mp4,{'ab'[k % 2]},tape,{('train', 'val', 'test')[k // 2 % 3]}" for k in range(8)
        ]
        self.write(settings, "path,label,group,split\n" + "\n".join(rows))
        found = find(settings)
        assert found.protocol == "manifest (leaky)"
        assert any("'tape'" in note for note in found.notes)

    def test_first_fold_tests_and_second_validates_by_default(self, settings):
        rows = [f"{k}.mp4,{'ab'[k % 2]},{k // 2}" for k in range(8)]
        self.write(settings, "path,label,fold\n" + "\n".join(rows))
        found = find(settings)
        assert [v.split for v in found.videos] == ["test"] * 2 + ["val"] * 2 + ["train"] * 4
        assert any("fold 0 of 0, 1, 2, 3 is the test set" in note for note in found.notes)
        chosen = find(settings, test_fold=3)
        assert [v.split for v in chosen.videos] == ["val"] * 2 + ["train"] * 4 + ["test"] * 2
        with pytest.raises(UserError, match="has the folds 0, 1, 2, 3"):
            find(settings, test_fold=9)
        with pytest.raises(UserError, match="are both 2: validation would see the test set"):
            find(settings, test_fold=2, val_fold=2)

    def test_splits_win_over_folds_unless_folds_are_chosen(self, settings):
        rows = [f"{k}.mp4,{'ab'[k % 2]},{('train', 'val', 'test')[k // 2 % 3]}" for k in range(8)]
        self.write(settings, "path,label,split\n" + "\n".join(rows))
        with pytest.raises(UserError, match="need a manifest with a column 'fold'"):
            find(settings, test_fold=1)
        folds = [f"{row},{k % 4}" for k, row in enumerate(rows)]
        self.write(settings, "path,label,split,fold\n" + "\n".join(folds))
        found = find(settings, test_fold=-1)
        assert [v.split for v in found.videos] == [row.split(",")[2] for row in rows]

    def test_grouped_protocol_ignores_manifest_splits(self, settings):
        rows = [f"{k}.mp4,{'ab'[k % 2]},g{k},train" for k in range(8)]
        self.write(settings, "path,label,group,split\n" + "\n".join(rows))
        assert find(settings, protocol="grouped").protocol == "grouped"

    @pytest.mark.parametrize(
        ("text", "message"),
        [
            ("", "line 1: no column 'path'"),
            ("path,class\n0.mp4,a\n", "line 1: no column 'label'"),
            ("path,label\n", "lists no videos"),
            ("path,label\n0.mp4,a\n1.mp4\n", "line 3: the label is empty"),
            ("path,label\n0.mp4,a\n1\0.mp4,a\n", "line 3: it has a NUL byte"),
            ("path,label\n0.mp4,a,b\n", "line 2: more fields"),
            ("path,label\n0.mp4,a\n./0.mp4,b\n", "line 3: 0.mp4 is already in line 2"),
            ("path,label,split\n0.mp4,a,trian\n", "line 2: split 'trian'"),
            ("path,label,split\n0.mp4,a,train\n1.mp4,b,\n", "line 3: the split is empty"),
            ("path,label,fold\n0.mp4,a,x\n1.mp4,b,1\n", "the fold 'x' of 0.mp4"),
            ("path,label\n../../secret.mp4,a\n", "line 2: ../../secret.mp4 leads out"),
            ("path,label\na/../../x.mp4,a\n", "line 2: a/../../x.mp4 leads out"),
            ("path,label\nx/0.mp4,a\nx/1.mp4,b\n", "line 2: there is no file"),
            (
                f"path,label\n{'x' * 140_000},a\n",
                "is not a CSV file with the columns path and label: field larger",
            ),
        ],
    )
    def test_mistakes_name_their_line(self, settings, text, message):
        self.write(settings, text)
        with pytest.raises(UserError, match=message.replace("(", r"\(")):
            find(settings)

    def test_root_may_be_csv_with_absolute_paths(self, settings, tmp_path):
        root = touch(tmp_path / "disk", *[f"{k}.mp4" for k in range(10)])
        rows = "".join(f"{root / f'{k}.mp4'},{'ab'[k % 2]}\n" for k in range(10))
        path = self.write(settings, "path,label\n" + rows, name="list.csv")
        found = find(settings, root=str(path))
        assert all(Path(found.root, v.path).is_file() for v in found.videos)

    @pytest.mark.parametrize("column", ["", ",group", ",start,end"])
    def test_the_pattern_names_the_groups_that_the_manifest_does_not(self, settings, column):
        """Of whole files and of stretches, whose file is one day of several of a mouse."""
        names = [f"mouse{k // 3:02d}_day{k % 3}.mp4" for k in range(12)]
        touch(Path(settings.data.root), *names)
        ends = [",0,1", ",1,2"] if column == ",start,end" else ["," * bool(column)]
        rows = [f"{n},{'ab'[k % 2]}{end}" for k, n in enumerate(names) for end in ends]
        self.write(settings, f"path,label{column}\n" + "\n".join(rows))
        found = find(settings, group_pattern=r"(mouse\d+)_")
        assert found.protocol == "grouped"
        assert not any("group_pattern" in note for note in found.notes)
        assert {v.group for v in found.videos} == {f"mouse{k:02d}" for k in range(4)}
        assert not splits.shared_groups(found.videos)
        with pytest.raises(UserError, match="group_pattern='rat' matches no video, such as 'mous"):
            find(settings, group_pattern="rat")

    def test_a_pattern_that_changes_less_than_it_seems_is_noted(self, settings):
        rows = [f"{k}.mp4,{'ab'[k % 2]},{'g' if k < 4 else ''}" for k in range(8)]
        self.write(settings, "path,label,group\n" + "\n".join(rows))
        found = find(settings, group_pattern=r"([4-6])\.")
        assert [v.group for v in found.videos] == [*"gggg", *"456", ""]
        assert (
            r"data.group_pattern='([4-6])\\.' does not match 1 of 4 videos, such as '7.mp4'"
            in found.notes
        )
        self.write(settings, "path,label,group\n" + "\n".join(row + "x" for row in rows))
        found = find(settings, val_fraction=0.0, group_pattern=r"([4-6])\.")
        assert {v.group for v in found.videos} == {"gx", "x"}
        assert any("data.group_pattern is not used" in note for note in found.notes)

    def test_a_pattern_shows_that_given_splits_leak(self, settings):
        rows = [f"{k}.mp4,{'ab'[k % 2]},{('train', 'val', 'test')[k // 2 % 3]}" for k in range(8)]
        self.write(settings, "path,label,split\n" + "\n".join(rows))
        assert find(settings, group_pattern=r"\d").protocol == "manifest"
        found = find(settings, group_pattern=r"(mp4)")
        assert found.protocol == "manifest (leaky)"

    def test_all_mistakes_are_told_at_once(self, settings):
        rows = ["0.mp4,a,train", "1.mp4,,train", "../x.mp4,a,train", "2.mp4,b,trian", "0.mp4,b,val"]
        self.write(settings, "path,label,split\n" + "\n".join([*rows, "3.mp4,b,"]))
        with pytest.raises(UserError) as caught:
            find(settings)
        said = str(caught.value)
        assert "manifest.csv has 5 mistakes: line 3: the label is empty" in said
        for line, words in enumerate(("../x.mp4", "split 'trian'", "0.mp4 is al", "the split"), 4):
            assert f"; line {line}: {words}" in said
        many = "".join(f"{k}.mp4,{'y' * 500},oops{k}\n" for k in range(1000))
        self.write(settings, f"path,label,split\n{many}")
        with pytest.raises(UserError, match=r"1000 mistakes: line 2: .*; and 992 more") as caught:
            find(settings)
        assert len(str(caught.value)) < 2000 and "\n" not in str(caught.value)
        folds = "".join(f"{k}.mp4,{'ab'[k % 2]},f{k}\n" for k in range(4))
        self.write(settings, f"path,label,fold\n{folds}")
        with pytest.raises(UserError, match=r"the folds 'f0' of 0.mp4 \(line 2\), 'f1' of 1.mp4"):
            find(settings)

    def test_real_folds_keep_sources_apart(self, settings, shared):
        for fold in range(4):
            found = find(settings, root=str(shared / "fights"), test_fold=fold)
            assert found.protocol == "manifest"
            assert not splits.shared_groups(found.videos)
            assert sum(len(found.split(s)) for s in ("train", "val", "test")) == 193


class TestUcf101:
    @pytest.fixture
    def tree(self, settings) -> Path:
        """Two classes with official lists in the real format, one of them spelt in two ways."""
        root = Path(settings.data.root)
        lines = {"train": [], "test": []}
        for g in range(1, 7):
            for c in (1, 2):
                one = f"HandstandPushups/v_HandStandPushups_g{g:02d}_c{c:02d}.avi"
                two = f"YoYo/v_YoYo_g{g:02d}_c{c:02d}.avi"
                touch(root, one.replace("v_HandStand", "v_Handstand"), two)
                split = "test" if g < 3 else "train"
                lines[split] += [one, two]
        lists = touch(root, "ucfTrainTestlist/classInd.txt") / "ucfTrainTestlist"
        (lists / "classInd.txt").write_bytes(b"1 HandstandPushups\r\n2 YoYo\r\n")
        for number in (1, 2):
            train = "".join(f"{name} {1 + ('YoYo' in name)}\r\n" for name in lines["train"])
            test = "".join(f"{name}\r\n" for name in lines["test"])
            if number == 2:
                train, test = train.replace("_g03_", "_g01_"), test.replace("_g01_", "_g03_")
            (lists / f"trainlist{number:02d}.txt").write_bytes(train.encode())
            (lists / f"testlist{number:02d}.txt").write_bytes(test.encode())
        with settings.unlocked():
            settings.data.source = "ucf101"
        return root

    def test_official_lists_set_the_splits(self, settings, tree):
        touch(tree, "YoYo/v_YoYo_g09_c01.avi")
        first, second = find(settings, protocol="official1"), find(settings, protocol="official2")
        assert any(
            "1 videos are in no list of official1, such as YoYo/v_Yo" in n for n in first.notes
        )
        assert first.protocol == "official1"
        assert first.classes == ("HandstandPushups", "YoYo")
        assert {v.group[-3:] for v in first.split("test")} == {"g01", "g02"}
        assert {v.group[-3:] for v in second.split("test")} == {"g02", "g03"}
        assert first.split("val") and not splits.shared_groups(first.videos)

    def test_group_is_class_and_number(self, settings, tree):
        assert len({v.group for v in find(settings, protocol="grouped").videos}) == 12

    def test_a_pattern_does_not_rename_known_groups_in_silence(self, settings, tree):
        found = find(settings, protocol="grouped", group_pattern="YoYo")
        assert len({v.group for v in found.videos}) == 12
        assert any("data.group_pattern is not used" in note for note in found.notes)

    def test_missing_files_are_counted_and_named(self, settings, tree):
        gone = tree / "YoYo" / "v_YoYo_g01_c02.avi"
        gone.unlink()
        with pytest.raises(UserError, match=r"1 of the 24 videos .* YoYo/v_YoYo_g01_c02.avi"):
            find(settings, protocol="official1")
        found = find(settings, protocol="grouped")
        assert any("v_YoYo_g01_c02.avi" in note for note in found.notes)
        (tree / "ucfTrainTestlist" / "testlist01.txt").unlink()  # only the official ones need it
        assert len(find(settings, protocol="grouped").videos) == 23

    def test_flat_files_and_lists_beside_root_are_found(self, settings, tree, tmp_path):
        flat = tmp_path / "flat"
        flat.mkdir()
        for path in tree.rglob("*.avi"):
            path.rename(flat / path.name)
        (tree / "ucfTrainTestlist").rename(tmp_path / "ucfTrainTestlist")
        found = find(settings, root=str(flat), protocol="official1")
        assert len(found.videos) == 24

    def test_missing_list_and_foreign_folder_are_refused(self, settings, tree):
        with pytest.raises(UserError, match=r"needs the list .*trainlist03.txt"):
            find(settings, protocol="official3")
        for path in tree.rglob("*.avi"):
            path.unlink()
        with pytest.raises(UserError, match="no UCF-101 videos"):
            find(settings)

    def test_plain_folder_with_ucf_names_is_grouped(self, settings, tree):
        found = find(settings, source="folder")
        assert found.protocol == "grouped"
        assert len({v.group for v in found.videos}) == 12

    def test_real_lists_name_missing_clips(self, settings, shared):
        root = str(shared / "ucf101_sample")
        with pytest.raises(UserError, match="13315 of the 13320 videos"):
            find(settings, root=root, source="ucf101", protocol="official1")
        found = find(
            settings,
            root=root,
            source="ucf101",
            protocol="random",
            val_fraction=0.0,
            test_fraction=0.0,
        )
        assert len(found.videos) == 5


def test_other_set_keeps_label_order_and_only_tests(settings, folder):
    found = index.find_unsplit(settings.data, ("walk", "jump", "run"))
    assert found.classes == ("walk", "jump", "run")
    assert len(found.split("test")) == len(found.videos) == 24


def test_unknown_classes_of_other_set_are_named(settings, folder):
    touch(folder, "nEvEr seen/1.mp4")
    known = ("jumps", "walk", *(f"{k} known" for k in range(400)))
    with pytest.raises(UserError) as error:
        index.find_unsplit(settings.data, known)
    assert str(error.value) == (
        f"{folder} has videos of classes that the model does not know: 'jump' (did you mean "
        "'jumps'?), 'nEvEr seen'; give them the names that the model was trained with, or leave "
        "them out"
    )


def test_unreadable_manifest_is_named(tmp_path):
    with pytest.raises(UserError, match=f"cannot read {tmp_path}: Is a directory"):
        manifest.listing(tmp_path)


def test_path_and_label_columns_suffice(tmp_path):
    path = touch(tmp_path, "a b.mp4") / "manifest.csv"
    path.write_text('label,path\nx,"a b.mp4"\n')
    assert manifest.listing(path).videos == (ListedVideo("a b.mp4", "x"),)


def test_single_fold_cannot_validate_and_test():
    videos = tuple(ListedVideo(f"{k}.avi", "a", fold="0") for k in range(3))
    with pytest.raises(UserError, match=r"data.val_fold=0: the manifest has no other fold"):
        manifest.by_fold(Listing("", videos, "manifest"), -1, 0)


def test_link_to_itself_is_listed_as_file(tmp_path):
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "1.avi").touch()
    (tmp_path / "a" / "loop.avi").symlink_to("loop.avi")
    assert list(walk(tmp_path)) == ["a/1.avi", "a/loop.avi"]


def test_undecodable_class_name_is_refused(tmp_path):
    c = configs.default()
    for label in (b"a", b"\xffb"):
        for k in range(5):
            path = Path(os.fsdecode(os.fsencode(tmp_path) + b"/" + label)) / f"{k}.avi"
            path.parent.mkdir(exist_ok=True)
            path.touch()
    c.data.root = str(tmp_path)
    with pytest.raises(UserError, match="is not valid text: rename its folder"):
        index.find(c.data, 0)
