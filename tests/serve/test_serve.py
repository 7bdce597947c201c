"""`vid3d serve` as its clients meet it: answers, limits, refusals, and its end."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from serve.conftest import FORM, form


def test_answers_are_those_of_predict(site, content, videos, workdir, run):
    done = run("predict", f"--workdir={workdir}", "--json", videos["red"], videos["turning"])
    expected = json.loads(done.stdout)["predictions"]
    for one in expected:
        name = Path(one["path"]).name
        sent = site.send("/predict", content[name.split(".")[0]], name=name).json()
        bare = site.ask("/predict", content[name.split(".")[0]]).json()
        assert sent["errors"] == bare["errors"] == []
        (answer,) = sent["predictions"]
        close = pytest.approx(one["probabilities"], abs=1e-5)
        assert answer["probabilities"] == close and list(answer) == list(one)
        same = ("label", "num_frames", "seconds", "damage", "note")
        assert [answer[key] for key in same] == [one[key] for key in same]
        assert [part["label"] for part in answer["segments"]] == [
            part["label"] for part in one["segments"]
        ]
        assert answer["path"] == name and bare["predictions"][0] == answer | {"path": "upload"}


def test_frames_and_heat_maps_are_pictures(site, content):
    sent = site.send("/predict?frames=true", content["turning"]).json()
    assert len(sent["frames"]) == 32 and sent["frames"][-1]["seconds"] > 3.8
    found = site.send("/explain?label=blue", content["red"]).json()
    assert found["label"] == "blue" and len(found["frames"]) == len(found["times"]) == 4
    for frame in sent["frames"] + found["frames"]:
        assert frame["image"].startswith("data:image/jpeg;base64,/9j/")
    wrong = site.send("/explain?label=bleu", content["red"])
    assert wrong.status == 422 and "did you mean 'blue'?" in wrong.json()["error"]


def test_bad_requests_get_one_status_and_line(site, content):
    red = content["red"]
    both = form(red, "a.avi").rsplit(b"--", 2)[0] + form(red, "b.avi")
    cases = [
        (site.ask("/predict", b"a=b", media="text/plain"), 415, "content type"),
        (site.ask("/predict", b"no form", media=FORM), 400, "the form"),
        (site.ask("/predict", b"", media="multipart/form-data"), 400, "Missing boundary"),
        (site.ask("/predict", both, media=FORM), 400, "Too many files"),
        (site.ask("/predict?frames=perhaps", red), 422, "query.frames"),
        (site.send("/predict", b"no video", name="../../etc/passwd"), 422, "passwd: not a video"),
        (site.send("/predict", b""), 422, "empty file"),
        (site.ask("/predict", bytes(2**21 + 1)), 413, "more than 2 MiB"),
        (site.ask("/predict", (bytes(2**16) for _ in range(40))), 413, "more than 2 MiB"),
        (site.ask("/nothing"), 404, "Not Found"),
        (site.ask("/health", b""), 405, "Method Not Allowed"),
    ]  # fmt: skip
    for answer, status, said in cases:
        error = answer.json()["error"]
        assert answer.status == status and said in error and "\n" not in error, (answer, status)
    assert site.ask("/", Host="rebound.example").status == 400
    assert site.send("/predict", red).json()["predictions"][0]["label"] == "red"


def test_a_video_beyond_the_limits_is_refused(site, content, write_video, tmp_path):
    large = write_video(tmp_path / "large.avi", np.zeros((2, 1536, 2048, 3), np.uint8))
    answer = site.send("/predict", large.read_bytes())
    assert answer.status == 413
    assert "3145728 pixels, and 3000000 are the limit" in answer.json()["error"]
    long = write_video(tmp_path / "long.mp4", np.zeros((40, 32, 32, 3), np.uint8), fps=1.0)
    for _ in range(4):  # and every slot of the decoding process is free again
        answer = site.send("/predict", long.read_bytes())
        assert answer.status == 413 and "longer than the limit of 30 s" in answer.json()["error"]
    assert site.send("/predict", content["red"]).status == 200


def test_more_requests_than_places_are_told_to_try_again(site, content):
    head = "POST /predict HTTP/1.1\r\nHost: localhost\r\nContent-Type: video/mp4\r\n"
    host, port = site.url.removeprefix("http://").split(":")
    slow = [socket.create_connection((host, int(port))) for _ in range(4)]
    try:
        for connection in slow:
            connection.sendall(f"{head}Content-Length: 1000\r\n\r\n".encode())
        limit = time.monotonic() + 60
        while (answer := site.ask("/predict", content["red"])).status != 503:
            assert time.monotonic() < limit
        assert answer.headers["Retry-After"] == "1"
        assert site.ask("/health").status == 200
    finally:
        for connection in slow:
            connection.close()
    limit = time.monotonic() + 60
    while site.ask("/predict", content["red"]).status == 503:  # the uploads broke off
        assert time.monotonic() < limit


def test_requests_at_once_share_batches_and_are_counted(site, content):
    names = ["red", "green", "blue", "turning"] * 3
    with ThreadPoolExecutor(4) as pool:
        answers = list(pool.map(lambda name: site.send("/predict", content[name]), names))
    labels = [answer.json()["predictions"][0]["label"] for answer in answers]
    assert labels[:3] == ["red", "green", "blue"] and labels == labels[:4] * 3
    counted = site.ask("/metrics")
    assert counted.headers["Content-Type"].startswith("text/plain; version=")
    text = counted.content.decode()
    assert 'vid3d_requests_total{path="/predict",status="200"}' in text
    assert "vid3d_batch_clips_count" in text and "etc" not in text


def test_a_token_guards_all_but_the_page(start_site, content):
    token = "a-token-that-nobody-guesses"
    guarded = start_site("--host=0.0.0.0", f"--token={token}")
    for given in ({}, {"Authorization": "Bearer wrong"}, {"Authorization": f"Basic {token}"}):
        answer = guarded.send("/predict", content["red"], **given)
        assert answer.status == 401 and answer.headers["WWW-Authenticate"] == "Bearer"
        assert guarded.ask("/metrics", **given).status == 401
    bearer = {"Authorization": f"Bearer {token}"}
    assert guarded.send("/predict", content["red"], **bearer).status == 200
    assert guarded.ask("/about", **bearer).json()["classes"] == ["red", "green", "blue"]
    assert guarded.ask("/health").status == guarded.ask("/").status == 200
    assert_ends(guarded, signal.SIGINT)


def test_it_ends_cleanly_and_leaves_nothing(start_site, content, tmp_path, monkeypatch):
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    ending = start_site()
    assert ending.send("/predict", content["turning"]).status == 200
    assert_ends(ending, signal.SIGTERM)
    assert not list(tmp_path.iterdir())


def assert_ends(site, number: signal.Signals) -> None:
    """A signal ends a server with 0 and without a word."""
    os.kill(site.process.pid, number)
    out, _ = site.process.communicate(timeout=60)
    assert (site.process.returncode, out) == (0, "")


def test_what_cannot_be_served_is_one_line(workdir, call, tmp_path, monkeypatch):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        for arguments, said in (
            ((f"--workdir={workdir}", f"--port={port}"), f"port {port} of 127.0.0.1 is taken"),
            ((f"--workdir={workdir}", "--host=0.0.0.0"), "add --token=TEXT"),
            ((f"--workdir={workdir}", "--token=short"), "16 are the least"),
            ((f"--workdir={tmp_path}", "--port=0"), str(tmp_path)),
            ((f"--workdir={workdir}", "--port=0", "--threshold=2"), "predict.threshold"),
            ((f"--workdir={workdir}", "--port=0", "--config.seed=2"), "config.seed"),
        ):
            done = call("serve", *arguments, check=1)
            assert said in done.stderr and len(done.stderr.splitlines()) == 1
    monkeypatch.setitem(sys.modules, "uvicorn", None)
    monkeypatch.delitem(sys.modules, "vid3d.serve.server", raising=False)
    monkeypatch.delattr("vid3d.serve.server", raising=False)
    done = call("serve", f"--workdir={workdir}", check=1)
    assert "uvicorn, which is not installed: pip install 'vid3d[serve]'" in done.stderr


def test_odd_videos_get_one_clear_status_each(site, shared):
    folder = shared / "odd_videos"
    if not folder.is_dir():
        pytest.skip(f"no videos at {folder}")
    for path in sorted(folder.iterdir()):
        answer = site.send("/predict", path.read_bytes(), name=path.name)
        assert answer.status in (200, 413, 422), (path, answer)
        if answer.status != 200:
            assert len(answer.json()["error"].splitlines()) == 1
    assert site.ask("/health").status == 200


def test_the_page_labels_a_file_and_asks_for_nothing_elsewhere(site, videos, visit):
    phone = {"width": 390, "height": 800}
    page, seen = visit(f"{site.url}/", viewport=phone, color_scheme="dark", permissions=["camera"])
    from playwright.sync_api import expect

    expect.set_options(timeout=120_000)
    expect(page.locator("#about")).not_to_be_empty()
    page.set_input_files("#file", videos["turning"])
    expect(page.locator("#label")).to_have_text("red")
    assert page.locator("#line div").all_text_contents() == ["red", "blue", "green"]
    assert page.locator("#strip img").count() == 32
    fits = "document.documentElement.scrollWidth <= window.innerWidth"
    assert page.evaluate(fits), "a phone would scroll sideways"
    page.click("#explain")
    expect(page.locator("#say")).to_contain_text("Bright")
    page.click("#camera")
    expect(page.locator("#facts")).to_contain_text("camera.")
    assert {url.split("?")[0] for url in seen.requests} == {
        f"{site.url}/{name}" for name in ("", "about", "predict", "explain")
    }
    assert not seen.errors


# That bytes are a video, no schema can say; what there is not, is 405.
UNTOLD = "positive_data_acceptance,unsupported_method"


@pytest.mark.slow
def test_the_description_is_true(site):
    """Schemathesis sends what /openapi.json allows, and what it does not."""
    program = Path(sys.executable).with_name("schemathesis")
    if not program.exists():
        pytest.skip("schemathesis is not installed")
    command = [
        program, "run", f"{site.url}/openapi.json", "--max-examples=20", "--seed=1",
        "--request-timeout=60", f"--exclude-checks={UNTOLD}",
    ]  # fmt: skip
    done = subprocess.run(command, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stdout[-6000:]


def test_threads_of_a_client_that_goes_away_do_not_stay(site, content):
    """Uploads that break off leave no thread and no open file behind."""
    import psutil

    process = psutil.Process(site.process.pid)
    site.send("/predict", content["red"])
    before = process.num_fds(), process.num_threads()

    def half(_: int) -> None:
        host, port = site.url.removeprefix("http://").split(":")
        with socket.create_connection((host, int(port))) as connection:
            connection.sendall(
                b"POST /predict HTTP/1.1\r\nHost: localhost\r\nContent-Type: video/mp4\r\n"
                b"Content-Length: 1000000\r\n\r\n" + bytes(1000)
            )

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(half, range(20)))
    limit = time.monotonic() + 60
    while process.num_fds() > before[0] or process.num_threads() > before[1] + 4:
        assert time.monotonic() < limit, (before, process.num_fds(), process.num_threads())
        time.sleep(0.1)
    assert threading.active_count() < 50
    while (answer := site.send("/predict", content["red"])).status == 503:  # their places are freed
        assert time.monotonic() < limit and answer.headers["Retry-After"]
        time.sleep(0.1)
    assert answer.status == 200
