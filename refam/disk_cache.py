"""Folders of things that can be made anew, kept within a number of bytes."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable
from pathlib import Path


def make_room(paths: Iterable[Path], *, most_bytes: int) -> None:
    """Removes the longest unused of these files (by their time of change) until the rest fits.

    Other processes may do the same at once: what is gone already is passed over.
    """
    files = []
    for path in paths:
        with contextlib.suppress(OSError):
            status = path.stat()
            files.append((status.st_mtime_ns, status.st_size, path))
    total = sum(size for _, size, _ in files)
    for _, size, path in sorted(files):
        if total <= most_bytes:
            return
        path.unlink(missing_ok=True)
        total -= size
