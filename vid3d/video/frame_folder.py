"""Folders of frames: numbered pictures of one size, `img_00001.jpg` and so on, as a video.

`data.frames_fps` says how many frames a second has.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import posixpath
import re
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from vid3d.video.container import VideoError
from vid3d.video.damage import Logs
from vid3d.video.files import walk
from vid3d.video.picture import DecodeOptions
from vid3d.video.reader import AS_DEFAULT, Reader

if TYPE_CHECKING:
    from hashlib import _Hash as Hash

    import av

HASH_BYTES = 2**22
PICTURES = (".jpg", ".jpeg", ".png", ".bmp", ".webp", ".tif", ".tiff")
NUMBERED = re.compile(r"(?P<before>.*?)(?P<number>\d+)(?P<suffix>\.\w+)")


class Frames(NamedTuple):
    """The names of the frames in a folder: what they share, and their numbers.

    Attributes:
        before: the number.
        width: digits of the number; 0 where it varies, without zeros at its beginning.
        suffix: with its dot.
        first: number of the first frame; the others follow without gaps.
        total: of frames.
    """

    before: str
    width: int
    suffix: str
    first: int
    total: int

    @property
    def pattern(self) -> str:
        """As FFmpeg writes it."""
        number = f"%0{self.width}d" if self.width else "%d"
        return f"{self.before.replace('%', '%%')}{number}{self.suffix}"

    @property
    def names(self) -> list[str]:
        """All of them, in order."""
        numbers = range(self.first, self.first + self.total)
        return [f"{self.before}{number:0{self.width}d}{self.suffix}" for number in numbers]


def find_frames(folder: str) -> Frames:
    """The frames in a folder, in which other files than pictures do not count.

    Raises:
        VideoError: there are none; they differ in more than their number; a number is missing.
    """
    try:
        found = sorted(name for name in os.listdir(folder) if is_picture(name))
    except OSError as error:
        raise VideoError(f"cannot be read: {error.strerror}", folder) from None
    if not found:
        raise VideoError("a folder without pictures", folder)
    parts = [match.groups() if (match := NUMBERED.fullmatch(name)) else () for name in found]
    for name, part in zip(found, parts, strict=True):
        if not part or (part[0], part[2]) != (parts[0][0], parts[0][2]):
            raise VideoError(
                f"{name!r} is not numbered like {found[0]!r}: frames differ in their number alone",
                folder,
            )
    before, _, suffix = parts[0]
    texts = {part[1]: name for part, name in zip(parts, found, strict=True)}
    widths = {len(text) for text in texts}
    if len(widths) > 1 and any(text.startswith("0") and len(text) > 1 for text in texts):
        short, long = min(texts, key=len), max(texts, key=len)
        raise VideoError(
            f"{texts[short]!r} and {texts[long]!r} have numbers of {len(short)} and {len(long)} "
            "digits: write all of them with the same number of digits",
            folder,
        )
    numbers = sorted(map(int, texts))
    for number, after in itertools.pairwise(numbers):
        if after != number + 1:
            raise VideoError(f"after frame {number} comes frame {after}: some are missing", folder)
    width = widths.pop() if len(widths) == 1 else 0
    return Frames(before, width, suffix, numbers[0], len(numbers))


def is_picture(name: str) -> bool:
    """Whether a file is a picture by its name."""
    return os.path.splitext(name)[1].lower() in PICTURES and not name.startswith(".")


def holds_frames(names: Iterable[str]) -> bool:
    """Whether the files of a folder are frames by their names: two numbered pictures or more."""
    return sum(is_picture(name) and bool(NUMBERED.fullmatch(name)) for name in names) > 1


def find_frame_folders(root: Path) -> dict[str, Counter[str]]:
    """The relative paths of the folders of frames, each with its pictures by suffix."""
    names: dict[str, list[str]] = defaultdict(list)
    for path in walk(root):
        folder, name = posixpath.split(path)
        names[folder].append(name)
    return {
        folder: Counter(posixpath.splitext(name)[1].lower() for name in found if is_picture(name))
        for folder, found in names.items()
        if folder and holds_frames(found)
    }


class FolderReader(Reader):
    """One pass over a folder of frames; see `Reader`.

    Its frames come at `frames_fps`, the first one at 0.
    """

    def __init__(self, path: str | os.PathLike[str], options: DecodeOptions = AS_DEFAULT):
        """Looks at the names of the files, and opens the first picture.

        Raises:
            VideoError: see `find_frames`; or the rate is not known.
        """
        if not options.frames_fps:
            raise VideoError(
                "a folder of pictures: set data.frames_fps to its frames per second",
                os.fspath(path),
            )
        self.frames = find_frames(os.fspath(path))
        super().__init__(path, options)
        self.claimed, self.claimed_fps = self.frames.total, options.frames_fps

    def pictures(self, *arguments: Any, **options: Any) -> Iterator[av.VideoFrame | None]:
        """See `Reader`.

        Raises:
            VideoError: a picture has another size than the first.
        """
        size: tuple[int, int] | None = None
        for picture in super().pictures(*arguments, **options):
            if picture is not None:
                now = picture.width, picture.height
                size = size or now
                if now != size:
                    sizes = f"{size[0]}x{size[1]} pixels, and one has {now[0]}x{now[1]}"
                    raise VideoError(f"its frames have {sizes}", self.path)
            yield picture

    def _how_to_open(self) -> dict[str, Any]:
        rate = Fraction(self.options.frames_fps).limit_denominator(1001)
        sequence = {
            "pattern_type": "sequence",
            "start_number": str(self.frames.first),
            "framerate": str(rate),
        }
        return {"format": "image2", "options": self.ffmpeg_options | sequence}

    @contextlib.contextmanager
    def _checked_name(self) -> Iterator[str]:
        folder = os.path.abspath(self.path).replace("%", "%%")
        yield os.path.join(folder, self.frames.pattern)

    def _not_open(self, error: Exception, logs: Logs) -> str:
        return "a folder of pictures, of which the first cannot be read"


def open_reader(path: str | os.PathLike[str], options: DecodeOptions = AS_DEFAULT) -> Reader:
    """A reader of a file, or of a folder of frames.

    Raises:
        VideoError: see `Reader`.
    """
    is_folder = os.path.isdir(path) and (options.frames_fps or holds_frames(os.listdir(path)))
    return FolderReader(path, options) if is_folder else Reader(path, options)


def files_of(path: str) -> list[str]:
    """The files that a video is made of: itself, or the frames of a folder."""
    if not os.path.isdir(path):
        return [path]
    return [os.path.join(path, name) for name in sorted(os.listdir(path)) if is_picture(name)]


def update(digest: Hash, path: str, sign: Callable[[], None] = lambda: None) -> None:
    """Adds the content of a video to a hash: that of a file, or the names and contents of frames.

    Args:
        digest: of hashlib.
        path: of the file or folder.
        sign: is called after each piece.

    Raises:
        OSError: it cannot be read to the end.
    """
    for name in files_of(path):
        if name != path:
            digest.update(f"\n{os.path.basename(name)} {os.path.getsize(name)}\n".encode())
        with open(name, "rb", buffering=0) as file:
            while piece := file.read(HASH_BYTES):
                digest.update(piece)
                sign()
