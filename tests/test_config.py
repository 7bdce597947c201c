"""A typo in a config or an override is an error, and never trains something else."""

from __future__ import annotations

import functools
import math
import re
from fractions import Fraction
from pathlib import Path

import pytest
from hypothesis import given, strategies as st

from vid3d import config as configs
from vid3d.errors import UserError

CONFIGS = sorted(Path("configs").glob("*.py"))


def write(tmp_path: Path, body: str) -> str:
    path = tmp_path / "configs" / "mine.py"
    path.parent.mkdir(exist_ok=True)
    path.write_text(
        "from vid3d.config import default\n\ndef get_config(arg=''):\n    c = default()\n" + body
    )
    return str(path)


def test_defaults_are_valid_and_the_tutorials():
    c = configs.default()
    configs.validate(c)
    assert c.model.features == (128, 64, 32, 32, 32)
    assert (c.data.num_frames, c.data.size, c.data.sampling) == (10, 224, "first")
    assert (c.train.batch_size, c.train.epochs, c.optim.name) == (8, 100, "adam")


@pytest.mark.parametrize("path", CONFIGS, ids=lambda p: p.stem)
def test_every_shipped_config_loads(path):
    configs.load(str(path))


@pytest.mark.parametrize(
    "preset",
    ["demo.py:smoke", "demo.py:baseline", "videos.py:tutorial", "ucf101.py:tutorial",
     "ucf101.py:four", "ucf101.py:five", "ucf101.py:all", "ucf101.py:split2", "ucf101.py:split3"],
)  # fmt: skip
def test_every_shipped_preset_loads(preset):
    configs.load(f"configs/{preset}")


@pytest.mark.parametrize(
    ("key", "text", "value"),
    [
        ("model.features", "64,32", (64, 32)),
        ("model.features", "(64,)", (64,)),
        ("data.classes", "YoYo, HulaHoop", ("YoYo", "HulaHoop")),
        ("optim.learning_rate", "3e-4", 3e-4),
        ("optim.learning_rate", "1", 1.0),
        ("data.validate_on_test", "true", True),
        ("data.validate_on_test", "False", False),
        ("data.root", "/a b/ü", "/a b/ü"),
        ("train.profile_steps", "3,5", (3, 5)),
    ],
)
def test_overrides_take_the_type_of_the_default(key, text, value):
    c = configs.default()
    configs.apply(c, key, text)
    found = configs.flatten(c)[key]
    assert found == value
    assert type(found) is type(value)


@pytest.mark.parametrize(
    ("override", "words"),
    [
        (("model.featurs", "1"), "'model.features'"),
        (("modle.features", "1"), "'model.features'"),
        (("model", "1"), "group of keys"),
        (("train.batch_size", "8.5"), "whole number"),
        (("data.validate_on_test", "maybe"), "true or false"),
        (("model.kernel", "3,3"), "length 2, expected 3"),
        (("model.features", ""), "is empty"),
        (("data.protocol", "group"), "did you mean 'grouped'"),
        (("model.name", "r3d18"), "did you mean 'r3d_18'"),
        (("data.val_fraction", "1.0"), "from 0 to 1"),
        (("optim.warmup", "two epochs"), "is not a duration"),
        (("checkpoint.every", "0 steps"), "above 0"),
        (("data.group_pattern", "("), "regular expression"),
        (("data.stored_size", "100,100"), "smaller than data.size"),
        (("data.mean", "nan"), "expected a tuple"),
        (("live.window", "-3"), "at least 0"),
        (("data.test_fold", "-5"), "at least -1"),
        (("data.val_fold", "-2"), "at least -1"),
        (("train.profile_steps", "5,2"), "ends before it begins"),
        (("augment.crop_scale", "1,0.5"), "ends before it begins"),
        (("augment.crop_ratio", "1.3,0.7"), "ends before it begins"),
        (("eval.views", "1001"), "from 1 to 1000"),
        (("augment.crop", "random"), "no room to move in"),
        (("train.epochs", "0"), "at least 1"),
        (("optim.learning_rate", "nan"), "expected a number"),
        (("data.std", "0"), "above 0"),
        (("data.mean", "0.4,0.5"), "length 2, expected 1 or 3"),
    ],
)
def test_a_wrong_override_is_one_clear_line(tmp_path, override, words):
    spec = write(tmp_path, "    return c\n")
    with pytest.raises(UserError) as error:
        configs.load(spec, [override])
    assert words in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (
            "    c.data.num_frams = 3\n    return c\n",
            "mine.py:5: no config key 'num_frams'; did you mean 'num_frames'?",
        ),
        (
            "    c.modle.features = (1,)\n    return c\n",
            "mine.py:5: no config key 'modle'; did you mean 'model'?",
        ),
        ("    c['nothing_like_it'] = 3\n", "mine.py:5: no config key 'nothing_like_it'"),
        ("    c.seed = = 3\n", "mine.py:5: invalid syntax"),
        ("    c.train.epochs = 'many'\n    return c\n", "mine.py:5"),
        ("    import nothing_of_this_name\n", "nothing_of_this_name"),
        ("    with c.unlocked():\n        c.sede = 3\n    return c\n",
         "no config key 'sede'; did you mean 'seed'?"),
        ("    with c.unlocked():\n        del c.seed\n    return c\n",
         "config.seed is missing: start from vid3d.config.default()"),
        ("    return 1 / 0\n", "mine.py:5: division by zero"),
        ("    c.seed = 3\n",
         "mine.py: get_config() returns None, not a config: end it in `return c`"),
    ],
)  # fmt: skip
def test_an_error_in_a_config_file_names_its_line(tmp_path, monkeypatch, body, words):
    path = write(tmp_path, body)
    monkeypatch.chdir(tmp_path)
    for spec in (path, "configs/mine.py:arg"):
        with pytest.raises(UserError) as error:
            configs.load(spec)
        assert words in str(error.value)
        assert len(str(error.value)) < len(path) + 200


def test_a_missing_config_file_suggests_the_nearest():
    with pytest.raises(UserError, match=r"did you mean 'demo\.py'"):
        configs.load("configs/dem.py")


def test_three_means_for_one_channel_are_refused(tmp_path):
    spec = write(tmp_path, "    c.data.color = 'gray'\n    return c\n")
    with pytest.raises(UserError, match="1 channels"):
        configs.load(spec, [("data.mean", "0.4,0.4,0.4")])


def test_an_unknown_preset_is_named():
    with pytest.raises(UserError, match="no preset 'smok'"):
        configs.load("configs/demo.py:smok")


def test_presets_can_import_each_other(tmp_path):
    write(tmp_path, "    c.seed = 7\n    return c\n")
    other = tmp_path / "configs" / "other.py"
    other.write_text(
        "from configs import mine\n\ndef get_config():\n    return mine.get_config()\n"
    )
    import sys

    before = sys.path.copy()
    sys.modules.pop("configs", None)
    try:
        sys.path.insert(0, str(tmp_path))
        assert configs.load(str(other)).seed == 7
    finally:
        sys.path[:] = before
        sys.modules.pop("configs", None)


def test_json_round_trip_keeps_values_and_types():
    c = configs.load("configs/ucf101.py:all", [("optim.learning_rate", "0.1")])
    again = configs.from_json(configs.to_json(c))
    assert configs.flatten(again) == configs.flatten(c)
    assert [type(v) for v in configs.flatten(again).values()] == [
        type(v) for v in configs.flatten(c).values()
    ]


def test_older_configs_get_defaults_and_newer_ones_are_refused():
    assert configs.from_json('{"seed": 3}').train.epochs == 100
    # A range the wrong way round is an error in a new training alone.
    text = '{"augment": {"crop_scale": [1.0, 0.5]}}'
    assert configs.from_json(text).augment.crop_scale == (1.0, 0.5)
    with pytest.raises(UserError, match="newer version"):
        configs.from_json('{"model": {"quantum": 1}}')
    with pytest.raises(UserError, match="not JSON"):
        configs.from_json('{"seed": 3')
    with pytest.raises(UserError, match="not a JSON object"):
        configs.from_json("[3]")
    with pytest.raises(UserError, match=r"config\.seed=True: expected int, like 0"):
        configs.from_json('{"seed": true}')


def values_like(default: object) -> st.SearchStrategy:
    """Values of the type that a key has."""
    if isinstance(default, tuple):
        elements = [values_like(element) for element in default] or [values_like("")]
        return st.lists(st.one_of(elements), max_size=6).map(tuple)
    return {
        bool: st.booleans(),
        int: st.integers(-(2**53), 2**53),
        float: st.floats(allow_nan=False),
        str: st.text(st.characters(exclude_categories=("Cs",))),
    }[type(default)]


@given(st.data())
def test_any_value_survives_json_or_is_refused_alike(data):
    c = configs.default()
    key, default = data.draw(st.sampled_from(list(configs.flatten(c).items())))
    *groups, name = key.split(".")
    functools.reduce(getattr, groups, c)[name] = data.draw(values_like(default))
    text = configs.to_json(c)
    try:
        configs.validate(c)
    except UserError as error:
        with pytest.raises(UserError, match=re.escape(str(error))):
            configs.from_json(text)
    else:
        again = configs.flatten(configs.from_json(text))
        assert again == configs.flatten(c)
        assert type(again[key]) is type(default)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("1 epoch", 25),
        ("0.5 epochs", 13),
        ("0.28 epochs", 7),  # 0.28 * 25 is a little more than 7 in floating point
        ("500 steps", 500),
        ("1step", 1),
        ("80 examples", 10),
        ("81 examples", 11),
    ],
)
def test_durations_become_steps(text, expected):
    assert configs.steps(text, steps_per_epoch=25, batch_size=8) == expected


@given(
    number=st.integers(0, 10_000),
    hundredths=st.integers(0, 99),
    per_epoch=st.integers(1, 1000),
    batch_size=st.integers(1, 512),
)
def test_durations_are_rounded_up_to_steps(number, hundredths, per_epoch, batch_size):
    def steps(text):
        return configs.steps(text, steps_per_epoch=per_epoch, batch_size=batch_size)

    assert steps(f"{number} steps") == number
    epochs = Fraction(100 * number + hundredths, 100)
    assert steps(f"{number}.{hundredths:02d} epochs") == math.ceil(epochs * per_epoch)
    assert steps(f"{number} examples") == math.ceil(Fraction(number, batch_size))


def test_differences_name_only_keys_that_change_a_result():
    a, b = configs.default(), configs.default()
    b.optim.learning_rate = 0.1
    b.data.root, b.checkpoint.every, b.eval.batch_size = "/moved", "3 steps", 4
    assert configs.differences(a, b) == ["optim.learning_rate: 0.001 -> 0.1"]


@pytest.mark.parametrize("stored", ["20,40", "40,20"])
def test_both_sides_are_stored_at_least_as_large_as_the_networks(stored):
    keys = [("data.size", "32"), ("data.stored_size", stored)]
    with pytest.raises(UserError, match=r"is smaller than data\.size=32"):
        configs.load("configs/videos.py", keys)


def test_a_folder_beside_drawn_videos_is_refused():
    """A sweep over one's own videos would train on the embedded ones."""
    with pytest.raises(UserError, match=r"config\.data\.root=clips is not read: .*source=auto"):
        configs.load("sweep_search", [("data.root", "clips")])
    configs.load("sweep_search", [("data.root", "clips"), ("data.source", "auto")])
