"""One page that can be mailed: all that an evaluation found, with the clips behind each number."""

from __future__ import annotations

import base64
import json
import re
import shutil
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import cv2
import numpy as np
import pytest

import vid3d
from vid3d.checkpoint import Workdir
from vid3d.evaluation import calibration, metrics
from vid3d.report import choose, classes, page, strips, write
from vid3d.report.answers import Answers, read

LIMIT = 8_000_000  # bytes
EVIL = "<script>alert(1)</script>"


@pytest.fixture(scope="module")
def tested(smoke_run) -> Workdir:
    """A workdir without evaluation, of which `report` was asked."""
    write.report(smoke_run)
    return Workdir(smoke_run)


@pytest.fixture(scope="module")
def found(tested) -> Answers:
    return read(tested.evaluation_folder("test-best"), tested)


def page_of(workdir: Workdir) -> Path:
    return workdir.evaluation_folder("test-best") / "report.html"


def data_of(html: str) -> dict:
    """What the script of a page has."""
    (text,) = re.findall(r'<script type="application/json" id="page-data">(.*?)</script>', html)
    return json.loads(text)


def test_a_cell_opens_its_clips_in_a_browser(tested, found, visit):
    """Without a server, a network or an error, in the dark and on a phone."""
    url = page_of(tested).as_uri()
    matrix = metrics.confusion_matrix(found.labels_N, found.predicted_N, len(found.classes))
    for options in ({}, {"color_scheme": "dark", "viewport": {"width": 390, "height": 844}}):
        shown, seen = visit(url, **options)
        cells = shown.locator("[data-cell]")
        assert cells.count() == np.count_nonzero(matrix)
        for number, key in enumerate(("click", "Enter")):
            cell = cells.nth(number)
            cell.click() if key == "click" else cell.press(key)
            truth, answer = map(int, cell.get_attribute("data-cell").split(","))
            panel = shown.locator("#clips figure.clip")
            assert panel.count() == matrix[truth, answer]
            title = shown.locator("#clips h3").inner_text()
            assert found.classes[truth] in title and found.classes[answer] in title
        shown.wait_for_function(
            "[...document.images].filter(i => i.loading != 'lazy').every(i => i.complete)"
        )
        assert shown.evaluate("document.querySelector('#clips img').naturalWidth") > 0
        assert shown.evaluate("document.documentElement.scrollWidth <= innerWidth")
        assert seen.requests == [url] and seen.errors == []


def test_figures_of_the_page_are_those_of_the_evaluation(tested, found):
    html = page_of(tested).read_text()
    figures = found.figures
    low, high = metrics.best_interval(figures)[1]
    for text in (
        f"{figures['accuracy']:.1%}",
        f"{low:.1%} to {high:.1%}",
        f"{figures['correct']} of {figures['num_videos']} test videos",
        figures["protocol"],
        "vid3d train --like=",
        "model.features",
    ):
        assert text in html
    data = data_of(html)
    counted = {cell: entry["total"] for cell, entry in data["cells"].items()}
    expected = metrics.confusion_matrix(found.labels_N, found.predicted_N, len(found.classes))
    assert counted == {f"{t},{p}": n for (t, p), n in np.ndenumerate(expected) if n}
    assert sum(len(entry["ids"]) for entry in data["cells"].values()) == len(found.names)


def test_strips_are_the_frames_that_the_network_saw(tested, found):
    html = page_of(tested).read_text()
    shown = dict(re.findall(r'data-video="(\d+)"><img src="data:image/webp;base64,([^"]+)"', html))
    assert shown
    _, clips = write.find_clips(tested, "best", "test", (), None)
    for video, text in list(shown.items())[:3]:
        content = np.frombuffer(base64.b64decode(text), np.uint8)
        _, animation = cv2.imdecodeanimation(content)
        frames = [cv2.cvtColor(f, cv2.COLOR_BGRA2RGB if f.shape[2] == 4 else cv2.COLOR_BGR2RGB)
                  for f in animation.frames]  # fmt: skip
        place = [v.name for v in clips.videos].index(found.names[int(video)])
        seen_THWC = clips.read(clips.row_records(np.array([place])))[0, 0]
        assert len(frames) == len(seen_THWC)
        error = np.abs(np.stack(frames).astype(float) - seen_THWC).mean()
        other = np.abs(np.stack(frames)[::-1].astype(float) - seen_THWC).mean()
        assert error < 12 and error < other


def generated(videos: int, num_classes: int, *, longest: int = 40) -> Answers:
    """Answers as an evaluation of so many videos gives them."""
    rng = np.random.default_rng(0)
    labels_N = rng.integers(0, num_classes, videos)
    logits_NK = rng.normal(size=(videos, num_classes))
    logits_NK[np.arange(videos), labels_N] += 4
    p_NK = np.exp(logits_NK) / np.exp(logits_NK).sum(axis=1, keepdims=True)
    names = [f"{i:06d}" + "x" * longest for i in range(videos)]
    names[0] = f"</script>{EVIL}.mp4"
    groups = [str(i // 5) for i in range(videos)]
    named = (EVIL, *(f"class {k}" for k in range(1, num_classes)))
    losses_N = -np.log(p_NK[np.arange(videos), labels_N])
    figures = metrics.summarise(p_NK, losses_N, labels_N, named, groups=groups)
    figures["calibration"] |= {
        "temperature": 2.0, "fitted_on": 9, "chose_checkpoint": True,
        "before": calibration.summarise(p_NK, labels_N, groups),
    }  # fmt: skip
    figures |= {
        "split": "test", "checkpoint": "best", "step": 1, "protocol": EVIL, "data": f"/x/{EVIL}",
        "num_expected": videos, "notes": [EVIL] * 100,
        "environment": {"vid3d": "0", "versions": {}},
    }  # fmt: skip
    return Answers(figures, Path("/x"), named, names, groups, labels_N, p_NK.astype(np.float32))


@pytest.mark.parametrize(("videos", "num_classes"), [(3783, 101), (6000, 450)])
def test_page_is_bounded_and_says_what_it_leaves_out(videos, num_classes, tested):
    found = generated(videos, num_classes, longest=1000)
    chosen = choose.choose(found)
    # As large as `strips.make` may make them.
    each = write.STRIP_BYTES // len(chosen.moving)
    moving = dict.fromkeys(chosen.moving, "data:image/webp;base64,".ljust(each, "A"))
    content = page.Content(tested, found, tested.config(), chosen, moving, None, "")
    html = page.build(content)
    assert len(html.encode()) <= LIMIT
    listed = sum(map(len, chosen.cells.values()))
    assert listed <= choose.MOST_LISTED
    assert (listed < videos) == (f"This page lists {listed} of {videos} videos" in html)
    assert f"{len(moving)} clips move" in html


def test_text_of_others_is_text(tested, visit, tmp_path):
    """A class, a video, a protocol and a note that are scripts."""
    found = generated(60, 4)
    content = page.Content(
        tested, found, tested.config(), choose.choose(found), {}, None, "the videos are gone"
    )
    (tmp_path / "page.html").write_text(page.build(content))
    shown, seen = visit((tmp_path / "page.html").as_uri())
    for cell in shown.locator("[data-cell='0,0'], [data-cell='1,1']").all():
        cell.click()
    assert EVIL in shown.locator("#notes").inner_text()
    assert EVIL in shown.locator(".matrix").inner_html().replace("&lt;", "<").replace("&gt;", ">")
    assert "the videos are gone" in shown.locator("#notes").inner_text()
    assert shown.evaluate("document.scripts.length") == 2 and seen.errors == []


def test_every_class_has_intervals_around_its_figures():
    found = generated(300, 5)
    for k, name in enumerate(found.classes):
        row, intervals = found.figures["per_class"][name], classes.intervals(found, k)
        for what in classes.FIGURES:
            low, high = intervals[what]
            assert low <= row[what.lower()] <= high
    alone = replace(found, groups=found.names)
    right, count = 0, found.figures["per_class"][EVIL]["count"]
    right = int((found.right_N & (found.labels_N == 0)).sum())
    wilson = metrics.wilson_interval(right, count)
    assert classes.intervals(alone, 0)["recall"] == wilson


def test_clips_fit_into_the_room_that_they_have(tested):
    _, clips = write.find_clips(tested, "best", "test", (), None)
    videos = list(range(len(clips)))
    whole = strips.make(clips, videos, most_bytes=10**9)
    assert list(whole) == videos
    room = sum(len(uri) for uri in whole.values()) - 1
    assert list(strips.make(clips, videos, most_bytes=room)) == videos[:-1]


@pytest.fixture(scope="module")
def own_videos(tmp_path_factory) -> SimpleNamespace:
    """A run on videos of one's own, which are gone after its page was made."""
    from fixtures.videos import write_video

    folder = tmp_path_factory.mktemp("own")
    for label, shade in (("dark", 0), ("light", 120)):
        for i in range(10):
            write_video(folder / "videos" / label / f"{i}.avi", shade=shade + i, step=2)
    config = vid3d.config.load(
        "demo:smoke",
        [
            ("data.source", "folder"), ("data.root", str(folder / "videos")),
            ("data.protocol", "random"), ("train.epochs", "1"), ("model.features", "4,4"),
        ],
    )  # fmt: skip
    vid3d.train(config, folder / "run")
    first = write.report(folder / "run").read_text()
    shutil.rmtree(folder / "videos")
    return SimpleNamespace(workdir=folder / "run", before=first, folder=folder)


def test_a_page_without_videos_stands_and_says_so(own_videos, call):
    target = own_videos.folder / "page.html"
    done = call("report", own_videos.workdir, f"--output={target}")
    assert done.stdout.strip() == str(target)
    html = target.read_text()
    assert "data:image/webp" in own_videos.before and "data:image/webp" not in html
    assert "The clips cannot be shown moving: " in html and "videos" in html
    assert data_of(html)["cells"] == data_of(own_videos.before)["cells"]


def test_bad_requests_are_one_line(own_videos, tested, call, tmp_path):
    for arguments, words in (
        ((tested, "--output=x.pdf"), "--output=x.pdf: the name of a page ends in .html"),
        ((tested, f"--output={tmp_path}/no/x.html"), "there is no folder"),
        ((tmp_path,), "is not a workdir"),
        ((own_videos.workdir, "--split=val"), "videos: there is no such folder or file"),
    ):
        done = call("report", *arguments, check=None)
        assert done.returncode and words in done.stderr and done.stderr.count("\n") == 1
