"""Lock files that the kernel drops when their process ends, however it ends."""

from __future__ import annotations

import contextlib
import fcntl
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

_POLL_S = 0.1


@contextlib.contextmanager
def held(path: Path, stop: threading.Event) -> Iterator[bool]:
    """Waits for the only lock of an accelerator; False when told to stop before it was had."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a") as file:
        while not try_lock(file):
            if stop.wait(_POLL_S):
                yield False
                return
        yield True


def try_lock(file: IO[Any]) -> bool:
    """Takes the lock of an open file, if nobody has it."""
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def can_lock(path: Path) -> bool:
    """Whether nobody alive holds this lock file; it is removed then."""
    try:
        with path.open("a") as file:
            if not try_lock(file):
                return False
            path.unlink(missing_ok=True)
            return True
    except FileNotFoundError:
        return True
