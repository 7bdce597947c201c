"""Probabilities are made true by the validation videos, in the same way wherever they are shown."""

from __future__ import annotations

import json

import numpy as np
import pytest

import vid3d
from vid3d import checkpoint
from vid3d.checkpoint.temperature import divide_logits, temperature_of
from vid3d.evaluation import calibration, temperature
from vid3d.evaluation.predictions import Predictions, log_softmax
from vid3d.inference.classifier import Classifier


def answers(logits_NK: np.ndarray, labels_N: np.ndarray) -> Predictions:
    """Those of videos with one clip each."""
    rows = [row_K[None] for row_K in log_softmax(logits_NK)]
    return Predictions.of(rows, [np.ones(1)] * len(rows), labels_N)


def overconfident(count: int, factor: float, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Logits that are `factor` times as large as they should be, and labels."""
    rng = np.random.default_rng(seed)
    true_NK = rng.normal(0, 2, (count, 5))
    labels = [rng.choice(5, p=np.exp(row_K)) for row_K in log_softmax(true_NK)]
    return factor * true_NK, np.array(labels)


def test_temperature_equals_that_of_scikit_learn():
    frozen = pytest.importorskip("sklearn.frozen", reason="scikit-learn before 1.6")
    from sklearn.base import BaseEstimator, ClassifierMixin
    from sklearn.calibration import CalibratedClassifierCV

    class Network(ClassifierMixin, BaseEstimator):
        classes_ = np.arange(5)

        def fit(self, X, y):  # scikit-learn's names
            raise AssertionError

        def decision_function(self, X):
            return X

        def predict(self, X):
            return X.argmax(axis=1)

        def __sklearn_is_fitted__(self):
            return True

    logits_NK, labels_N = overconfident(4000, factor=3)
    found = temperature.fit(answers(logits_NK, labels_N))
    try:
        theirs = CalibratedClassifierCV(frozen.FrozenEstimator(Network()), method="temperature")
        theirs.fit(logits_NK, labels_N)
    except ValueError:
        pytest.skip("this scikit-learn has no temperature scaling")
    (one,) = theirs.calibrated_classifiers_
    assert found == pytest.approx(1 / one.calibrators[0].beta_, rel=0.01)
    assert found == pytest.approx(3, rel=0.1)


def test_overconfident_answers_become_true_and_stay_the_same_answers():
    raw = answers(*overconfident(3000, factor=4))
    fitted = raw.divided_by(temperature.fit(answers(*overconfident(3000, factor=4, seed=1))))
    groups = [str(i) for i in range(3000)]
    before, after = (
        calibration.summarise(p.probabilities_NK, p.labels_N, groups) for p in (raw, fitted)
    )
    assert before["expected_calibration_error"] > 0.2 > 0.03 > after["expected_calibration_error"]
    assert after["brier_score"] < before["brier_score"]
    assert fitted.loss() < raw.loss() and fitted.accuracy() == raw.accuracy()


@pytest.mark.parametrize(("videos", "classes"), [(9, 5), (60, 2)])
def test_few_videos_that_are_all_right_do_not_make_answers_certain(videos, classes):
    labels_N = np.arange(videos) % classes
    raw = answers(30 * np.eye(classes)[labels_N], labels_N)
    probability = raw.divided_by(temperature.fit(raw)).probabilities_NK.max()
    assert probability == pytest.approx(1 - (classes - 1) / classes / (videos + 1), abs=1e-3)


def test_several_clips_of_a_video_count_as_in_its_answer():
    """The fitted temperature is the best of many for the loss that an evaluation prints."""
    rng = np.random.default_rng(0)
    rows = [log_softmax(rng.normal(0, 3, (n, 4))) for n in rng.integers(1, 6, 200)]
    weights = [w / w.sum() for w in (rng.random(len(row)) + 0.1 for row in rows)]
    raw = Predictions.of(rows, weights, rng.integers(0, 4, 200))
    best = temperature.fit(raw)

    def loss(value: float) -> float:
        p = raw.divided_by(value)
        return p.loss() - float(np.log(p.probabilities_NK).mean()) / 200

    tried = np.geomspace(0.5, 50, 120)
    assert loss(best) <= min(map(loss, tried)) + 1e-5


@pytest.fixture(scope="module")
def fitted(smoke_run) -> float:
    meta = smoke_run_meta(smoke_run)
    return temperature_of(meta, vid3d.Workdir(smoke_run).config())


def smoke_run_meta(workdir) -> dict:
    return vid3d.Workdir(workdir).meta(checkpoint.resolve(workdir))


def test_a_training_run_fits_it_and_every_answer_has_it(smoke_run, fitted, call):
    """Evaluation, prediction and the exported description; `model.temperature=1` turns it off."""
    assert fitted != 1 and fitted == smoke_run_meta(smoke_run)["metrics"]["temperature"]
    figures = json.loads(call("evaluate", f"--workdir={smoke_run}", "--json").stdout)
    off = json.loads(
        call("evaluate", f"--workdir={smoke_run}", "--config.model.temperature=1", "--json").stdout
    )
    found, before = figures["calibration"], figures["calibration"]["before"]
    assert (found["temperature"], off["calibration"]["temperature"]) == (fitted, 1)
    assert found["fitted_on"] and off["calibration"]["fitted_on"] is None
    assert off["calibration"]["before"] is None and off["accuracy"] == figures["accuracy"]
    for name in ("expected_calibration_error", "brier_score"):
        assert before[name] == pytest.approx(off["calibration"][name], abs=1e-4)
        assert before[name] != found[name]

    plain, meta = checkpoint.restore_weights(smoke_run, checkpoint.resolve(smoke_run))
    classifier = vid3d.load(smoke_run)
    config = classifier.config
    raw = Classifier(plain, config, classes=meta["classes"])
    shape = (4, config.data.num_frames, config.data.size, config.data.size, 3)
    clips = np.random.default_rng(0).integers(0, 256, shape, np.uint8)
    expected = np.exp(log_softmax(np.log(raw.probabilities(clips)) / fitted))
    np.testing.assert_allclose(classifier.probabilities(clips), expected, atol=1e-5)


def test_checkpoints_without_a_fitted_temperature_answer_as_before(smoke_run):
    """Those of earlier versions, and imported weights."""
    config = vid3d.Workdir(smoke_run).config()
    for metrics in (None, {}, {"accuracy": 1.0, "loss": 0.1}):
        assert temperature_of({"metrics": metrics}, config) == 1
    weights = {"params": {"classes": {"kernel": np.ones((2, 2))}}}
    assert divide_logits(weights, 1.0) is weights


def test_test_videos_never_fit_it(call, tmp_path):
    """Not even where they validate, as in the tutorial."""
    workdir = tmp_path / "run"
    call(
        "train", "--config=configs/demo.py:smoke", f"--workdir={workdir}",
        "--config.data.validate_on_test=True", "--config.train.epochs=1",
        "--config.model.features=4",
    )  # fmt: skip
    assert "temperature" not in smoke_run_meta(workdir)["metrics"]
