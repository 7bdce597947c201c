"""Rows of `vid3d predict` as they come, also in a file, which is whole after a kill."""

from __future__ import annotations

import csv
import io
import json
import os
import shutil
import signal
import weakref
from pathlib import Path

import pytest

from vid3d.errors import UserError
from vid3d.inference import files, predict as module
from vid3d.inference.prediction import Prediction, Segment
from vid3d.inference.rows import CsvRows, JsonRows, Row, RowFile, fingerprint

CLASSES = ("red", "green", "blue")
FORMS = {".csv": CsvRows(CLASSES, "40-abc"), ".jsonl": JsonRows("40-abc")}


def parse(text: str, suffix: str) -> list[dict]:
    """The rows of a file or of standard output."""
    if suffix == ".csv":
        return list(csv.DictReader(io.StringIO(text, newline="")))
    return [json.loads(line) for line in text.splitlines()]


@pytest.fixture
def predict(workdir, call):
    """`predict("a.avi", "--csv")` runs the command here."""
    return lambda *arguments, check=0: call(
        "predict", f"--workdir={workdir}", *arguments, check=check
    )


@pytest.mark.parametrize("suffix", FORMS)
def test_rows_tell_answers_and_errors(predict, videos, tmp_path, suffix):
    """The same on standard output and in a file, and of each file what --json tells."""
    (tmp_path / "broken.avi").write_text("no video")
    (tmp_path / "empty").mkdir()
    paths = [videos["turning"], tmp_path / "broken.avi", videos["blue"], tmp_path / "empty"]
    printed = predict(*paths, f"--{suffix[1:]}", check=1)
    rows = parse(printed.stdout, suffix)
    whole = json.loads(predict(*paths, "--json", check=1).stdout)
    assert [row["path"] for row in rows] == [str(paths[k]) for k in (3, 0, 1, 2)]
    errors = {row["path"]: row["error"] for row in rows if row["error"]}
    assert errors == {error["path"]: error["error"] for error in whole["errors"]}
    assert len(errors) == 2 and not any(row.get("label") for row in rows if row["error"])
    for row, answer in zip((rows[1], rows[3]), whole["predictions"], strict=True):
        assert (row["path"], row["label"]) == (answer["path"], answer["label"])
        assert float(row["probability"]) == answer["probability"]
        if suffix == ".jsonl":
            assert row == answer | {"error": "", "checkpoint": row["checkpoint"]}
    (checkpoint,) = {row["checkpoint"] for row in rows}
    assert checkpoint.startswith("40-")
    target = tmp_path / f"rows{suffix}"
    said = predict(*paths, f"--rows={target}", check=1)
    hint = "--retry in place of --resume tries the 2 with an error again\n"
    assert target.read_text() == printed.stdout and said.stderr == printed.stderr + hint
    assert said.stdout == f"wrote {target}: 4 rows, 2 with an error\n"


@pytest.mark.parametrize("suffix", FORMS)
def test_videos_with_a_row_are_left_out(predict, videos, tmp_path, suffix):
    """Failed ones, too; the exit code is that of one run over all of them."""
    target = tmp_path / f"rows{suffix}"
    command = (f"--rows={target}", "--resume")
    predict(videos["red"], "missing.avi", *command, check=1)
    before = target.read_bytes()
    done = predict(videos["red"], "missing.avi", videos["blue"], *command, check=1)
    assert done.stdout == (
        f"wrote {target}: 1 rows, 0 with an error; 2 were there, 1 with an error; "
        "now it holds 3 rows\n"
    )
    assert done.stderr == "--retry in place of --resume tries the 1 with an error again\n"
    rows = parse(target.read_text(), suffix)
    assert target.read_bytes().startswith(before)
    assert [row["path"] for row in rows] == [str(videos["red"]), "missing.avi", str(videos["blue"])]
    predict(videos["red"], videos["blue"], *command)
    assert len(parse(target.read_text(), suffix)) == 3


@pytest.mark.slow
@pytest.mark.parametrize(
    ("suffix", "blow", "code"), [(".csv", signal.SIGTERM, 143), (".jsonl", signal.SIGKILL, -9)]
)
def test_a_killed_run_goes_on_where_it_was(
    predict, workdir, videos, tmp_path, start, suffix, blow, code
):
    paths = [tmp_path / f"{k}.avi" for k in range(120)]
    for path in paths:
        path.hardlink_to(videos["turning"] if path.stem.endswith("7") else videos["red"])
    paths.insert(3, tmp_path / "missing.avi")
    target = tmp_path / f"rows{suffix}"
    command = (*map(str, paths), f"--rows={target}", "--resume")
    process = start("predict", f"--workdir={workdir}", *command)
    process.wait_until(lambda: target.exists() and target.read_bytes().count(b"\n") > 5)
    process.send_signal(blow)
    said = process.communicate(timeout=60)[0]
    assert process.returncode == code, said
    left = parse(target.read_text(), suffix)
    if blow == signal.SIGTERM:
        note = f"note: {len(left)} videos are in {target}: the same command with --resume goes on"
        assert note in said and said.index(note) < said.index("vid3d predict: terminated")
    assert 5 <= len(left) < 121 and target.read_bytes().endswith(b"\n")
    target.write_bytes(target.read_bytes()[:-9])
    done = predict(*command, check=1)
    assert "its last row was torn, and is made again" in done.stderr
    assert f"{len(left) - 1} were there, 1 with an error" in done.stdout
    rows = parse(target.read_text(), suffix)
    assert [row["path"] for row in rows] == [str(path) for path in paths]
    assert rows[: len(left) - 1] == left[:-1]


def awkward_rows() -> list[Row]:
    """Rows whose names and timelines are hard on a file format."""
    answer = Prediction(
        label="red",
        probability=0.5,
        probabilities={"red": 0.5, "green": 0.25, "blue": 0.25},
        segments=tuple(Segment(k, k + 1.0, "red", 0.5) for k in range(3)),
        num_frames=9,
        seconds=3.0,
        damage='FFmpeg says "no", and\r\nmore',
    )
    names = ['a,"b".avi', "line\nbreak.avi", "\rreturn.avi", os.fsdecode(b"\xff.avi"), "ünï.avi"]
    return [
        Row(name, None if k % 2 else answer, "broken" * (k % 2)) for k, name in enumerate(names)
    ]


@pytest.mark.parametrize("suffix", FORMS)
def test_a_file_cut_anywhere_goes_on_after_its_last_whole_row(tmp_path, suffix):
    rows, form = awkward_rows(), FORMS[suffix]
    path = tmp_path / f"rows{suffix}"
    ends = []
    with RowFile(path, form) as file:
        ends.append(path.stat().st_size)
        for row in rows:
            file.add(row)
            ends.append(path.stat().st_size)
    whole = path.read_bytes()
    for cut in sorted({*range(0, len(whole), 7), *range(ends[-2] - 30, len(whole) + 1)}):
        path.write_bytes(whole[:cut])
        kept = sum(end <= cut for end in ends[1:])
        try:
            with RowFile(path, form) as file:
                assert file.done == {row.path: bool(row.error) for row in rows[:kept]}
                for row in rows[kept:]:
                    file.add(row)
        except UserError as error:  # after a line feed in quotation marks, which nothing closes
            assert "is not closed" in str(error) and suffix == ".csv"
            assert whole[:cut].endswith(b"\n") and cut not in ends
        else:
            assert path.read_bytes() == whole


def test_a_very_long_timeline_is_read_again(tmp_path):
    answer = awkward_rows()[0].prediction
    assert answer
    long = Prediction(**(answer.__dict__ | {"segments": answer.segments * 10_000}))
    for suffix, form in FORMS.items():
        with RowFile(tmp_path / f"rows{suffix}", form) as file:
            file.add(Row("long.avi", long))
        with RowFile(tmp_path / f"rows{suffix}", form) as file:
            assert file.done == {"long.avi": False}


def test_rows_of_something_else_are_refused(predict, workdir, videos, tmp_path):
    target = tmp_path / "rows.csv"
    red = str(videos["red"])

    def refusal(*arguments: str) -> str:
        done = predict(red, *arguments, check=1)
        assert done.stderr.count("\n") == 1 and not done.stdout
        return done.stderr

    assert "add --rows=FILE" in refusal("--resume")
    assert "end the name in .csv or .jsonl" in refusal("--rows=rows.txt")
    assert "there is no folder" in refusal(f"--rows={tmp_path}/none/rows.csv")
    assert "has to be on this machine" in refusal("--rows=gs://bucket/rows.csv")
    predict(red, f"--rows={target}")
    whole = target.read_bytes()
    resume = (f"--rows={target}", "--resume")
    assert "add --resume to go on" in refusal(f"--rows={target}")
    other = refusal(*resume, "--threshold=0.5", "--config.eval.views=3")
    assert "other options (eval.views=1 and not 3, predict.threshold=0.0 and not 0.5)" in other
    target.write_bytes(whole.replace(b",40-", b",39-"))
    assert "has answers of another checkpoint (39-" in refusal(*resume)
    target.write_bytes(whole)
    with target.open("ab") as file:
        file.write(b"not,a,row\n")
    assert "is damaged: row 3 is not one" in refusal(*resume)
    target.write_bytes(whole.replace(b"probability:green", b"probability:teal"))
    assert "the columns of other classes" in refusal(*resume)
    target.write_bytes(whole)
    with RowFile(target, CsvRows(CLASSES, whole.splitlines()[1].split(b",")[9].decode())):
        assert "another process is adding rows" in refusal(*resume)
    assert target.read_bytes() == whole


def test_a_fingerprint_is_that_of_the_answers(make_workdir):
    def checkpoint(changes=None, **settings: str) -> str:
        overrides = [(f"predict.{name}", text) for name, text in settings.items()]
        labelling = module.prepare(make_workdir(changes), ["x.avi"], overrides=overrides)
        return fingerprint(labelling.classifier)

    assert checkpoint() == checkpoint() == checkpoint({"data.decode_timeout": 3.0})
    assert len({checkpoint(), checkpoint(threshold="0.5"), checkpoint({"data.fps": 5.0})}) == 3


def test_answers_that_were_given_are_not_kept(workdir, videos, tmp_path):
    """However many files there are, memory holds a few of them."""
    for k in range(40):
        (tmp_path / f"{k}.avi").hardlink_to(videos["red"])
    seen: list[weakref.ref] = []
    most = 0
    for row in module.prepare(workdir, [tmp_path]).rows():
        seen.append(weakref.ref(row.prediction))
        most = max(most, sum(answer() is not None for answer in seen))
    assert len(seen) == 40 and most <= 17  # two batches of clips


def test_many_failures_hold_nothing_back(workdir, videos, monkeypatch):
    """Neither the answer before them nor each other."""
    read, read_many = [], files.read_many

    def counting(*arguments, **options):
        for file in read_many(*arguments, **options):
            read.append(file)
            yield file

    monkeypatch.setattr(files, "read_many", counting)
    paths = [videos["red"], *(f"{k}.avi" for k in range(200))]
    late = []
    for number, row in enumerate(module.prepare(workdir, paths).rows()):
        assert row.path == str(paths[number])
        late.append(len(read) - number)
    assert len(late) == 201 and max(late) <= 40 and sum(late) < 201 * 34


def test_progress_counts_failures_in_plain_lines(predict, videos, monkeypatch):
    monkeypatch.setattr(module, "LINE_SECONDS", 0.0)
    done = predict(videos["red"], "missing.avi", videos["blue"], "--csv", check=1)
    lines = [line for line in done.stderr.splitlines() if line.startswith("labelling: ")]
    assert len(lines) == 3
    assert lines[1].startswith("labelling: 2 of 3 videos, 1 bad, ")
    assert "labelling" not in done.stdout


def test_a_row_is_there_as_soon_as_its_copy_is(predict, videos, tmp_path):
    """A failed copy has the answer and the error, as with --json."""
    (tmp_path / "out" / "red.mp4").mkdir(parents=True)
    target = tmp_path / "rows.jsonl"
    shutil.copy(videos["blue"], tmp_path / "blue.avi")
    command = (f"--output={tmp_path / 'out'}", f"--rows={target}")
    predict(videos["red"], tmp_path / "blue.avi", *command, check=1)
    red, blue = parse(target.read_text(), ".jsonl")
    assert (red["label"], blue["label"], blue["error"]) == ("red", "blue", "")
    assert "no annotated copy of" in red["error"]
    assert Path(tmp_path / "out" / "blue.mp4").is_file()
