"""Keeping folders of files that can be made again within a number of bytes."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable
from pathlib import Path


def evict_oldest(paths: Iterable[Path], *, max_bytes: int) -> None:
    """Delete files until the rest fits, those with the oldest modification time first.

    Other processes may do the same at once; files that are already gone are skipped.

    Args:
        paths: The files of the cache.
        max_bytes: What the rest may take.
    """
    files = []
    for path in paths:
        with contextlib.suppress(OSError):
            status = path.stat()
            files.append((status.st_mtime_ns, status.st_size, path))
    total = sum(size for _, size, _ in files)
    for _, size, path in sorted(files):
        if total <= max_bytes:
            return
        path.unlink(missing_ok=True)
        total -= size
