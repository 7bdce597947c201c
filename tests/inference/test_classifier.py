"""A loaded classifier: the predictions of evaluation, time lines, and a sliding window."""

from __future__ import annotations

import csv
import gc
import itertools
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
import weakref

import jax
import numpy as np
import pytest
from hypothesis import example, given, strategies as st

import vid3d
from vid3d import models
from vid3d.errors import UserError
from vid3d.evaluation import evaluate
from vid3d.inference import files
from vid3d.inference.classifier import Classifier
from vid3d.inference.prediction import Prediction
from vid3d.inference.video import QueuedVideo, gather, time_line
from vid3d.models.normalise import normalise
from vid3d.video import clips, frames, resize
from vid3d.video.plan import Durations, Plan, plan
from vid3d.video.windows import TemporalWindow, temporal_window

CLASSES = ["red", "green", "blue"]
SAMPLINGS = {
    "first": {},
    "every second frame": {"data.frame_step": 2, "data.sampling": "random", "eval.views": 3},
    "by time": {"data.fps": 12.5, "data.sampling": "center", "data.resize": "short_side"},
    "uniform": {"data.sampling": "uniform", "data.stored_size": (20, 24), "eval.views": 2},
    "few stored": {"data.sampling": "uniform", "data.stored_frames": 30},
}


@pytest.fixture(scope="module")
def classifier(load) -> Classifier:
    return load()


def test_a_workdir_loads_and_labels_files_and_frames(workdir, videos, noisy):
    classifier = vid3d.load(workdir)
    assert classifier.classes == tuple(CLASSES) and classifier.step == 40
    for colour in CLASSES:
        answer = classifier.predict(videos[colour])
        assert answer.label == colour and answer.probability > 0.8
        assert list(answer.probabilities) == CLASSES
        assert sum(answer.probabilities.values()) == pytest.approx(1, abs=1e-6)
        assert answer.num_frames == 12 and answer.seconds == pytest.approx(0.48)
        assert answer.segments == ((0.0, answer.seconds, colour, answer.probability),)
        assert classifier.predict(noisy(colour, 12)).label == colour
        assert classifier.predict(list(noisy(colour, 12, size=(90, 31)))).label == colour
    assert classifier.predict(noisy("red", 1)).label == "red"  # shorter than a clip


@pytest.mark.parametrize("name", SAMPLINGS)
def test_prediction_equals_evaluation(load, colour_weights, videos, name):
    """Recomputed from evaluation's parts: decode, fit, clips, normalise, softmax, mean."""
    classifier = load(SAMPLINGS[name] | {"eval.long_videos": "views"})
    config = classifier.config
    video = frames.read_video(videos["turning"], config.data)
    module = models.build(config.model, 3)
    rows = []
    network = jax.jit(lambda clip: jax.nn.softmax(module.apply(colour_weights, clip, train=False)))
    for position in clips.view_positions(config.eval.views):
        sampling = clips.evaluation_sampling(config.data, config.eval.views)
        indices = clips.clip_indices(
            video.times_T, config.data, sampling=sampling, position=position
        )
        clip = normalise(video.frames_THWC[indices], config.data)[None]
        rows.append(network(clip)[0])
    answer = classifier.predict(videos["turning"])
    np.testing.assert_allclose(
        list(answer.probabilities.values()), np.mean(rows, axis=0), rtol=0, atol=1e-5
    )
    assert answer.num_frames == 102  # all of them, however few are stored


@pytest.mark.parametrize("how", ["mean", "longest"])
@pytest.mark.parametrize("name", SAMPLINGS)
def test_long_videos_evaluate_as_they_predict(
    make_workdir, noisy, write_video, tmp_path, name, how
):
    """By the command line's own functions, with videos of training length among them."""
    workdir = make_workdir(SAMPLINGS[name] | {"eval.long_videos": how})
    for colour in CLASSES:
        (tmp_path / "videos" / colour).mkdir(parents=True)
    for path, colours in {
        "red/short.avi": ["red"],
        "red/long.avi": ["red"] * 9,
        "green/mixed.avi": ["red"] * 2 + ["green"] * 4 + ["red"],
        "blue/mixed.avi": ["blue", "green", "blue", "green"],
        "blue/short.avi": ["blue"],
    }.items():
        parts = [noisy(colour, 12, seed=k) for k, colour in enumerate(colours)]
        write_video(tmp_path / "videos" / path, np.concatenate(parts)[: 12 * len(colours) - 3])
    overrides = [("data.cache_dir", str(tmp_path / "cache"))]
    figures, folder = evaluate.evaluate(
        str(workdir), data=str(tmp_path / "videos"), overrides=overrides
    )
    classifier = vid3d.load(workdir)
    with (folder / "predictions.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 5
    for row in rows:
        answer = classifier.predict(tmp_path / "videos" / row["path"])
        assert answer.label == row["predicted"]
        for colour in CLASSES:
            assert answer.probabilities[colour] == pytest.approx(
                float(row[f"probability:{colour}"]), abs=1e-6
            )
    if name != "few stored":
        (note,) = (note for note in figures["notes"] if "training length" in note)
        assert "3 of 5 videos" in note and "windows" in note and "median 0.48 s" in note


@pytest.mark.parametrize("name", ["first", "every second frame", "by time", "uniform"])
@pytest.mark.parametrize("colour", CLASSES)
def test_long_video_of_one_class_has_one_segment(load, noisy, name, colour):
    answer = load(SAMPLINGS[name]).predict(noisy(colour, 120))
    assert answer.label == colour and answer.probability > 0.8
    assert answer.segments == ((0.0, answer.seconds, colour, answer.probability),)
    assert re.fullmatch(
        r"from \d+ windows of [\d.]+ s: longer than the training videos \(median 0.48 s\)",
        answer.note,
    )


def test_long_slow_video_is_not_labelled_fast(pace_classifier, pulsing):
    """Frames spread over five joined videos are five times as far apart as in training."""
    for pace in ("slow", "fast"):
        video = np.concatenate([pulsing(pace, 12, phase=k / 8) for k in range(5)])
        assert pace_classifier("mean").predict(video[:12]).label == pace
        for how in ("mean", "longest"):
            answer = pace_classifier(how).predict(video)
            assert answer.label == pace and len(answer.segments) == 1
    spread = pace_classifier("views").predict(pulsing("slow", 60))
    assert spread.label == "fast" and len(spread.segments) == 1
    assert spread.note == (
        "from one clip of the whole video: longer than the training videos (median 0.48 s)"
    )


@pytest.mark.parametrize("name", ["first", "every second frame", "by time", "uniform"])
def test_mixed_video_averages_its_time_line(load, noisy, name):
    """Or by its longest stretch: not by clips that mix what happened at different times."""
    video = np.concatenate([noisy("red", 50), noisy("blue", 40), noisy("red", 38)])
    mean, longest = (
        load(SAMPLINGS[name] | {"eval.long_videos": how}).predict(video, fps=25)
        for how in ("mean", "longest")
    )
    times = np.arange(len(video)) / 25
    config = load(SAMPLINGS[name]).config
    windows = plan(times, config.data, config.eval, Durations(0.48))
    rows_NK = load(SAMPLINGS[name]).probabilities(
        np.stack([frames_of(video, config.data)[index_T] for index_T in windows.indices])
    )
    seconds = np.diff(windows.bounds)
    assert len(seconds) > 8 and windows.bounds[-1] == mean.seconds == len(video) / 25
    assert list(mean.probabilities.values()) == pytest.approx(seconds @ rows_NK / seconds.sum())
    assert mean.label == "red" and mean.probability == max(mean.probabilities.values())
    assert mean.segments == longest.segments and len(mean.segments) >= 3
    stretch = max(longest.segments, key=lambda s: s.end - s.start)
    assert (longest.label, longest.probability) == (
        stretch.label,
        pytest.approx(stretch.probability),
    )
    assert longest.note.startswith("from the longest stretch with one label of ")


def frames_of(video: np.ndarray, data) -> np.ndarray:
    """Fitted frames."""
    settings = {"size": resize.stored_size(data), "resize": data.resize, "color": data.color}
    return np.stack([resize.fit(frame, **settings) for frame in video])


@pytest.mark.parametrize(
    ("name", "p95", "windows"),
    [("uniform", 0.0, True), ("uniform", 2.8, False), ("first", 2.8, False)],
)
def test_training_durations_are_not_long_videos(make_workdir, videos, name, p95, windows):
    """Checkpoints of earlier versions hold only the median."""
    classifier = Classifier.load(make_workdir(SAMPLINGS[name]))
    classifier.p95_seconds = p95
    answer = classifier.predict(videos["turning"])
    assert ("windows" in answer.note) == (len(answer.segments) > 1) == windows
    assert answer.note or not windows


def test_unknown_training_duration_is_noted(make_workdir, noisy):
    """Clips spread over the video fit any length; fixed-length ones would skip most of it."""
    for name, text in (
        (
            "uniform",
            "from 2 clips of the whole video: how long the training videos were is unknown",
        ),
        ("first", "from 10 windows of 0.16 s: how long the training videos were is unknown"),
    ):
        classifier = Classifier.load(make_workdir(SAMPLINGS[name]))
        classifier.window_seconds = 0.0
        assert classifier.predict(noisy("red", 40)).note == text
    assert classifier.predict(noisy("red", 6)).note == ""


def test_unstored_frames_do_not_count(make_workdir, noisy):
    classifier = Classifier.load(make_workdir({"data.stored_frames": 10}))
    answer = classifier.predict(np.concatenate([noisy("red", 10), noisy("blue", 90)]))
    assert answer.label == "red" and answer.num_frames == 100
    assert answer.segments == ((0.0, 4.0, "red", answer.probability),)
    assert answer.note == "of the first 10 frames: evaluation knows no others (data.stored_frames)"
    assert classifier.predict(noisy("red", 10)).note == ""


@pytest.mark.parametrize("name", ["first", "every second frame", "by time", "uniform"])
def test_long_video_has_a_time_line(load, videos, name):
    answer = load(SAMPLINGS[name]).predict(videos["turning"])
    assert [s.label for s in answer.segments if s.end - s.start > 0.5] == ["red", "blue", "green"]
    assert answer.segments[0].start == 0 and answer.segments[-1].end == answer.seconds
    for before, after in itertools.pairwise(answer.segments):
        assert before.end == after.start and before.label != after.label
    assert answer.segments[0].end == pytest.approx(1.6, abs=0.25)
    assert answer.segments[-1].start == pytest.approx(3.2, abs=0.25)
    assert all(0 < s.probability <= 1 for s in answer.segments)


def test_second_decoding_gives_the_same_prediction(classifier, videos, monkeypatch):
    held = classifier.predict(videos["turning"])
    monkeypatch.setattr("vid3d.inference.files.HELD_BYTES", 20_000)
    assert classifier.predict(videos["turning"]) == held
    monkeypatch.setattr("vid3d.video.decoder_pool.SLOT_BYTES", 20_000)  # it comes in several parts
    paths = [videos["red"], videos["turning"], videos["turning"]]
    assert [answer for _, answer in classifier.predict_many(paths)][1:] == [held, held]


def test_file_deleted_before_second_decoding_fails_alone(classifier, videos, tmp_path, monkeypatch):
    """It was too long to be held in memory."""
    path = tmp_path / "gone.mp4"

    def take_away(frames, indices):
        path.unlink(missing_ok=True)
        return gather(frames, indices)

    monkeypatch.setattr("vid3d.inference.files.HELD_BYTES", 20_000)
    monkeypatch.setattr("vid3d.inference.video.gather", take_away)
    shutil.copy(videos["turning"], path)
    with pytest.raises(UserError, match=f"^{path}: no such file"):
        classifier.predict(path)
    shutil.copy(videos["turning"], path)
    answers = [answer for _, answer in classifier.predict_many([path, videos["red"]])]
    assert isinstance(answers[0], UserError) and answers[1].label == "red"


def test_file_shortened_before_second_decoding_fails_alone(classifier, videos, monkeypatch):
    whole = files.stream

    def cut(path, settings, **options):
        found = list(whole(path, settings, **options))
        yield from found[:-3]

    monkeypatch.setattr("vid3d.inference.files.HELD_BYTES", 20_000)
    monkeypatch.setattr(files, "stream", cut)
    first, second = classifier.predict_many([videos["turning"], videos["red"]])
    assert re.search(r"it had (\d+) frames, and \d+ when it was decoded again", str(first[1]))
    assert second[1].label == "red"


def test_many_files_are_ordered_despite_unreadable_ones(classifier, videos, tmp_path):
    (tmp_path / "empty.mp4").touch()
    (tmp_path / "text.mp4").write_text("no video")
    paths = [
        videos["green"], tmp_path / "empty.mp4", videos["turning"], tmp_path / "missing.avi",
        tmp_path / "text.mp4", videos["red"], tmp_path,
    ]  # fmt: skip
    for batch_size, workers in ((8, 2), (3, 1), (1, 4)):
        answers = list(classifier.predict_many(paths, batch_size=batch_size, workers=workers))
        assert [path for path, _ in answers] == [str(path) for path in paths]
        kinds = [type(answer) for _, answer in answers]
        assert kinds == [Prediction, UserError] * 2 + [UserError, Prediction, UserError]
        for path, answer in answers:
            if isinstance(answer, UserError):
                assert path in str(answer) and "\n" not in str(answer)
                with pytest.raises(UserError, match="^" + path):
                    classifier.predict(path)
            else:
                alone = classifier.predict(path)
                assert answer.label == alone.label and len(answer.segments) == len(alone.segments)
                assert answer.probability == pytest.approx(alone.probability, abs=1e-6)
    first = classifier.predict_many(paths)
    assert next(first)[1].label == "green"
    first.close()  # the rest is not waited for


@pytest.mark.parametrize(
    ("blow", "reason"),
    [(signal.SIGSTOP, "the decoder hung: nothing for 2 s"), (signal.SIGSEGV, "crashed (SIGSEGV)")],
)
def test_file_that_breaks_the_decoder_fails_alone(
    make_workdir, strike, decoders, poison, videos, blow, reason
):
    classifier = Classifier.load(make_workdir({"data.decode_timeout": 2.0}))
    for _ in range(3):
        assert classifier.predict(videos["red"]).label == "red"
        assert len(decoders()) == 1  # the process of the first call
    with strike(poison, blow), pytest.raises(UserError) as caught:
        classifier.predict(poison)
    assert str(poison) in str(caught.value) and reason in str(caught.value)
    assert classifier.predict(videos["blue"]).label == "blue"
    for process in decoders():  # by chance, while it has nothing to do
        process.kill()
    assert classifier.predict(videos["green"]).label == "green"
    del classifier, caught
    gc.collect()
    assert not decoders()


def test_batch_size_does_not_change_probabilities(classifier, noisy):
    many = np.stack([noisy("green", 4, size=(16, 16), seed=seed) for seed in range(9)])
    together = classifier.probabilities(many)
    assert together.shape == (9, 3)
    for size in (1, 3, 5):
        np.testing.assert_allclose(
            classifier.probabilities(many[:size]), together[:size], atol=1e-6
        )


@pytest.mark.parametrize("name", ["first", "every second frame", "uniform"])
def test_stream_labels_the_windows_of_a_file(load, videos, name):
    """Each push labels exactly the window that ends with the frame, as if cut from the file."""
    classifier = load(SAMPLINGS[name] | {"eval.views": 1})
    whole = list(frames.read_frames(videos["turning"]))
    length = {"first": 4, "every second frame": 7, "uniform": 12}[name]
    stream = classifier.stream()
    for number, (frame, seconds) in enumerate(whole[:60]):
        answer = stream.push(frame, seconds)
        if number + 1 < length:
            assert answer is None
            continue
        assert answer.num_frames == length
        assert answer.segments[0].end == seconds
        cut = [frame for frame, _ in whole[number + 1 - length : number + 1]]
        alone = classifier.predict(cut, fps=25)
        assert answer.probabilities == pytest.approx(alone.probabilities, abs=1e-6)
        assert len(stream._ring) <= length + 1


def test_stream_window_lasts_the_same_at_any_rate(load, noisy):
    """Four frames at 12.5 fps span 0.24 s at any rate of the camera, even an irregular one."""
    classifier = load(SAMPLINGS["by time"])
    rng = np.random.default_rng(0)
    for fps in (10, 25, 60):
        stream = classifier.stream()
        times = np.sort(np.arange(3 * fps) / fps + rng.uniform(0, 0.3 / fps, 3 * fps))
        for number, (frame, seconds) in enumerate(zip(noisy("red", 3 * fps), times, strict=True)):
            answer = stream.push(frame, seconds)
            assert (answer is None) == (answer is None and seconds < 0.24 + 1.5 / fps)
            if answer and number > fps:
                assert answer.label == "red"
                assert answer.seconds == pytest.approx(0.24, abs=1.5 / fps)
                assert len(stream._ring) < 0.24 * fps + 4


def test_stream_smooths_and_says_unknown(load, noisy):
    smooth = load({"live.smoothing": 0.8, "live.threshold": 0.6}).stream()
    plain = load().stream()
    for frame in noisy("red", 8):
        before = smooth.push(frame)
        plain.push(frame)
    labels = []
    for frame in noisy("blue", 30):
        answer, now = smooth.push(frame), plain.push(frame)
        for name in CLASSES:
            kept = 0.8 * before.probabilities[name] + 0.2 * now.probabilities[name]
            assert answer.probabilities[name] == pytest.approx(kept, abs=1e-6)
        assert (answer.label == "unknown") == (answer.probability < 0.6)
        labels.append(answer.label)
        before = answer
    assert [label for label, _ in itertools.groupby(labels)] == ["red", "unknown", "blue"]
    smooth.clear()
    assert smooth.predict() is None
    assert smooth.push(noisy("red", 1)[0]) is None


def test_invalid_frames_are_refused(classifier, noisy):
    red = noisy("red", 4)
    for wrong, reason in (
        (red.astype(np.float32), "float32"),
        (red[..., :1], r"\[48, 64, 1\]"),
        (red[0], "uint8"),
        ([], "no frames"),
        (None, "a video's path or a list of frames, not NoneType"),
        ((frame for frame in red), "not generator"),
        (["a.mp4", "b.mp4"], r"one video, and 2 paths were given: predict_many\(paths\)"),
    ):
        with pytest.raises(UserError, match=reason):
            classifier.predict(wrong)
    with pytest.raises(UserError, match="uint8 RGB"):
        classifier.stream().push(red)
    for ask in (lambda: classifier.predict(red, fps=-1), lambda: classifier.stream(fps=0)):
        with pytest.raises(UserError, match="has to be a number above 0"):
            ask()
    with pytest.raises(UserError, match=r"a list of paths: predict_many\(\['abc'\]\)"):
        next(classifier.predict_many("abc"))


def test_missing_workdir_or_checkpoint_raises(workdir, tmp_path):
    for path, checkpoint, reason in (
        (tmp_path / "none", "best", "none"),
        (tmp_path, "best", "no checkpoint"),
        (workdir, "41", "40"),
    ):
        with pytest.raises(UserError, match=reason):
            vid3d.load(path, checkpoint)


@pytest.mark.slow
def test_tensorflow_is_not_imported(workdir, videos):
    code = (
        "import sys, vid3d, vid3d.inference.predict, vid3d.inference.live\n"
        f"print(vid3d.load({str(workdir)!r}).predict({str(videos['red'])!r}).label)\n"
        "print([m for m in sys.modules"
        " if m.split('.')[0] in ('tensorflow', 'tensorflow_datasets')])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split("\n")[:2] == ["red", "[]"]


def test_gather_keeps_only_needed_frames():
    requests = [np.array([0, 1, 2]), np.array([8, 9, 9]), np.array([0, 4, 9]), np.array([5])]
    alive = []

    def flow():
        for number in range(20):
            frame = np.full((1, 1, 1), number, np.uint8)
            alive.append(number)
            weakref.finalize(frame, alive.remove, number)
            yield frame
            assert len(alive) <= 5

    clips_of = dict(gather(flow(), requests))
    assert list(clips_of) == [0, 3, 1, 2]
    for number, clip in clips_of.items():
        assert clip.ravel().tolist() == requests[number].tolist()


def test_tiles_cover_every_frame(classifier):
    data = classifier.config.data.copy_and_resolve_references()
    for sampling, fps in itertools.product(("first", "uniform"), (0.0, 10.0)):
        with data.unlocked():
            data.sampling, data.fps = sampling, fps
        window = temporal_window(data, 0.4)
        for total in (1, 2, 4, 5, 9, 10, 11, 39, 40, 41):
            times = np.arange(total) / 25
            tiles = window.tiles(times)
            assert tiles[0][0] == 0 and tiles[-1][1] == total
            for (start, stop), (following, _) in itertools.pairwise(tiles):
                assert start < following <= stop


@given(
    rate=st.sampled_from([7.5, 12.5, 15.0, 23.976, 25.0, 29.97, 30.0, 50.0]) | st.floats(1, 120),
    total=st.integers(1, 400),
    fps=st.sampled_from([2.0, 7.5, 10.0, 12.5, 15.0, 25.0]),
    num_frames=st.integers(1, 32),
)
@example(rate=25.0, total=70, fps=10.0, num_frames=10)
def test_every_tile_has_frames_of_its_own(rate, total, fps, num_frames):
    window = TemporalWindow(frames=0, seconds=(num_frames - 1) / fps, sampling="first")
    tiles = window.tiles(np.arange(total) / rate)
    assert tiles[0][0] == 0 and tiles[-1][1] == total
    for (start, stop), (following, end) in itertools.pairwise(tiles):
        assert start < following <= stop < end


def test_second_last_window_may_end_with_the_video(workdir):
    classifier = Classifier.load(workdir)
    with classifier.config.unlocked():
        classifier.config.data.fps = 10.0
        classifier.config.data.num_frames = 10
    classifier.window_seconds = 0.9
    answer = classifier.predict(list(np.zeros((70, 16, 16, 3), np.uint8)), fps=25)
    assert answer.segments[-1].end == pytest.approx(2.8)


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere nothing ends with a thread")
def test_decoder_survives_the_thread_that_started_it(workdir, videos):
    classifier = Classifier.load(workdir)
    pids = []
    for _ in range(3):
        thread = threading.Thread(target=classifier.predict, args=(videos["red"],))
        thread.start()
        thread.join()
        time.sleep(0.1)
        (child,) = classifier._decoders.children
        assert child.process.poll() is None
        pids.append(child.process.pid)
    assert len(set(pids)) == 1
    classifier._decoders.end()


def test_clear_during_prediction_is_kept(workdir, noisy, monkeypatch):
    classifier = Classifier.load(workdir)
    stream = classifier.stream(fps=25)
    probabilities = classifier.probabilities

    def interrupted(clips):
        stream.clear()
        return probabilities(clips)

    monkeypatch.setattr(classifier, "probabilities", interrupted)
    answers = [stream.push(frame) for frame in noisy("red", 12)]
    assert any(answers)
    assert stream._smooth_K is None


@pytest.mark.parametrize("number", [{"batch_size": 0}, {"workers": -1}])
def test_predict_many_refuses_counts_below_one(classifier, videos, number):
    with pytest.raises(UserError, match="have to be at least 1"):
        next(classifier.predict_many([videos["red"]], **number))


def test_a_segment_averages_its_windows_by_time(classifier):
    windows_NK = np.array([[0.9, 0.1], [0.6, 0.4], [0.2, 0.8]])
    video = QueuedVideo(
        frames=list,
        plan=Plan([np.arange(4)] * 3, [0.0, 1.0, 1.5, 2.0], ""),
        settings=classifier.config.predict,
        times_N=np.arange(50) / 25,
        probabilities_NK=windows_NK,
        missing=0,
    )
    first, second = time_line(video, windows_NK, ("a", "b"))
    assert first == (0.0, 1.5, "a", pytest.approx(0.8))
    assert second == (1.5, 2.0, "b", pytest.approx(0.8))


def test_the_last_window_answers_for_half_of_what_it_shares(classifier):
    """Otherwise two frames at the end of a recording could be an event of their own."""
    config = classifier.config
    found = plan(np.arange(10) / 25, config.data, config.eval, Durations(0.16))
    assert [index_T.tolist() for index_T in found.indices[1:]] == [[4, 5, 6, 7], [6, 7, 8, 9]]
    assert found.bounds == pytest.approx([0, 0.16, 0.28, 0.4])
