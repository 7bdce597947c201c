"""Hours of training must not be lost, and never be restored wrong."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from vid3d import checkpoint, config as configs, parallel
from vid3d.checkpoint import Workdir, writing
from vid3d.errors import UserError

OPTIMIZER = optax.adam(1e-3)
META = {"classes": ["a", "b"], "validation_videos": 4, "progress": {"best": None}}


def trees(value: float):
    params = {"layer": {"kernel": jnp.full((3, 4), value), "bias": jnp.arange(4.0) + value}}
    weights = {"params": params, "batch_stats": {"norm": {"mean": jnp.full(4, value)}}}
    optimizer = {"opt_state": OPTIMIZER.init(params), "step": jnp.int32(value)}
    return parallel.replicate((weights, optimizer))


def save(checkpoints, step, accuracy=None, loss=1.0):
    metrics = None if accuracy is None else {"accuracy": accuracy, "loss": loss}
    checkpoints.save(step, *trees(step), meta=META, metrics=metrics)


def same(a, b):
    for x, y in zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True):
        np.testing.assert_array_equal(np.asarray(x), np.asarray(y))


@pytest.fixture
def checkpoints(tmp_path):
    Workdir(tmp_path).claim(configs.default())
    made = writing.CheckpointStore(tmp_path)
    yield made
    made.close()


def test_the_best_and_two_latest_checkpoints_are_kept(tmp_path, checkpoints):
    for step, accuracy in enumerate([0.2, 0.9, 0.8, 0.7, 0.6, 0.5, 0.4], start=1):
        save(checkpoints, step * 10, accuracy)
    assert Workdir(tmp_path).checkpoints() == [20, 60, 70]
    assert checkpoint.resolve(tmp_path, "best") == 20
    assert checkpoint.resolve(tmp_path, "latest") == 70
    weights, meta = checkpoint.restore_weights(tmp_path, 20)
    same(weights, trees(20)[0])
    assert meta["metrics"] == {"accuracy": 0.9, "loss": 1.0}
    weights, optimizer, _ = checkpoints.restore_latest(*trees(0))
    same((weights, optimizer), trees(70))


def test_a_checkpoint_holds_what_is_documented(tmp_path, checkpoints):
    save(checkpoints, 1, 0.5)
    folder = tmp_path / "checkpoints" / "1"
    assert {p.name for p in folder.iterdir() if p.is_dir()} == {"weights", "optimizer", "meta"}
    manifest = json.loads((folder / checkpoint.MANIFEST).read_text())["sha256"]
    written = {p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file()}
    assert manifest.keys() == written - {checkpoint.MANIFEST}


def test_of_equal_accuracies_the_lower_loss_is_best(tmp_path, checkpoints):
    for step, loss in [(1, 0.5), (2, 0.3), (3, 0.4), (4, 0.9), (5, 0.9)]:
        save(checkpoints, step, 0.8, loss)
    assert checkpoint.resolve(tmp_path, "best") == 2


def test_an_unevaluated_checkpoint_is_never_best(tmp_path, checkpoints):
    save(checkpoints, 1, 0.5)
    for step in (2, 3, 4, 5):
        save(checkpoints, step)
    assert Workdir(tmp_path).checkpoints() == [1, 4, 5]
    assert checkpoint.resolve(tmp_path, "best") == 1


def test_a_half_deleted_checkpoint_is_cleared_up(tmp_path, checkpoints, monkeypatch, capsys):
    save(checkpoints, 1, 0.5)
    save(checkpoints, 2, 0.6)

    def begin(folder: Path) -> None:
        (folder / "meta" / "metadata").unlink()
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(writing.storage, "remove_folder", begin)
        save(checkpoints, 3, 0.7)
    # Both were whole before the first was touched.
    assert Workdir(tmp_path).checkpoints() == [2, 3]
    assert checkpoint.resolve(tmp_path, "best") == 3
    for _ in range(2):
        writing.CheckpointStore(tmp_path).close()
        assert {path.name for path in (tmp_path / "checkpoints").iterdir()} == {"2", "3"}
        (tmp_path / "checkpoints" / "deleting-1").touch()  # a moment later: only its mark is left
    writing.CheckpointStore(tmp_path).close()
    assert {path.name for path in (tmp_path / "checkpoints").iterdir()} == {"2", "3"}
    assert capsys.readouterr().err == ""


def test_an_interrupted_checkpoint_is_cleared_up(tmp_path, checkpoints):
    save(checkpoints, 1, 0.5)
    save(checkpoints, 2, 0.6)
    (tmp_path / "checkpoints" / "2" / checkpoint.MANIFEST).unlink()
    assert Workdir(tmp_path).checkpoints() == [1]
    again = writing.CheckpointStore(tmp_path)
    assert again.restore_latest(*trees(0))[1]["step"] == 1
    save(again, 2, 0.7)
    assert Workdir(tmp_path).checkpoints() == [1, 2]
    again.close()


def files_of(folder):
    return sorted(p for p in folder.rglob("*") if p.is_file() and p.stat().st_size)


@pytest.mark.slow
def test_a_checkpoint_with_any_damaged_file_is_skipped(tmp_path, checkpoints, capsys):
    save(checkpoints, 1, 0.5)
    save(checkpoints, 2, 0.6)
    folder = tmp_path / "checkpoints" / "2"
    whole_folder = shutil.copytree(folder, tmp_path / "whole")
    files = [path.relative_to(folder) for path in files_of(folder)]
    assert len(files) > 8 and Path(checkpoint.MANIFEST) in files
    for name in files:
        whole = (folder / name).read_bytes()
        middle = len(whole) // 2
        for damaged in (
            whole[:middle],
            whole[:middle] + bytes([whole[middle] ^ 1]) + whole[middle + 1 :],
        ):
            (folder / name).write_bytes(damaged)
            with pytest.raises(checkpoint.DamagedError, match="checkpoint 2"):
                checkpoint.restore_weights(tmp_path, 2)
            assert not Workdir(tmp_path).is_imported()
            again = writing.CheckpointStore(tmp_path)
            weights, optimizer, _ = again.restore_latest(*trees(0))
            again.close()
            warning = capsys.readouterr().err
            assert warning.startswith("warning: checkpoint 2 of"), name
            assert "the one before it" in warning
            same((weights, optimizer), trees(1))
            assert Workdir(tmp_path).checkpoints() == [1]
            shutil.copytree(whole_folder, folder)
    same(checkpoint.restore_weights(tmp_path, 2)[0], trees(2)[0])


def test_a_damaged_step_can_be_saved_again(tmp_path, checkpoints, capsys):
    save(checkpoints, 1, 0.5)
    save(checkpoints, 2, 0.6)
    path = max(files_of(tmp_path / "checkpoints" / "2" / "weights"), key=lambda p: p.stat().st_size)
    path.write_bytes(path.read_bytes()[:-1] + b"!")
    again = writing.CheckpointStore(tmp_path)
    assert again.restore_latest(*trees(0))[1]["step"] == 1
    assert capsys.readouterr().err
    save(again, 2, 0.6)
    assert again.restore_latest(*trees(0))[1]["step"] == 2
    assert not capsys.readouterr().err
    again.close()


def test_a_damaged_checkpoint_names_alternatives(tmp_path, checkpoints):
    save(checkpoints, 1, 0.5)
    save(checkpoints, 2, 0.6)
    path = max(files_of(tmp_path / "checkpoints" / "2" / "weights"), key=lambda p: p.stat().st_size)
    path.write_bytes(path.read_bytes()[:-1] + b"!")
    with pytest.raises(checkpoint.DamagedError, match=r"take --checkpoint=1, or call"):
        checkpoint.restore_weights(tmp_path, 2)
    path.unlink()
    with pytest.raises(checkpoint.DamagedError, match=f"{path.name} is missing: take"):
        checkpoint.restore_weights(tmp_path, 2)


def test_a_single_damaged_checkpoint_is_not_removed(tmp_path, checkpoints):
    save(checkpoints, 1, 0.5)
    path = tmp_path / "checkpoints" / "1" / "meta" / "metadata"
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(UserError, match=r"checkpoint 1 of .* no older checkpoint is left"):
        writing.CheckpointStore(tmp_path)
    assert Workdir(tmp_path).checkpoints() == [1]


def test_unknown_checkpoints_are_one_line(tmp_path, checkpoints):
    with pytest.raises(UserError, match="no workdir"):
        checkpoint.resolve(tmp_path / "nowhere")
    with pytest.raises(UserError, match="no checkpoint in"):
        checkpoint.resolve(tmp_path)
    save(checkpoints, 5)
    with pytest.raises(UserError, match="use --checkpoint=latest"):
        checkpoint.resolve(tmp_path, "best")
    with pytest.raises(UserError, match="there is best, latest, 5"):
        checkpoint.resolve(tmp_path, "6")
    assert checkpoint.resolve(tmp_path, "5") == 5


def test_a_checkpoint_of_another_model_is_refused(checkpoints):
    save(checkpoints, 1, 0.5)
    weights, optimizer = trees(0)
    del weights["params"]["layer"]["bias"]
    with pytest.raises(UserError, match="another model"):
        checkpoints.restore_latest(weights, optimizer)


def test_a_checkpoint_contains_no_pickle(tmp_path, checkpoints):
    """A checkpoint consists of JSON and array files; nothing in it is a pickle."""
    save(checkpoints, 1, 0.5)
    for path in files_of(tmp_path / "checkpoints" / "1"):
        assert not path.read_bytes().startswith(b"\x80"), path
    json.loads((tmp_path / "checkpoints" / "1" / checkpoint.MANIFEST).read_text())


def test_damaged_metrics_do_not_choose_the_best(tmp_path, checkpoints):
    save(checkpoints, 1, 0.9)
    save(checkpoints, 2, 0.6)
    path = tmp_path / "checkpoints" / "1" / "meta" / "metadata"
    whole = path.read_bytes()
    assert b"0.9" in whole
    for damaged in (whole.replace(b"0.9", b"0.1"), b"{}", b"\xff" + whole[1:], None):
        path.unlink() if damaged is None else path.write_bytes(damaged)
        words = (
            r"checkpoint 1 .*meta/metadata.*, and might be the best: take --checkpoint=2, or call"
        )
        with pytest.raises(checkpoint.DamagedError, match=words):
            checkpoint.resolve(tmp_path, "best")
    # A training that is at work goes on, and deletes neither it nor what might be the best.
    for step in (3, 4, 5):
        save(checkpoints, step, 0.5)
    assert Workdir(tmp_path).checkpoints() == [1, 2, 4, 5]


@pytest.mark.parametrize(("lost", "was_tested"), [((1, 2), False), ((1,), False), ((3,), True)])
def test_lost_manifests_delete_nothing(lost, was_tested, tmp_path, checkpoints):
    """Those that no interruption removes: of older checkpoints, or of the only, evaluated one."""
    for step in (1, 2, 3):
        save(checkpoints, step, 0.9 - step / 10)
    if was_tested:
        for step in (1, 2):
            shutil.rmtree(tmp_path / "checkpoints" / str(step))
        (tmp_path / "evaluation").mkdir()
    for step in lost:
        (tmp_path / "checkpoints" / str(step) / checkpoint.MANIFEST).unlink()
    with pytest.raises(UserError, match=f"checkpoints {', '.join(map(str, lost))} in .* have lost"):
        writing.CheckpointStore(tmp_path)
    if not was_tested:
        words = (
            "checkpoint 1 .*manifest.json cannot be read, and might be the best: take --checkpoint="
        )
        with pytest.raises(checkpoint.DamagedError, match=words):
            checkpoint.resolve(tmp_path, "best")
    assert len(files_of(tmp_path / "checkpoints" / str(lost[-1]))) > 5


def test_the_best_is_found_during_a_deletion(tmp_path, checkpoints, monkeypatch):
    save(checkpoints, 1, 0.5)
    save(checkpoints, 2, 0.6)
    read = Workdir.meta

    def late(workdir, step):
        (tmp_path / "checkpoints" / "1" / checkpoint.MANIFEST).unlink(missing_ok=True)
        return read(workdir, step)

    monkeypatch.setattr(Workdir, "meta", late)
    assert checkpoint.best(tmp_path) == 2


@pytest.mark.parametrize("moment", ["restore_weights", "restore_item", "verify"])
def test_a_checkpoint_deleted_while_read_is_not_damaged(moment, tmp_path, checkpoints, monkeypatch):
    save(checkpoints, 1, 0.5)
    save(checkpoints, 2, 0.4)
    owner = Workdir if moment == "verify" else checkpoint
    original = getattr(owner, moment)

    def late(workdir, step, *rest):
        if step == 1:  # a better one has taken its place
            if moment == "verify":
                original(workdir, step)
            save(checkpoints, 3, 0.9)
            save(checkpoints, 4, 0.8)
        return original(workdir, step, *rest)

    monkeypatch.setattr(owner, moment, late)
    step, weights, meta = checkpoint.load(tmp_path)
    assert step == 3 and meta["metrics"]["accuracy"] == 0.9
    same(weights, trees(3)[0])


def test_the_last_evaluated_checkpoint_may_be_chosen(tmp_path, checkpoints):
    meta = META | {"config": {"checkpoint": {"choose": "last"}}, "progress": {"best": [0.9, -1.0]}}
    for step, accuracy in ((1, 0.9), (2, 0.5), (3, 0.6), (4, None)):
        metrics = {"accuracy": accuracy, "loss": 1.0} if accuracy else None
        checkpoints.save(step, *trees(step), meta=meta, metrics=metrics)
    assert checkpoint.resolve(tmp_path) == checkpoint.best(tmp_path) == 3
    assert Workdir(tmp_path).checkpoints() == [3, 4]  # the most accurate need not be kept


def test_other_errors_are_not_a_full_disk(checkpoints, monkeypatch):
    def fail(*_, **__) -> None:
        raise RuntimeError("RESOURCE_EXHAUSTED: Out of memory allocating 17179869184 bytes")

    monkeypatch.setattr(checkpoints.manager, "save", fail)
    with pytest.raises(RuntimeError, match="Out of memory"):
        save(checkpoints, 1, 0.5)


@pytest.mark.parametrize("name", ["01", "\u00b9", "+1", "1.0", ""])
def test_other_spellings_of_a_step_are_refused(name, tmp_path, checkpoints):
    save(checkpoints, 1, 0.5)
    with pytest.raises(UserError, match="there is best, latest, 1"):
        checkpoint.resolve(tmp_path, name)


def test_a_missing_best_checkpoint_is_named(tmp_path, checkpoints):
    """The newest checkpoint knows how good the best has been."""
    for step, accuracy in ((1, 0.9), (2, 0.5), (3, 0.6)):
        meta = META | {"progress": {"best": [0.9, -1.0]}}
        metrics = {"accuracy": accuracy, "loss": 1.0}
        checkpoints.save(step, *trees(step), meta=meta, metrics=metrics)
    assert checkpoint.resolve(tmp_path) == 1
    shutil.rmtree(tmp_path / "checkpoints" / "1")
    words = (
        r"the best checkpoint of .* .validation accuracy 0.9000. is gone: take --checkpoint=2 or"
    )
    with pytest.raises(checkpoint.DamagedError, match=words):
        checkpoint.resolve(tmp_path)
    assert checkpoint.best(tmp_path) == 3
