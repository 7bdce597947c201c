"""What `vid3d doctor` advises, and its page: right for any names of files and any number."""

from __future__ import annotations

import base64
import io
import os
import shutil
import subprocess
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from vid3d import cli, config as configs
from vid3d.data import advice, page, prepare
from vid3d.datasets import index
from vid3d.datasets.videos import Index, ListedVideo


def named(*names: str, classes: tuple[str, ...] = ("sit", "walk")) -> Index:
    """An index of videos with these names, in each of the classes."""
    videos = tuple(ListedVideo(f"{c}/{name}.mp4", c) for c in classes for name in names)
    return Index("/videos", videos, classes, "grouped (groups unknown)")


@pytest.fixture
def data(settings, tmp_path):
    settings.data.root = str(tmp_path)
    return settings.data


MICE = [f"mouse{m:02d}_{clip:04d}" for m in range(12) for clip in range(3)]


@pytest.mark.parametrize(
    ("names", "pattern", "groups"),
    [
        (MICE, r"/(mouse\d+)_", 12),
        ([name.replace("_", " - ") for name in MICE], r"/(mouse\d+)\ \-\ ", 12),
        (["anna_1", "anna_2", "ben_1", "ben_2", "zoe_1"], r"/([^/_. -]+)[_. -]+[^/]*$", 3),
        (
            [f"cam-{who}-{k}" for who in ("anna", "ben", "zoe", "kim") for k in range(2)],
            r"/([^/_. -]+(?:[_. -]+[^/_. -]+))[_. -]+[^/]*$",
            4,
        ),
    ],
)
def test_names_that_begin_alike_suggest_groups(data, names, pattern, groups):
    listed = named(*names)
    found = advice.suggest_groups(listed, data)
    assert (found.groups, found.videos) == (groups, 2 * len(names))
    assert found.pattern == pattern
    assert f"{groups} prefixes such as {found.prefix!r}" in str(found)


@pytest.mark.parametrize(
    "names",
    [
        [f"video_{k}" for k in range(20)],  # one prefix
        [f"{k:03d}_clip" for k in range(20)],  # a number is that of a video
        [f"mouse{k}_a" if k else "x" for k in range(2)],  # too few
        [f"IMG_{k}" for k in range(20)] + ["a_1", "b_1"],  # most begin alike
        [f"v{k}" for k in range(20)],  # nothing behind it
    ],
)
def test_other_names_suggest_none(data, names):
    assert advice.suggest_groups(named(*names), data) is None


def test_known_groups_and_class_names_suggest_none(data):
    videos = tuple(
        ListedVideo(f"{c}/{c}{k}_{clip}.mp4", c)
        for c in ("sit", "walk", "run")
        for k in range(3)
        for clip in range(3)
    )
    assert advice.suggest_groups(Index("/v", videos, ("sit",), "grouped"), data) is None
    data.group_pattern = "x"
    assert advice.suggest_groups(named(*MICE), data) is None
    data.group_pattern, data.source = "", "ucf101"
    assert advice.suggest_groups(named(*MICE), data) is None


def words(line: str) -> list[str]:
    """The words of a command line, as a shell reads it."""
    assert len(line.splitlines()) == 1
    done = subprocess.run(["bash", "-c", f"printf '%s\\0' {line}"], capture_output=True, check=True)
    return [os.fsdecode(word) for word in done.stdout.split(b"\0")[:-1]]


@pytest.fixture
def doctor(call, tmp_path, monkeypatch):
    """`doctor(root, *options)`: what it prints, and the command line that it ends with."""
    monkeypatch.chdir(tmp_path)
    config = Path(__file__).parents[2] / "configs" / "videos.py"
    tiny = ("data.size=32", "data.num_frames=8", f"data.cache_dir={tmp_path / 'cache'}")
    tiny = [f"--config.{setting}" for setting in tiny]

    def doctor(root: Path, *options: str, check: int = 0) -> tuple[str, list[str]]:
        done = call(
            "doctor", f"--config={config}", f"--config.data.root={root}", *tiny, *options,
            check=check,
        )  # fmt: skip
        commands = [line for line in done.stdout.splitlines() if line.startswith("vid3d train")]
        return done.stdout, words(commands[-1]) if commands else []

    return doctor


def loaded(command: list[str]):
    """The options and the config of a command line."""
    options, overrides = cli.parse(command)
    return options, configs.load(options.config, overrides)


@pytest.mark.slow
def test_the_command_trains_on_the_same_splits(doctor, two_classes, tmp_path):
    out = tmp_path / "out"
    options = ("--config.data.protocol=grouped", "--config.data.group_pattern=(g\\d)_")
    said, (program, *command) = doctor(two_classes, f"--output={out}", *options)
    assert program == "vid3d" and command[0] == "train" and "groups:" not in said
    chosen, config = loaded(command)
    assert chosen.workdir == "runs/videos" and config.data.root == str(out / "manifest.csv")
    assert config.data.num_frames == 8
    found = index.find(config.data, config.seed)
    first = configs.load(chosen.config, [("data.root", str(two_classes)), *pairs(options)])
    expected = index.find(first.data, first.seed)
    root = Path(expected.root)
    assert [(v.path, v.label, v.group, v.split) for v in found.videos] == [
        (str(root / v.path), v.label, v.group, v.split) for v in expected.videos
    ]
    (tmp_path / "runs" / "videos").mkdir(parents=True)
    assert doctor(two_classes, *options)[1][-1] == "--workdir=runs/videos-2"


def test_the_last_line_checks_again_with_the_suggested_groups(doctor, two_classes, tmp_path):
    """Whoever goes by it has no source in two splits; whoever mixes both is told of the leak."""
    said, command = doctor(
        two_classes, f"--output={tmp_path / 'out'}", "--config.data.protocol=auto"
    )
    program, *again = words(said.splitlines()[-1])
    options, overrides = cli.parse(again)
    config = configs.load(options.config, overrides)
    assert (program, again[0]) == ("vid3d", "doctor") and options.output == str(tmp_path / "out")
    assert config.data.num_frames == 8 and config.data.protocol == "auto"
    found = index.find(config.data, config.seed)
    assert found.protocol == "grouped" and len({video.group for video in found.videos}) == 5
    _, mixed = loaded([*command[1:], f"--config.data.group_pattern={config.data.group_pattern}"])
    assert index.find(mixed.data, mixed.seed).protocol == "manifest (leaky)"


def test_too_few_videos_are_examined_all_the_same(call, two_classes, tmp_path):
    root = tmp_path / "few"
    (root / "up").mkdir(parents=True)
    shutil.copy(two_classes / "up" / "g0_0.avi", root / "up")
    (root / "up" / "x.avi").write_text("no video")
    (root / "empty" / ".hidden").mkdir(parents=True)
    tiny = ("data.size=32", f"data.cache_dir={tmp_path / 'cache'}", f"data.root={root}")
    options = [f"--config.{setting}" for setting in tiny]
    one = call("doctor", "--config=videos", *options, f"--output={tmp_path / 'out'}", check=1)
    assert "error: there is one class only ('up')" in one.stderr.splitlines()[-1]
    (root / "down").mkdir()
    shutil.copy(two_classes / "down" / "g0_0.avi", root / "down")
    two = call("doctor", "--config=videos", *options, f"--output={tmp_path / 'out'}", check=1)
    assert "error: the class 'down' has no " in two.stderr.splitlines()[-1]
    for done in (one, two):
        said = " ".join(done.stderr.split())
        for words in ("frames per video: 5 to 5", "BAD: 1 video cannot be read: up/x.avi"):
            assert words in said
        assert "note: 1 class folder holds no videos: 'empty'" in said
        assert "report:" in done.stdout and "vid3d train" not in done.stdout
    assert "has no " in Page((tmp_path / "out" / "report.html").read_text()).said


def pairs(options: tuple[str, ...]) -> list[tuple[str, str]]:
    return [tuple(text.removeprefix("--config.").split("=", 1)) for text in options]


def test_folds_are_in_the_manifest_already(doctor, two_classes, tmp_path):
    files = sorted(two_classes.rglob("*.avi"))
    rows = [f"{path},{path.parent.name},{k % 3}" for k, path in enumerate(files)]
    (tmp_path / "folds.csv").write_text("\n".join(["path,label,fold", *rows]))
    said, command = doctor(tmp_path / "folds.csv", "--config.data.test_fold=1")
    _, config = loaded(command[1:])
    assert config.data.test_fold == -1 and config.data.protocol == "auto"
    tested = {video.path for video in index.find(config.data, 0).split("test")}
    assert tested == {str(path) for path in files[1::3]}
    assert "groups:" not in said  # of a manifest they are a column


AWKWARD = ["it's $HOME `id`; $(x) & *", "<b>&amp;\"'", "two\nlines\t", "ünï 日本", "\udcff\udce9 x"]


def test_any_name_of_a_folder_survives_the_shell(doctor, two_classes, tmp_path):
    name = "".join(AWKWARD)
    root = two_classes.rename(tmp_path / name)
    _, command = doctor(root, f"--output={root}")
    options, config = loaded(command[1:])
    assert config.data.root == str(root / "manifest.csv")
    assert options.workdir == f"runs/{name}"
    assert len(index.find(config.data, 0).videos) == 20


def test_words_of_a_shell_are_read_as_they_were():
    for text in (*AWKWARD, "", "a", "-x", "a\\'b\n", "'"):
        assert words(advice.shell_word(text)) == [text]


class Page(HTMLParser):
    """The tags, the text and the pictures of a page."""

    def __init__(self, content: str):
        super().__init__()
        self.tags, self.said, self.pictures = [], "", []
        self.feed(content)

    def handle_starttag(self, tag, attributes):
        self.tags.append(tag)
        if tag == "img":
            source = dict(attributes)["src"].removeprefix("data:image/jpeg;base64,")
            self.pictures.append(Image.open(io.BytesIO(base64.b64decode(source))))

    def handle_data(self, data):
        self.said += data


def test_the_page_shows_what_the_network_sees(settings, two_classes, tmp_path):
    settings.data.update(num_frames=8, size=24, stored_size=(32, 40), short="loop")
    checkup = prepare.doctor(settings, tmp_path / "out")
    found = Page(checkup.page.read_text())
    assert {"script", "b"}.isdisjoint(found.tags) and len(found.pictures) == 8
    assert {picture.size for picture in found.pictures} == {(8 * 24, 24)}
    for words in ("down", "protocol grouped", "frames per video: 5 to 14", "8 of the 8 frames"):
        assert words in found.said
    assert "such as 'g0_'" in found.said and checkup.groups.groups == 5
    assert "down/g0_0.avi (5 frames, 0.2 s)" in found.said
    # Frame k of down/g0_0.avi is grey with the value 10 (k + 1), and its five frames are looped.
    greys = np.asarray(found.pictures[0].convert("L"))[12, 12::24]
    assert greys.tolist() == pytest.approx([10, 20, 30, 40, 50, 10, 20, 30], abs=4)


def test_the_page_escapes_names(settings, two_classes, video, tmp_path):
    odd = two_classes / "<b>up & down"
    for k in range(8):
        video(odd / f"<script>{k}'\".avi", 6, shade=10 * k)
    (odd / "\udcff.avi").write_text("no video")
    (odd / "<i>.avi").write_text("no video")
    checkup = prepare.doctor(settings, tmp_path / "out")
    assert not checkup.all_readable
    found = Page(checkup.page.read_text())
    assert {"script", "b", "i"}.isdisjoint(found.tags)
    for words in ("<b>up & down", "<script>0'\".avi", "<i>.avi: not a video", "\\udcff.avi: "):
        assert words in found.said


@pytest.mark.slow
def test_the_page_is_bounded(settings, two_classes, tmp_path, monkeypatch):
    for number in range(6):
        shutil.copytree(two_classes / "up", two_classes / f"up{number}")
    settings.data.num_frames = 40  # all are too short
    done = prepare.prepare(settings, quiet=True)
    monkeypatch.setattr(page, "MOST_STRIPS", 5)
    monkeypatch.setattr(page, "MOST_LISTED", 9)
    found = Page(page.render(done, settings.data))
    assert len(found.pictures) == 5 and "3 more classes are not shown" in found.said
    assert "and 71 more" in found.said
    assert {picture.size for picture in found.pictures} == {(8 * 32, 32)}


def test_short_videos_are_named(settings, two_classes, capfd):
    settings.data.num_frames = 8
    prepare.doctor(settings)
    said = " ".join(capfd.readouterr().err.split())
    assert "6 of 20, down/g0_0.avi (5 frames, 0.2 s), down/g0_1.avi (6 frames, 0.24 s)" in said
    assert " and 3 more; a clip is 8 frames" in said


def test_resampled_pixels_are_said(settings, two_classes, ffmpeg, capfd):
    """The sizes are not those that other programs show of the file."""
    odd = two_classes / "up" / "dv.mp4"
    ffmpeg("-f", "lavfi", "-i", "testsrc=s=64x48:d=0.5", "-vf", "setsar=3/2", odd)
    for pixels, size in (("square", "96x48"), ("stored", "64x48"), ("square", "96x48")):
        settings.data.pixels = pixels
        prepare.doctor(settings)
        said = " ".join(capfd.readouterr().err.split())
        told = "the pixels of 1 of 21 videos are not square, such as those of up/dv.mp4" in said
        assert told == (pixels == "square")
        assert size in said


def test_a_bad_video_has_to_go_first(doctor, two_classes, tmp_path):
    (two_classes / "up" / "x.avi").write_text("no video")
    said, command = doctor(two_classes, check=1)
    assert "once the bad ones are replaced (--without-bad leaves" in said and command[1] == "train"


def test_bad_videos_are_left_out_on_request(doctor, two_classes, tmp_path):
    """The command that doctor ends with trains: no bad video stops it, and splits are the same."""
    for name in ("up/g0_x.avi", "down/g3_y.avi"):
        (two_classes / name).write_text("no video")
    options = ("--config.data.group_pattern=(g\\d)_", f"--output={tmp_path / 'out'}")
    _, command = doctor(two_classes, *options, check=1)
    _, config = loaded(command[1:])
    before = {v.path: (v.group, v.split) for v in index.find(config.data, 0).videos}
    said, command = doctor(two_classes, *options, "--without-bad")
    _, config = loaded(command[1:])
    assert config.data.root.endswith("manifest-2.csv")  # the first may have been edited
    after = {v.path: (v.group, v.split) for v in index.find(config.data, 0).videos}
    assert len(before) == 22 and len(after) == 20 and after.items() <= before.items()
    assert prepare.prepare(config, quiet=True).bad == {}
    assert "left out:   " in said and ", which cannot be read" in said
    named = (tmp_path / "out" / "bad_videos.csv").read_text()
    assert all(path in named for path in before.keys() - after.keys())
