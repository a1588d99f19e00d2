"""Huey's storage as keys and values: SQLite in a folder, or Redis."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from huey import Huey, PriorityRedisHuey, SqliteHuey
from huey.constants import EmptyData


class Store:
    """Two databases: small records that are listed, and results apart from them, which listing must not read."""

    def __init__(self, queue: str, data_dir: Path, *, clock: Callable[[], float] = time.time) -> None:
        self._clock = clock
        self._huey = _open(queue, data_dir, "refam")
        self._blobs = _open(queue, data_dir, "refam-results")

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
