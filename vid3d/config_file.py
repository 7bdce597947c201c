"""Runs a config file: Python with a `get_config` and maybe a `sweep`; its errors are one line."""

from __future__ import annotations

import importlib.util
import os
import re
import sys
from pathlib import Path
from typing import Any

from ml_collections import ConfigDict

from vid3d.errors import UserError, suggest


def run_file(spec: str, function: str = "get_config", *args: Any) -> Any:
    """Calls a function of a config file, `get_config` with the argument of the spec.

    See `vid3d.config.load`.

    Raises:
        UserError: no such file or function, or an error in it.
    """
    name, _, arg = spec.partition(".py:")
    path = Path(name if name.endswith(".py") else name + ".py")
    if not path.is_file():
        near = sorted(p.name for p in path.parent.glob("*.py")) if path.parent.is_dir() else []
        raise UserError(f"no config file {path}{suggest(path.name, near)}")
    root = str(path.resolve().parent.parent)
    if root not in sys.path:
        sys.path.insert(0, root)
    module_spec = importlib.util.spec_from_file_location(f"vid3d_config_{path.stem}", path)
    assert module_spec is not None and module_spec.loader is not None  # of a name in .py
    module = importlib.util.module_from_spec(module_spec)
    try:
        module_spec.loader.exec_module(module)
        if not hasattr(module, function):
            raise UserError(f"{path} defines no {function}()")
        args = args or ((arg,) if arg else ())
        found = getattr(module, function)(*args)
        if function == "get_config" and not isinstance(found, ConfigDict):
            raise UserError(
                f"{path}: get_config() returns {found!r:.40}, not a config: end it in `return c`"
            )
        return found
    except UserError:
        raise
    except Exception as error:
        raise UserError(f"{path}:{line_of(error, path)} {reason_of(error)}") from error


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
