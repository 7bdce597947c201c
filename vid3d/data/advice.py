"""What `vid3d doctor` advises: a pattern for groups, and the command to go on with."""

from __future__ import annotations

import itertools
import os
import re
import shlex
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from ml_collections import ConfigDict

from vid3d.config import flatten
from vid3d.datasets.folder import stem_of
from vid3d.datasets.groups import group_of
from vid3d.datasets.index import source_of
from vid3d.datasets.videos import Index, ListedVideo
from vid3d.schema import BY_NAME

SEPARATORS = "_. -"
DEEPEST = 3  # parts of a name that a prefix may have
FEWEST_GROUPS = 3  # one for each split
MOST_SHARE = 0.5  # of the videos, in one group: more is a word that all names begin with
COVERED = 0.9  # of the videos, at least, have a prefix, and share it
ACROSS = 0.5  # of the videos, at least, share it with videos of another class


@dataclass(frozen=True)
class GroupAdvice:
    """A pattern for `data.group_pattern` that the names of the videos suggest.

    Attributes:
        pattern: a regular expression with one group.
        prefix: one of the prefixes, such as "mouse03_".
        groups: how many prefixes there are.
        videos: how many names begin with one.
    """

    pattern: str
    prefix: str
    groups: int
    videos: int

    def __str__(self) -> str:
        return (
            f"the names of {self.videos} videos begin with one of {self.groups} prefixes such as "
            f"{self.prefix!r}, which several classes share: if each stands for a recording or a "
            "subject, keep it in one split with "
            f"{shell_word(f'--config.data.group_pattern={self.pattern}')}, before you train"
        )


def suggest_groups(index: Index, data: ConfigDict) -> GroupAdvice | None:
    """The pattern that keeps videos together whose names begin alike, such as with "mouse03_".

    None where the groups are known, or the names do not say that there are any: a prefix has a
    letter, is that of several videos, and is found in several classes.
    """
    if source_of(data) != "folder" or data.group_pattern or any(v.group for v in index.videos):
        return None
    for depth in range(1, DEEPEST + 1):
        prefix_of = prefixes(index.videos, depth)
        if not are_groups(index.videos, prefix_of):
            continue
        found = Counter(prefix_of.values())
        for pattern in (numbered_pattern(found), general_pattern(depth)):
            if pattern and is_partition(prefix_of, pattern):
                return GroupAdvice(pattern, min(found), len(found), len(prefix_of))
    return None


def prefixes(videos: Iterable[ListedVideo], depth: int) -> dict[str, str]:
    """Path -> the first `depth` parts of the name, with what separates them from the rest."""
    start = re.compile(rf"(?:[^{SEPARATORS}]+[{SEPARATORS}]+){{{depth}}}(?=.)")
    found = {video.path: start.match(stem_of(video.path)) for video in videos}
    return {path: match[0] for path, match in found.items() if match}


def are_groups(videos: Iterable[ListedVideo], prefix_of: Mapping[str, str]) -> bool:
    """Whether videos with the same prefix may come from one source."""
    videos = list(videos)
    labels: dict[str, set[str]] = defaultdict(set)
    for video in videos:
        if video.path in prefix_of:
            labels[prefix_of[video.path]].add(video.label)
    counts = Counter(prefix_of.values())
    return (
        len(counts) >= FEWEST_GROUPS
        and all(re.search(r"[^\W\d_]", prefix) for prefix in counts)
        and max(counts.values()) <= MOST_SHARE * len(videos)
        and sum(n for n in counts.values() if n > 1) >= COVERED * len(videos)
        and sum(n for prefix, n in counts.items() if len(labels[prefix]) > 1)
        >= ACROSS * len(videos)
    )


def numbered_pattern(found: Iterable[str]) -> str:
    r"""`/(mouse\d+)_` for "mouse03_", "mouse11_" and so on; "" where they differ in more."""
    matches = [re.fullmatch(r"(\D+)\d+(\D+)", prefix) for prefix in found]
    parts = {match.groups() if match else None for match in matches}
    if len(parts) > 1 or None in parts:
        return ""
    ((before, after),) = (pair for pair in parts if pair)
    return rf"/({re.escape(before)}\d+){re.escape(after)}"


def general_pattern(depth: int) -> str:
    """The first `depth` parts of the name, whatever they are."""
    part, apart = f"[^/{SEPARATORS}]+", f"[{SEPARATORS}]+"
    return f"/({part}{f'(?:{apart}{part})' * (depth - 1)}){apart}[^/]*$"


def is_partition(prefix_of: Mapping[str, str], pattern: str) -> bool:
    """Whether a pattern groups the videos as their prefixes do."""
    compiled = re.compile(pattern)
    pairs = {(prefix, group_of(path, compiled)) for path, prefix in prefix_of.items()}
    ones, others = zip(*pairs, strict=True)
    return len(set(ones)) == len(set(others)) == len(pairs) and all(others)


def train_command(
    spec: str, overrides: Iterable[tuple[str, str]], config: ConfigDict, manifest: Path
) -> str:
    """The command line that trains with the same config, on the videos and splits of a manifest.

    It is one line for a POSIX shell, whatever the names of files are.

    Args:
        spec: of the config, FILE or FILE:ARG.
        overrides: (key, text) pairs.
        config: what these two give.
        manifest: see `report.write_manifest`. Videos that are no files, or that vid3d draws, are
            found without it.
    """
    overrides = list(overrides)
    folder = Path(config.data.root or config.data.source)
    if config.data.source not in ("tfds", "synthetic"):
        folder = folder.parent if folder.suffix.lower() == ".csv" else folder
        flat, given = flatten(config), dict(overrides)
        chosen = {
            "data.source": "manifest",
            "data.protocol": "manifest",
            "data.test_fold": "-1",
            "data.val_fold": "-1",
            "data.background": "",  # its stretches are in the manifest
            "data.group_pattern": "",  # so are the groups
        }
        # The file may say something else than the default, which does as well.
        needed = {
            key: text
            for key, text in chosen.items()
            if key in given or flat[key] != BY_NAME[key].default
        }
        chosen["data.root"] = needed["data.root"] = str(manifest.absolute())
        overrides = [(key, text) for key, text in overrides if key not in chosen]
        overrides += needed.items()
    settings = [f"--config.{key}={text}" for key, text in overrides]
    workdir = free_name(Path("runs", folder.absolute().name or "mine"))
    arguments = [f"--config={spec}", *settings, f"--workdir={workdir}"]
    return " ".join(["vid3d train", *map(shell_word, arguments)])


def doctor_command(
    spec: str, overrides: Iterable[tuple[str, str]], pattern: str, options: Iterable[str]
) -> str:
    """The command line that checks the same videos again, with groups.

    Args:
        spec: of the config, FILE or FILE:ARG.
        overrides: (key, text) pairs.
        pattern: for `data.group_pattern`.
        options: others of the command line, such as "--output=DIR".
    """
    settings = [(key, text) for key, text in overrides if key != "data.group_pattern"]
    settings.append(("data.group_pattern", pattern))
    arguments = [f"--config={spec}", *(f"--config.{key}={text}" for key, text in settings)]
    return " ".join(["vid3d doctor", *map(shell_word, [*arguments, *options])])


def free_name(path: Path) -> Path:
    """The path, or one with a number behind it: a workdir that is there belongs to another run."""
    numbered = (path.with_name(f"{path.name}-{number}") for number in itertools.count(2))
    return next(p for p in itertools.chain([path], numbered) if not p.exists())


def shell_word(text: str) -> str:
    """A text as one word on one line of a shell.

    A line break, a control character or a byte that is not text becomes an escape in $'...', which
    POSIX has had since 2024 and bash and zsh always had.
    """
    if text.isprintable():
        return shlex.quote(text)
    escaped = (
        "\\" + c
        if c in "\\'"
        else c
        if c.isprintable()
        else "".join(f"\\x{byte:02x}" for byte in os.fsencode(c))
        for c in text
    )
    return f"$'{''.join(escaped)}'"
