"""What is said of the config's keys is what the code does with them."""

from __future__ import annotations

from pathlib import Path

import pytest

from vid3d import cli, models, schema, schema_text
from vid3d.models import conv3d, layers


def test_choices_are_those_of_the_networks():
    assert schema.ARCHITECTURES == models.NAMES
    assert (schema.INPUTS, schema.NORMS) == (layers.INPUTS, layers.NORMS)
    assert schema.HEADS == conv3d.HEADS


def test_each_key_has_one_row_and_a_line_of_help():
    assert len(schema.BY_NAME) == len(schema.KEYS)
    for key in schema.KEYS:
        assert 0 < len(key.help) <= 90 and "\n" not in key.help, key.name


def test_docs_list_the_schema():
    made = "make it with `vid3d config --markdown > docs/configs.md`"
    assert Path("docs/configs.md").read_text() == schema_text.markdown(), made


def test_config_prints_a_line_per_key(capsys):
    assert cli.main(["config"]) == 0
    header, *lines = capsys.readouterr().out.splitlines()
    assert header.split() == ["key", "default", "allowed", "help"]
    assert [line.split()[0] for line in lines] == [key.name for key in schema.KEYS]


def test_config_prints_the_whole_row_of_a_key(capsys):
    assert cli.main(["config", "data.stored_size"]) == 0
    assert capsys.readouterr().out == (
        "data.stored_size: (height, width) on disk; () is (size, size); larger leaves room for "
        "crops\n"
        "  default            ()\n"
        "  type               tuple of 0 or 2 int\n"
        "  allowed            tuple of 0 or 2 int\n"
        "  changes a result   yes\n"
        "  evaluate takes it  yes\n"
        "  has an effect on   all networks\n"
    )


@pytest.mark.parametrize(("group", "count"), [("live", 5), ("data.synthetic", 5)])
def test_config_prints_the_whole_rows_of_a_group(group, count, capsys):
    assert cli.main(["config", group]) == 0
    rows = capsys.readouterr().out.split("\n\n")
    assert len(rows) == count and all(row.startswith(f"{group}.") for row in rows)


def test_config_suggests_the_nearest_key(capsys):
    for name, near in (("data.num_frmes", "data.num_frames"), ("modle", "model")):
        assert cli.main(["config", name]) == 1
        error = f"vid3d config: error: no config key {name!r}; did you mean {near!r}?\n"
        assert capsys.readouterr() == ("", error)
