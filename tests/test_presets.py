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


@pytest.mark.slow
def test_the_architectures_of_the_sweep_have_equal_flops():
    runs = plan.plan("configs/sweep_architectures.py")
    flops = [summary.summarise(run.config, num_classes=5).flops for run in runs]
    assert len(flops) == 6
    assert max(flops) < 1.06 * min(flops)
    assert sum(flops) / 6 == pytest.approx(1.1e9, rel=0.03)
