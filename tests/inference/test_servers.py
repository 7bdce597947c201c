"""A classifier in programs and servers: warmed up, in threads, after forks, and fed from memory."""

from __future__ import annotations

import contextlib
import gc
import io
import os
import select
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import warnings
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import jax
import psutil
import pytest

import vid3d
from vid3d.engine.batched import Batched
from vid3d.errors import UserError
from vid3d.inference import in_memory
from vid3d.inference.classifier import Classifier
from vid3d.parallel import call_in_thread
from vid3d.process import cores
from vid3d.video import decoder_pool

COMPILED = "/jax/core/compile/backend_compile_duration"


@pytest.fixture(scope="module")
def events() -> Iterator[Counter]:
    """How often JAX has compiled a program so far, or loaded one from the cache."""
    found: Counter = Counter()
    ended = False

    def note(name: str, seconds: float, **_: object) -> None:
        if not ended:
            found[name] += 1

    jax.monitoring.register_event_duration_secs_listener(note)
    yield found
    ended = True


@pytest.fixture(scope="module")
def classifier(make_workdir) -> Classifier:
    classifier = Classifier.load(make_workdir())
    classifier.compile(batch_sizes=[1], decoders=2)
    return classifier


@pytest.fixture(scope="module")
def hasty(make_workdir) -> Classifier:
    """Takes a decoder that says nothing for five seconds for one that hangs.

    On a busy machine one that works may take as long: this is only for what hangs.
    """
    classifier = Classifier.load(make_workdir({"data.decode_timeout": 5.0}))
    classifier.compile(batch_sizes=[1], decoders=2)
    return classifier


@pytest.fixture
def second_decoding(monkeypatch):
    """Files with more than a few frames are decoded a second time."""
    monkeypatch.setattr("vid3d.inference.files.HELD_BYTES", 20_000)


def wait_for(happened: Callable[[], object], timeout: float = 20.0) -> None:
    limit = time.monotonic() + timeout
    while not happened():
        assert time.monotonic() < limit, "timed out"
        time.sleep(0.005)


# The cache.


@pytest.fixture
def jax_cache() -> Iterator[Callable[[str | None], None]]:
    """`jax_cache(folder)` sets the cache of this process."""
    before = jax.config.jax_compilation_cache_dir
    yield lambda folder: jax.config.update("jax_compilation_cache_dir", folder)
    jax.config.update("jax_compilation_cache_dir", before)


def test_load_uses_the_cache_of_the_command_line(workdir, cache, jax_cache, monkeypatch):
    jax.devices()  # JAX has started, as in a program that has used it for something else
    monkeypatch.setenv("XLA_FLAGS", "--xla_some=1")
    jax_cache(None)
    vid3d.load(workdir)
    assert jax.config.jax_compilation_cache_dir == str(cache / "vid3d" / "compiled")
    assert os.environ["XLA_FLAGS"] == "--xla_some=1"


def test_a_cache_of_the_program_stays(workdir, videos, jax_cache, tmp_path):
    jax_cache(str(tmp_path))
    before = jax.config.jax_persistent_cache_min_compile_time_secs
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 3.0)
    try:
        assert vid3d.load(workdir).predict(videos["red"]).label == "red"
        assert jax.config.jax_persistent_cache_min_compile_time_secs == 3.0
        assert jax.config.jax_compilation_cache_dir == str(tmp_path)
    finally:
        jax.config.update("jax_persistent_cache_min_compile_time_secs", before)


# Before the first answer.


def test_nothing_is_left_to_compile_or_to_start(make_workdir, videos, decoders, events):
    classifier = Classifier.load(make_workdir({"data.sampling": "uniform"}))
    before = events[COMPILED]
    classifier.compile(batch_sizes=[1, 2, 4, 8], decoders=2)
    processes = decoders()
    assert events[COMPILED] >= before + 3 and len(processes) == 2
    before = events.copy()
    for name in ("red", "turning"):
        classifier.predict(videos[name])
    assert events == before  # not even traced
    classifier.compile(batch_sizes=[3], decoders=2)  # again: there is nothing to do
    assert events == before and decoders() == processes
    with pytest.raises(UserError, match="have to be at least 1"):
        classifier.compile(batch_sizes=[0])


def test_compile_alone_starts_no_process(workdir, decoders, events):
    classifier, before = Classifier.load(workdir), events[COMPILED]
    classifier.compile()
    assert events[COMPILED] > before and not decoders()


def test_decoder_that_cannot_start_is_named_at_once(workdir, monkeypatch, tmp_path):
    (tmp_path / "cv2.py").write_text("raise ImportError('a broken OpenCV')")
    monkeypatch.setattr(
        "vid3d.video.decoder_handle.child_environment",
        lambda: os.environ | {"PYTHONPATH": str(tmp_path)},
    )
    with pytest.raises(UserError, match=r"ended at its start .*a broken OpenCV"):
        Classifier.load(workdir).compile(batch_sizes=[1])


# Threads.


def test_threads_get_the_same_answers_from_few_processes(
    make_workdir, videos, decoders, events, second_decoding
):
    classifier = Classifier.load(make_workdir({"data.sampling": "uniform"}))
    before = events[COMPILED]
    with ThreadPoolExecutor(4) as pool:  # one compiles, and the others wait for it
        list(pool.map(classifier.predict, [videos["red"]] * 4))
    assert events[COMPILED] == before + 1
    names = [*videos] * 6
    alone = {name: classifier.predict(videos[name]) for name in videos}
    threads = threading.active_count()
    most = 0
    with ThreadPoolExecutor(8) as pool:
        answers = [pool.submit(classifier.predict, videos[name]) for name in names]
        while not all(answer.done() for answer in answers):
            most = max(most, len(decoders()))
            time.sleep(0.02)
    for name, answer in zip(names, answers, strict=True):
        assert answer.result() == alone[name]  # bit for bit
    assert most <= max(cores(), 2) and len(decoders()) <= max(cores(), 2)
    assert threading.active_count() <= threads
    del pool, answers, answer
    classifier = None
    gc.collect()
    assert not decoders()


@pytest.mark.slow
@pytest.mark.parametrize("max_delay", [None, 0.002])
def test_a_thousand_requests_leave_memory_and_threads_as_they_were(
    make_workdir, videos, noisy, max_delay
):
    """Files and frames from eight threads, alone and in shared batches."""
    classifier = Classifier.load(make_workdir())
    sources = [videos["red"], videos["blue"].read_bytes()]
    sources += [noisy(colour, 12, seed=5) for colour in ("red", "green", "blue")]
    alone = [classifier.predict(source) for source in sources]
    bound = 0.0
    if max_delay is not None:
        classifier.network, bound = Batched(classifier.network, max_delay=max_delay), 1e-5
    process = psutil.Process()

    def ask(number: int) -> None:
        answer, expected = classifier.predict(sources[number % 5]), alone[number % 5]
        assert answer.label == expected.label
        assert answer.probabilities == pytest.approx(expected.probabilities, abs=bound, rel=0)

    used, threads = [], []
    for count in (250, 250, 500):
        with ThreadPoolExecutor(8) as pool:
            list(pool.map(ask, range(count)))
        gc.collect()
        used.append(process.memory_info().rss)
        threads.append(threading.active_count())
    assert used[-1] - used[0] < 16 * 2**20, used
    assert threads[-1] == threads[0] and len(set(threads)) == 1


def test_hanging_file_does_not_hold_up_other_threads(hasty, videos, poison, decoders):
    hanging = call_in_thread(hasty.predict, poison)
    wait_for(lambda: opened(poison, hasty))
    os.kill(opened(poison, hasty)[0], signal.SIGSTOP)
    assert hasty.predict(videos["green"]).label == "green"
    assert not hanging.done()
    with pytest.raises(UserError, match=f"{poison}: the decoder hung: nothing for 5 s"):
        hanging.result()
    assert hasty.predict(videos["red"]).label == "red"


def opened(path: Path, classifier: Classifier) -> list[int]:
    """The decoding processes that are reading a file."""
    found = []
    for child in classifier._decoders.children:
        with contextlib.suppress(psutil.Error):
            process = psutil.Process(child.process.pid)
            if any(file.path == str(path) for file in process.open_files()):
                found.append(process.pid)
    return found


def test_decoders_are_lent_to_one_at_a_time_and_the_last_used_comes_first():
    decoders = decoder_pool.Decoders(2)
    with decoders.borrow() as first:
        with decoders.borrow() as second:
            assert first is not second
            third = decoders.borrow()
            waiting = call_in_thread(third.__enter__)
            time.sleep(0.05)
            assert not waiting.done()
        assert waiting.result(timeout=5) is second
        third.__exit__(None, None, None)
    with decoders.borrow() as again:
        assert again is first


# Forks.


def in_fork(act: Callable[[], object]) -> str:
    """What `act` returns or raises in a fork of this process, within a deadline."""
    reader, writer = os.pipe()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of JAX and Python: that forks with threads are dangerous
        pid = os.fork()
    if not pid:
        try:
            try:
                answer = str(act())
            except BaseException as error:
                answer = f"{type(error).__name__}: {error}"
            os.write(writer, answer.encode())
        finally:
            os._exit(0)
    os.close(writer)
    try:
        assert select.select([reader], [], [], 20)[0], "the fork hangs"
        return os.read(reader, 4096).decode()
    finally:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
        os.close(reader)


def test_a_fork_after_use_is_refused_at_once(classifier, workdir, videos, noisy):
    assert classifier.predict(videos["red"]).label == "red"
    children = [child.process.pid for child in classifier._decoders.children]
    stream = classifier.stream(fps=25)
    for act in (
        lambda: classifier.predict(videos["red"]),
        lambda: classifier.predict(noisy("red", 4)),
        lambda: next(classifier.predict_many([videos["red"]])),
        lambda: [stream.push(frame) for frame in noisy("red", 8)],
        lambda: classifier.compile(),
        lambda: vid3d.load(workdir),
    ):
        said = in_fork(act)
        assert said.startswith("UserError: process ") and "\n" not in said
        assert "forked after JAX had started" in said and 'get_context("spawn")' in said
    # A fork that ends leaves the decoding processes to the one that started them.
    assert in_fork(classifier._decoders.end) == "None"
    assert classifier.predict(videos["blue"]).label == "blue"
    assert [child.process.pid for child in classifier._decoders.children] == children


@pytest.mark.slow
def test_a_fork_before_use_works(workdir, videos):
    """As by gunicorn: the program is imported, and each worker loads."""
    code = (
        "import os, sys, vid3d, vid3d.inference.classifier\n"
        "for _ in range(2):\n"
        "    if pid := os.fork():\n"
        "        assert os.waitpid(pid, 0)[1] == 0\n"
        "    else:\n"
        "        print(vid3d.load(sys.argv[1]).predict(sys.argv[2]).label)\n"
        "        sys.exit()\n"
    )
    command = [sys.executable, "-c", code, workdir, videos["red"]]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert (done.returncode, done.stdout, done.stderr) == (0, "red\nred\n", "")


# Videos in memory.


class Upload:
    """What a web framework hands over: no more than a name and its bytes."""

    def __init__(self, content: bytes, filename: str = "holiday.mp4"):
        self.filename = filename
        self._file = io.BytesIO(content)

    def read(self, size: int) -> bytes:
        return self._file.read(min(size, 1000))


def handles() -> int:
    return len(os.listdir("/proc/self/fd"))


@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="needs /proc")
def test_videos_in_memory_are_labelled_as_files(classifier, videos, second_decoding, monkeypatch):
    socket.setdefaulttimeout(0.01)  # as programs do; it is none of the decoders' business
    try:
        for name in ("red", "turning"):  # which is decoded twice
            expected = classifier.predict(videos[name])
            content = videos[name].read_bytes()
            before = handles()
            with videos[name].open("rb") as file, tempfile.SpooledTemporaryFile() as spooled:
                spooled.write(content)
                spooled.seek(0)
                for source in (
                    content, bytearray(content), memoryview(content), io.BytesIO(content),
                    Upload(content), file, spooled,
                ):  # fmt: skip
                    assert classifier.predict(source) == expected
                assert not file.closed
            assert handles() == before
    finally:
        socket.setdefaulttimeout(None)


def test_wrong_videos_in_memory_are_named(classifier, videos, tmp_path):
    path = tmp_path / "text"  # no suffix, from which FFmpeg would guess
    path.write_text("no video")
    with pytest.raises(UserError) as of_file:
        classifier.predict(path)

    class Asynchronous:
        async def read(self, size: int) -> bytes:
            return b""

    class Broken:
        name = "two\nlines"

        def read(self, size: int) -> bytes:
            raise OSError("the network is down")

    closed = path.open("rb")
    closed.close()
    for source, said in (
        (b"no video", str(of_file.value).replace(str(path), "<bytes>")),
        (io.BytesIO(b"no video"), str(of_file.value).replace(str(path), "<BytesIO>")),
        (Upload(b"no video"), str(of_file.value).replace(str(path), "holiday.mp4")),
        (path.open("rb"), str(of_file.value)),
        (b"", "<bytes>: empty file"),
        (path.open(), f"{path}: its read() returns str in place of bytes: open files with"),
        (Asynchronous(), "<Asynchronous>: its read() returns coroutine in place of bytes"),
        (Broken(), "'two\\nlines': cannot be read: the network is down"),
        (closed, f"{path}: cannot be read: read of closed file"),
    ):
        with pytest.raises(UserError) as caught:
            classifier.predict(source)
        assert str(caught.value).startswith(said) and "\n" not in str(caught.value)
        if hasattr(source, "close"):
            source.close()
    with pytest.raises(UserError, match="predict_many takes paths alone, not bytes"):
        next(classifier.predict_many([b"no video"]))


def test_size_in_memory_is_bounded(classifier, videos, monkeypatch):
    content = videos["turning"].read_bytes()
    monkeypatch.setattr(in_memory, "MOST_BYTES", len(content))
    assert classifier.predict(content).num_frames == 102
    monkeypatch.setattr(in_memory, "PIECE_BYTES", 1000)
    monkeypatch.setattr(in_memory, "MOST_BYTES", len(content) - 1)
    upload = Upload(content + bytes(10_000))
    for source in (content, upload):
        with pytest.raises(UserError, match=r"larger than .* GiB, .*save it as a file"):
            classifier.predict(source)
    assert len(upload._file.read()) > 8000  # no more of it was read than it takes to know


@pytest.mark.skipif(sys.platform != "linux", reason="memory is bounded on Linux")
def test_videos_in_memory_have_the_bounds_of_files(hasty, load, poison, videos):
    """A decoder that crashes is replaced and given the file again; one that hangs, not."""
    content, patient = poison.read_bytes(), load()
    answer = call_in_thread(patient.predict, content)
    wait_for(lambda: opened_in_memory(patient))
    os.kill(opened_in_memory(patient)[0], signal.SIGKILL)
    assert answer.result().num_frames == 5000
    answer = call_in_thread(hasty.predict, content)
    wait_for(lambda: opened_in_memory(hasty))
    os.kill(opened_in_memory(hasty)[0], signal.SIGSTOP)
    with pytest.raises(UserError, match=r"^<bytes>: the decoder hung: nothing for 5 s"):
        answer.result()
    assert hasty.predict(videos["red"].read_bytes()).label == "red"


def opened_in_memory(classifier: Classifier) -> list[int]:
    """The decoding processes that are reading a video in memory."""
    found = []
    for child in classifier._decoders.children:
        folder = Path(f"/proc/{child.process.pid}/fd")
        with contextlib.suppress(OSError):
            if any("vid3d-video" in os.readlink(handle) for handle in folder.iterdir()):
                found.append(child.process.pid)
    return found


def test_temporary_files_without_memfd_are_deleted(classifier, videos, tmp_path, monkeypatch):
    """As on macOS."""
    monkeypatch.delattr(os, "memfd_create")
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    expected = classifier.predict(videos["red"])
    assert classifier.predict(videos["red"].read_bytes()) == expected
    with pytest.raises(UserError, match=r"^<bytes>: not a video"):
        classifier.predict(b"no video")
    assert not list(tmp_path.iterdir())


def test_full_disk_is_named(classifier, videos, small_disk, monkeypatch):
    folder = small_disk("16k")
    monkeypatch.delattr(os, "memfd_create")
    classifier.predict(videos["red"])  # a decoder's own memory is a temporary file as well
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    with pytest.raises(UserError, match=r"^<bytes>: cannot be copied for decoding: No space left"):
        classifier.predict(videos["turning"].read_bytes())
    assert not list(folder.iterdir())
