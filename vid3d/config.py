"""The config: from a file and a command line to one `ml_collections.ConfigDict` that is checked.

Its keys are those of `schema.py`. A file in `configs/`, a preset, defines `get_config(arg)`, starts
from `default()` and overwrites fields.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from ml_collections import ConfigDict

from vid3d.checks import check, check_order, steps
from vid3d.config_file import run_file
from vid3d.errors import UserError, suggest
from vid3d.schema import BY_NAME, KEYS, RESULT_FREE, Key

__all__ = [
    "UserError",
    "apply",
    "cache_folder",
    "default",
    "differences",
    "flatten",
    "from_json",
    "load",
    "read",
    "steps",
    "suggest",
    "to_json",
    "validate",
    "validate_new",
]


def default() -> ConfigDict:
    """Every key of the schema with its default: the tutorial's recipe on a folder of videos."""
    config = ConfigDict()
    for key in KEYS:
        *path, last = key.name.split(".")
        group = config
        for name in path:
            if name not in group:
                group[name] = ConfigDict()
            group = group[name]
        group[last] = key.default
    return config.lock()


def load(spec: str, overrides: Iterable[tuple[str, str]] = ()) -> ConfigDict:
    """Loads a preset or a file, applies `(key, value)` overrides and checks the result.

    The folder above a file's own is put on the import path, so that files of a folder `configs` can
    import each other (`from configs import mine`); presets are in `vid3d.presets`.

    Args:
        spec: a preset ("videos", "ucf101:five"); or a Python file that defines `get_config()` or
            `get_config(arg)`, with the argument after a colon; or a JSON file, such as config.json
            of a workdir; or "-": JSON text from standard input.
        overrides: dotted keys and their values as text, such as `("model.features", "64,32")`.

    Raises:
        UserError: no such file, an error in it, an unknown key, a value of the wrong type or out of
            range.
    """
    if spec == "-":
        config = from_json(sys.stdin.read())
    else:
        config = read(Path(spec)) if spec.endswith(".json") else run_file(spec)
    return override(config, overrides)


def override(config: ConfigDict, overrides: Iterable[tuple[str, str]]) -> ConfigDict:
    """Applies `(key, value)` overrides to a config, and checks and returns it; see `load`."""
    for key, text in overrides:
        apply(config, key, text)
    validate_new(config)
    return config


def apply(config: ConfigDict, name: str, value: Any) -> None:
    """Sets one dotted key; text is read in the type of the key's default.

    Raises:
        UserError: the key is not in the schema (the nearest is suggested), or the value has
            another type.
    """
    if name not in BY_NAME:
        if any(key.name.startswith(f"{name}.") for key in KEYS):
            raise UserError(f"config.{name} is a group of keys, not a key: set one of its fields")
        raise UserError(f"no config key {name!r}{suggest(name, BY_NAME)}")
    assign(config, name, parse(BY_NAME[name], value) if isinstance(value, str) else value)


def assign(config: ConfigDict, name: str, value: Any) -> None:
    """Sets one dotted key of the schema.

    Raises:
        UserError: the value has another type.
    """
    *path, last = name.split(".")
    group = config
    for part in path:
        group = group[part]
    like = group[last]
    try:
        group[last] = tuple(value) if isinstance(value, list) else value
    except TypeError:
        raise UserError(f"config.{name}={value!r}: expected a value like {like!r}") from None


def parse(key: Key, text: str) -> Any:
    """Reads the text of a value in the type of a key.

    Raises:
        UserError: the text has another type.
    """
    kind = type(key.default)
    try:
        if kind is bool:
            return {"true": True, "1": True, "false": False, "0": False}[text.strip().lower()]
        if kind is tuple:
            items = [item.strip().strip("\"'") for item in text.strip().strip("()[]").split(",")]
            return tuple(key.element_type(item) for item in items if item)
        return kind(text)
    except (ValueError, KeyError):
        expected = {bool: "true or false", int: "a whole number", float: "a number"}.get(
            kind, f"values like {key.default!r}"
        )
        raise UserError(f"config.{key.name}={text}: expected {expected}") from None


def validate(config: ConfigDict) -> None:
    """Checks every value that does not need the data to be checked.

    Raises:
        UserError: names the key, the value and what is allowed.
    """
    check(flatten(config))


def validate_new(config: ConfigDict) -> None:
    """`validate`, and what earlier versions did not check, so that their workdirs still load."""
    validate(config)
    check_order(flatten(config), ("augment.crop_scale", "augment.crop_ratio"))
    if config.data.source == "synthetic" and config.data.root:
        raise UserError(
            f"config.data.root={config.data.root} is not read: data.source='synthetic' draws its "
            "videos; add --config.data.source=auto for your own"
        )


def flatten(config: ConfigDict, prefix: str = "") -> dict[str, Any]:
    """Dotted key -> value, in the order of the config; lists become tuples."""
    flat: dict[str, Any] = {}
    for name, value in config.items():
        if isinstance(value, ConfigDict):
            flat.update(flatten(value, f"{prefix}{name}."))
        else:
            flat[prefix + name] = tuple(value) if isinstance(value, list) else value
    return flat


def to_json(config: ConfigDict) -> str:
    """The config as JSON text; `from_json` is its inverse."""
    return json.dumps(config.to_dict(), indent=2) + "\n"


def from_json(text: str) -> ConfigDict:
    """The inverse of `to_json`; keys that the text lacks, as in older workdirs, get their default.

    Raises:
        UserError: not a JSON object, or a key that this version does not have.
    """
    try:
        values = json.loads(text)
    except json.JSONDecodeError as error:
        raise UserError(f"the config is not JSON: {error}") from None
    if not isinstance(values, dict):
        raise UserError("the config is not a JSON object")
    config = default()
    for key, value in walk(values):
        if key not in BY_NAME:
            raise UserError(
                f"no config key {key!r}: was the workdir written by a newer version of vid3d?"
            )
        assign(config, key, value)
    validate(config)
    return config


def read(path: Path) -> ConfigDict:
    """`from_json` of a file.

    Raises:
        UserError: see `from_json`; it names the file.
    """
    try:
        return from_json(path.read_text())
    except FileNotFoundError:
        raise UserError(f"no config file {path}") from None
    except (UserError, UnicodeDecodeError) as error:
        raise UserError(f"{path}: {error}") from None


def walk(values: dict, prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Dotted keys and values of nested dictionaries."""
    for name, value in values.items():
        if isinstance(value, dict):
            yield from walk(value, f"{prefix}{name}.")
        else:
            yield prefix + name, value


def differences(old: ConfigDict, new: ConfigDict) -> list[str]:
    """The keys, with both values, that differ and change the result of a run."""
    before, after = flatten(old), flatten(new)
    return [
        f"{key}: {before[key]!r:.100} -> {after[key]!r:.100}"
        for key in before
        if before[key] != after[key] and key not in RESULT_FREE
    ]


def cache_folder(cache_dir: str = "") -> Path:
    """`data.cache_dir` as a path.

    "" is vid3d/ in the user's cache folder (XDG_CACHE_HOME, or ~/.cache).
    """
    if cache_dir:
        return Path(cache_dir).expanduser().absolute()
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "vid3d"
