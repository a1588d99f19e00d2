"""Files that are written as a whole or not at all."""

from __future__ import annotations

import errno

import pytest

from video.atomic_files import write_beside, write_bytes, write_text


def test_a_file_is_written_with_its_folders_and_nothing_beside_it(tmp_path):
    path = tmp_path / "a/b/c.txt"
    assert write_text(path, "größer\n") == path
    assert path.read_bytes() == b"gr\xc3\xb6\xc3\x9fer\n"
    write_bytes(path, b"new")
    assert path.read_bytes() == b"new"
    assert list(path.parent.iterdir()) == [path]


@pytest.mark.parametrize(
    "error",
    [ValueError("no picture"), KeyboardInterrupt(), OSError(errno.ENOSPC, "No space left on device")],
    ids=lambda error: type(error).__name__,
)
def test_what_was_there_stays_when_writing_fails(error, tmp_path):
    path = tmp_path / "a.txt"
    path.write_text("old")

    def write():
        with write_beside(path) as part:
            part.write_text("half")
            raise error

    with pytest.raises(type(error)) as raised:
        write()
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]
    if isinstance(error, OSError):  # write() names no file
        assert raised.value.filename == str(path)


def test_the_error_names_the_file_that_was_to_be_written(tmp_path):
    (tmp_path / "file").write_text("")
    folder = tmp_path / "folder"
    folder.mkdir()
    for path, name in ((tmp_path / "file/x", "file"), (folder, "folder")):
        with pytest.raises(OSError, match=name) as raised:
            write_text(path, "x")
        assert str(raised.value.filename).startswith(str(tmp_path / name))
    assert sorted(p.name for p in tmp_path.iterdir()) == ["file", "folder"]


def test_a_long_name_is_no_longer_beside_its_place(tmp_path):
    path = tmp_path / ("n" * 255)
    assert write_text(path, "x").read_text() == "x"


def test_a_link_is_replaced_and_its_target_stays(tmp_path):
    target, link = tmp_path / "target", tmp_path / "link"
    target.write_text("target")
    link.symlink_to(target)
    write_text(link, "new")
    assert (link.read_text(), target.read_text(), link.is_symlink()) == ("new", "target", False)
