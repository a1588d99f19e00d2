"""The record of what runs wrote: nothing else is replaced, and a run that is killed leaves nothing unknown."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from backend.cli.result_folder import OutputError, replace_results
from backend.cli.written_files import check_written, write_record

FILES, FOLDERS = ("a.json", "b.jpg"), ("masks",)


def check(out):
    return check_written(out, [out / name for name in FILES], [out / name for name in FOLDERS])


def write(out, text):
    there = check(out)
    with replace_results(out, whole=FOLDERS) as part:
        (part / "a.json").write_text(text)
        (part / "masks/0").mkdir(parents=True)
        (part / "masks/0/0.png").write_text(text)
        write_record(part, there)


def write_file(name, text="mine"):
    def change():
        Path(name).parent.mkdir(parents=True, exist_ok=True)
        Path(name).write_text(text)

    return change


def link(name, target):
    def change():
        if Path(name).exists():
            Path(name).rename(target)
        Path(name).symlink_to(target)

    return change


@pytest.mark.parametrize(
    ("change", "refused"),
    [
        (lambda: None, None),
        (write_file("out/a.json", "1"), None),  # the same again
        (write_file("out/c.txt"), None),  # no run writes it
        (lambda: Path("out/a.json").unlink(), None),
        (lambda: shutil.rmtree("out/masks"), None),
        (lambda: Path("out/masks/empty").mkdir(), None),
        (write_file("out/a.json", "2"), "out/a.json was changed"),
        (write_file("out/masks/0/0.png", "2"), "out/masks/0/0.png was changed"),
        (write_file("out/b.jpg"), "out/b.jpg is there already and is not from an earlier run"),
        (write_file("out/masks/notes.txt"), "out/masks/notes.txt is there already"),
        (write_file("out/masks/mine/a.png"), "out/masks/mine/a.png is there already"),
        (lambda: Path("out/b.jpg").mkdir(), "out/b.jpg is there already"),
        (link("out/a.json", "else.json"), "out/a.json is there already"),
        (link("out/b.jpg", "nowhere.jpg"), "out/b.jpg is there already"),
        (link("out/masks", "else"), "out/masks is there already"),
        (
            lambda: Path("out/.written.sha256").unlink(),
            "out/a.json is there already and is not from an earlier run as far as is known: there is no "
            "out/.written.sha256 (older versions wrote none); choose another --out, or move it away",
        ),
    ],
)
def test_only_what_a_run_wrote_may_be_replaced(change, refused, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("out").mkdir()
    write(Path("out"), "1")
    change()
    if refused is None:
        write(Path("out"), "2")
        assert (Path("out/a.json").read_text(), Path("out/masks/0/0.png").read_text()) == ("2", "2")
        return
    with pytest.raises(OutputError, match="choose another --out") as error:
        check(Path("out"))
    assert str(error.value).startswith(refused)


def test_a_new_folder_has_nothing_of_others(tmp_path):
    assert check(tmp_path) == check(tmp_path / "new") == frozenset()


def test_the_record_is_one_that_sha256sum_checks(tmp_path):
    write(tmp_path, "1")
    said = subprocess.run(["sha256sum", "-c", ".written.sha256"], cwd=tmp_path, capture_output=True, check=True)
    assert said.stdout.decode().splitlines() == ["a.json: OK", "masks/0/0.png: OK"]


@pytest.mark.parametrize("replaced", range(4))
def test_a_run_that_is_killed_leaves_only_what_is_known(replaced, tmp_path, monkeypatch):
    class Killed(BaseException):
        pass

    def count(path, target, *, move):
        nonlocal moves
        if moves == replaced:
            raise Killed
        moves += 1
        return move(path, target)

    write(tmp_path, "1")
    with monkeypatch.context() as patch:
        moves, replace, rename = 0, Path.replace, Path.rename
        patch.setattr(Path, "replace", lambda path, target: count(path, target, move=replace))
        patch.setattr(Path, "rename", lambda path, target: count(path, target, move=rename))
        with pytest.raises(Killed):
            write(tmp_path, "2")
    write(tmp_path, "3")
    assert ((tmp_path / "a.json").read_text(), (tmp_path / "masks/0/0.png").read_text()) == ("3", "3")
