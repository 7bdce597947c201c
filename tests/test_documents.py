"""The documents: links lead somewhere, commands are accepted, generated parts are up to date."""

from __future__ import annotations

import ast
import importlib.util
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Iterable, Iterator
from pathlib import Path

import pytest

from vid3d import cli, config as configs
from vid3d.config_file import run_file
from vid3d.sweep import plan

DOCUMENTS = sorted({*Path().glob("*.md"), *Path().glob("[!.]*/*.md")})
LINK = re.compile(r"(?<!`)\[[^\]]*\]\(([^)\s]+)\)")
VARIABLE = re.compile(r'^(\w+)=(?:"(.*)"|(\S+))$')
# Indented output of a benchmark begins with the name of the program, too.
COMMAND = re.compile(r"(?:vid3d +[a-z]|\.venv/bin/python |python |make [a-z]|experiments/\S+\.sh )")


def code_lines(text: str) -> Iterator[str]:
    """The lines of fenced and indented blocks of code, where a backslash at the end joins two."""
    fence, joined = "", ""
    for line in text.splitlines():
        if line.startswith("```"):
            fence = "" if fence else line.removeprefix("```") or "text"
        elif fence in ("sh", "text") or (not fence and line.startswith("    ")):
            joined += line.strip()
            if joined.endswith("\\"):
                joined = joined.removesuffix("\\")
            else:
                yield joined
                joined = ""


def commands(lines: Iterable[str]) -> Iterator[str]:
    """The commands among lines of code, with variables filled in and without comments."""
    variables: dict[str, str] = {}
    for line in lines:
        if assigned := VARIABLE.match(line):
            variables[assigned[1]] = assigned[2] or assigned[3]
        for name, value in variables.items():
            line = line.replace(f"${name}", value)
        if COMMAND.match(line):
            yield shlex.join(shlex.split(line, comments=True))


def all_commands() -> dict[str, str]:
    """The commands of documents, config files and `vid3d --help`, with where each is first."""
    lines = {str(path): list(code_lines(path.read_text())) for path in DOCUMENTS}
    for path in Path("configs").glob("*.py"):
        text = ast.get_docstring(ast.parse(path.read_text())) or ""
        lines[str(path)] = re.sub(r"\\\n\s*", " ", text).splitlines()
    lines["vid3d --help"] = [line.strip() for line in cli.EXAMPLES.splitlines()]
    found: dict[str, str] = {}
    for name, code in lines.items():
        for command in commands(code):
            found.setdefault(command, name)
    return found


COMMANDS = all_commands()


def headings(path: Path) -> set[str]:
    """The anchors that GitHub gives to the headings of a document."""
    titles = re.findall(r"^#+ (.+)$", path.read_text(), flags=re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


def broken_links(path: Path) -> list[str]:
    """The links of a document to a file that is missing, or to a heading that its page lacks."""
    broken = []
    for target in LINK.findall(path.read_text()):
        if target.startswith(("https://", "http://")):
            continue
        name, _, anchor = target.partition("#")
        linked = (path.parent / name) if name else path
        if not linked.exists() or (anchor and anchor not in headings(linked)):
            broken.append(target)
    return broken


@pytest.mark.parametrize("path", DOCUMENTS, ids=str)
def test_links_lead_to_files_and_headings(path):
    assert broken_links(path) == []


def test_missing_files_and_headings_are_found(tmp_path):
    document = tmp_path / "page.md"
    document.write_text("# Two words\n[a](page.md#two-words) [b](#two) [c](gone.md)\n")
    assert broken_links(document) == ["#two", "gone.md"]


def test_commands_are_found_in_every_kind_of_block():
    fenced = "```sh\nvid3d train --x  # note\n```\n```python\nvid3d run\n```\n"
    indented = '    FEW="--a --b"\n    vid3d run $FEW\n    python x.py \\\n      --c\n'
    output = "    vid3d      0.228 s   0.079 s\n"
    found = list(commands(code_lines(fenced + indented + output)))
    assert found == ["vid3d train --x", "vid3d run --a --b", "python x.py --c"]
    for document in ("README.md", "docs/data.md", "docs/machines.md", "configs/strong.py"):
        assert list(COMMANDS.values()).count(document) >= 3, document


def check_config(spec: str, overrides: list[tuple[str, str]]) -> None:
    """Loads a config of configs/; the checkout of a TPU slice lies in a folder vid3d/."""
    configs.load(spec.removeprefix("vid3d/"), overrides)


def check_vid3d(words: list[str]) -> None:
    """Parses the arguments of `vid3d` and loads the config that they name."""
    options, overrides = cli.parse(words)
    if getattr(options, "config", None):
        check_config(options.config, overrides)
        if options.command == "sweep":
            run_file(options.config, "sweep", plan.Additions())
    else:
        config = configs.default()
        for key, text in overrides:
            configs.apply(config, key, text)


def check_python(words: list[str]) -> None:
    """Looks for a script and the options that it is given, or for the paths given to pytest."""
    if words[:2] == ["-m", "pytest"]:
        assert all(Path(word).exists() for word in words[2:] if word.startswith("tests"))
        return
    source = Path(words[0]).read_text()
    overrides, spec = [], "configs/videos.py"
    for word in words[1:]:
        name, _, value = word.partition("=")
        if name.startswith("--config."):
            overrides.append((name.removeprefix("--config."), value))
        elif name.startswith("--"):
            assert f'"{name}"' in source
            spec = value if name == "--config" else spec
    check_config(spec, overrides)


def check_shell(words: list[str]) -> None:
    """Runs a script with --dry-run, and parses the arguments of `vid3d` that it is given."""
    if not shutil.which("git"):
        pytest.skip("git, which packs the checkout, is not installed")
    script, command, *rest = words
    done = subprocess.run(
        ["bash", script, command, "--dry-run", *rest], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    if "--" in rest:
        handed_on = rest[rest.index("--") + 1 :]
        check_vid3d(handed_on if command == "run" else [command, *handed_on])


def check(command: str) -> None:
    program, *words = shlex.split(command)
    if program == "vid3d":
        check_vid3d(words)
    elif program == "make":
        assert re.search(rf"^{words[0]}:", Path("Makefile").read_text(), flags=re.MULTILINE)
    elif program.endswith(".sh"):
        check_shell([program, *words])
    else:
        check_python(words)


@pytest.mark.parametrize(
    "command", [pytest.param(line, id=f"{name}: {line:.60}") for line, name in COMMANDS.items()]
)
def test_commands_are_accepted(command):
    check(command)


@pytest.mark.parametrize(
    "command",
    [
        "vid3d trian --workdir=w",
        "vid3d evaluate --workdir=w --jason",
        "vid3d predict --workdir=w --config.live.treshold=1 x.mp4",
        "vid3d train --config=configs/none.py --workdir=w",
        "vid3d train --config=configs/demo.py:none --workdir=w",
        "make none",
        "python experiments/none.py",
        "python experiments/soak.py --none=1",
        "vid3d cv --config=videos --workdir=w --config.model.none=1",
        "experiments/slurm/submit.sh train --nodes=2 -- --config=configs/demo.py --workdir=w",
    ],
)
def test_wrong_commands_are_refused(command):
    with pytest.raises((SystemExit, OSError, AssertionError, configs.UserError)):
        check(command)


def test_python_blocks_compile():
    blocks = [
        block
        for path in DOCUMENTS
        for block in re.findall(r"^```python\n(.*?)^```", path.read_text(), flags=re.M | re.S)
    ]
    assert len(blocks) >= 3
    for block in blocks:
        compile(block, "a block", "exec")


def test_config_keys_and_extras_exist():
    known = configs.flatten(configs.default())
    extras = tomllib.loads(Path("pyproject.toml").read_text())["project"]["optional-dependencies"]
    keys, installed = set(), set()
    for path in DOCUMENTS:
        text = path.read_text()
        keys |= set(re.findall(r"--config\.([a-z_]+\.[a-z_.]+|[a-z_]+)", text))
        for several in re.findall(r"'(?:vid3d|\.)\[([\w,]+)\]'", text):
            installed |= set(several.split(","))
    assert len(keys) > 5 and keys <= set(known)
    assert len(installed) > 3 and installed <= set(extras)


def documented_fields(command: str) -> set[str]:
    """The fields in the first table of docs/workdir.md after the name of a command."""
    text = Path("docs/workdir.md").read_text().partition(f"`{command} --json` prints")[2]
    table = text.partition("|---|---|\n")[2].partition("\n\n")[0]
    return {
        name for row in table.splitlines() for name in re.findall(r"`(\w+)`", row.split("|")[1])
    }


def test_json_fields_are_documented(smoke_run, call, cache):
    figures = json.loads(call("evaluate", f"--workdir={smoke_run}", "--json").stdout)
    assert set(figures) == documented_fields("evaluate")
    video = next(cache.glob("vid3d/synthetic-*/*/*.avi"))
    answer = json.loads(call("predict", f"--workdir={smoke_run}", "--json", video).stdout)
    assert set(answer) == {"predictions", "errors"}
    assert set(answer["predictions"][0]) == documented_fields("predict")


def test_every_finding_is_listed():
    listed = set(LINK.findall(Path("findings/README.md").read_text()))
    assert {path.name for path in Path("findings").glob("*.sh")} <= listed


def test_the_map_of_the_code_is_up_to_date():
    spec = importlib.util.spec_from_file_location("map", "docs/map.py")
    generator = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(generator)
    page = Path("docs/architecture.md").read_text()
    assert generator.update(page) == page, "run `python docs/map.py`"
    drawing = page.partition("```mermaid\n")[2].partition("```")[0]
    for path in Path("vid3d").glob("*/__init__.py"):
        name, text = path.parent.name, generator.docstring(path)
        assert f"| `{name}/` | {generator.first_paragraph(text)} |" in page
        assert re.search(rf"\b{name}\b", drawing), f"the drawing lacks {name}"


@pytest.mark.slow
def test_the_notebook_trains_tests_and_predicts(tmp_path):
    done = subprocess.run(
        [sys.executable, "docs/notebook.py", str(tmp_path / "run")],
        env=os.environ | {"XLA_FLAGS": ""}, capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "test accuracy 0." in done.stdout or "test accuracy 1." in done.stdout
    *_, last = done.stdout.split("the answer is ")
    answer, *bars = last.splitlines()
    probabilities = {line.split()[0]: float(line.split()[1]) for line in bars}
    assert max(probabilities, key=probabilities.get) == answer
    assert len(probabilities) == 5 and sum(probabilities.values()) == pytest.approx(1, abs=0.01)
