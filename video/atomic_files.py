"""Write a file so that it is complete, or as it was before: beside its place first, then renamed."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def write_beside(path: Path) -> Iterator[Path]:
    """Yield a path to write in the same folder, which is made; it takes the file's place when the block ends well.

    A link is replaced, and its target stays.

    Raises:
        OSError: If it cannot be written, with the file's own name; nothing is left behind.
    """
    part = path.with_name(f".{uuid.uuid4().hex}.part")  # short: with the file's name in it, it may be too long a name
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield part
        part.replace(path)
    except OSError as error:
        if error.errno is not None and error.filename in (None, str(part)):  # write() names no file
            raise OSError(error.errno, error.strerror, str(path)) from error
        raise
    finally:
        part.unlink(missing_ok=True)


def write_bytes(path: Path, content: bytes) -> Path:
    """Write a file as a whole or not at all; makes its folders. Returns the path. Raises OSError."""
    with write_beside(path) as part:
        part.write_bytes(content)
    return path


def write_text(path: Path, text: str) -> Path:
    """Write a UTF-8 file as a whole or not at all; makes its folders. Returns the path. Raises OSError."""
    return write_bytes(path, text.encode("utf-8"))
