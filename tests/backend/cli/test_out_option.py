"""What --out may name, for every command that has it: a slip is said before any work is done."""

from __future__ import annotations

from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

from backend.cli.main import app
from backend.cli.out_option import output_folder, output_page

FOLDERS = {
    "label": ["label", "clip.mp4", "a star", "--out"],
    "frames": ["frames", "clip.mp4", "--out"],
    "export": ["export", "found", "--format", "coco", "--out"],
    "import": ["import", "coco", "a.json", "--out"],
    "curate": ["curate", "manifest.csv", "--out"],
    "draw": ["draw"],
    "train-tiny": ["train-tiny", "--out"],
    "eval": ["eval", "davis", "root", "--out"],
}
PAGES = {"explain": ["explain", "clip.mp4", "a star", "--out"], "feedback": ["feedback", "--out"]}


def run(arguments: list[str], out: str) -> str:
    ran = CliRunner().invoke(app, [*arguments, out], terminal_width=300, env={"COLUMNS": "300"})
    assert ran.exit_code == 2, ran.output
    return " ".join(ran.output.replace("│", " ").split())


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "there").write_text("a file")
    (tmp_path / "data").mkdir()
    return tmp_path


@pytest.mark.parametrize("command", FOLDERS)
@pytest.mark.parametrize(
    ("out", "message"),
    [
        ("found.mp4", "found.mp4 is a file's name; name a folder, such as found"),
        ("there", "there is a file; name a folder"),
        ("there/found", "there/found cannot be made: there is a file"),
        ("", "the name is empty; name a folder"),
        (" ", "the name is empty; name a folder"),
        ("-", "nothing is written to the standard output; name a folder (./- if that is its name)"),
        ("n" * 256, "File name too long"),
    ],
)
def test_a_folder_is_no_file(command: str, out: str, message: str, folder: Path) -> None:
    assert message in run(FOLDERS[command], out)
    assert sorted(path.name for path in folder.iterdir()) == ["data", "there"]


@pytest.mark.parametrize("command", PAGES)
@pytest.mark.parametrize(
    ("out", "message"),
    [
        ("x.txt", "an HTML page is written, not .txt: name it x.html"),
        ("x.PNG", "an HTML page is written, not .PNG: name it x.html"),
        ("data", "data is a folder; name a file, such as data/page.html"),
        ("there/x.html", "there is a file"),
        ("", "the name is empty; name a file"),
        ("-", "nothing is written to the standard output; name a file"),
        ("n" * 252 + ".html", "File name too long"),
    ],
)
def test_a_page_is_an_html_file(command: str, out: str, message: str, folder: Path) -> None:
    assert message in run(PAGES[command], out)
    assert sorted(path.name for path in folder.iterdir()) == ["data", "there"]


@pytest.mark.parametrize(
    ("name", "page"),
    [("x.html", "x.html"), ("x.HTM", "x.HTM"), ("x", "x.html"), ("run-0.5", "run-0.5.html"), ("a.b/x", "a.b/x.html")],
)
def test_a_page_without_an_ending_gets_one(name: str, page: str) -> None:
    assert output_page(name) == Path(page)


@pytest.mark.parametrize("name", ["found", "run-0.5", "a/b.c/d", "data", ".hidden", "v1.2.3", ".", "./-"])
def test_folders_may_have_dots(name: str) -> None:
    assert output_folder(name) == Path(name)


def test_a_folder_that_is_there_is_taken_whatever_its_name(folder: Path) -> None:
    (folder / "old.mp4").mkdir()
    assert output_folder("old.mp4") == Path("old.mp4")
    with pytest.raises(typer.BadParameter):
        output_folder("new.mp4")
