"""--url, and what is said of local files that lie outside the current folder."""

from __future__ import annotations

from pathlib import Path

import pytest
from typer.testing import CliRunner

from backend.cli.main import app
from backend.cli.task_address import note_outside
from tests.media import cfr, numbered_frames


def refam(*arguments):
    return CliRunner().invoke(app, [str(argument) for argument in arguments], env={"COLUMNS": "400"})


@pytest.mark.parametrize(
    "url", ["", " ", "host/clips", "a.mp4", "C:\\clips", "http:/h/a.mp4", "https://", "file:///a", "ftp://h/a"]
)
@pytest.mark.parametrize(
    "command",
    [
        ["label", "a.mp4", "the red star"],
        ["frames", "a.mp4", "--out", "cut"],
        ["draw", "clips"],
        ["import", "coco", "a.json", "--out", "in"],
    ],
    ids=lambda command: command[0],
)
def test_what_is_no_address_is_refused_before_any_work(command, url, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    result = refam(*command, "--url", url)
    assert result.exit_code == 2
    assert "is no address that Label Studio can serve: it begins with http://, https://" in result.output
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("url", "instead"),
    [("http://h/my clips", "http://h/my%20clips"), ("/data/local-files/?d=my clips/", "d=my%20clips/")],
)
def test_an_address_with_a_space_is_refused(url, instead, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    result = refam("draw", "clips", "--url", url)
    assert result.exit_code == 2
    assert "has a space, which no address has: write" in result.output
    assert instead in result.output
    assert list(tmp_path.iterdir()) == []


@pytest.fixture
def here(tmp_path, monkeypatch):
    (tmp_path / "here" / "clips").mkdir(parents=True)
    for folder in (tmp_path, tmp_path / "here" / "clips"):
        cfr(folder / "a.mp4", numbered_frames(2))
    monkeypatch.chdir(tmp_path / "here")
    return tmp_path / "here"


@pytest.mark.parametrize(
    ("out", "url", "said"),
    [
        ("cut", None, ""),
        ("../cut", "http://host/cut", ""),
        ("../cut", "s3://bucket/cut", ""),
        ("../cut", "/data/local-files/?d=cut", ""),
        ("../cut", None, "note: ../cut lies outside the current folder: its address in the task, "
         "/data/local-files/?d=cut, is right only if Label Studio's document root is the folder that holds it; "
         "else give --url\n"),
    ],
)  # fmt: skip
@pytest.mark.parametrize("command", [["frames", "clips/a.mp4", "--out"], ["draw", "--count", "1"]])
def test_a_folder_outside_the_current_one_is_said(here, command, out, url, said):
    result = refam(*command, out, *(["--url", url] if url else []))
    assert (result.exit_code, result.stderr) == (0, said)


@pytest.mark.parametrize(
    ("paths", "url", "said"),
    [
        ([], None, ""),
        (["clips/a.mp4", "."], None, ""),
        (["../a.mp4"], "http://host/", ""),
        (["clips/a.mp4", "../a.mp4"], None, "note: ../a.mp4 lies outside the current folder: its address in the task, "
         "/data/local-files/?d=a.mp4, is right"),
        (["../a.mp4", "../b.mp4", "../c.mp4"], None, "note: ../a.mp4 (and 2 more) lies outside"),
    ],
)  # fmt: skip
def test_files_outside_the_current_folder_are_named_once(here, capsys, paths, url, said):
    note_outside([Path(path) for path in paths], url)
    written = capsys.readouterr().err
    assert written.startswith(said)
    assert bool(written) == bool(said)
    assert written.endswith("else give --url\n") or not said
