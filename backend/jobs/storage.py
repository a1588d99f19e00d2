"""Huey's storage as keys and values: SQLite in a folder, or Redis."""

from __future__ import annotations

import contextlib
import fcntl
import json
import logging
import sqlite3
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from huey import Huey, PriorityRedisHuey, SqliteHuey
from huey.constants import EmptyData

log = logging.getLogger("refam.jobs")


_NAMES = ("refam", "refam-results")


class JobStorage:
    """Two databases: small records that are listed, and results apart from them, which listing must not read."""

    def __init__(self, queue: str, data_dir: Path, *, clock: Callable[[], float] = time.time) -> None:
        self._clock = clock
        self.damage: list[str] = []  # what was found damaged, in sentences
        if queue == "sqlite":
            self.damage = [said for name in _NAMES if (said := _set_aside_if_damaged(data_dir, name))]
        self._huey = _open(queue, data_dir, _NAMES[0])
        self._blobs = _open(queue, data_dir, _NAMES[1])

    def _put(self, key: str, value: Any) -> None:
        self._huey.storage.put_data(key, json.dumps(value).encode())

    def _get(self, key: str) -> Any:
        raw = self._huey.storage.peek_data(key)
        return json.loads(bytes(raw)) if is_there(raw) else None

    def _forget(self, job: str, *kinds: str) -> None:
        for kind in kinds:
            self._huey.storage.delete_data(f"{kind}:{job}")


def is_there(raw: Any) -> bool:
    """Whether the storage had a value."""
    return raw is not EmptyData and raw is not None


def _open(queue: str, data_dir: Path, name: str) -> Huey:
    if queue == "sqlite":
        data_dir.mkdir(parents=True, exist_ok=True)
        # timeout: several processes write here.
        huey = SqliteHuey(name, filename=str(data_dir / f"{name}.db"), timeout=30, results=False)
        # With a write-ahead log, NORMAL survives every crash of ours whole; a power cut may cost the last moments,
        # never the database. FULL waits for the disk seven times for each job that is submitted.
        huey.storage.conn.execute("pragma synchronous=normal")
        return huey
    return PriorityRedisHuey(name, url=queue, blocking=False, results=False)


def _set_aside_if_damaged(data_dir: Path, name: str) -> str | None:
    """Renames a database that cannot be read, so that a new one takes its place; says so in a sentence.

    Raises sqlite3.OperationalError when it is only busy, or cannot be opened for lack of rights or room.
    """
    path = data_dir / f"{name}.db"
    data_dir.mkdir(parents=True, exist_ok=True)
    with (data_dir / ".opening").open("a") as turn:
        fcntl.flock(turn, fcntl.LOCK_EX)  # two that start at once must not both move it
        wrong = _what_is_wrong(path) if path.exists() else None
        if wrong is None:
            return None
        aside = path.with_name(f"{path.name}.damaged-{time.time_ns()}")
        for suffix in ("", "-wal", "-shm"):
            with contextlib.suppress(FileNotFoundError):
                path.with_name(path.name + suffix).rename(aside.with_name(aside.name + suffix))
    lost = "jobs that only stood there are lost, ask for them again"
    said = f"{path.name} was damaged ({wrong}) and is kept as {aside.name}: {lost}"
    log.error("%s", said)
    return said


def _what_is_wrong(path: Path) -> str | None:
    try:
        with contextlib.closing(sqlite3.connect(path, timeout=30)) as database:
            found = str(database.execute("pragma integrity_check(1)").fetchone()[0])
    except sqlite3.OperationalError:
        raise
    except sqlite3.DatabaseError as error:
        return str(error)
    return None if found == "ok" else found.splitlines()[-1][:100]
