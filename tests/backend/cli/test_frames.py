"""`refam frames`: the videos that it takes, and its report for a machine."""

from __future__ import annotations

import errno
import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from backend.cli.main import app
from tests.loopback_files import serve_files
from tests.media import cfr, garbage, numbered_frames, truncated

N = 6


def frames(*arguments):
    return CliRunner().invoke(app, ["frames", *map(str, arguments)])


@pytest.fixture
def clip(tmp_path):
    path = tmp_path / "clips" / "a.mp4"
    path.parent.mkdir()
    cfr(path, numbered_frames(N))
    return path


def pictures(folder, count=N):
    folder.mkdir()
    for i in range(count):
        Image.fromarray(np.full((40, 64, 3), 40 * i, np.uint8)).save(folder / f"{i}.png")
    return folder


def written(out):
    (task,) = json.loads((out / "tasks.json").read_text())
    return sorted(path.name for path in (out / "frames").iterdir()), task["data"]


def test_a_folder_of_pictures_is_one_video(tmp_path):
    ran = frames(pictures(tmp_path / "p"), "--out", tmp_path / "out", "--every", 2)
    assert ran.exit_code == 0, ran.output
    names, task = written(tmp_path / "out")
    assert names == ["000000.jpg", "000002.jpg", "000004.jpg"]
    assert task["times_s"] == pytest.approx([0, 2 / 24, 4 / 24], abs=1e-6)
    third = np.asarray(Image.open(tmp_path / "out/frames/000004.jpg"))
    assert np.abs(third.astype(int) - 160).max() < 4


def test_a_folder_with_one_video_is_that_video(clip, tmp_path):
    assert frames(clip.parent, "--out", tmp_path / "out").exit_code == 0
    assert len(written(tmp_path / "out")[0]) == N


def test_an_address_is_fetched(clip, tmp_path):
    with serve_files({"/a.mp4": clip.read_bytes()}) as server:
        ran = frames(f"{server.url}/a.mp4", "--out", tmp_path / "out")
    assert ran.exit_code == 0, ran.output
    assert len(written(tmp_path / "out")[0]) == N


def test_the_report_is_json_for_a_machine(clip, tmp_path):
    out = tmp_path / "out [1]"
    ran = frames(clip, "--out", out, "--every", 3, "--json")
    report = json.loads(ran.stdout)
    assert (report["frames"], report["of"], report["broken"]) == (2, N, None)
    assert (report["folder"], report["task"]) == (str(out / "frames"), str(out / "tasks.json"))
    assert f"2 of {N} frames written to {out / 'frames'}" in frames(clip, "--out", out, "--every", 3).stdout


@pytest.mark.parametrize(
    ("out", "url", "folder"),
    [
        ("clips/my cut", None, "/data/local-files/?d=clips/my%20cut/frames"),
        ("clips/..", None, "/data/local-files/?d=frames"),
        ("../cut", None, "/data/local-files/?d=cut/frames"),
        ("cut", "http://host/pictures/", "http://host/pictures"),
        ("cut", "/data/local-files/?d=x", "/data/local-files/?d=x"),
    ],
)
def test_the_pictures_have_the_address_of_local_files_or_that_of_url(clip, tmp_path, monkeypatch, out, url, folder):
    (tmp_path / "here/clips").mkdir(parents=True)
    monkeypatch.chdir(tmp_path / "here")
    assert frames(clip, "--out", out, "--every", 3, *(["--url", url] if url else [])).exit_code == 0
    assert written(Path(out))[1]["frames"] == [f"{folder}/000000.jpg", f"{folder}/000003.jpg"]


def test_a_file_that_breaks_off_is_cut_up_to_there_and_that_is_said(tmp_path):
    path = truncated(tmp_path / "cut.mp4", numbered_frames(24))
    ran = frames(path, "--out", tmp_path / "out")
    assert ran.exit_code == 0, ran.output
    assert 0 < len(written(tmp_path / "out")[0]) < 24
    assert "note: " in ran.stderr


@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        ("none.mp4", "there is no such file"),
        ("empty", "neither videos nor pictures"),
        ("two", "names 2 videos, and one is looked at"),
        ("*.mkv", "no video fits this pattern"),
        ("", "the name of the video is empty"),
        ("broken.mp4", "broken.mp4"),
        ("http://127.0.0.1:9/a.mp4", "127.0.0.1"),
    ],
)
def test_what_is_no_video_is_named(clip, tmp_path, name, sentence, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "empty").mkdir()
    (tmp_path / "two").mkdir()
    for copy in ("a.mp4", "b.mp4"):
        (tmp_path / "two" / copy).write_bytes(clip.read_bytes())
    garbage(tmp_path / "broken.mp4")
    ran = frames(name, "--out", "out")
    assert ran.exit_code == 1
    assert sentence in ran.output
    assert ran.output.count("\n") == 1
    assert not (tmp_path / "out").exists()


def test_pictures_that_are_read_are_never_written_over(tmp_path):
    """Numbered from 1 on, each would be written over by the one before it."""
    source = tmp_path / "pb" / "frames"
    source.parent.mkdir()
    pictures(source)
    before = {path.name: path.read_bytes() for path in source.iterdir()}
    ran = frames(source, "--out", tmp_path / "pb")
    assert (ran.exit_code, "frames is there already and is not from an earlier run" in ran.stderr) == (1, True)
    (tmp_path / "pb/tasks.json").write_text("[]")
    ran = frames(source, "--out", tmp_path / "pb")
    assert (ran.exit_code, f"{source} is what is read" in ran.stderr) == (1, True), ran.output
    assert {path.name: path.read_bytes() for path in source.iterdir()} == before


def test_a_run_that_fails_leaves_the_task_that_was_there(clip, tmp_path, monkeypatch):
    out = tmp_path / "out"
    assert frames(clip, "--out", out).exit_code == 0
    before = {path: path.read_bytes() for path in out.rglob("*") if path.is_file()}

    def full(path, content):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", full)
    ran = frames(clip, "--out", out, "--every", 2)
    assert (ran.exit_code, ran.stderr.count("\n")) == (1, 1), ran.output
    assert "out cannot be written to: No space left on device" in ran.stderr
    assert {path: path.read_bytes() for path in out.rglob("*") if path.is_file()} == before
    assert frames(clip, "--out", tmp_path / "new").exit_code == 1
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize("label", ["", "  "])
def test_an_empty_label_is_refused(label, clip, tmp_path):
    ran = frames(clip, "--out", tmp_path / "out", "--label", "Car", "--label", label)
    assert (ran.exit_code, "it is empty: give the name" in ran.output) == (2, True), ran.output
