"""Messages stay one readable line, whatever they quote."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from vid3d.errors import UserError
from vid3d.text import first_few, quote, shorten
from vid3d.weights.published import MisfitError


def test_only_long_texts_are_cut():
    assert shorten("a" * 100) == "a" * 100
    assert shorten("a" * 101) == "a" * 97 + "..."
    assert quote("a\tb") == r"'a\tb'"


def test_many_names_are_counted():
    assert first_few("abc") == "a, b, c"
    assert first_few(range(400)) == "0, 1, 2, 3, 4, 5, 6, 7, 8, 9 and 390 more"


def test_an_error_keeps_its_beginning_and_its_end():
    text = str(UserError(f"no file {'x' * 10_000}: call it y"))
    assert len(text) <= 2000
    assert text.startswith("no file x") and text.endswith("x: call it y")


def test_tensors_that_do_not_fit_are_all_named():
    names = [f"layer{k}.weight" for k in range(1000)]
    assert all(name in str(MisfitError("misfit", {"missing": names})) for name in names)


@pytest.mark.parametrize("name", ["x.json", "x.csv", "x.mp4"])
def test_a_root_that_is_not_a_manifest_is_quoted_in_a_line(name, tmp_path: Path, call):
    rows = [{"path": f"{k}.mp4", "label": "a", "place": k} for k in range(15_000)]
    (tmp_path / name).write_text(json.dumps(rows))
    said = call(
        "doctor", "--config=configs/videos.py", f"--config.data.root={tmp_path / name}", check=1
    ).stderr
    assert len(said.splitlines()) == 1 and len(said) < 500
    assert str(tmp_path / name) in said
    assert ("is a video" in said) == (name == "x.mp4")
    assert ('[{"path": "0.mp4"' in said) == (name != "x.mp4")
