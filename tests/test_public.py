"""The names that a notebook uses: all there, documented, and loaded when they are used."""

from __future__ import annotations

import inspect
import subprocess
import sys
from importlib import resources

import pytest

import vid3d
from vid3d.errors import UserError

PUBLIC = [
    "Classifier", "Prediction", "UserError", "Workdir",
    "config", "evaluate", "load", "stretch", "train",
]  # fmt: skip


@pytest.mark.parametrize("name", PUBLIC)
def test_public_names_are_documented_and_listed(name):
    assert inspect.getdoc(getattr(vid3d, name))
    assert name in dir(vid3d) and name in vid3d.__all__


def test_public_names_are_the_ones_inside():
    from vid3d.evaluation.evaluate import evaluate
    from vid3d.inference.classifier import Classifier
    from vid3d.training.loop import train

    assert (vid3d.train, vid3d.evaluate, vid3d.Classifier) == (train, evaluate, Classifier)
    assert vid3d.UserError is UserError


def test_an_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="module 'vid3d' has no attribute 'trian'"):
        vid3d.trian  # noqa: B018


def test_a_config_needs_only_import_vid3d():
    code = "import vid3d; print(vid3d.config.default().train.epochs)"
    done = subprocess.run([sys.executable, "-c", code], text=True, capture_output=True, check=True)
    assert done.stdout == "100\n"


def test_loading_no_workdir_is_a_user_error(tmp_path):
    with pytest.raises(vid3d.UserError, match="nowhere"):
        vid3d.load(tmp_path / "nowhere")


def test_the_package_says_that_it_has_types():
    assert resources.files(vid3d).joinpath("py.typed").is_file()
