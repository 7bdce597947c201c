"""OpenVINO in place of JAX: the same answers, from a cache, with any number of threads."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

import vid3d
from vid3d.engine import cached, choose
from vid3d.errors import UserError
from vid3d.export import proof, runtimes

pytest.importorskip("openvino")
pytest.importorskip("onnx")


@pytest.fixture
def own_cache(tmp_path, monkeypatch):
    """An empty cache folder; the entries of OpenVINO in it."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache" / "vid3d" / "openvino"


@pytest.fixture(scope="module")
def clips(smoke_run):
    config = vid3d.config.read(smoke_run / "config.json")
    shape = (5, config.data.num_frames, config.data.size, config.data.size, 3)
    return np.random.default_rng(0).integers(0, 256, shape, np.uint8)


@pytest.fixture(scope="module")
def classifiers(smoke_run):
    return [vid3d.load(smoke_run, engine=engine) for engine in ("jax", "openvino")]


def test_answers_are_those_of_jax_in_any_batch(classifiers, clips):
    ours, theirs = classifiers
    assert (theirs.network.engine, theirs.network.precision) == ("openvino", "f32")
    found = theirs.probabilities(clips)
    np.testing.assert_allclose(ours.probabilities(clips), found, rtol=0, atol=1e-5)
    np.testing.assert_array_equal(theirs.probabilities(clips[3:4])[0], found[3])
    np.testing.assert_allclose(found.sum(axis=1), 1, atol=1e-5)


def test_threads_get_the_answers_of_one(classifiers, clips):
    network = classifiers[1].network
    wanted = network(clips)
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda n: network(clips[n % 5 : n % 5 + 1])[0], range(200)))
    for number, row in enumerate(answers):
        np.testing.assert_array_equal(row, wanted[number % 5])


@pytest.mark.slow
def test_a_second_start_loads_neither_jax_nor_weights(smoke_run, clips, own_cache, tmp_path):
    """And OpenVINO sends nothing to its makers."""
    np.save(tmp_path / "clips.npy", clips)
    code = f"""
import sys, numpy as np, vid3d
classifier = vid3d.load({str(smoke_run)!r}, engine="openvino")
np.save(sys.argv[1], classifier.probabilities(np.load({str(tmp_path / "clips.npy")!r})))
print(*sorted({{"jax", "flax", "orbax", "openvino_telemetry"}} & set(sys.modules)))
"""
    loaded = []
    for name in ("first.npy", "second.npy"):
        command = [sys.executable, "-c", code, str(tmp_path / name)]
        environment = os.environ | {"XLA_FLAGS": ""}
        done = subprocess.run(command, env=environment, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        loaded.append(done.stdout.split())
    assert loaded == [["flax", "jax", "orbax"], []]
    np.testing.assert_array_equal(np.load(tmp_path / "first.npy"), np.load(tmp_path / "second.npy"))
    (entry,) = [path for path in own_cache.iterdir() if path.is_dir()]
    assert {path.name for path in entry.iterdir()} == {"network.blob", "facts.json"}
    assert json.loads((entry / "facts.json").read_text())["largest_difference"] < 1e-5


def test_a_damaged_entry_is_made_again(smoke_run, clips, own_cache):
    wanted = vid3d.load(smoke_run, engine="openvino").probabilities(clips)
    (blob,) = own_cache.glob("*/network.blob")
    whole = blob.read_bytes()
    blob.write_bytes(whole[:-7] + b"\0" * 7)
    np.testing.assert_array_equal(
        vid3d.load(smoke_run, engine="openvino").probabilities(clips), wanted
    )
    assert cached.is_whole(blob.parent)


@pytest.mark.slow
def test_without_a_cache_it_compiles_each_time(smoke_run, clips, classifiers, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", "/dev/null/cache")
    found = vid3d.load(smoke_run, engine="openvino").probabilities(clips)
    np.testing.assert_array_equal(found, classifiers[1].probabilities(clips))


@pytest.mark.slow
def test_other_answers_than_those_of_jax_are_refused(smoke_run, own_cache, monkeypatch):
    monkeypatch.setitem(proof.BOUNDS, "f32", -1.0)
    with pytest.raises(UserError, match="OpenVINO in f32 does not answer as JAX does"):
        vid3d.load(smoke_run, engine="openvino")
    assert not [path for path in own_cache.iterdir() if path.is_dir()]


@pytest.mark.slow
def test_old_entries_make_room(smoke_run, own_cache, monkeypatch):
    monkeypatch.setattr(cached, "MAX_BYTES", 100)
    old = own_cache / "old"
    old.mkdir(parents=True)
    (old / "network.blob").write_bytes(b"1" * 90)
    os.utime(old, (1, 1))
    vid3d.load(smoke_run, engine="openvino")
    assert not old.exists() and len(list(own_cache.glob("*/network.blob"))) == 1


def test_bfloat16_is_refused_where_the_processor_lacks_it(smoke_run, tmp_path, monkeypatch):
    facts = tmp_path / "cpuinfo"
    facts.write_text("flags : fpu sse2 avx512f\n")
    monkeypatch.setattr(runtimes, "CPU_FACTS", facts)
    with pytest.raises(UserError, match=r"no bfloat16 .*leave --precision at f32"):
        vid3d.load(smoke_run, engine="openvino", precision="bf16")
    facts.write_text("flags : fpu avx512f avx512_bf16\n")
    runtimes.check_bf16()


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"engine": "openvin"}, "engine='openvin' is not one of jax, openvino, auto; did you mean"),
        ({"precision": "int8", "engine": "openvino"}, "precision='int8' is not one of f32, bf16"),
        ({"precision": "bf16"}, "precision='bf16' is for engine='openvino'"),
    ],
)
def test_another_engine_or_precision_is_an_error(smoke_run, settings, words):
    with pytest.raises(UserError) as raised:
        vid3d.load(smoke_run, **settings)
    assert words in str(raised.value)


def test_a_missing_package_is_named_with_its_extra(smoke_run, own_cache, monkeypatch):
    monkeypatch.setitem(sys.modules, "openvino", None)
    with pytest.raises(UserError, match=r"openvino is not .*vid3d\[openvino\]"):
        vid3d.load(smoke_run, engine="openvino")


@pytest.mark.slow
def test_auto_takes_what_was_faster_and_keeps_it(smoke_run, clips, own_cache):
    chosen = vid3d.load(smoke_run, engine="auto").network.engine
    (note,) = own_cache.glob("*.json")
    seconds = json.loads(note.read_text())
    assert chosen == min(seconds, key=seconds.get)
    for faster, slower in (("jax", "openvino"), ("openvino", "jax")):
        note.write_text(json.dumps({faster: 1.0, slower: 2.0}))
        assert vid3d.load(smoke_run, engine="auto").network.engine == faster


def test_measured_networks_take_turns():
    calls = []

    def network(name):
        return lambda clips: calls.append((name, len(clips)))

    seconds = choose.measure({"jax": network("jax"), "openvino": network("openvino")}, (2, 4, 4, 3))
    assert seconds.keys() == {"jax", "openvino"} and all(value < 1 for value in seconds.values())
    timed = calls[-2 * choose.ROUNDS :]
    assert timed == [("jax", choose.BATCH), ("openvino", choose.BATCH)] * choose.ROUNDS


@pytest.mark.slow
def test_evaluate_and_predict_take_the_engine(smoke_run, call, cache):
    plain = json.loads(call("evaluate", f"--workdir={smoke_run}", "--json").stdout)
    other = json.loads(
        call("evaluate", f"--workdir={smoke_run}", "--json", "--engine=openvino").stdout
    )
    assert (plain["engine"], other["engine"], other["precision"]) == ("jax", "openvino", "f32")
    assert other["accuracy"] == plain["accuracy"]
    assert other["loss"] == pytest.approx(plain["loss"], abs=1e-4)
    assert (smoke_run / "evaluation" / "test-best-openvino-f32" / "metrics.json").exists()
    video = next(cache.glob("vid3d/synthetic-*/*/*.avi"))
    answers = [
        json.loads(call("predict", f"--workdir={smoke_run}", engine, "--json", video).stdout)
        for engine in ("--engine=jax", "--engine=openvino")
    ]
    (a,), (b,) = (answer["predictions"] for answer in answers)
    assert a["label"] == b["label"] and abs(a["probability"] - b["probability"]) < 1e-4
