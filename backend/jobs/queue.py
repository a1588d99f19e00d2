"""The job queue: what is to be done, how far it is, and how its result was delivered.

A job is one entry that holds its record and stands in the queue until a worker claims it. Claiming is one transaction,
so each attempt has exactly one worker; the entry outlives the worker, and `recover` queues again what a dead one left.
So a job is done at least once, and one attempt of it at most once.
"""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError

from backend.jobs.models import JobRecord, JobSpec, JobState, Priority
from backend.jobs.storage import Place, open_storage

log = logging.getLogger("refam.jobs")

MOST_CRASHES = 3  # a job that has ended so many workers is not tried again by itself
KEPT = 2000  # final jobs; the records of older ones are deleted, the results of their stages stay


class _Entry(BaseModel):
    """All that changes about a job.

    due: Unix seconds from which it may be started. cancel: why it is to end. push_at: Unix seconds until which a
    request waits for it; afterwards its prediction is pushed. delivered: how, and when.
    """

    model_config = ConfigDict(frozen=True)

    record: JobRecord
    due: float = 0.0
    cancel: str | None = None
    push_at: float | None = None
    delivered: tuple[str, float] | None = None

    def but(self, **changes: Any) -> _Entry:
        """The same with these fields changed."""
        return self.model_copy(update=changes)


class JobQueue:
    """The jobs of one data directory or one Redis. Safe to use from several threads and processes.

    Args:
        queue: "sqlite" or a redis:// address.
        data_dir: Folder of the SQLite files.
        clock: Returns the time in Unix seconds.

    Attributes:
        damage: Which databases were found unusable at the start, in sentences for people.

    Raises:
        OSError, sqlite3.OperationalError: The databases cannot be opened.
    """

    def __init__(self, queue: str, data_dir: Path, *, clock: Callable[[], float] = time.time) -> None:
        self._storage, self._clock = open_storage(queue, data_dir), clock
        self.damage = self._storage.damage

    # --- submit and cancel --------------------------------------------------------------------------------------

    def submit(self, spec: JobSpec, priority: Priority, *, fresh_s: float, request: str = "") -> JobRecord:
        """Queue a job. One that is queued already is only raised in priority.

        Args:
            spec: What to do.
            priority: Who waits for it.
            fresh_s: A result younger than this many seconds is kept, and nothing is queued.
            request: The id of the request that asks.

        Returns:
            The job's record: of the new attempt, of the one under way, or of the fresh result.
        """
        now = self._clock()

        def is_current(record: JobRecord) -> bool:
            fresh = record.state is JobState.DONE and now - (record.finished_at or 0) < fresh_s
            return fresh or not record.state.final

        def enqueue(entry: _Entry | None) -> _Entry | None:
            record = entry.record if entry else None
            if entry and record and is_current(record):
                if record.state is not JobState.QUEUED or priority <= record.urgency:
                    return None
                return entry.but(record=record.but(urgency=priority, retry_at=None), due=now)
            new = JobRecord(
                id=spec.id,
                title=spec.words,
                task_id=spec.task_id,
                project=spec.project,
                urgency=priority,
                attempt=record.attempt + 1 if record else 1,
                request=request,
                submitted_at=now,
            )
            return _Entry(record=new, due=now, push_at=entry.push_at if entry else None)

        record = self.record(spec.id)
        if record is None or not is_current(record):  # before the entry: a worker that claims the job needs it
            self._storage.write_blob(f"spec:{spec.id}", spec.model_dump_json().encode())
        entry = self._change(spec.id, enqueue) or self._entry(spec.id)
        assert entry is not None
        return entry.record

    def list_refused(self, record: JobRecord) -> None:
        """List what was asked for and cannot become a job. record: final, `refused`, with the reason as its error."""
        self._change(record.id, lambda entry: _Entry(record=record))

    def cancel(self, job: str, why: str = "cancelled") -> bool:
        """End a job that is not final; a running one stops at its next step.

        Args:
            job: Its id.
            why: For people, who find it where a failed job has its error.

        Returns:
            False when there is nothing to end.
        """

        def end(entry: _Entry | None) -> _Entry | None:
            if entry is None or entry.record.state.final:
                return None
            record = entry.record
            if record.state is JobState.QUEUED:
                record = record.but(state=JobState.CANCELLED, finished_at=self._clock(), error=why)
            return entry.but(record=record, cancel=why)

        return self._change(job, end) is not None

    def retry(self, job: str) -> bool:
        """Queue a job that failed or was cancelled once more; return False for any other."""
        record, spec = self.record(job), self.spec(job)
        if record is None or spec is None or record.state not in (JobState.FAILED, JobState.CANCELLED):
            return False
        self.submit(spec, record.urgency, fresh_s=0, request=record.request)
        return True

    # --- read ---------------------------------------------------------------------------------------------------

    def record(self, job: str) -> JobRecord | None:
        """Return how far a job is; None for one that is not known."""
        entry = self._entry(job)
        return entry.record if entry else None

    def records(self) -> list[JobRecord]:
        """Return all jobs, the last submitted first."""
        return sorted((entry.record for entry in self._entries()), key=lambda r: r.submitted_at, reverse=True)

    def spec(self, job: str) -> JobSpec | None:
        """Return what a job is to do. None if it is missing or damaged."""
        raw = self._storage.read_blob(f"spec:{job}")
        try:
            return None if raw is None else JobSpec.model_validate_json(raw)
        except ValidationError:
            return None  # damaged: who needs it says what that means for the job

    def prediction(self, job: str) -> dict[str, Any] | None:
        """Return the finished prediction as Label Studio stores it; None where there is none, or it is damaged."""
        return self._read_json(f"result:{job}")

    def save_preview(self, job: str, prediction: dict[str, Any]) -> None:
        """Write what is known of a running job's prediction before it is finished."""
        self._storage.write_blob(f"preview:{job}", json.dumps(prediction).encode())

    def preview(self, job: str) -> dict[str, Any] | None:
        """Return what is known of the prediction of an unfinished job; None if nothing is, or it is damaged."""
        return self._read_json(f"preview:{job}")

    def _read_json(self, blob: str) -> dict[str, Any] | None:
        raw = self._storage.read_blob(blob)
        try:
            return None if raw is None else json.loads(raw)
        except (ValueError, TypeError):
            return None

    def thumbnail(self, job: str) -> bytes | None:
        """Return a JPEG of the frame on which the first object has the highest score."""
        raw = self._storage.read_blob(f"thumb:{job}")
        return raw if isinstance(raw, bytes) else None

    def cancelled(self, job: str) -> str | None:
        """Return why a job is to end; None when it is not."""
        entry = self._entry(job)
        return entry.cancel if entry else None

    def waiting(self) -> int:
        """Return how many jobs could be started now."""
        return self._storage.count_due(self._clock())

    # --- work ---------------------------------------------------------------------------------------------------

    def claim_next(self, worker: str, *, above: int = -1) -> tuple[JobSpec, JobRecord] | None:
        """Claim the job with the highest priority for a worker; None when none waits with a priority over `above`."""
        while (job := self._storage.first(above=above, now=self._clock())) is not None:
            record = self._claim(job, worker)
            if record is None:
                continue  # another worker was faster
            spec = self.spec(job)
            if spec is not None:
                return spec, record
            self.fail(record, "what this job was to do is lost (a damaged database): ask for it again")
        return None

    def _claim(self, job: str, worker: str) -> JobRecord | None:
        now, claimed = self._clock(), False

        def claim(entry: _Entry | None) -> _Entry | None:
            nonlocal claimed
            claimed = entry is not None and entry.record.state is JobState.QUEUED and entry.due <= now
            if entry is None or not claimed:
                return entry and entry.but()  # written again: a place in the queue that is wrong is put right
            changes = {"state": JobState.RUNNING, "worker": worker, "started_at": now, "retry_at": None}
            return entry.but(record=entry.record.but(**changes))

        entry = self._change(job, claim)
        if entry is None:
            self._storage.delete(job)  # a place in the queue without an entry
        return entry.record if entry and claimed else None

    def update(self, record: JobRecord) -> None:
        """Write how far a job is; only for the worker that has claimed it."""
        self._replace(record, record)

    def finish(self, record: JobRecord, prediction: dict[str, Any], thumbnail: bytes | None) -> JobRecord:
        """Write the result before the state, so that a job that is done has its result."""
        self._storage.write_blob(f"result:{record.id}", json.dumps(prediction).encode())
        if thumbnail is not None:
            self._storage.write_blob(f"thumb:{record.id}", thumbnail)
        self._storage.delete_blobs(f"preview:{record.id}")
        changes = {"fraction": 1.0, "left_s": 0.0, "stage": "", "error": None}
        return self._replace(record, record.but(state=JobState.DONE, finished_at=self._clock(), **changes))

    def fail(self, record: JobRecord, error: str, *, state: JobState = JobState.FAILED) -> JobRecord:
        """Write that a job failed or was cancelled, and why."""
        return self._replace(record, record.but(state=state, error=error, left_s=None, finished_at=self._clock()))

    def requeue(self, record: JobRecord, *, delay_s: float = 0.0, **changes: Any) -> JobRecord:
        """Queue the next attempt of a job.

        Args:
            record: The job as it is.
            delay_s: It is not started before.
            **changes: Fields of the record to change.

        Returns:
            The new record.
        """
        now = self._clock()
        retry_at = now + delay_s if delay_s else None
        new = record.but(state=JobState.QUEUED, attempt=record.attempt + 1, worker="", retry_at=retry_at, **changes)
        return self._replace(record, new, due=retry_at or now)

    def recover(self, is_dead: Callable[[str], bool]) -> list[JobRecord]:
        """Queue again what dead workers left.

        Args:
            is_dead: Whether the worker of that name has ended.

        Returns:
            The records that were changed.
        """
        changed = []
        for record in self.records():
            if record.state is JobState.RUNNING and is_dead(record.worker):
                crashed = record.but(crashes=record.crashes + 1)
                if crashed.crashes < MOST_CRASHES:
                    changed.append(self.requeue(crashed))
                else:
                    text = f"the worker ended {MOST_CRASHES} times in this job (out of memory, perhaps): see its log"
                    changed.append(self.fail(crashed, text))
        return changed

    def give_back(self, worker: str) -> list[JobRecord]:
        """Queue again what a worker that stops in order still runs: no crash. It can write nothing more of these jobs.

        Args:
            worker: Its name.

        Returns:
            The records that were changed.
        """
        running = [record for record in self.records() if record.state is JobState.RUNNING and record.worker == worker]
        return [self.requeue(record) for record in running]

    def prune(self, *, keep: int = KEPT) -> int:
        """Delete the oldest final jobs beyond `keep`; return how many."""
        old = [record for record in self.records() if record.state.final][keep:]
        for record in old:
            self._storage.delete(record.id)
            self._storage.delete_blobs(*(f"{kind}:{record.id}" for kind in ("spec", "result", "thumb", "preview")))
        return len(old)

    # --- deliveries ---------------------------------------------------------------------------------------------
    # Label Studio is told of a finished job by the request that waits for it, or by a push afterwards; never by both.

    def schedule_push(self, job: str, at: float) -> None:
        """Push the job's prediction unless a request that waits until `at` (Unix seconds) is answered with it."""
        self._change(job, lambda entry: entry and entry.but(push_at=max(at, entry.push_at or 0.0)))

    def scheduled_pushes(self) -> list[tuple[str, float]]:
        """Return the jobs whose prediction is to be pushed, and from when (Unix seconds)."""
        return [(entry.record.id, entry.push_at) for entry in self._entries() if entry.push_at is not None]

    def cancel_push(self, job: str) -> None:
        """Do not push this job's prediction, or not any more."""
        self._change(job, lambda entry: entry and entry.but(push_at=None))

    def claim_delivery(self, job: str, how: str) -> bool:
        """Return True for exactly one caller per submission of a job: that one tells Label Studio."""
        delivered = (how, self._clock())
        edit = self._change(job, lambda e: e.but(delivered=delivered) if e and e.delivered is None else None)
        return edit is not None

    def delivered(self, job: str) -> tuple[str, float] | None:
        """Return how a job was delivered ("answered", "pushed", or why not) and when; None when it was not yet."""
        entry = self._entry(job)
        return entry.delivered if entry else None

    def set_delivered(self, job: str, how: str | None) -> None:
        """Write how a claimed delivery ended; None frees it for another try."""
        delivered = None if how is None else (how, self._clock())
        self._change(job, lambda entry: entry and entry.but(delivered=delivered))

    # --- workers ------------------------------------------------------------------------------------------------

    def heartbeat(self, worker: str, count: int) -> None:
        """Write that a worker lives: a count that grows."""
        self._storage.write_blob(f"beat:{worker}", str(count).encode())

    def last_heartbeat(self, worker: str) -> int | None:
        """Return the count of a worker's last heartbeat."""
        raw = self._storage.read_blob(f"beat:{worker}")
        return int(raw) if raw is not None else None

    def forget_worker(self, worker: str) -> None:
        """Delete the heartbeat of a worker that ended in order."""
        self._storage.delete_blobs(f"beat:{worker}")

    def close(self) -> None:
        """Close the databases."""
        self._storage.close()

    # --- entries ------------------------------------------------------------------------------------------------

    def _entry(self, job: str) -> _Entry | None:
        raw = self._storage.read(job)
        return None if raw is None else self._read(job, raw)

    def _entries(self) -> list[_Entry]:
        return [self._read(job, raw) for job, raw in self._storage.read_all().items()]

    def _read(self, job: str, raw: bytes) -> _Entry:
        entry = _parse(job, raw)
        if entry is None:
            log.error("the record of job %s is damaged", job)
            entry = self._change(job, lambda failed: failed and failed.but()) or self._damaged(job)
        return entry

    def _damaged(self, job: str) -> _Entry:
        """The entry that takes the place of a damaged one."""
        now, error = self._clock(), "the record of this job was damaged: ask for it again"
        record = JobRecord(id=job, title="?", task_id=None, project="", urgency=Priority.BATCH, submitted_at=now)
        return _Entry(record=record.but(state=JobState.FAILED, error=error, finished_at=now))

    def _change(self, job: str, edit: Callable[[_Entry | None], _Entry | None]) -> _Entry | None:
        """Read, edit and write an entry in one transaction; `edit` returns None to leave it. Returns what it did."""
        edited: _Entry | None = None

        def edit_raw(raw: bytes | None) -> tuple[bytes, Place | None] | None:
            nonlocal edited
            edited = edit(None if raw is None else _parse(job, raw) or self._damaged(job))
            if edited is None:
                return None
            queued = edited.record.state is JobState.QUEUED
            place = Place(int(edited.record.urgency), edited.due) if queued else None
            return edited.model_dump_json().encode(), place

        self._storage.change(job, edit_raw)
        return edited

    def _replace(self, record: JobRecord, new: JobRecord, *, due: float = 0.0) -> JobRecord:
        """Write `new` where the attempt of `record` still stands: one that lost its job to another writes nothing."""

        def replace(entry: _Entry | None) -> _Entry | None:
            if entry is None or entry.record.attempt != record.attempt:
                return None
            return entry.but(record=new, due=due)

        self._change(record.id, replace)
        return new


def _parse(job: str, raw: bytes) -> _Entry | None:
    """None for an entry that is damaged."""
    try:
        entry = _Entry.model_validate_json(raw)
    except ValidationError:
        return None
    return entry if entry.record.id == job else None
