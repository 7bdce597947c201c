"""The header of a manifest: its columns, and what misnamed ones may stand for."""

from __future__ import annotations

import difflib
import re
from collections import Counter
from collections.abc import Sequence

from vid3d.datasets.split_names import FILLING, SPLIT_OF, WORD
from vid3d.datasets.videos import ALL_COLUMNS, COLUMNS
from vid3d.errors import UserError
from vid3d.text import first_few, quote

NEEDED = ("path", "label")
OPTIONAL = ("group", "split", "fold")
# Names that are refused with the hint that this column may be meant; endings such as "_id" do not
# count.
REFUSED_NAMES = {
    "path": "file filename filepath video videopath videofile clip clippath uri url",
    "label": "class classname category target action activity gesture tag labels",
    "group": "groups grp source sources subject subjects person persons "
    "participant actor performer signer speaker patient recording recordings session sessions "
    "scene tape",
    "split": "splits subset subsets set sets partition partitions phase usage stage purpose",
    "fold": "folds kfold cv",
}
COLUMN_MEANT_BY = {
    word: name for name, words in REFUSED_NAMES.items() for word in (name, *words.split())
}
ENDINGS = frozenset(("id", "ids", "name", "no", "nr", "num", "number", "index", "idx"))
# Where a stretch of time begins or ends: "start", "t_end", "startframe".
EDGE = "(start|begin|onset|end|stop|offset)"
UNIT = "(times?|timestamps?|t|frames?|secs?|seconds?|ms|s|clip|segment|idx|index)"
TIME = re.compile(f"{UNIT}*{EDGE}{UNIT}*")
LIKENESS = 0.8  # of a misspelt name to the right one


def check_header(header: Sequence[str], line: str, where: str) -> list[str]:
    """Checks the names of the columns.

    Args:
        header: lower-case names without blanks around them.
        line: the header as written.
        where: starts the messages.

    Returns:
        Sentences for the report: which columns are not read.

    Raises:
        UserError: columns are missing, doubled or misnamed, or hold times.
    """
    others = [name for name in header if name not in (*NEEDED, *OPTIONAL, *ALL_COLUMNS)]
    wrong = [
        f"there are {count} columns {name!r}"
        for name, count in Counter(header).items()
        if name in (*NEEDED, *OPTIONAL, *ALL_COLUMNS) and count > 1
    ]
    wrong += wrong_times(header)
    for name in others:
        known = meaning(name)
        if known in OPTIONAL and known not in header:
            wrong.append(
                f"the column {quote(name)} is not known: call it {known!r} if it holds that, "
                "otherwise remove it"
            )
    missing = [name for name in NEEDED if name not in header]
    for name in missing:
        near = [other for other in header if meaning(other) == name]
        hint = f"; is it {quote(near[0])}? Then call it {name!r}" if near else ""
        wrong.append(f"no column {name!r}{hint}")
    if missing:
        wrong.append(
            "the header has to name path, label and, where known, group, split or fold, and start "
            f"and end of stretches; it is {quote(line)}"
        )
    if wrong:
        raise UserError(f"{where}: {'; '.join(wrong)}")
    named = first_few(quote(name) for name in others if name)
    return [f"columns of the manifest that are not read: {named}"] if named else []


def wrong_times(header: Sequence[str]) -> list[str]:
    """What is wrong with the names of the columns that say where stretches begin and end.

    One of a pair is missing, there are two pairs, or one has another name.
    """
    wrong = []
    others = [name for name in header if is_time_column(name) and name not in ALL_COLUMNS]
    if others:
        wrong.append(
            f"{first_few(map(quote, others), 4)} may say where stretches of the videos "
            "begin or end: call the columns start and end (seconds), or start_frame and end_frame, "
            "or remove them"
        )
    pairs = [pair for pair in COLUMNS.values() if set(pair) & set(header)]
    if len(pairs) > 1:
        wrong.append(
            f"there are both seconds ({', '.join(pairs[0])}) and numbers of frames "
            f"({', '.join(pairs[1])}): keep one of the two"
        )
    for first, second in pairs:
        for name, other in ((first, second), (second, first)):
            if name not in header:
                wrong.append(f"there is a column {other!r} and none {name!r}: a stretch needs both")
    return wrong


def meaning(name: str) -> str:
    """The known column that a name stands for or comes near to, or ""."""
    words = [word.lower() for word in WORD.findall(name) if not word.isdigit()]
    words = [word for word in words if word not in ENDINGS] or words
    if "".join(words) in COLUMN_MEANT_BY:
        return COLUMN_MEANT_BY["".join(words)]
    for word in ("split", "subset", "fold"):
        if word in words:
            return COLUMN_MEANT_BY[word]
    if any(word in SPLIT_OF for word in words) and all(
        word in SPLIT_OF or word in FILLING or word == "is" for word in words
    ):
        return "split"
    near = difflib.get_close_matches(name, (*NEEDED, *OPTIONAL), n=1, cutoff=LIKENESS)
    return near[0] if near else ""


def is_time_column(name: str) -> bool:
    """Whether a column holds where a stretch of a video begins or ends."""
    letters = "".join(word.lower() for word in WORD.findall(name) if not word.isdigit())
    return bool(TIME.fullmatch(letters))
