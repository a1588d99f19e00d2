"""The output folder of a command: what it may not replace, one run at a time, all of its results or none."""

from __future__ import annotations

import errno
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path

import pytest

from backend.cli.result_folder import OutputError, hold_folder, refuse_overwriting, replace_results


def contents(folder: Path) -> dict[str, str]:
    return {p.relative_to(folder).as_posix(): p.read_text() for p in sorted(folder.rglob("*")) if p.is_file()}


def make(folder: Path, files: dict[str, str]) -> Path:
    for name, text in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return folder


# --- inputs ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("written", "source", "is_refused"),
    [
        ("out/overlay.mp4", "out/overlay.mp4", True),
        ("out/overlay.mp4", "out/../out/overlay.mp4", True),
        ("link/overlay.mp4", "out/overlay.mp4", True),
        ("out/overlay.mp4", "link.mp4", True),
        ("out/frames", "out/frames", True),
        ("out/masks", "out/masks/0/1.png", True),
        ("out/masks", "out", False),
        ("out/needs_a_look.jpg", "out/frames", False),
        ("out/frames/preview.png", "out/frames", True),
        ("out/frames/tasks.json", "out/frames", False),
        ("out/frames2", "out/frames", False),
        ("other/overlay.mp4", "out/overlay.mp4", False),
    ],
)
def test_what_is_read_is_not_written_over(written, source, is_refused, tmp_path, monkeypatch):
    monkeypatch.chdir(make(tmp_path, {"out/overlay.mp4": "", "out/frames/0.jpg": "", "out/masks/0/1.png": ""}))
    Path("link").symlink_to("out")
    Path("link.mp4").symlink_to("out/overlay.mp4")
    if not is_refused:
        refuse_overwriting([Path(written)], [Path(source)])
        return
    with pytest.raises(OutputError, match="choose another --out") as refused:
        refuse_overwriting([Path(written)], [Path(source)])
    assert source in str(refused.value)
    assert written in str(refused.value)


def test_a_result_that_turns_out_to_be_an_input_is_not_moved(tmp_path):
    out = make(tmp_path, {"a.json": "input", "b.json": "old"})

    def write() -> None:
        with replace_results(out, inputs=[out / "a.json"]) as part:
            make(part, {"b.json": "new", "a.json": "new"})

    with pytest.raises(OutputError, match="what is read"):
        write()
    assert contents(out) == {"a.json": "input", "b.json": "old"}


# --- all or nothing --------------------------------------------------------------------------------------------------


def test_results_replace_those_of_an_earlier_run(tmp_path):
    out = make(tmp_path, {"tracks.json": "1", "masks/0/0.png": "1", "masks/1/0.png": "1", "frames/1.jpg": "1"})
    make(out, {"sheet.jpg": "1", "preview.png": "1", "mine.txt": "mine", ".part/left": "of a run that was killed"})
    with replace_results(out, whole=["masks"], optional=["sheet.jpg", "preview.png"]) as part:
        make(part, {"tracks.json": "2", "masks/0/0.png": "2", "frames/2.jpg": "2", "preview.png": "2"})
        assert contents(out)["tracks.json"] == "1"
    assert contents(out) == {
        "frames/1.jpg": "1",
        "frames/2.jpg": "2",
        "masks/0/0.png": "2",
        "mine.txt": "mine",
        "preview.png": "2",
        "tracks.json": "2",
    }
    assert not (out / ".part").exists()


@pytest.mark.parametrize(
    "error",
    [OSError(errno.ENOSPC, "No space left on device"), ZeroDivisionError(), KeyboardInterrupt()],
    ids=lambda error: type(error).__name__,
)
def test_a_run_that_fails_leaves_what_was_there(error, tmp_path):
    before = {"tracks.json": "1", "masks/0/0.png": "1", "sheet.jpg": "1"}
    out = make(tmp_path, before)

    def write() -> None:
        with replace_results(out, whole=["masks"], optional=["sheet.jpg"]) as part:
            make(part, {"tracks.json": "2", "masks/0/0.png": "2"})
            raise error

    with pytest.raises(OutputError if isinstance(error, OSError) else type(error)) as raised:
        write()
    assert contents(out) == before
    assert not (out / ".part").exists()
    if isinstance(error, OSError):
        assert str(raised.value) == f"{out} cannot be written to: No space left on device; what was in it is as it was"


def test_an_error_about_a_file_that_is_read_is_not_one_of_the_folder(tmp_path):
    with pytest.raises(FileNotFoundError), replace_results(tmp_path):
        (tmp_path / "gone").read_text()


def test_a_folder_that_cannot_take_its_place_leaves_the_old_one(tmp_path, monkeypatch):
    out = make(tmp_path, {"masks/0.png": "1"})
    rename = Path.rename

    def full(path: Path, target: Path) -> Path:
        if path.parent.name == ".part" and path.name == "masks":
            raise OSError(errno.ENOSPC, "No space left on device", str(path))
        return rename(path, target)

    def write() -> None:
        with replace_results(out, whole=["masks"]) as part:
            make(part, {"masks/0.png": "2"})

    monkeypatch.setattr(Path, "rename", full)
    with pytest.raises(OutputError, match="No space left"):
        write()
    assert contents(out) == {"masks/0.png": "1"}


# --- one run at a time -----------------------------------------------------------------------------------------------

_HOLDER = """
import sys
from pathlib import Path
from backend.cli.result_folder import hold_folder
with hold_folder(Path(sys.argv[1])):
    print("held", flush=True)
    sys.stdin.read()
"""


@contextmanager
def other_process(out: Path):
    with subprocess.Popen(
        [sys.executable, "-c", _HOLDER, str(out)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        cwd=Path(__file__).parents[3],
    ) as process:
        assert process.stdout.readline() == b"held\n"
        yield process
        process.stdin.close()


def test_one_run_at_a_time_writes_to_a_folder(tmp_path):
    out = tmp_path / "found"
    with other_process(out) as other:
        with pytest.raises(OutputError, match=r"another run is writing to .*found: wait"), hold_folder(out):
            pass
        with hold_folder(tmp_path / "else"):
            pass
        other.kill()  # the kernel unlocks the folder
        other.wait()
        with hold_folder(out):
            (out / "x").write_text("")
    assert contents(tmp_path) == {"found/x": ""}


def test_a_new_folder_that_stays_empty_is_removed(tmp_path):
    (tmp_path / "there").mkdir()
    for name in ("new/er/est", "there", "there/new"):
        with hold_folder(tmp_path / name):
            assert (tmp_path / name).is_dir()
    assert [p.name for p in tmp_path.rglob("*")] == ["there"]


def test_a_folder_that_cannot_be_made_is_said(tmp_path):
    (tmp_path / "file").write_text("")
    (tmp_path / "link").symlink_to("gone")
    for name, why in (
        ("file", "is a file"),
        ("link", "is a link to gone, which is not there"),
        ("n" * 300, "File name too long"),
        ("file/x", "cannot be made"),
    ):
        with pytest.raises(OutputError, match=why), hold_folder(tmp_path / name):
            pass
