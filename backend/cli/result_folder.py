"""Write a folder of results: by one run at a time, as a whole or not at all, and never over what the run reads."""

from __future__ import annotations

import fcntl
import os
import shutil
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from video.errors import UserError
from video.io.file_names import PICTURES

_PART = ".part"  # the folder in which results wait until all are written


class OutputError(UserError):
    """The output folder cannot be used."""


def refuse_overwriting(written: Iterable[Path], inputs: Iterable[Path]) -> None:
    """Check that no file or folder that is to be written is an input or contains one, under whatever name.

    A picture that is to be written into a folder of pictures, which is one video, would become a frame of it.

    Args:
        written: Files, and folders whose files may be replaced.
        inputs: Files and folders of pictures that the run reads.

    Raises:
        OutputError: If one is.
    """
    sources = [(path, Path(os.path.realpath(path))) for path in inputs]
    inside = {above: path for path, real in sources for above in (real, *real.parents)}
    folders = {real: path for path, real in sources if real.is_dir()}
    for path in written:
        real = Path(os.path.realpath(path))
        source = inside.get(real) or (folders.get(real.parent) if real.suffix.lower() in PICTURES else None)
        if source is not None:
            raise OutputError(f"{source} is what is read, and {path} would be written over it; choose another --out")


@contextmanager
def hold_folder(out: Path) -> Iterator[None]:
    """Make the output folder and lock it against other runs; remove it again if it is new and nothing was written.

    Raises:
        OutputError: If it cannot be made, or another process writes to it.
    """
    try:
        if out.exists() and not out.is_dir():
            raise OutputError(f"{out} is a file; --out names a folder")
        if out.is_symlink() and not out.exists():
            raise OutputError(f"{out} is a link to {out.readlink()}, which is not there; choose another --out")
        made = [path for path in (out, *out.parents) if not path.exists()]
        out.mkdir(parents=True, exist_ok=True)
        folder = os.open(out, os.O_RDONLY)
    except OSError as error:
        raise OutputError(f"{out} cannot be made: {error.strerror}") from error
    try:
        try:
            fcntl.flock(folder, fcntl.LOCK_EX | fcntl.LOCK_NB)  # the kernel unlocks it however the process ends
        except BlockingIOError:
            made = []
            raise OutputError(
                f"another run is writing to {out}: wait until it is done, or choose another --out"
            ) from None
        yield
    finally:
        os.close(folder)
        with suppress(OSError):  # it holds something
            for path in made:
                path.rmdir()


@contextmanager
def replace_results(
    out: Path, *, inputs: Iterable[Path] = (), whole: Iterable[str] = (), optional: Iterable[str] = ()
) -> Iterator[Path]:
    """Yield a folder to write results into; they take their places in OUT when the block ends well.

    Until then OUT is as it was. Hold the folder (`hold_folder`) around it.

    Args:
        out: The output folder.
        inputs: What the run reads; see `refuse_overwriting`.
        whole: Names of folders that are replaced as a whole; into others files are added.
        optional: Names of files of an earlier run, which are removed if this one has none.

    Raises:
        OutputError: If a result would be written over an input, or the folder cannot be written to.
    """
    part, whole = out / _PART, tuple(whole)
    what_is_there = "; what was in it is as it was"
    try:
        shutil.rmtree(part, ignore_errors=True)  # of a run that was killed
        part.mkdir()
        yield part
        files = [path.relative_to(part) for path in sorted(part.rglob("*")) if path.is_file()]
        refuse_overwriting([*(out / path for path in files), *(out / name for name in whole)], inputs)
        what_is_there = ""
        for path in files:
            if path.parts[0] not in whole:
                (out / path).parent.mkdir(parents=True, exist_ok=True)
                (part / path).replace(out / path)
        for name in whole:
            _replace_folder(part / name, out / name, aside=part / ".old")
        for name in optional:
            if Path(name) not in files:
                (out / name).unlink(missing_ok=True)
    except OSError as error:
        if error.filename is not None and part not in Path(os.fsdecode(error.filename)).parents:
            raise  # it is about a file that was read
        raise OutputError(f"{out} cannot be written to: {error.strerror}{what_is_there}") from error
    finally:
        shutil.rmtree(part, ignore_errors=True)


def _replace_folder(new: Path, old: Path, *, aside: Path) -> None:
    with suppress(FileNotFoundError):
        old.rename(aside)
    try:
        new.rename(old)
    except OSError:
        if aside.exists():
            aside.rename(old)
        raise
    shutil.rmtree(aside, ignore_errors=True)
