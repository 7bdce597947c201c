"""Manifests with other separators, encodings and column names; notes on what is not read."""

from __future__ import annotations

import codecs
from pathlib import Path

import pytest

from vid3d.datasets import manifest
from vid3d.datasets.videos import ListedVideo
from vid3d.errors import UserError

ROWS = [("1.mp4", "walk", "training"), ("2.mp4", "run", "Dev"), ("3.mp4", "run", "holdout")]


@pytest.fixture
def read(tmp_path: Path):
    """`read(text)`: the listing of a manifest beside three videos."""
    for k in (1, 2, 3):
        (tmp_path / f"{k}.mp4").touch()

    def read(content: str | bytes):
        path = tmp_path / "list.csv"
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return manifest.listing(path)

    return read


def table(separator: str, header: tuple[str, ...] = ("path", "label", "split")) -> str:
    return "\r\n".join(separator.join(row) for row in (header, *ROWS)) + "\r\n"


@pytest.mark.parametrize(
    ("separator", "name"), [(";", "semicolons"), ("\t", "tabs"), ("|", "bars"), (" ", "blanks")]
)
def test_other_separators_are_recognised_and_noted(read, separator, name):
    listed = read(table(separator))
    assert [(v.path, v.label, v.split) for v in listed.videos] == [
        ("1.mp4", "walk", "train"),
        ("2.mp4", "run", "val"),
        ("3.mp4", "run", "test"),
    ]
    assert f"the fields of the manifest are separated by {name}" in listed.notes


def test_unusual_split_names_are_noted(read):
    assert (
        "the splits of the manifest by their names: 'training' is train, 'Dev' is val, 'holdout' "
        "is test" in read(table(",")).notes
    )
    assert read("path,label,split\n1.mp4,a,train\n2.mp4,b,val\n3.mp4,b,Test\n").notes == ()


def test_excel_sep_line_names_the_separator(read):
    listed = read("sep=;\n" + table(";"))
    assert len(listed.videos) == 3
    with pytest.raises(UserError, match=r"line 3: the label is empty: '1.mp4;'"):
        read("sep=;\npath;label\n1.mp4;\n")


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "utf-32"])
def test_byte_order_mark_tells_the_encoding(read, encoding):
    listed = read("path\tlabel\n1.mp4\tgehen\n2.mp4\thüpfen\n".encode(encoding))
    assert [v.label for v in listed.videos] == ["gehen", "hüpfen"]


def test_broken_encoding_is_named(read):
    with pytest.raises(UserError, match="cannot be read as UTF-16"):
        read(codecs.BOM_UTF16_LE + b"p\0a\0\x00\xd8")
    with pytest.raises(UserError, match="line 1: it has a NUL byte; a CSV in UTF-16"):
        read("path,label\n1.mp4,a\n".encode("utf-16-le"))


@pytest.mark.parametrize(
    ("column", "known"),
    [
        *(("subset", "split"), ("set", "split"), ("Partition", "split"), ("data_split", "split")),
        *(("is_test", "split"), ("train", "split"), ("spilt", "split"), ("usage", "split")),
        *(("groups", "group"), ("source", "group"), ("subject_id", "group"), ("grop", "group")),
        *(("folds", "fold"), ("cv_fold", "fold")),
    ],
)
def test_misnamed_optional_column_is_refused(read, column, known):
    with pytest.raises(
        UserError, match=rf"line 1: the column '{column.lower()}' is not known: call it '{known}'"
    ):
        read(f"path,label,{column}\n1.mp4,a,x\n")
    listed = read(f"path,label,{known},{column}\n1.mp4,a,{'train' if known == 'split' else 1},x\n")
    assert listed.notes == (f"columns of the manifest that are not read: '{column.lower()}'",)


@pytest.mark.parametrize(
    ("header", "words"),
    [
        ("path,class", "no column 'label'; is it 'class'?"),
        ("path,lable", "no column 'label'; is it 'lable'?"),
        ("filename,label", "no column 'path'; is it 'filename'?"),
        ("path,label,Label", "there are 2 columns 'label'"),
        ("path,label,split,split", "there are 2 columns 'split'"),
        ("filename,class,stop", "'stop' may say where"),
        ("filename,class,stop", "is it 'filename'? Then call it 'path'; no column 'label'"),
    ],
)
def test_missing_or_double_columns_are_named(read, header, words):
    with pytest.raises(UserError) as error:
        read(f"{header}\n1.mp4,a,b,c\n")
    assert words in str(error.value)


@pytest.mark.parametrize(
    "names",
    ["time_start,time_end", "start,stop", "t_start,t_end", "Start_Frame,stopframe", "offset,n"],
)
def test_other_names_of_time_columns_are_refused(read, names):
    with pytest.raises(UserError, match="begin or end: call the columns start and end") as error:
        read(f"path,label,{names}\n1.mp4,a,0.25,0.5\n")
    assert names.split(",")[0].lower() in str(error.value)


def test_unused_columns_are_noted(read):
    listed = read("path,label,fps,,start_date,gold\n1.mp4,a,25,x,2024,1\n2.mp4,b,25,x,2024,1\n")
    assert listed.videos == (ListedVideo("1.mp4", "a"), ListedVideo("2.mp4", "b"))
    assert listed.notes == (
        "columns of the manifest that are not read: 'fps', 'start_date', 'gold'",
    )
    many = ",".join(f"feature{k}" for k in range(400))
    (note,) = read(f"path,label,{many}\n1.mp4,a\n").notes
    assert note.endswith("and 390 more")


def test_trailing_empty_fields_are_ignored(read):
    assert len(read("path,label,,\n1.mp4,a,,\n2.mp4,b,,,, \n").videos) == 2
    with pytest.raises(UserError, match=r"line 2: more fields than columns .*'1.mp4,a,b'"):
        read("path,label\n1.mp4,a,b\n")


@pytest.mark.parametrize(
    "text",
    [
        f"{'x' * 90_000},y\n",
        f"path,label,split\n1.mp4,a,{'x' * 90_000}\n",
        f"path,label\n,{'x' * 90_000}\n",
        f"path,label\n1.mp4,a,{'x' * 90_000}\n",
        f"path,label\n../{'x' * 90_000},a\n",
        f"path,label\n{'x/' * 200}y.mp4,a\n",
        f"path,label\n1.mp4,{'x' * 140_000}\n",
        f"path,label,split {'1' * 90_000}\n1.mp4,a,b\n",
    ],
)
def test_errors_quote_one_shortened_line(read, text):
    with pytest.raises(UserError) as error:
        read(text)
    assert len(str(error.value)) < 700 and "\n" not in str(error.value)


def test_file_names_with_outer_blanks_are_found(tmp_path):
    (tmp_path / " in").mkdir()
    for name in (" in/1.mp4", "2.mp4 "):
        (tmp_path / name).touch()
    path = tmp_path / "list.csv"
    path.write_text('path,label\n./ in/1.mp4,a\n"2.mp4 ",b\n')
    assert [v.path for v in manifest.listing(path).videos] == [" in/1.mp4", "2.mp4 "]
