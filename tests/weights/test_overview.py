"""`vid3d summary --all`: every architecture, with the numbers that its own table gives."""

from __future__ import annotations

import io

import pytest
from rich.console import Console

from vid3d import errors, models
from vid3d.weights import overview


def printed(*arguments, width: int = 200) -> list[str]:
    text = io.StringIO()
    Console(file=text, width=width).print(overview.render(*arguments, width=width))
    return text.getvalue().splitlines()


def test_line_holds_the_facts_of_an_architecture():
    lines = printed(overview.presets(("r3d_18", "c3d", "slow_r50")))
    names = ("r3d_18", "c3d", "slow_r50")
    r3d, c3d, slow = (next(x for x in lines if x.split()[:1] == [name]) for name in names)
    # Two FLOPs for each of torchvision's 40.697 G multiply-adds; the receptive fields are counted
    # by hand in test_architectures.
    assert r3d.split()[:9] == ["r3d_18", "16", "x", "112", "33.37", "M", "81.4", "109", "219"]
    assert "63.2 (5 clips, 1 crop)" in r3d
    assert c3d.split()[-3:] == ["76", "150", "-"]
    assert slow.split()[7:9] == ["19", "427"]


def test_narrow_terminals_cut_nothing():
    chosen = overview.presets(("slowfast_r50_8x8", "x3d_s"))
    for speeds in (None, {"x3d_s": (1234.0, 1234.0)}):
        lines = printed(chosen, speeds, width=80)
        assert max(map(len, lines)) <= 80 and not any("…" in line for line in lines)
        assert any("slowfast_r50_8x8" in line for line in lines)


def test_overrides_apply_to_all_architectures():
    chosen = overview.presets((), [("model.dtype", "bfloat16")])
    assert tuple(chosen) == models.NAMES
    assert {config.model.dtype for config in chosen.values()} == {"bfloat16"}
    with pytest.raises(errors.UserError, match=r"'x3d_l'.*did you mean 'x3d_"):
        overview.presets(("x3d_l",))
    with pytest.raises(errors.UserError, match="no config key"):
        overview.presets(("r3d_18",), [("model.dtyp", "bfloat16")])


@pytest.mark.slow
def test_speed_is_measured_and_printed(call):
    small = [("model.features", "2"), ("data.size", "16"), ("data.num_frames", "2")]
    overrides = (f"--config.{key}={text}" for key, text in small)
    done = call("summary", "--all=conv3d", "--speed=8", *overrides)
    assert done.stderr == "measuring conv3d on 8 cpu devices\n"
    line = next(x for x in done.stdout.splitlines() if "conv3d" in x)
    *_, train, predict, published = line.split()
    assert float(train) > 0 and float(predict) > 0 and published == "-"
    chosen = overview.presets(("conv3d",), small)
    line = next(x for x in printed(chosen, {"conv3d": (12.34, 56.78)}) if "conv3d" in x)
    assert line.split()[-3:] == ["12.3", "56.8", "-"]
