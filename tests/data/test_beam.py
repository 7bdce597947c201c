"""Decoding on Apache Beam's Direct runner gives the same frames and ledger as decoding here."""

from __future__ import annotations

import importlib.util

import numpy as np
import pytest

from vid3d import cli
from vid3d.data import beam, prepare
from vid3d.data.store import FrameStore
from vid3d.errors import UserError

HAS_BEAM = importlib.util.find_spec("apache_beam") is not None
needs_beam = pytest.mark.skipif(not HAS_BEAM, reason="Apache Beam is not installed")


@pytest.mark.slow
@needs_beam
def test_beam_stores_the_same_frames(settings, two_classes, tmp_path, monkeypatch):
    broken = two_classes / "up" / "g0_broken.avi"
    broken.write_bytes(b"no video")
    here = prepare.prepare(settings, quiet=True, strict=False)
    settings.data.cache_dir = str(tmp_path / "other")
    monkeypatch.setattr(beam, "PART_VIDEOS", 6)
    there = prepare.prepare(settings, quiet=True, strict=False, beam_options="")
    assert len(here.facts) == 20
    assert there.bad == here.bad and len(there.bad) == 1
    assert len(there.shards) == 4
    assert sum(there.shards.values()) == sum(here.shards.values())
    stores = FrameStore(here), FrameStore(there)
    for path, facts in here.facts.items():
        other = there.facts[path]
        assert (other.sha256, other.fps, other.size) == (facts.sha256, facts.fps, facts.size)
        assert (other.times_N == facts.times_N).all()
        clips = [
            store.load(np.arange(f.first_record, f.first_record + f.num_frames))
            for store, f in zip(stores, (facts, other), strict=True)
        ]
        assert (clips[0] == clips[1]).all()
    assert not list(there.directory.glob("part-*"))


@pytest.mark.slow
@needs_beam
def test_failed_beam_pipeline_is_one_line(settings, two_classes, tmp_path):
    settings.data.cache_dir = str(tmp_path / "other")
    with pytest.raises(UserError, match="Beam") as caught:
        prepare.prepare(settings, quiet=True, beam_options="--runner=NoSuchRunner")
    assert len(str(caught.value).splitlines()) == 1


@pytest.mark.skipif(HAS_BEAM, reason="Apache Beam is installed")
def test_missing_beam_names_the_extra(two_classes, capsys):
    arguments = ["--config=configs/videos.py", f"--config.data.root={two_classes}", "--beam"]
    assert cli.main(["prepare", *arguments]) == 1
    assert "pip install 'vid3d[beam]'" in capsys.readouterr().err
