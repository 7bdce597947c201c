"""What all tests share: eight host devices, their own cache folder, real data if present."""

from __future__ import annotations

import contextlib
import functools
import importlib.util
import os
import shutil
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import hypothesis
import psutil
import pytest
from filelock import FileLock

# Before anything imports jax or tensorflow.
os.environ["XLA_FLAGS"] = (
    os.environ.get("XLA_FLAGS", "") + " --xla_force_host_platform_device_count=8"
)
os.environ["JAX_DISABLE_MOST_OPTIMIZATIONS"] = "1"  # see `pytest_runtest_setup`
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
os.environ.setdefault("KERAS_BACKEND", "tensorflow")
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)  # each process would compile all of vid3d itself

# A test is not wrong because the machine is busy.
hypothesis.settings.register_profile("patient", deadline=None)
hypothesis.settings.load_profile("patient")

pytest_plugins = (
    "fixtures.processes",
    "fixtures.videos",
    "fixtures.reference_networks",
    "fixtures.published",
    "browser",
)

ROOT = Path(__file__).resolve().parent.parent
SHARED = ROOT.parent / "shared" / "data"


def pytest_xdist_auto_num_workers() -> int:
    """One more than there are cores: tests wait for other processes a third of the time."""
    from vid3d.process import cores

    return cores() + 1


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    """Compiles quickly, here and in child processes, but for tests marked as `optimized`.

    The tiny networks of most tests take far longer to optimize than to run.
    """
    quick = item.get_closest_marker("optimized") is None
    os.environ["JAX_DISABLE_MOST_OPTIMIZATIONS"] = str(int(quick))
    if "jax" in sys.modules:
        sys.modules["jax"].config.update("jax_disable_most_optimizations", quick)


def shared_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The temporary folder of this test run, the same for all its workers."""
    folder = tmp_path_factory.getbasetemp()
    return folder.parent if "PYTEST_XDIST_WORKER" in os.environ else folder


@pytest.fixture(scope="session", autouse=True)
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The cache folder of this test run, for all workers and for the processes they start."""
    folder = shared_folder(tmp_path_factory) / "cache"
    folder.mkdir(exist_ok=True)
    before = os.environ.get("XDG_CACHE_HOME")
    os.environ["XDG_CACHE_HOME"] = str(folder)
    from vid3d import compilation

    compilation.set_up()
    yield folder
    if before is None:
        del os.environ["XDG_CACHE_HOME"]
    else:
        os.environ["XDG_CACHE_HOME"] = before


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder with real videos; tests that need it are skipped if it is missing."""
    if not SHARED.is_dir():
        pytest.skip(f"no real videos at {SHARED}")
    return SHARED


@pytest.fixture
def library_form() -> Iterator[None]:
    """Convolutions of the library: for what does not depend on ours, which take long to compile."""
    from vid3d.ops import convolution

    with convolution.library_form():
        yield


@pytest.fixture
def decoders() -> Callable[[], list[psutil.Process]]:
    """`decoders()`: this process's decoding processes that the test has started.

    There may be others: a classifier that several tests share keeps its own.
    """

    def alive() -> list[psutil.Process]:
        found = []
        for process in psutil.Process().children():
            with contextlib.suppress(psutil.Error):
                if "vid3d.video.decoder_child" in process.cmdline():
                    found.append(process)
        return found

    before = alive()
    return lambda: [process for process in alive() if process not in before]


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Callable[[str], Path]]:
    """`small_disk("1m")`: a separate file system; skips if mounting is not permitted."""
    folder = tmp_path / "disk"

    def mount(size: str) -> Path:
        folder.mkdir()
        command = ["mount", "-t", "tmpfs", "-o", f"size={size}", "none", str(folder)]
        if os.getuid() or subprocess.run(command, capture_output=True).returncode:
            pytest.skip("mounting a small disk needs root")
        return folder

    yield mount
    if folder.is_mount():
        subprocess.run(["umount", "-l", str(folder)], check=True)


@pytest.fixture
def call(capfd: pytest.CaptureFixture, monkeypatch: pytest.MonkeyPatch):
    """`call("evaluate", ...)`: like `run`, in this process."""
    from vid3d import cli

    def call(*arguments: str, check: int | None = 0) -> subprocess.CompletedProcess:
        capfd.readouterr()
        code = cli.main([str(argument) for argument in arguments])
        done = subprocess.CompletedProcess(arguments, code, *capfd.readouterr())
        if check is not None and code != check:
            raise AssertionError(f"vid3d {arguments}: {code}\n{done.stdout}\n{done.stderr}")
        return done

    monkeypatch.setenv("COLUMNS", "200")
    return call


@pytest.fixture
def one_device(monkeypatch: pytest.MonkeyPatch) -> None:
    """One device for the runs that a sweep here starts; this process keeps its eight."""
    import jax

    jax.devices()
    monkeypatch.setenv("XLA_FLAGS", "")


@pytest.fixture(scope="session")
def once(tmp_path_factory: pytest.TempPathFactory, cache: Path):
    """`once(name, train)`: a copy of the workdir that `train(workdir)` writes for all workers."""

    def once(name: str, train: Callable[[Path], object]) -> Path:
        whole = shared_folder(tmp_path_factory) / "once" / name
        whole.parent.mkdir(exist_ok=True)
        with FileLock(whole.with_name(f"{name}.lock")):
            done = whole.with_name(f"{name}.done")
            if not done.exists():  # where another worker's training failed, a part may be there
                shutil.rmtree(whole, ignore_errors=True)
                train(whole)
                done.touch()
        return Path(shutil.copytree(whole, tmp_path_factory.mktemp(name) / "run"))

    return once


@pytest.fixture(scope="session")
def smoke_run(once, run) -> Path:
    """A workdir that `vid3d train --config=configs/demo.py:smoke` has trained."""
    config = "--config=configs/demo.py:smoke"
    return once("smoke", lambda workdir: run("train", config, f"--workdir={workdir}"))


@pytest.fixture(scope="session")
def assert_same_run() -> Callable[[Path, Path], None]:
    """`assert_same_run(a, b)`: metrics, latest weights, optimizer state are equal bit for bit."""
    import jax
    import numpy as np

    from vid3d import checkpoint

    def assert_same(a: Path, b: Path) -> None:
        assert (a / "metrics.jsonl").read_bytes() == (b / "metrics.jsonl").read_bytes()
        step = checkpoint.resolve(a, "latest")
        assert step == checkpoint.resolve(b, "latest")
        for item in ("weights", "optimizer"):
            one, two = (checkpoint.restore_item(workdir, step, item) for workdir in (a, b))
            assert len(jax.tree.leaves(one)) > 2
            jax.tree.map(np.testing.assert_array_equal, one, two)

    return assert_same


@pytest.fixture
def serve(monkeypatch: pytest.MonkeyPatch):
    """`with serve(folder) as url:` serves its files at url/NAME."""
    for name in ("http_proxy", "HTTP_PROXY"):
        monkeypatch.delenv(name, raising=False)

    class Quiet(SimpleHTTPRequestHandler):
        def log_message(self, *_: object) -> None:
            pass

    @contextlib.contextmanager
    def serve(folder: Path) -> Iterator[str]:
        handler = functools.partial(Quiet, directory=str(folder))
        with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
            thread = threading.Thread(target=server.serve_forever)
            thread.start()
            try:
                yield f"http://127.0.0.1:{server.server_port}"
            finally:
                server.shutdown()
                thread.join()

    return serve


@pytest.fixture(scope="session")
def bucket():
    """A stand-in for a bucket of Google Cloud Storage, `gs://bucket`: see bucket.py."""
    if importlib.util.find_spec("gcsfs") is None:
        pytest.skip("gcsfs is not installed")
    spec = importlib.util.spec_from_file_location("bucket", Path(__file__).parent / "bucket.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    with module.Bucket() as made:
        yield made


@pytest.fixture
def reach(bucket, monkeypatch):
    """The bucket, used by this process and by those that it starts."""
    for name, value in bucket.environment.items():
        monkeypatch.setenv(name, value)
    yield bucket
    bucket.watch = lambda method, name: None
