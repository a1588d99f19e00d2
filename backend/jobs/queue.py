"""Where jobs are kept: Huey's queue, and beside it what is known of every job, in the same database.

Huey takes a task off its queue before it is done, so a killed worker would lose it. Therefore a message of the queue
is only a reminder (job id, attempt): the job itself stands in a record that outlives it, each attempt is claimed by
exactly one worker (`put_if_empty`), and `recover` puts back what a dead worker left. So a job is done at least once,
and one attempt of it at most once.
"""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from huey.api import Task
from pydantic import ValidationError

from backend.jobs.deliveries import Deliveries
from backend.jobs.models import JobRecord, JobSpec, JobState, Priority
from backend.jobs.storage import is_there

log = logging.getLogger("refam.jobs")

MOST_CRASHES = 3  # a job that has ended so many workers is not tried again by itself
KEPT = 2000  # jobs; of older ones the record goes, the results of their stages stay


class JobQueue(Deliveries):
    """The jobs of one data directory or one Redis. Safe to use from several threads and processes."""

    def __init__(self, queue: str, data_dir: Path, *, clock: Callable[[], float] = time.time) -> None:
        """queue: "sqlite" or a redis:// address. Raises OSError or Redis' own errors when it cannot be reached."""
        super().__init__(queue, data_dir, clock=clock)
        self._remind = self._huey.task()(_never_called_directly)

    # --- asking for work ----------------------------------------------------------------------------------------

    def submit(self, spec: JobSpec, urgency: Priority, *, fresh_s: float, request: str = "") -> JobRecord:
        """Asks for a job. One that is under way is only made more urgent; one done less than `fresh_s` ago is kept.

        request: the id of the request that asks.
        """
        run = self.record(spec.id)
        if run is not None and run.state is JobState.DONE and self._clock() - (run.finished_at or 0) < fresh_s:
            return run
        if run is not None and not run.state.final:
            if urgency > run.urgency and run.state is JobState.QUEUED:
                self._enqueue(run.but(urgency=urgency))  # the record is its worker's to write, not ours
            return run
        attempt = run.attempt + 1 if run else 1
        while not self._huey.storage.put_if_empty(f"round:{spec.id}:{attempt}", b"1"):
            begun = self._begun_by_another(spec.id, attempt)
            if begun is not None:
                return begun
            attempt += 1  # whoever began it died before the record was written
        self._blobs.storage.put_data(f"spec:{spec.id}", spec.model_dump_json().encode())
        self._forget(spec.id, "cancel", "delivered")
        run = JobRecord(
            id=spec.id,
            title=spec.words,
            task_id=spec.task_id,
            project=spec.project,
            urgency=urgency,
            attempt=attempt,
            request=request,
            submitted_at=self._clock(),
        )
        self._put_run(run)
        self._enqueue(run)
        return run

    def _begun_by_another(self, job: str, attempt: int) -> JobRecord | None:
        for _ in range(20):
            run = self.record(job)
            if run is not None and run.attempt >= attempt:
                return run
            time.sleep(0.05)
        return None

    def cancel(self, job: str, why: str = "cancelled") -> bool:
        """Ends a job that is not final; a running one stops at its next step. False when there is nothing to end.

        why: for people, who find it where a failed job has its error.
        """
        run = self.record(job)
        if run is None or run.state.final:
            return False
        self._put(f"cancel:{job}", why)
        if run.state is JobState.QUEUED and self._claim(run, "cancel"):
            self._put_run(run.but(state=JobState.CANCELLED, finished_at=self._clock(), error=why))
        return True

    def retry(self, job: str) -> bool:
        """Starts a job that failed or was cancelled once more."""
        run, spec = self.record(job), self.spec(job)
        if run is None or spec is None or run.state not in (JobState.FAILED, JobState.CANCELLED):
            return False
        self.submit(spec, Priority(run.urgency), fresh_s=0, request=run.request)
        return True

    # --- what is known ------------------------------------------------------------------------------------------

    def record(self, job: str) -> JobRecord | None:
        """How far a job is."""
        raw = self._huey.storage.peek_data(f"job:{job}")
        return self._read_run(job, raw) if is_there(raw) else None

    def records(self) -> list[JobRecord]:
        """All jobs, the last submitted first."""
        items = self._huey.storage.result_items().items()
        found = [self._read_run(key[4:], value) for key, value in items if key.startswith("job:")]
        return sorted(found, key=lambda run: run.submitted_at, reverse=True)

    def spec(self, job: str) -> JobSpec | None:
        """What a job is to do."""
        raw = self._blobs.storage.peek_data(f"spec:{job}")
        try:
            return JobSpec.model_validate_json(bytes(raw)) if is_there(raw) else None
        except ValidationError:
            return None  # damaged: who needs it says what that means for the job

    def prediction(self, job: str) -> dict[str, Any] | None:
        """The finished prediction, as Label Studio stores it."""
        raw = self._blobs.storage.peek_data(f"result:{job}")
        try:
            return json.loads(bytes(raw)) if is_there(raw) else None
        except ValueError:
            return None  # damaged

    def thumbnail(self, job: str) -> bytes | None:
        """A JPEG of the frame on which the first object is surest."""
        raw = self._blobs.storage.peek_data(f"thumb:{job}")
        return bytes(raw) if is_there(raw) else None

    def cancelled(self, job: str) -> str | None:
        """Why somebody wants this job to end; None when nobody does."""
        found = self._get(f"cancel:{job}")
        return None if found is None else str(found)

    def waiting(self) -> int:
        """Messages in the queue."""
        return int(self._huey.storage.queue_size())

    # --- doing it -----------------------------------------------------------------------------------------------

    def claim_next(self, worker: str, *, above: int = -1) -> tuple[JobSpec, JobRecord] | None:
        """The most urgent job, claimed for a worker; None when nothing waits that is more urgent than `above`."""
        while True:
            for due in self._huey.read_schedule():
                self._huey.enqueue(due)
            first = self._huey.storage.enqueued_items(1)
            if not first:
                return None
            if (message := self._message(first[0])) is not None and (message.priority or 0) <= above:
                return None
            taken = self._huey.storage.dequeue()
            if taken is None:
                return None
            if (message := self._message(taken)) is None:
                log.error("a message of the queue is damaged; its job is found without it")
                continue
            if (message.priority or 0) <= above:  # another worker took the urgent one in between
                self._huey.enqueue(message)
                return None
            job, attempt = message.args
            run, spec = self.record(job), self.spec(job)
            if run is None or run.state is not JobState.QUEUED or run.attempt != attempt:
                continue  # an old reminder
            if not self._claim(run, worker):
                continue
            if spec is None:
                self.fail(run, "what this job was to do is lost (a damaged database): ask for it again")
                continue
            urgency = Priority(max(int(message.priority or 0), int(run.urgency)))
            run = run.but(
                state=JobState.RUNNING, worker=worker, urgency=urgency, started_at=self._clock(), retry_at=None
            )
            self._put_run(run)
            return spec, run

    def update(self, run: JobRecord) -> None:
        """Writes how far a job is; only for who has claimed it."""
        self._put_run(run)

    def finish(self, run: JobRecord, prediction: dict[str, Any], thumbnail: bytes | None) -> JobRecord:
        """Result first, state after it: whoever sees "done" finds the result."""
        self._blobs.storage.put_data(f"result:{run.id}", json.dumps(prediction).encode())
        if thumbnail is not None:
            self._blobs.storage.put_data(f"thumb:{run.id}", thumbnail)
        run = run.but(state=JobState.DONE, fraction=1.0, left_s=0.0, stage="", error=None, finished_at=self._clock())
        self._put_run(run)
        return run

    def fail(self, run: JobRecord, error: str, *, state: JobState = JobState.FAILED) -> JobRecord:
        """Failed or cancelled, with the reason in words."""
        run = run.but(state=state, error=error, left_s=None, finished_at=self._clock())
        self._put_run(run)
        return run

    def requeue(self, run: JobRecord, *, delay_s: float = 0.0, **changes: Any) -> JobRecord:
        """Back into the queue as the next attempt, after a delay."""
        at = self._clock() + delay_s if delay_s else None
        run = run.but(state=JobState.QUEUED, attempt=run.attempt + 1, worker="", retry_at=at, **changes)
        self._put_run(run)
        self._enqueue(run, delay_s=delay_s)
        return run

    def recover(self, is_dead: Callable[[str], bool]) -> list[JobRecord]:
        """Puts back what dead workers left and what a crash kept out of the queue. Returns what it changed."""
        reminders = {tuple(task.args) for task in (*self._huey.pending(), *self._huey.scheduled())}
        changed = []
        for run in self.records():
            if run.state.final:
                continue
            holder = self._holder(run)
            if holder is None:
                if (run.id, run.attempt) not in reminders:
                    self._enqueue(run)
                    changed.append(run)
            elif is_dead(holder):
                if run.crashes + 1 >= MOST_CRASHES:
                    text = f"the worker ended {MOST_CRASHES} times in this job (out of memory, perhaps): see its log"
                    changed.append(self.fail(run.but(crashes=run.crashes + 1), text))
                else:
                    changed.append(self.requeue(run, crashes=run.crashes + 1))
        return changed

    def prune(self, *, keep: int = KEPT) -> int:
        """Forgets the oldest final jobs beyond `keep`; returns how many."""
        old = [run for run in self.records() if run.state.final][keep:]
        for run in old:
            for attempt in range(1, run.attempt + 1):
                self._forget(f"{run.id}:{attempt}", "claim", "round")
            self._forget(run.id, "job", "cancel", "delivered", "wait")
            for kind in ("spec", "result", "thumb"):
                self._blobs.storage.delete_data(f"{kind}:{run.id}")
        return len(old)

    # --- workers ------------------------------------------------------------------------------------------------

    def heartbeat(self, worker: str, count: int) -> None:
        """A sign of life."""
        self._put(f"beat:{worker}", count)

    def last_heartbeat(self, worker: str) -> int | None:
        """The count of a worker's last sign of life."""
        return self._get(f"beat:{worker}")

    def forget_worker(self, worker: str) -> None:
        """A worker that ended in order."""
        self._huey.storage.delete_data(f"beat:{worker}")

    def close(self) -> None:
        """Closes the databases."""
        self._huey.storage.close()
        self._blobs.storage.close()

    # --- inside -------------------------------------------------------------------------------------------------

    def _read_run(self, job: str, raw: Any) -> JobRecord:
        try:
            return JobRecord.model_validate_json(bytes(raw))
        except ValidationError:
            log.error("the record of job %s is damaged", job)
            run = JobRecord(
                id=job, title="?", task_id=None, project="", urgency=Priority.BATCH, submitted_at=self._clock()
            )
            return self.fail(run, "the record of this job was damaged: ask for it again")

    def _message(self, raw: bytes) -> Task | None:
        """A reminder as it was enqueued; None for one that is damaged."""
        try:
            task: Task = self._huey.deserialize_task(raw)
            job, attempt = task.args
            return task if isinstance(job, str) and isinstance(attempt, int) else None
        except Exception:  # whatever unpickling rubbish gives
            return None

    def _claim(self, run: JobRecord, worker: str) -> bool:
        return bool(self._huey.storage.put_if_empty(f"claim:{run.id}:{run.attempt}", worker.encode()))

    def _holder(self, run: JobRecord) -> str | None:
        raw = self._huey.storage.peek_data(f"claim:{run.id}:{run.attempt}")
        return bytes(raw).decode() if is_there(raw) else None

    def _enqueue(self, run: JobRecord, *, delay_s: float = 0.0) -> None:
        task: Task = self._remind.s(run.id, run.attempt, priority=int(run.urgency))
        if delay_s > 0:
            task = self._remind.s(run.id, run.attempt, priority=int(run.urgency), delay=delay_s)
            self._huey.add_schedule(task)
        else:
            self._huey.enqueue(task)

    def _put_run(self, run: JobRecord) -> None:
        self._huey.storage.put_data(f"job:{run.id}", run.model_dump_json().encode())


def _never_called_directly(job: str, attempt: int) -> None:
    raise RuntimeError(f"job {job}, attempt {attempt}: a reminder is not run by Huey but by backend.jobs.worker")
