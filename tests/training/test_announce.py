"""What a training run warns of before its first step."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from vid3d import config as configs
from vid3d.training.announce import slow_statistics


@pytest.mark.parametrize(
    ("changes", "updates", "words"),
    [
        ({}, 24, "24 updates are few: at the end, batch normalisation still has 16.2% of its"),
        ({}, 24, "or set --config.model.norm_momentum=0.8"),
        ({"optim.accumulate": "4"}, 100, "25 updates are few"),
        ({}, 51, ""),
        ({"model.norm_momentum": "0.7"}, 24, ""),
        ({"model.init_from": "runs/other"}, 24, ""),
        ({"model.norm": "none"}, 24, ""),
    ],
)
def test_too_few_updates_for_running_statistics_are_said(changes, updates, words):
    """Otherwise a network that has learned answers by chance, and nothing tells why."""
    config = configs.load("videos", list(changes.items()))
    has_statistics = config.model.norm == "batch"
    setup = SimpleNamespace(config=config, classes=("a", "b"), last_step=updates)
    state = SimpleNamespace(batch_stats={"norm": 0} if has_statistics else {})
    said = slow_statistics(setup, SimpleNamespace(state=state))
    assert words in said and bool(words) == bool(said)
