"""Corrections on disk: what the webhook brought, and what came of comparing it. One SQLite file in the data folder."""

from __future__ import annotations

import json
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from backend.feedback.compare import Correction, RegionFate

_SCHEMA = """
create table if not exists inbox (annotation integer primary key, body text not null, at real not null);
create table if not exists corrections (
  annotation integer not null, region text not null, project integer, task integer, video text, fps real,
  model_version text, at real not null, fate text not null, body text not null, primary key (annotation, region));
create index if not exists by_project on corrections (project, at);
"""


@dataclass(frozen=True)
class SubmittedAnnotation:
    """An annotation as the webhook brought it: nothing but what is compared. video: the task's address of it."""

    annotation: int
    project: int | None
    task: int | None
    parent_prediction: int | None
    video: str
    fps: float
    result: tuple[Mapping[str, Any], ...]


@dataclass(frozen=True)
class StoredCorrection:
    """A correction with where it comes from. at: seconds since 1970, when it was submitted."""

    annotation: int
    project: int | None
    task: int | None
    video: str
    fps: float
    model_version: str
    at: float
    correction: Correction


class CorrectionStore:
    """Safe to use from several threads and processes. Raises sqlite3.Error when the file cannot be used."""

    def __init__(self, data_dir: Path, *, clock: Callable[[], float] = time.time) -> None:
        self._path, self._clock, self._lock = data_dir / "corrections.db", clock, threading.Lock()
        data_dir.mkdir(parents=True, exist_ok=True)
        with self._open() as db:
            db.executescript(_SCHEMA)

    def receive(self, submitted: SubmittedAnnotation) -> None:
        """Takes in an annotation, to be compared later; a newer version of it replaces an older one."""
        body = json.dumps(asdict(submitted))
        with self._open() as db:
            db.execute("insert or replace into inbox values (?, ?, ?)", (submitted.annotation, body, self._clock()))

    def waiting(self) -> list[tuple[SubmittedAnnotation, float]]:
        """What was taken in and not compared yet, oldest first, each with when it came."""
        with self._open() as db:
            rows = db.execute("select body, at from inbox order by at").fetchall()
        found = [(json.loads(body), at) for body, at in rows]
        return [(SubmittedAnnotation(**{**body, "result": tuple(body["result"])}), at) for body, at in found]

    def keep(
        self, submitted: SubmittedAnnotation, at: float, corrections: Sequence[Correction], *, model_version: str
    ) -> None:
        """Stores what came of an annotation, in place of what an earlier version of it gave.

        Nothing is stored where it no longer waits: deleted meanwhile, replaced by a newer one, or stored already.
        """
        s = submitted
        rows = [
            (s.annotation, c.region, s.project, s.task, s.video, s.fps, model_version, at, c.fate, _dump(c))
            for c in corrections
        ]
        with self._open() as db:
            taken = db.execute("delete from inbox where annotation = ? and at = ?", (s.annotation, at))
            if taken.rowcount == 0:
                return
            db.execute("delete from corrections where annotation = ?", (s.annotation,))
            db.executemany("insert into corrections values (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)", rows)

    def forget(self, annotations: Sequence[int]) -> None:
        """Annotations that were deleted say nothing any more."""
        with self._open() as db:
            for table in ("inbox", "corrections"):
                db.executemany(f"delete from {table} where annotation = ?", [(a,) for a in annotations])  # noqa: S608

    def rows(self, *, project: int | None = None, since: float = 0.0) -> list[StoredCorrection]:
        """The corrections, oldest first."""
        query = """
            select annotation, project, task, video, fps, model_version, at, body from corrections
            where at >= :since and (:project is null or project = :project) order by at, annotation, region"""
        with self._open() as db:
            found = db.execute(query, {"since": since, "project": project}).fetchall()
        return [StoredCorrection(*head, _load(body)) for *head, body in found]  # type: ignore[call-arg]

    @contextmanager
    def _open(self) -> Iterator[sqlite3.Connection]:
        with self._lock, closing(sqlite3.connect(self._path, timeout=30)) as db:
            db.execute("pragma journal_mode=wal")
            db.execute("pragma synchronous=normal")
            with db:
                yield db


def _dump(correction: Correction) -> str:
    return json.dumps(asdict(correction))


def _load(body: str) -> Correction:
    read = json.loads(body)
    for name in ("before", "after"):
        read[name] = tuple(read[name]) if read[name] else None
    return Correction(**{**read, "fate": RegionFate(read["fate"])})
