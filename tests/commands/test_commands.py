"""Every command is found, explains itself, and names what is wrong with its arguments."""

from __future__ import annotations

import pytest

from vid3d import cli
from vid3d.commands import COMMANDS


def test_help_lists_every_command(capsys):
    with pytest.raises(SystemExit) as ended:
        cli.main(["--help"])
    printed = capsys.readouterr().out
    assert ended.value.code == 0
    for name, command in COMMANDS.items():
        assert f"    {name}" in printed and command.HELP.split(";")[0][:30] in printed


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_has_its_own_help(name, capsys):
    with pytest.raises(SystemExit) as ended:
        cli.main([name, "--help"])
    printed = capsys.readouterr().out
    assert ended.value.code == 0 and printed.startswith(f"usage: vid3d {name} ")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["predict", "--workdir=w", "x.mp4", "--jsn"], "unrecognized arguments: --jsn"),
        (["predict", "--workdir=", "x.mp4"], "it is empty: is a variable unset?"),
        (["compare", "runs", "--config.seed=1"], "vid3d compare takes no --config.seed"),
        (["train", "--workdir=w", "--config=x.py", "--config.seed"], "--config.seed needs a value"),
        (["sweep", "--workdir=w"], "the following arguments are required: --config"),
        (["train", "--workdir=w"], "one of the arguments --config --like is required"),
        (["train", "--workdir=w", "--config=x.py", "--like=v"], "--like: not allowed with"),
    ],
)
def test_wrong_arguments_are_a_usage_error_of_the_command(arguments, words, capsys):
    with pytest.raises(SystemExit) as ended:
        cli.main(arguments)
    printed = capsys.readouterr().err
    assert ended.value.code == 2 and printed.startswith(f"usage: vid3d {arguments[0]} ")
    assert words in printed
