"""Submitted annotations and their corrections in one SQLite file of the data directory, corrections.db."""

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
    """What the webhook sends of an annotation, as far as it is compared. `video` is its address in the task."""

    annotation: int
    project: int | None
    task: int | None
    parent_prediction: int | None
    video: str
    fps: float
    result: tuple[Mapping[str, Any], ...]


@dataclass(frozen=True)
class StoredCorrection:
    """A correction and where it comes from. `at` is when it was submitted, in seconds since 1970."""

    annotation: int
    project: int | None
    task: int | None
    video: str
    fps: float
    model_version: str
    at: float
    correction: Correction


class CorrectionStore:
    """The file of corrections; safe to use from several threads and processes.

    Args:
        data_dir: The folder of the file.
        clock: Returns the time in seconds since 1970.

    Raises:
        sqlite3.Error: If the file cannot be used; every method raises it, too.
    """

    def __init__(self, data_dir: Path, *, clock: Callable[[], float] = time.time) -> None:
        self._path, self._clock, self._lock = data_dir / "corrections.db", clock, threading.Lock()
        data_dir.mkdir(parents=True, exist_ok=True)
        with self._open() as db:
            db.executescript(_SCHEMA)

    def receive(self, submitted: SubmittedAnnotation) -> None:
        """Store an annotation to be compared later, replacing an older version of it."""
        body = json.dumps(asdict(submitted))
        with self._open() as db:
            db.execute("insert or replace into inbox values (?, ?, ?)", (submitted.annotation, body, self._clock()))

    def pending(self) -> list[tuple[SubmittedAnnotation, float]]:
        """Return the annotations that are not compared yet, oldest first, each with the time it was received."""
        with self._open() as db:
            rows = db.execute("select body, at from inbox order by at").fetchall()
        contents = [(json.loads(body), at) for body, at in rows]
        return [
            (SubmittedAnnotation(**{**content, "result": tuple(content["result"])}), at) for content, at in contents
        ]

    def save(
        self, submitted: SubmittedAnnotation, at: float, corrections: Sequence[Correction], *, model_version: str
    ) -> None:
        """Store the corrections of an annotation, replacing those of an earlier version of it.

        Nothing is stored if the annotation no longer waits: it was deleted, replaced by a newer one, or saved already.

        Args:
            submitted: The annotation.
            at: When it was received, as `pending` returned it.
            corrections: Its corrections.
            model_version: The model version of the prediction that it began from.
        """
        s = submitted
        rows = [
            (s.annotation, c.region, s.project, s.task, s.video, s.fps, model_version, at, c.fate, _dump(c))
            for c in corrections
        ]
        with self._open() as db:
            removed = db.execute("delete from inbox where annotation = ? and at = ?", (s.annotation, at))
            if removed.rowcount == 0:
                return
            db.execute("delete from corrections where annotation = ?", (s.annotation,))
            db.executemany("insert into corrections values (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)", rows)

    def delete(self, annotations: Sequence[int]) -> None:
        """Delete everything stored of these annotations."""
        with self._open() as db:
            for table in ("inbox", "corrections"):
                db.executemany(f"delete from {table} where annotation = ?", [(a,) for a in annotations])  # noqa: S608

    def corrections(self, *, project: int | None = None, since: float = 0.0) -> list[StoredCorrection]:
        """Return the corrections, oldest first; only those of a project or since a time, if given."""
        query = """
            select annotation, project, task, video, fps, model_version, at, body from corrections
            where at >= :since and (:project is null or project = :project) order by at, annotation, region"""
        with self._open() as db:
            rows = db.execute(query, {"since": since, "project": project}).fetchall()
        return [StoredCorrection(*columns, _load(body)) for *columns, body in rows]  # type: ignore[call-arg]

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
    content = json.loads(body)
    for name in ("before", "after"):
        content[name] = tuple(content[name]) if content[name] else None
    return Correction(**{**content, "fate": RegionFate(content["fate"])})
