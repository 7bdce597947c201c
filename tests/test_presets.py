"""Presets for published weights and strong recipes load, fit their network, and refuse typos."""

from __future__ import annotations

import pytest

from vid3d import config as configs, errors, models
from vid3d.models import summary
from vid3d.sweep import plan
from vid3d.video.clips import evaluation_sampling
from vid3d.weights import zoo


@pytest.mark.parametrize("name", zoo.ENTRIES)
def test_every_architecture_can_be_transferred_and_trained_from_scratch(name):
    for spec in (f"transfer.py:{name}", f"transfer.py:{name},probe", f"strong.py:{name}"):
        config = configs.load(f"configs/{spec}")
        assert config.model.name == name
        assert dict(zoo.ENTRIES[name].data).items() <= configs.flatten(config.data).items()
        models.build(config.model, 5)


def test_presets_set_what_they_are_for():
    assert configs.load("configs/transfer.py:r3d_18").optim.backbone_rate == 0.1
    assert configs.load("configs/transfer.py:r3d_18,probe").optim.backbone_rate == 0
    for name in ("r3d_18", "x3d_s", "demo"):  # the probe sees the clips of evaluation
        probe = configs.load(f"configs/transfer.py:{name},probe")
        assert (probe.augment.crop, probe.augment.flip) == ("none", "off")
        assert probe.data.sampling == evaluation_sampling(probe.data, probe.eval.views)
    strong = configs.load("configs/strong.py:videos,weights")
    assert strong.optim.class_weights == "balanced" and not strong.train.balance_classes
    assert configs.load("configs/strong.py:demo,sampling").train.balance_classes
    for spec, words in (
        ("transfer.py:r3d_18,prob", "after the name comes"),
        ("strong.py:videos,weight", "after the name comes"),
        ("transfer.py:r3d_50", "no preset for 'r3d_50'"),
    ):
        with pytest.raises(errors.UserError, match=words):
            configs.load(f"configs/{spec}")


def test_a_name_is_a_preset_in_any_folder_and_a_path_stays_a_path(tmp_path, monkeypatch):
    by_path = {
        spec: configs.load(f"configs/{spec}")
        for spec in ("videos.py:tutorial", "demo.py", "ucf101.py:five", "transfer.py:r3d_18,probe")
    }
    runs = [run.config for run in plan.plan("configs/sweep_depth_width.py")]
    (tmp_path / "mine").mkdir()
    for name in ("mine/own.py", "strong.py"):
        text = "from vid3d.presets import demo\n\ndef get_config(arg=''):\n    "
        (tmp_path / name).write_text(text + "return demo.get_config(arg)\n")
    monkeypatch.chdir(tmp_path)
    for spec, config in by_path.items():
        assert configs.load(spec.replace(".py", "")).to_dict() == config.to_dict()
    assert [run.config.to_dict() for run in plan.plan("sweep_depth_width")] == [
        config.to_dict() for config in runs
    ]
    smoke = configs.load("demo:smoke").to_dict()
    for spec in ("mine/own.py:smoke", "mine/own:smoke", "strong.py:smoke", "strong:smoke"):
        assert configs.load(spec).to_dict() == smoke


@pytest.mark.parametrize(
    ("spec", "words"),
    [
        ("vidoes", "no preset 'vidoes'; did you mean 'videos'? (there are demo, strong, "),
        ("./demo", "no config file demo.py; the preset of this name is --config=demo"),
        ("configs/videos.py:tutorial", "the preset of this name is --config=videos"),
        ("demo:smok", "demo has no preset 'smok': there is smoke, baseline, untrimmed and "),
        ("", "name a preset or a file"),
    ],
)
def test_a_wrong_name_is_one_line_that_helps(spec, words, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(errors.UserError) as raised:
        configs.load(spec)
    assert words in str(raised.value) and "\n" not in str(raised.value)


@pytest.mark.slow
def test_the_architectures_of_the_sweep_have_equal_flops():
    runs = plan.plan("configs/sweep_architectures.py")
    flops = [summary.summarise(run.config, num_classes=5).flops for run in runs]
    assert len(flops) == 6
    assert max(flops) < 1.06 * min(flops)
    assert sum(flops) / 6 == pytest.approx(1.1e9, rel=0.03)
