"""A config file: Python with a `get_config` and maybe a `sweep`, run with its errors told as one line."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from typing import Any

from vid3d.checks import UserError, suggest


def run_file(spec: str, function: str = "get_config", *args: Any) -> Any:
    """Calls a function of a config file, `get_config` with the argument of the spec; see `vid3d.config.load`."""
    name, _, arg = spec.partition(".py:")
    path = Path(name if name.endswith(".py") else name + ".py")
    if not path.is_file():
        near = sorted(p.name for p in path.parent.glob("*.py")) if path.parent.is_dir() else []
        raise UserError(f"no config file {path}{suggest(path.name, near)}")
    root = str(path.resolve().parent.parent)
    if root not in sys.path:
        sys.path.insert(0, root)
    module_spec = importlib.util.spec_from_file_location(f"vid3d_config_{path.stem}", path)
    module = importlib.util.module_from_spec(module_spec)
    try:
        module_spec.loader.exec_module(module)
        if not hasattr(module, function):
            raise UserError(f"{path} defines no {function}()")
        args = args or ((arg,) if arg else ())
        return getattr(module, function)(*args)
    except UserError:
        raise
    except Exception as error:
        trace = error.__traceback__
        line = 0
        while trace:
            if trace.tb_frame.f_code.co_filename == str(path):
                line = trace.tb_lineno
            trace = trace.tb_next
        reason = str(error).strip().splitlines()
        raise UserError(
            f"{path}:{line}: {reason[0] if reason else type(error).__name__}"
        ) from error
