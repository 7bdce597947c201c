"""Runs a config file: Python with a `get_config` and maybe a `sweep`; its errors are one line.

`vid3d/presets` is a link to `configs/`, and a folder of its own where vid3d is installed.
"""

from __future__ import annotations

import importlib.util
import os
import re
import sys
from pathlib import Path
from typing import Any

from ml_collections import ConfigDict

from vid3d.errors import UserError, suggest

PRESETS = Path(__file__).parent / "presets"
SPEC = re.compile(r"(?:(?P<file>.+?)\.py|(?P<name>[^:]+))(?::(?P<arg>.*))?")


def run_file(spec: str, function: str = "get_config", *args: Any) -> Any:
    """Calls a function of a config file, `get_config` with the argument of the spec.

    See `vid3d.config.load`.

    Raises:
        UserError: no such file, preset or function, or an error in it.
    """
    path, arg = locate(spec)
    is_preset = path.parent == PRESETS
    where = f"preset {path.stem}" if is_preset else str(path)
    root = str(path.resolve().parent.parent)
    if not is_preset and root not in sys.path:
        sys.path.insert(0, root)
    module_spec = importlib.util.spec_from_file_location(f"vid3d_config_{path.stem}", path)
    assert module_spec is not None and module_spec.loader is not None  # of a name in .py
    module = importlib.util.module_from_spec(module_spec)
    try:
        module_spec.loader.exec_module(module)
        if not hasattr(module, function):
            raise UserError(f"{where} defines no {function}()")
        args = args or ((arg,) if arg else ())
        found = getattr(module, function)(*args)
        if function == "get_config" and not isinstance(found, ConfigDict):
            raise UserError(
                f"{where}: get_config() returns {found!r:.40}, not a config: end it in `return c`"
            )
        return found
    except UserError:
        raise
    except Exception as error:
        raise UserError(f"{where}:{line_of(error, path)} {reason_of(error)}") from error


def locate(spec: str) -> tuple[Path, str]:
    """The file of NAME, FILE.py or folder/FILE, and the argument after a colon or "".

    A NAME without folder and suffix is that of a file here, otherwise that of a preset.

    Raises:
        UserError: there is no such file or preset.
    """
    match = SPEC.fullmatch(spec)
    if not match:
        raise UserError(f"--config={spec}: name a preset or a file")
    path, arg = Path(f"{match['file'] or match['name']}.py"), match["arg"] or ""
    if path.is_file():
        return path, arg
    presets = sorted(preset.stem for preset in PRESETS.glob("*.py"))
    if match["file"] or os.path.dirname(match["name"]):
        near = sorted(p.name for p in path.parent.glob("*.py")) if path.parent.is_dir() else []
        hint = suggest(path.name, near)
        if not hint and path.stem in presets:
            hint = f"; the preset of this name is --config={path.stem}"
        raise UserError(f"no config file {path}{hint}")
    if path.stem not in presets:
        raise UserError(
            f"no preset {path.stem!r}{suggest(path.stem, presets)} (there are "
            f"{', '.join(presets)}; a file is written as {path})"
        )
    return PRESETS / path, arg


def line_of(error: Exception, path: Path) -> str:
    """The line of a file in which it failed, such as "5:"; empty where that is unknown."""
    name = os.path.abspath(path)
    if isinstance(error, SyntaxError) and os.path.abspath(error.filename or "") == name:
        return f"{error.lineno}:"
    trace, line = error.__traceback__, ""
    while trace:
        if os.path.abspath(trace.tb_frame.f_code.co_filename) == name:
            line = f"{trace.tb_lineno}:"
        trace = trace.tb_next
    return line


def reason_of(error: Exception) -> str:
    """What an error says, in one short line: ml_collections lists all keys where one is unknown."""
    text = str(error)
    missing = re.search(r'Key "(\w+)" does not exist', text)
    near = re.search(r'Did you mean "(\w+)" instead of "(\w+)"', text)
    if near:
        return f"no config key {near[2]!r}{suggest(near[2], [near[1]])}"
    if missing:
        return f"no config key {missing[1]!r}"
    return (text.strip() or type(error).__name__).splitlines()[0]
