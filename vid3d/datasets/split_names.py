"""Usual names of the three splits: of folders, in manifests and in tfds builders."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping

WORD = re.compile(r"\d+|[A-Z]?[a-z]+|[A-Z]+|[^\W\d_a-zA-Z]+")  # of "trainSet", "val_256", "test-2"
SPLIT_WORDS = {
    "train": ("train", "training", "trn", "trainval"),
    "val": (
        *("val", "valid", "validate", "validating", "validation", "vali"),
        *("eval", "evaluate", "evaluation", "dev", "devel", "development"),
    ),
    "test": ("test", "tests", "testing", "tst", "holdout", "heldout"),
}
SPLIT_OF = {word: split for split, words in SPLIT_WORDS.items() for word in words}
# Words beside these that mean no class: "train_256", "videos_val", "my test set".
FILLING = {
    "a", "all", "batch", "big", "chunk", "clip", "clips", "data", "dataset", "file", "files",
    "final", "folder", "for", "fps", "frame", "frames", "full", "hd", "image", "images", "img",
    "k", "large", "list", "low", "mini", "my", "new", "of", "orig", "original", "p", "part", "px",
    "raw", "res", "resized", "rgb", "sd", "set", "sets", "small", "split", "subset", "the",
    "tiny", "v", "version", "vid", "video", "videos", "vids", "x",
}  # fmt: skip
JOINED = re.compile(rf"({'|'.join(SPLIT_OF)})(set|data|split|dir|videos?|clips?|frames)")
HELD_OUT = re.compile(r"(hold|held)[\W_]*out", re.IGNORECASE)
FOLD = re.compile(r"(fold|split|cv)[\W_]*\d+", re.IGNORECASE)


def parse_name(name: str) -> tuple[str, tuple[str, ...]]:
    """The one split that a name has a word for, or "", and its other words that mean something."""
    words: list[str] = []
    for word in WORD.findall(HELD_OUT.sub("holdout", name)):
        joined = JOINED.fullmatch(word.lower())
        words += joined.groups() if joined else [word.lower()]
    splits = [word for word in words if word in SPLIT_OF]
    if len(splits) != 1:
        return "", ()
    rest = (word for word in words if word not in splits)
    return SPLIT_OF[splits[0]], tuple(w for w in rest if w not in FILLING and not w.isdigit())


def splits_by_name(names: Iterable[str]) -> dict[str, str]:
    """Name -> "train", "val" or "test", of those among the names that are the name of a split.

    That is one with nothing else in it that has a meaning, such as "train_256"; and several with
    the same other words, where one of them is for training: "gym_train" and "gym_val".
    """
    found: dict[str, str] = {}
    alike: dict[tuple[str, ...], dict[str, str]] = defaultdict(dict)
    for name in names:
        split, rest = parse_name(name)
        if split and rest:
            alike[rest][name] = split
        elif split:
            found[name] = split
    for group in alike.values():
        if are_splits(group.values()):
            found |= group
    return found if "test" in found.values() else eval_as_test(found)


def eval_as_test(splits: Mapping[str, str]) -> dict[str, str]:
    """Beside a "val" and without a "test", "eval" is what tests."""
    evals = {name for name, split in splits.items() if split == "val" and "eval" in name.lower()}
    others = {name for name, split in splits.items() if split == "val"} - evals
    return {name: "test" if others and name in evals else split for name, split in splits.items()}


def are_splits(splits: Collection[str]) -> bool:
    """Whether they are several, one of them for training."""
    return "train" in splits and len(set(splits)) > 1


def describe(splits: Mapping[str, str]) -> str:
    """`'train_256' is train, 'dev' and 'eval' are val`."""
    parts = []
    for split in SPLIT_WORDS:
        names = [repr(name) for name in sorted(splits) if splits[name] == split]
        if names:
            more = f" and {len(names) - 3} more" if len(names) > 3 else ""
            parts.append(
                f"{', '.join(names[:3])}{more} {'are' if len(names) > 1 else 'is'} {split}"
            )
    return ", ".join(parts)
