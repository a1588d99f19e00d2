"""Where the job queue keeps its bytes: two SQLite files in a folder, or Redis where several machines share the jobs.

Both hold one entry a job with its place in the queue, changed together in one transaction, and blobs (what a job is to
do, its result) apart from the entries, which are listed often.
"""

from __future__ import annotations

import contextlib
import fcntl
import logging
import sqlite3
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from redis import Redis

from backend.jobs.models import Priority

log = logging.getLogger("refam.jobs")


@dataclass(frozen=True)
class Place:
    """Where a job stands in the queue: the highest priority comes first, of equals the one that is due first.

    due: Unix seconds, before which the job is not started.
    """

    priority: int
    due: float


# From an entry as it is stored (None: there is none) to the new one and its place; None leaves it as it is.
Edit = Callable[[bytes | None], "tuple[bytes, Place | None] | None"]


class SqliteStorage:
    """refam.db holds the entries, refam-results.db the blobs. Safe to use from several threads and processes.

    Attributes:
        damage: Which files were set aside as unusable, in sentences for people.
    """

    _JOBS = """
        create table if not exists jobs (id text primary key, entry blob not null, priority integer, due real);
        create index if not exists places on jobs (priority desc, due);
    """
    _BLOBS = "create table if not exists blobs (key text primary key, value blob not null);"

    def __init__(self, data_dir: Path) -> None:
        data_dir.mkdir(parents=True, exist_ok=True)
        jobs, blobs = data_dir / "refam.db", data_dir / "refam-results.db"
        with (data_dir / ".opening").open("a") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)  # two that start at once must not both set a file aside
            self.damage = [text for path in (jobs, blobs) if (text := _set_aside_if_unusable(path))]
            self._jobs, self._blobs = _Database(jobs, self._JOBS), _Database(blobs, self._BLOBS)

    def read(self, job: str) -> bytes | None:
        """Return the entry of a job; None where there is none."""
        return self._jobs.value("select entry from jobs where id = ?", job)

    def read_all(self) -> dict[str, bytes]:
        """Return all entries by job."""
        return dict(self._jobs.connection.execute("select id, entry from jobs"))

    def change(self, job: str, edit: Edit) -> None:
        """Read, edit and write one entry in one transaction. `edit` may be called more than once."""
        with self._jobs.connection as connection:
            connection.execute("begin immediate")
            edited = edit(self.read(job))
            if edited is not None:
                entry, place = edited
                row = (job, entry, place and place.priority, place and place.due)
                connection.execute("insert or replace into jobs values (?, ?, ?, ?)", row)

    def delete(self, job: str) -> None:
        """Delete the entry of a job, and its place in the queue."""
        self._jobs.connection.execute("delete from jobs where id = ?", (job,))

    def first(self, *, above: int, now: float) -> str | None:
        """Return the job that comes first among those due with a priority over `above`."""
        query = "select id from jobs where priority > ? and due <= ? order by priority desc, due limit 1"
        return self._jobs.value(query, above, now)

    def count_due(self, now: float) -> int:
        """Return how many queued jobs are due."""
        return int(self._jobs.value("select count(*) from jobs where priority >= 0 and due <= ?", now))

    def read_blob(self, key: str) -> bytes | None:
        """Return a blob; None where there is none."""
        return self._blobs.value("select value from blobs where key = ?", key)

    def write_blob(self, key: str, value: bytes) -> None:
        """Write a blob."""
        self._blobs.connection.execute("insert or replace into blobs values (?, ?)", (key, value))

    def delete_blobs(self, *keys: str) -> None:
        """Delete blobs."""
        self._blobs.connection.executemany("delete from blobs where key = ?", [(key,) for key in keys])

    def close(self) -> None:
        """Close the connections of this thread."""
        self._jobs.close()
        self._blobs.close()


class _Database:
    """A SQLite file with one connection a thread."""

    def __init__(self, path: Path, schema: str) -> None:
        self._path, self._local = path, threading.local()
        self.connection.executescript(schema)

    @property
    def connection(self) -> sqlite3.Connection:
        """This thread's connection."""
        if not hasattr(self._local, "connection"):
            connection = sqlite3.connect(self._path, timeout=30, isolation_level=None)
            connection.text_factory = lambda text: text.decode(errors="replace")  # damaged text is found by its reader
            # With a write-ahead log, NORMAL survives every crash of ours whole; a power cut may cost the last moments,
            # never the database. FULL waits for the disk at every write.
            connection.execute("pragma journal_mode=wal")
            connection.execute("pragma synchronous=normal")
            self._local.connection = connection
        return cast(sqlite3.Connection, self._local.connection)

    def value(self, query: str, *parameters: Any) -> Any:
        """The first column of the first row; None where there is no row."""
        row = self.connection.execute(query, parameters).fetchone()
        return row and row[0]

    def close(self) -> None:
        """Write the log into the file and close this thread's connection; those of others close with their threads."""
        with contextlib.suppress(sqlite3.OperationalError):  # busy or full: the log stays beside the file
            self.connection.execute("pragma busy_timeout=1000")
            self.connection.execute("pragma wal_checkpoint(truncate)")
        self.connection.close()
        del self._local.connection


def _set_aside_if_unusable(path: Path) -> str | None:
    """Rename a damaged or outdated database, so that a new one takes its place; return that as a sentence.

    Raises sqlite3.OperationalError when it is only busy, or cannot be opened for lack of rights or space.
    """
    if not path.exists() or (reason := _why_unusable(path)) is None:
        return None
    kind, text = reason
    aside = path.with_name(f"{path.name}.{kind}-{time.time_ns()}")
    for suffix in ("", "-wal", "-shm"):
        with contextlib.suppress(FileNotFoundError):
            path.with_name(path.name + suffix).rename(aside.with_name(aside.name + suffix))
    lost = "jobs that only stood there are lost, ask for them again"
    sentence = f"{path.name} {text} and is kept as {aside.name}: {lost}"
    log.error("%s", sentence)
    return sentence


def _why_unusable(path: Path) -> tuple[str, str] | None:
    try:
        with contextlib.closing(sqlite3.connect(path, timeout=30)) as database:
            result = str(database.execute("pragma integrity_check(1)").fetchone()[0])
            if result != "ok":
                return "damaged", f"was damaged ({result.splitlines()[-1][:100]})"
            if database.execute("select 1 from sqlite_master where name = 'kv'").fetchone():  # Huey's table
                return "old", "was written by an earlier version"
    except sqlite3.OperationalError:
        raise
    except sqlite3.DatabaseError as error:
        return "damaged", f"was damaged ({error})"
    return None


class RedisStorage:
    """The twin of SqliteStorage. A key an entry and a blob, a set of all jobs, sorted due times for each priority."""

    _IDS = "refam:jobs"

    def __init__(self, url: str) -> None:
        self.damage: list[str] = []
        self._redis: Any = Redis.from_url(url)
        self._places = {int(priority): f"refam:queue:{int(priority)}" for priority in sorted(Priority, reverse=True)}

    def read(self, job: str) -> bytes | None:
        """See SqliteStorage."""
        return cast("bytes | None", self._redis.get(f"refam:job:{job}"))

    def read_all(self) -> dict[str, bytes]:
        """See SqliteStorage."""
        jobs = [job.decode() for job in self._redis.smembers(self._IDS)]
        entries = self._redis.mget([f"refam:job:{job}" for job in jobs]) if jobs else []
        return {job: entry for job, entry in zip(jobs, entries, strict=True) if entry is not None}

    def change(self, job: str, edit: Edit) -> None:
        """See SqliteStorage."""
        key = f"refam:job:{job}"

        def transact(pipe: Any) -> None:
            edited = edit(pipe.get(key))
            pipe.multi()
            if edited is None:
                return
            entry, place = edited
            pipe.set(key, entry)
            pipe.sadd(self._IDS, job)
            for places in self._places.values():
                pipe.zrem(places, job)
            if place is not None:
                pipe.zadd(self._places[place.priority], {job: place.due})

        self._redis.transaction(transact, key)

    def delete(self, job: str) -> None:
        """See SqliteStorage."""
        with self._redis.pipeline() as pipe:
            pipe.delete(f"refam:job:{job}")
            pipe.srem(self._IDS, job)
            for places in self._places.values():
                pipe.zrem(places, job)
            pipe.execute()

    def first(self, *, above: int, now: float) -> str | None:
        """See SqliteStorage."""
        for priority, places in self._places.items():
            if priority > above and (found := self._redis.zrangebyscore(places, "-inf", now, start=0, num=1)):
                return str(found[0].decode())
        return None

    def count_due(self, now: float) -> int:
        """See SqliteStorage."""
        return sum(self._redis.zcount(places, "-inf", now) for places in self._places.values())

    def read_blob(self, key: str) -> bytes | None:
        """See SqliteStorage."""
        return cast("bytes | None", self._redis.get(f"refam:blob:{key}"))

    def write_blob(self, key: str, value: bytes) -> None:
        """See SqliteStorage."""
        self._redis.set(f"refam:blob:{key}", value)

    def delete_blobs(self, *keys: str) -> None:
        """See SqliteStorage."""
        self._redis.delete(*(f"refam:blob:{key}" for key in keys))

    def close(self) -> None:
        """See SqliteStorage."""
        self._redis.close()


def open_storage(queue: str, data_dir: Path) -> SqliteStorage | RedisStorage:
    """Open the storage of a queue.

    Args:
        queue: "sqlite" or a redis:// address.
        data_dir: Folder of the SQLite files.

    Raises:
        OSError, sqlite3.OperationalError: The files cannot be opened, or are busy for long.
    """
    return SqliteStorage(data_dir) if queue == "sqlite" else RedisStorage(queue)
