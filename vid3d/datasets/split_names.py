"""How people call the three splits: in folder names, in columns and values of a manifest, and in tfds builders."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping

WORD = re.compile(r"\d+|[A-Z]?[a-z]+|[A-Z]+|[^\W\d_a-zA-Z]+")  # of "trainSet", "val_256", "test-2"
SIDES = {
    "train": ("train", "training", "trn", "trainval"),
    "val": (
        *("val", "valid", "validate", "validating", "validation", "vali"),
        *("eval", "evaluate", "evaluation", "dev", "devel", "development"),
    ),
    "test": ("test", "tests", "testing", "tst", "holdout", "heldout"),
}
SIDE_OF = {word: side for side, words in SIDES.items() for word in words}
# Words beside these that say nothing of a class: "train_256", "videos_val", "my test set".
FILLING = {
    "a", "all", "batch", "big", "chunk", "clip", "clips", "data", "dataset", "file", "files",
    "final", "folder", "for", "fps", "frame", "frames", "full", "hd", "image", "images", "img",
    "k", "large", "list", "low", "mini", "my", "new", "of", "orig", "original", "p", "part", "px",
    "raw", "res", "resized", "rgb", "sd", "set", "sets", "small", "split", "subset", "the",
    "tiny", "v", "version", "vid", "video", "videos", "vids", "x",
}  # fmt: skip
JOINED = re.compile(rf"({'|'.join(SIDE_OF)})(set|data|split|dir|videos?|clips?|frames)")
HELD_OUT = re.compile(r"(hold|held)[\W_]*out", re.IGNORECASE)
FOLD = re.compile(r"(fold|split|cv)[\W_]*\d+", re.IGNORECASE)


def parse(name: str) -> tuple[str, tuple[str, ...]]:
    """The one side that a name has a word for, or "", and its other words without those that say nothing."""
    words: list[str] = []
    for word in WORD.findall(HELD_OUT.sub("holdout", name)):
        joined = JOINED.fullmatch(word.lower())
        words += joined.groups() if joined else [word.lower()]
    sides = [word for word in words if word in SIDE_OF]
    if len(sides) != 1:
        return "", ()
    rest = (word for word in words if word not in sides)
    return SIDE_OF[sides[0]], tuple(w for w in rest if w not in FILLING and not w.isdigit())


def sides_of(names: Iterable[str]) -> dict[str, str]:
    """Name -> "train", "val" or "test", of those among the names that are the name of a split.

    That is one with nothing else in it that has a meaning, such as "train_256"; and several with the same other words,
    where one of them is for training: "gym_train" and "gym_val".
    """
    found: dict[str, str] = {}
    alike: dict[tuple[str, ...], dict[str, str]] = defaultdict(dict)
    for name in names:
        side, rest = parse(name)
        if side and rest:
            alike[rest][name] = side
        elif side:
            found[name] = side
    for group in alike.values():
        if are_sides(group.values()):
            found |= group
    return found if "test" in found.values() else with_test(found)


def with_test(sides: Mapping[str, str]) -> dict[str, str]:
    """Beside a "val" and without a "test", "eval" is what tests."""
    evals = {name for name, side in sides.items() if side == "val" and "eval" in name.lower()}
    others = {name for name, side in sides.items() if side == "val"} - evals
    return {name: "test" if others and name in evals else side for name, side in sides.items()}


def are_sides(sides: Collection[str]) -> bool:
    """Whether they are several, one of them for training."""
    return "train" in sides and len(set(sides)) > 1


def told(sides: Mapping[str, str]) -> str:
    """`'train_256' is train, 'dev' and 'eval' are val`."""
    parts = []
    for side in SIDES:
        names = [repr(name) for name in sorted(sides) if sides[name] == side]
        if names:
            more = f" and {len(names) - 3} more" if len(names) > 3 else ""
            parts.append(f"{', '.join(names[:3])}{more} {'are' if len(names) > 1 else 'is'} {side}")
    return ", ".join(parts)
