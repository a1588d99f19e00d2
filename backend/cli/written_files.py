"""The record of what runs wrote into a folder of results, so that no later run replaces anything else.

The record is `.written.sha256` in the folder, with the lines of the sha256sum command: a file's SHA-256 and its name.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from pathlib import Path

from backend.cli.result_folder import OutputError

_RECORD = ".written.sha256"


def check_written(out: Path, files: Iterable[Path], folders: Iterable[Path] = ()) -> frozenset[str]:
    """Check that all that is there under these paths is as an earlier run wrote it.

    Args:
        out: The folder of results.
        files: Files in it that may be replaced or deleted.
        folders: Folders in it that may be replaced as a whole.

    Returns:
        The lines of the record that are true of what is there, for `write_record`.

    Raises:
        OutputError: If a file is not of an earlier run, or was changed since.
        OSError: If one cannot be read.
    """
    there = [path for path in files if path.is_symlink() or path.exists()]
    for folder in folders:
        is_own = folder.is_dir() and not folder.is_symlink()
        there += _files_in(folder) if is_own else [folder] if folder.is_symlink() or folder.exists() else []
    record = out / _RECORD
    lines = set(record.read_text(encoding="utf-8").splitlines()) if there and record.exists() else set()
    names = {line.partition("  ")[2] for line in lines}
    why = "is not from an earlier run; choose another --out"
    if not record.exists():
        why = (
            f"is not from an earlier run as far as is known: there is no {record} (older versions wrote none); "
            "choose another --out, or move it away"
        )
    found = set()
    for path in there:
        if path.is_symlink() or not path.is_file() or path.relative_to(out).as_posix() not in names:
            raise OutputError(f"{path} is there already and {why}")
        line = _line(path, out)
        if line not in lines:
            raise OutputError(
                f"{path} was changed after an earlier run had written it; choose another --out to keep it"
            )
        found.add(line)
    return frozenset(found)


def write_record(part: Path, there: frozenset[str]) -> None:
    """Write the record of a folder that holds new results, which is to be moved to its place before they are.

    Args:
        part: The folder of the new results.
        there: What `check_written` returned. It stays in the record, for a run may be killed while it replaces files.
    """
    lines = there | {_line(path, part) for path in _files_in(part)}
    (part / _RECORD).write_text("".join(f"{line}\n" for line in sorted(lines)), encoding="utf-8")


def _files_in(folder: Path) -> Iterator[Path]:
    """Yield the files and links in a folder and those below it, by name; links are not followed."""
    return (path for path in sorted(folder.rglob("*")) if path.is_symlink() or not path.is_dir())


def _line(path: Path, folder: Path) -> str:
    with path.open("rb") as file:
        return f"{hashlib.file_digest(file, 'sha256').hexdigest()}  {path.relative_to(folder).as_posix()}"
