"""A sample of each format becomes a manifest that vid3d reads, and what is wrong is named."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest

from vid3d.commands import convert as command
from vid3d.convert import convert as module
from vid3d.convert.convert import convert
from vid3d.convert.entries import runs
from vid3d.convert.formats import FORMATS
from vid3d.datasets import manifest
from vid3d.errors import UserError

BORIS = (
    "Observation id,Media file name,Subject,Behavior,Behavior type,Start (s),Stop (s)\n"
    "o1,a.mp4,m1,groom,STATE,1.5,4\no1,a.mp4,m1,jump,POINT,5,5\no1,gone.mp4,m1,groom,STATE,1,2\n"
)
ELAN = (
    '"#file:///home/me/a.eaf"\n'
    "tier\t\t00:00:01.500\t1.5\t00:00:02.000\t2.0\t00:00:00.500\t0.5\twave\n"
    "tier\t\t00:01:00.000\t60.0\t00:01:02.250\t62.25\t00:00:02.250\t2.25\tnod\n"
)
VIA = (
    "# CSV_HEADER = metadata_id,file_list,flags,temporal_coordinates,spatial_coordinates,metadata\n"
    '# ATTRIBUTE = {"1":{"aname":"action","options":{"0":"run"}}}\n'
    '"1_x","[""a.mp4""]",0,"[1.5,4]","[]","{""1"":""0""}"\n'
    '"1_y","[""a.mp4""]",0,"[]","[]","{""1"":""0""}"\n'
)
LABEL_STUDIO = [
    {
        "id": 7,
        "data": {"video": "/data/upload/3/0123abcd-a.mp4"},
        "annotations": [
            {
                "result": [
                    {
                        "type": "timelinelabels",
                        "value": {"ranges": [{"start": 1, "end": 25}], "timelinelabels": ["run"]},
                    }
                ]
            },
            {"was_cancelled": True, "result": [{"type": "choices", "value": {}}]},
        ],
    }
]
ACTIVITYNET = {
    "database": {
        "a": {"subset": "training", "annotations": [{"segment": [1.5, 4], "label": "run"}]},
        "b": {"subset": "validation", "annotations": [{"segment": [0, 3], "label": "run"}]},
        "c": {"subset": "testing", "annotations": []},
    }
}
SIMBA = "nose_x,Probability_run,run\n" + "".join(f"{k}.5,0.1,{k % 3 > 0:d}\n" for k in range(6))
SOMETHING = [
    {"id": "a", "label": "pushing a mug left", "template": "Pushing [something] left"},
    {"id": "b", "template": "Pushing [something] right", "placeholders": ["a mug"]},
    {"id": "c"},
]
FRAMES = {"a/00001.jpg": "", "a/00002.jpg": ""}
# Format: (name of the list, its text, further files, lines of the manifest, lines left out).
SAMPLES = {
    "boris": ("x.csv", BORIS, {}, ["a.mp4,groom,1.5,4"], ["line 3: the point event 'jump'"]),
    "elan": ("x.txt", ELAN, {}, ["a.mp4,wave,1.5,2", "a.mp4,nod,60,62.25"], []),
    "audacity": (
        "a.txt", "1.5\t4\trun fast\n\\\t100\t200\n5\t5\tjump\n", {},
        ["a.mp4,run fast,1.5,4"], ["line 3: it ends (5) before it begins, or where it does (5)"],
    ),
    "via": ("x.csv", VIA, {}, ["a.mp4,run,1.5,4"], ["line 4: it has no two times"]),
    "label-studio": ("x.json", LABEL_STUDIO, {}, ["a.mp4,run,0,25"], []),
    "activitynet": (
        "x.json", ACTIVITYNET, {}, ["a.mp4,run,1.5,4,training", "b.webm,run,0,3,validation"],
        ["c: it has no annotation"],
    ),
    "deepethogram": (
        "a_labels.csv", ",background,Run\n0,1,0\n1,0,1\n2,0,1\n", {},
        ["a.mp4,background,0,1", "a.mp4,Run,1,3"], [],
    ),
    "simba": ("a.csv", SIMBA, {}, ["a.mp4,run,1,3", "a.mp4,run,4,6"], []),
    "kinetics": (
        "k_train.csv",
        "label,youtube_id,time_start,time_end,split\nrun,x-_y,12,22,train\nsit,b,3,13,train\n"
        "run,gone,1,11,train\n",
        {"run/x-_y_000012_000022.mp4": ""},
        ["run/x-_y_000012_000022.mp4,run,,,train", "b.webm,sit,3,13,train"], [],
    ),
    "hmdb51": (
        "lists/run_test_split1.txt", "a.mp4 1\nb.webm 2\nc.avi 0\nd.avi 5\n", {},
        ["../a.mp4,run,train", "../b.webm,run,test"], ["line 4: it is no name with 0, 1 or 2"],
    ),
    "something": (
        "x.json", SOMETHING, {},
        ["a.mp4,Pushing something left", "b.webm,Pushing something right"],
        ["element 3: the video c has no template"],
    ),
    "jester": ("x.csv", "34;Swiping Left\nb;Stop\n\nq\n", {"34/00001.jpg": "", "34/2.jpg": ""},
        ["34,Swiping Left", "b.webm,Stop"], ["line 4: it has no label"]),
    "diving48": (
        "x.json", [{"vid_name": "a", "label": 1, "start_frame": 0, "end_frame": 9}],
        {}, ["a.mp4,Back_15som"], [],
    ),
    "ucf101": (
        "lists/trainlist01.txt", "Run/v_Run_g08_c01.avi 1\n",
        {"lists/testlist01.txt": "Run/v_Run_g01_c01.avi\n", "v_Run_g08_c01.avi": "",
         "v_Run_g01_c01.avi": ""},
        ["../v_Run_g08_c01.avi,Run,train", "../v_Run_g01_c01.avi,Run,test"], [],
    ),
    "pyslowfast": ("train.csv", "a.mp4 1\nsub dir/c.mp4 0\n", {"sub dir/c.mp4": ""},
        ["a.mp4,Back_15som", "sub dir/c.mp4,Forward"], []),
    "pytorchvideo": ("x.csv", "a.mp4 1\nb.webm x\nb.webm 2\n", {}, ["a.mp4,Back_15som"],
        ["line 2: it does not end with the number of a class", " is none of the 2 names"]),
    "mmaction2": ("x.txt", "clips/q 2 1\na.mp4 0\n", {"clips/q/img_1.jpg": "", "clips/q/2.jpg": ""},
        ["clips/q,Back_15som", "a.mp4,Forward"], []),
    "huggingface": (
        "train/metadata.jsonl", '{"file_name": "c.mp4", "label": "run"}\n',
        {"test/metadata.csv": "file_name,label\nd.mp4,sit\n", "train/c.mp4": "", "test/d.mp4": ""},
        ["test/d.mp4,sit,test", "train/c.mp4,run,train"], [],
    ),
}  # fmt: skip
NUMBERED = ("diving48", "pyslowfast", "pytorchvideo", "mmaction2")


def write(folder: Path, name: str) -> Path:
    """Writes a sample beside two videos; returns what the command is given."""
    path, content, files, *_ = SAMPLES[name]
    files = {path: content, "a.mp4": "", "b.webm": "", "names.txt": "Forward\nBack_15som\n"} | files
    for relative, text in files.items():
        (folder / relative).parent.mkdir(parents=True, exist_ok=True)
        (folder / relative).write_text(text if isinstance(text, str) else json.dumps(text))
    given = folder / path
    if name == "huggingface":
        return folder
    return given.parent if FORMATS[name].takes_folder else given


@pytest.mark.parametrize("name", FORMATS)
def test_each_format_becomes_a_manifest(name, tmp_path):
    given = write(tmp_path, name)
    output = given / "out.csv" if given.is_dir() else tmp_path / "out.csv"
    labels = str(tmp_path / "names.txt") if name in NUMBERED else ""
    done = convert(name, [str(given)], str(output), videos=str(tmp_path), labels=labels)
    _, *lines = output.read_text().splitlines()
    expected, wrong = SAMPLES[name][3:]
    assert lines == [line.replace("../", f"{tmp_path}/") for line in expected]
    assert len(done.wrong) == len(wrong)
    for found, words in zip(done.wrong, wrong, strict=True):
        assert words in f"{found.where}: {found.why}"
    listed = manifest.listing(output)
    assert len(listed.videos) == len(lines)
    assert not [note for note in done.notes if "put this right" in note]


@pytest.mark.parametrize("name", FORMATS)
def test_another_format_is_refused_in_one_line(name, tmp_path):
    """Or it has nothing in it that could be meant; lists of paths are alike."""
    alike = {"pyslowfast", "pytorchvideo", "mmaction2"}
    for other in FORMATS:
        if other == name or {name, other} <= alike or (name, other) == ("something", "jester"):
            continue
        folder = tmp_path / other
        folder.mkdir()
        with pytest.raises(UserError) as caught:
            convert(name, [str(write(folder, other))], str(folder / "out.csv"))
        assert "\n" not in str(caught.value) and not (folder / "out.csv").exists()


def test_the_help_lists_every_format():
    assert f"one of {', '.join(FORMATS)}" == command.FORMATS


def test_the_command_counts_what_is_missing(call, tmp_path):
    given, output = write(tmp_path, "boris"), tmp_path / "manifest.csv"
    done = call("convert", "boris", given, f"--output={output}", check=1)
    assert f"{output}: 1 stretch in 1 file, 1 class" in done.stdout
    assert "1 video missing on disk was left out: gone.mp4" in done.stdout
    assert f"left out: {given} line 3: the point event 'jump' has no length" in done.stderr
    with output.open(newline="") as file:
        assert list(csv.DictReader(file)) == [
            {"path": "a.mp4", "label": "groom", "start": "1.5", "end": "4"}
        ]
    done = call("convert", "borys", given, f"--output={output}", check=1)
    assert "no format 'borys'; did you mean 'boris'?" in done.stderr


def test_frame_counts_of_a_list_are_compared_with_the_folders(call, tmp_path):
    for folder, numbers in (("whole", (1, 2, 3)), ("short", (1, 2)), ("gap", (1, 3))):
        (tmp_path / folder).mkdir()
        for number in numbers:
            (tmp_path / folder / f"img_{number:05d}.jpg").touch()
    given = tmp_path / "val.txt"
    given.write_text("whole 3 0\nshort 3 1\ngap 3 1\n")
    done = call("convert", "mmaction2", given, f"--output={tmp_path / 'manifest.csv'}")
    assert done.stderr.splitlines()[-2:] == [
        f"differs: {given} line 2: short has 3 frames by the list, and 2 on disk",
        f"differs: {given} line 3: gap has 3 frames by the list; on disk: after frame 1 comes "
        "frame 3: some are missing",
    ]
    assert len((tmp_path / "manifest.csv").read_text().splitlines()) == 4


def test_several_files_are_splits_by_their_names(tmp_path):
    (tmp_path / "a.mp4").touch(), (tmp_path / "b.mp4").touch()
    (tmp_path / "train.csv").write_text("a.mp4 0\n")
    (tmp_path / "val.csv").write_text("b.mp4 0\n")
    files = [str(tmp_path / name) for name in ("train.csv", "val.csv")]
    done = convert("pyslowfast", files, str(tmp_path / "out.csv"))
    assert [line.video.split for line in done.lines] == ["train", "val"]


def test_where_one_file_is_no_split_those_of_all_are_drawn(tmp_path):
    (tmp_path / "a.mp4").touch(), (tmp_path / "b.mp4").touch()
    (tmp_path / "train.csv").write_text("a.mp4 0\n")
    (tmp_path / "more.csv").write_text("b.mp4 0\n")
    files = [str(tmp_path / name) for name in ("train.csv", "more.csv")]
    done = convert("pyslowfast", files, str(tmp_path / "out.csv"))
    assert [line.video.split for line in done.lines] == ["", ""]
    assert "some lines have no split: vid3d draws the splits of all" in done.notes


def test_mirrored_classes_and_overlaps_are_noted(tmp_path):
    done = convert("something", [str(write(tmp_path, "something"))], str(tmp_path / "out.csv"))
    assert any("'Pushing something left' and 'Pushing something right'" in n for n in done.notes)
    (tmp_path / "a.txt").write_text("1\t3\trun\n2\t4\tsit\n")
    done = convert("audacity", [str(tmp_path / "a.txt")], str(tmp_path / "out.csv"))
    (note,) = done.notes
    assert note.startswith("before you train on it, put this right: ") and "line 3" in note


def test_a_name_that_two_files_have_is_not_guessed(tmp_path):
    for folder in ("x", "y"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "c.mp4").touch()
    given = write(tmp_path, "audacity")
    (tmp_path / "c.txt").write_text("1\t3\trun\n")
    done = convert("audacity", [str(given), str(tmp_path / "c.txt")], str(tmp_path / "out.csv"))
    assert done.wrong[-1].why == "c may be x/c.mp4 or y/c.mp4"


def test_vocabulary_of_diving48(tmp_path):
    (tmp_path / "vocab.json").write_text('[["Back", "15som", "05Twis", "FREE"], ["Forward"]]')
    assert module.read_names(str(tmp_path / "vocab.json")) == ("Back_15som_05Twis_FREE", "Forward")
    (tmp_path / "ind.txt").write_text("1 ApplyEyeMakeup\n2 Archery\n")
    assert module.read_names(str(tmp_path / "ind.txt")) == ("ApplyEyeMakeup", "Archery")


def test_runs_of_frames():
    found = runs([True, False, True, True])
    assert [(span.start, span.end) for span in found] == [(0, 1), (2, 4)]
