"""How JAX compiles: vectors as wide as the processor's, a persistent cache without torn entries."""

from __future__ import annotations

import contextlib
import functools
import os
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import jax
from jaxlib import utils

from vid3d.config import cache_folder
from vid3d.process import has_started_jax

FOLDER_OPTION = "jax_compilation_cache_dir"
MAX_BYTES = 2 * 2**30
VECTOR_WIDTH = "--xla_cpu_prefer_vector_width"
UNTESTED_JAX = (0, 13)  # from this version on: a flag that XLA does not know ends the process
CPU_FACTS = Path("/proc/cpuinfo")


COMPILED = "/jax/core/compile/backend_compile_duration"  # of jax.monitoring; loading, too
_spent = [0.0]


def _count(event: str, duration_secs: float, **_: str | int) -> None:
    if event == COMPILED:
        _spent[0] += duration_secs


jax.monitoring.register_event_duration_secs_listener(_count)


def seconds() -> float:
    """How long XLA has compiled, or loaded from the cache, in this process so far."""
    return _spent[0]


@contextlib.contextmanager
def calmly() -> Iterator[None]:
    """Keeps XLA from alarming of slow compilation inside ("If you'd like to file a bug, ...").

    It logs that as an error, by no flag of its own, on any slow or busy machine. What goes wrong
    when compiling is raised. A level of the logs that the user has set stays.
    """
    before = os.environ.get("TF_CPP_MIN_LOG_LEVEL", "")
    if before not in ("1", "2"):  # JAX's default, that of `vid3d`
        yield
        return
    utils.absl_set_min_log_level(3)
    try:
        yield
    finally:
        utils.absl_set_min_log_level(int(before))


def calm(function: Callable) -> Callable:
    """A compiled function whose first call, which compiles it, is done `calmly`."""
    is_first = [True]

    @functools.wraps(function)
    def call(*arguments: Any) -> Any:
        if not is_first[0]:
            return function(*arguments)
        is_first[0] = False
        with calmly():
            return function(*arguments)

    return call


def set_up() -> None:
    """Sets up both; every command calls it before JAX starts, and a program that loads weights."""
    use_wide_vectors()
    use_cache()


def use_wide_vectors() -> None:
    """Tells XLA to use vectors of 512 bits where the processor has them; by itself it stops at 256.

    `ops.narrow` then takes twice as many channels at a time, which makes a prediction of the
    tutorial's network a quarter faster. XLA reads its flags when JAX starts: later, they would only
    give compiled programs the wrong names in the cache. A width that is set already is left alone.
    """
    flags = os.environ.get("XLA_FLAGS", "")
    known = jax.__version_info__ < UNTESTED_JAX
    if known and VECTOR_WIDTH not in flags and has_wide_vectors() and not has_started_jax():
        os.environ["XLA_FLAGS"] = f"{flags} {VECTOR_WIDTH}=512".strip()


def has_wide_vectors() -> bool:
    """Whether this processor has AVX-512; False where the system does not say."""
    try:
        return "avx512f" in CPU_FACTS.read_text().split()
    except OSError:
        return False


def use_cache() -> None:
    """Turns the cache on, in the user's cache folder, and drops the entries that a kill left torn.

    JAX writes entries in place, warns at each start of one it cannot read, and never rewrites it.
    A cache that is on already, as of a program that loads a classifier, stays as it is.
    """
    if getattr(jax.config, FOLDER_OPTION):
        return
    folder = cache_folder() / "compiled"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        drop_torn_entries(folder)
    except OSError:
        return  # nowhere to keep anything: compile each time
    jax.config.update(FOLDER_OPTION, str(folder))
    jax.config.update("jax_compilation_cache_max_size", MAX_BYTES)
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.1)


def drop_torn_entries(folder: Path) -> None:
    """Deletes the entries written since the last check that cannot be decompressed whole."""
    stamp = folder / "checked"
    since = stamp.stat().st_mtime_ns if stamp.exists() else 0
    entries = [p for p in folder.glob("*-cache") if p.stat().st_mtime_ns >= since]
    for path in entries:
        if not is_whole(path.read_bytes()):
            path.unlink(missing_ok=True)
    stamp.touch()


def is_whole(entry: bytes) -> bool:
    """Whether an entry (zlib, or zstd where JAX found it) decompresses to its end and checksum."""
    if entry[:1] == b"\x78":
        stream = zlib.decompressobj()
        try:
            stream.decompress(entry)
        except zlib.error:
            return False
        return stream.eof
    zstd = find_zstd()
    if zstd is None:
        return False
    try:
        zstd(entry)
    except Exception:  # each of the zstd modules has an error class of its own
        return False
    return True


def find_zstd() -> Callable[[bytes], bytes] | None:
    """The decompression function that JAX uses in place of zlib, or None."""
    try:
        from compression import zstd

        return zstd.decompress
    except ImportError:
        pass
    try:
        import zstandard
    except ImportError:
        return None
    return lambda entry: zstandard.ZstdDecompressor().decompress(entry)
