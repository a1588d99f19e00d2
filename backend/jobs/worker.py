"""Runs jobs, one at a time on each accelerator, and survives being killed.

- While a long job runs, a job with a higher priority is done within its next step, and the long one goes on after it:
  the models are loaded already, and nothing of the long job is lost.
- A transient failure (network, Label Studio away) is retried after a while; any other fails the job at once.
- A lock file says which workers of a data directory live, also after `kill -9`: the kernel drops the lock. Workers on
  other machines are known by their heartbeats.
"""

from __future__ import annotations

import atexit
import contextlib
import errno
import fcntl
import logging
import os
import socket
import sqlite3
import sys
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import IO, Any, Protocol

from redis.exceptions import RedisError

from backend.jobs.models import JobRecord, JobSpec, JobState
from backend.jobs.queue import JobQueue
from backend.logging import log_context
from backend.metrics import STAGE_SECONDS
from video.errors import UserError

log = logging.getLogger("refam.jobs")

RETRY_AFTER_S = (2.0, 10.0, 60.0, 300.0)  # before the second, third, ... try of a job that failed transiently
_POLL_S = 0.1
_HEARTBEAT_S = 2.0
_SILENT_S = 20.0  # a worker on another machine without a heartbeat for so long is dead
_REWRITE_AFTER_S = 5.0  # between two tries to write to a queue that cannot be written
_REPORT_EVERY_S = 0.4
_NICENESS = 5
_DISK_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


class TransientError(Exception):
    """Something that may heal by itself; the message is a sentence for people."""


class JobCancelled(Exception):  # noqa: N818 - a state of the world, not a mistake
    """Somebody ended the job; the message says why."""


class WorkerStopping(Exception):  # noqa: N818
    """The worker was told to stop in the middle of a job."""


@dataclass(frozen=True)
class JobResult:
    """What a job gave.

    Attributes:
        prediction: As Label Studio stores it.
        notes: Sentences for people.
        thumbnail: A JPEG.
    """

    prediction: dict[str, Any]
    notes: tuple[str, ...] = ()
    thumbnail: bytes | None = None


class JobHandler(Protocol):
    """Computes one job."""

    def __call__(self, spec: JobSpec, progress: Callable[[str, float], None]) -> JobResult:
        """Return the result.

        Args:
            spec: What to do.
            progress: To be called often, with the stage and the fraction of the whole job that is done, in [0, 1].
                It raises to end the job.

        Raises:
            UserError: The job cannot be done; the message is a sentence for people.
            TransientError: It cannot be done at the moment.
        """


class ProgressReporter:
    """Writes a job's progress, times its stages, lets urgent jobs in between, and ends a job that was cancelled.

    Args:
        queue: Where the record is written.
        record: The job as it was claimed.
        run_urgent: Runs the jobs that wait with a priority over the one given.
        stop: Set when the worker is to stop.
    """

    def __init__(
        self, queue: JobQueue, record: JobRecord, run_urgent: Callable[[int], None], stop: threading.Event
    ) -> None:
        self._queue, self._record, self._run_urgent, self._stop = queue, record, run_urgent, stop
        self._began = self._stage_began = time.monotonic()
        self._urgent_s = 0.0  # spent on urgent jobs during this stage
        self._reported = 0.0
        self._stages: dict[str, float] = {}

    def __call__(self, stage: str, fraction: float) -> None:
        """Report progress.

        Args:
            stage: Its name.
            fraction: Of the whole job, in [0, 1].

        Raises:
            JobCancelled, WorkerStopping: The job is to end here.
        """
        now = time.monotonic()
        if stage != self._record.stage:
            self._end_stage(now)
            self._record = self._record.but(stage=stage)
        elif now - self._reported < _REPORT_EVERY_S:
            return
        self.check()
        before = time.monotonic()
        self._run_urgent(int(self._record.urgency))
        self._urgent_s += time.monotonic() - before
        spent_s = time.monotonic() - self._began - self._urgent_s
        left_s = spent_s * (1 - fraction) / fraction if fraction > 0.05 and spent_s > 1 else None
        self._record = self._record.but(fraction=fraction, left_s=left_s)
        self._queue.update(self._record)
        self._reported = time.monotonic()

    def check(self) -> None:
        """Raise JobCancelled or WorkerStopping when the job is to end here."""
        if (why := self._queue.cancelled(self._record.id)) is not None:
            raise JobCancelled(why)
        if self._stop.is_set():
            raise WorkerStopping

    def final_record(self) -> JobRecord:
        """Return the record with the last stage's time in it."""
        self._end_stage(time.monotonic())
        return self._record.but(stages_s=dict(self._stages))

    def _end_stage(self, now: float) -> None:
        if self._record.stage:
            spent_s = max(0.0, now - self._stage_began - self._urgent_s)
            STAGE_SECONDS.labels(self._record.stage).observe(spent_s)
            self._stages[self._record.stage] = round(self._stages.get(self._record.stage, 0.0) + spent_s, 3)
        self._began += self._urgent_s  # the time of urgent jobs belongs to no stage
        self._stage_began, self._urgent_s = now, 0.0


class Worker:
    """Claims jobs of a queue and runs them until it is stopped.

    Args:
        queue: The jobs.
        handler: Computes one job.
        data_dir: Folder of the lock files.
        accelerator: Name of the device that one job at a time may use; the lock is the machine's.
        push: Called every few seconds, on a thread of its own.
    """

    def __init__(
        self,
        queue: JobQueue,
        handler: JobHandler,
        *,
        data_dir: Path,
        accelerator: str,
        push: Callable[[], None] = lambda: None,
    ) -> None:
        self.name = f"{socket.gethostname()}-{os.getpid()}-{uuid.uuid4().hex[:6]}"
        self._queue, self._handler, self._push = queue, handler, push
        self._locks = data_dir / "workers"
        self._accelerator_lock = data_dir / f"accelerator-{accelerator.replace(':', '-')}.lock"
        self._stop = threading.Event()
        self._heartbeats: dict[str, tuple[int | None, float]] = {}  # of others: the last count, and when it was new
        self._depth = 0
        self._threads: list[threading.Thread] = []

    def start(self) -> None:
        """Work on threads of its own."""
        for target in (self.run, self._maintain_loop, self._push_loop):
            thread = threading.Thread(target=target, name=f"refam-{target.__name__}", daemon=True)
            thread.start()
            self._threads.append(thread)
        atexit.register(self._end_step)

    def stop(self, *, wait_s: float = 10.0) -> None:
        """Claim no more jobs. The one that runs goes back to the queue at its next step, or after the wait.

        Args:
            wait_s: How long the threads are waited for, in seconds. A step that takes longer is lost.
        """
        self._stop.set()
        end = time.monotonic() + wait_s
        for thread in self._threads:
            thread.join(max(0.0, end - time.monotonic()))
        try:
            self._queue.give_back(self.name)
        except Exception as error:  # then `recover` finds it, and counts a crash
            if transient_reason(error) is None:
                raise
            log.warning("the job that runs could not be given back", exc_info=error)
        if not any(thread.is_alive() for thread in self._threads):
            atexit.unregister(self._end_step)

    def _end_step(self) -> None:
        """Keep the process until the step that runs has ended: Python would end its thread within C++, which aborts.

        A second Ctrl-C ends the process without waiting.
        """
        self._stop.set()
        running = self._threads[0]
        if running.is_alive():
            log.info("the process ends when the step that runs does")
        try:
            running.join()
        except KeyboardInterrupt:
            os._exit(130)

    def run(self) -> None:
        """Work on this thread until `stop`."""
        _lower_priority()
        with self._worker_lock(), wait_for_lock(self._accelerator_lock, self._stop) as locked:
            while locked and not self._stop.is_set():
                try:
                    if not self.work_once():
                        self._stop.wait(_POLL_S)
                except Exception:  # the database is away or full: accepted jobs wait until it is back
                    log.exception("the queue cannot be used at the moment")
                    self._stop.wait(_REWRITE_AFTER_S)

    def work_once(self, *, above: int = -1) -> bool:
        """Run the job with the highest priority; return False when none waits with a priority over `above`."""
        claimed = self._queue.claim_next(self.name, above=above)
        if claimed is None:
            return False
        spec, record = claimed
        with log_context(request=record.request, job=record.id):
            self._write_outcome(self._run_job(spec, record))
        return True

    def recover(self) -> None:
        """Queue again the jobs of workers that ended without giving them back."""
        for record in self._queue.recover(self._is_dead):
            log.warning("job %s was left by a worker that ended: %s", record.id, record.error or "taken up again")

    def _run_job(self, spec: JobSpec, record: JobRecord) -> Callable[[], object]:
        """Run a job; return what writes its outcome into the queue."""
        queue, task = self._queue, spec.work.task
        progress = ProgressReporter(queue, record, self._run_urgent, self._stop)
        try:
            progress.check()
            result = self._handler(spec, progress)
            final = progress.final_record().but(notes=result.notes, score=result.prediction.get("score"))
            log.info("job %s (%s) done", record.id, task)
            return partial(queue.finish, final, result.prediction, result.thumbnail)
        except JobCancelled as why:
            log.info("job %s: %s", record.id, why)
            return partial(queue.fail, progress.final_record(), str(why), state=JobState.CANCELLED)
        except WorkerStopping:
            log.info("job %s goes back to the queue: this worker stops", record.id)
            return partial(queue.requeue, progress.final_record())
        except TransientError as error:
            reason = str(error)
        except Exception as error:
            if (transient := transient_reason(error)) is not None:
                log.warning("job %s (%s)", record.id, task, exc_info=error)
                reason = transient
            elif isinstance(error, UserError):
                log.warning("job %s (%s): %s", record.id, task, error)
                return partial(queue.fail, progress.final_record(), str(error))
            else:
                log.exception("job %s (%s) failed unexpectedly", record.id, task)
                text = f"{task} failed unexpectedly: the backend's log says more (job {record.id})"
                return partial(queue.fail, progress.final_record(), text)
        return partial(self._retry, progress.final_record(), reason)

    def _write_outcome(self, write: Callable[[], object]) -> None:
        """Write until it succeeds: a full disk or a Redis that is away must not lose a result."""
        while True:
            try:
                write()
                return
            except Exception as error:
                if transient_reason(error) is None or self._stop.wait(_REWRITE_AFTER_S):
                    raise
                log.warning("how the job ended cannot be written yet", exc_info=error)

    def _retry(self, record: JobRecord, reason: str) -> None:
        if record.retries >= len(RETRY_AFTER_S):
            self._queue.fail(record, f"{reason} (tried {record.retries + 1} times)")
            return
        delay_s = RETRY_AFTER_S[record.retries]
        log.warning("job %s: %s; again in %.0f s", record.id, reason, delay_s)
        self._queue.requeue(record, delay_s=delay_s, retries=record.retries + 1, error=reason)

    def _run_urgent(self, priority: int) -> None:
        """Called from within a job: run those that wait with a higher priority."""
        if self._depth < 2:
            self._depth += 1
            try:
                while self.work_once(above=priority):
                    pass
            finally:
                self._depth -= 1

    def _maintain_loop(self) -> None:
        """Give heartbeats, recover jobs of dead workers, delete old jobs."""
        count = 0
        while not self._stop.is_set():
            try:
                self._queue.heartbeat(self.name, count := count + 1)
                self.recover()
                self._queue.prune()
            except Exception:
                log.exception("looking after the jobs failed; it is tried again")
            self._stop.wait(_HEARTBEAT_S)
        with contextlib.suppress(Exception):
            self._queue.forget_worker(self.name)

    def _push_loop(self) -> None:
        """Apart from the heartbeats, which must not wait for a slow Label Studio."""
        while not self._stop.is_set():
            try:
                self._push()
            except Exception:
                log.exception("delivering failed; it is tried again")
            self._stop.wait(_HEARTBEAT_S)

    def _is_dead(self, worker: str) -> bool:
        if worker == self.name:
            return False
        path = self._locks / worker
        if path.exists():
            return remove_if_unlocked(path)
        count, now = self._queue.last_heartbeat(worker), time.monotonic()  # on another machine
        if worker not in self._heartbeats or self._heartbeats[worker][0] != count:
            self._heartbeats[worker] = (count, now)
        return now - self._heartbeats[worker][1] > _SILENT_S

    @contextlib.contextmanager
    def _worker_lock(self) -> Iterator[None]:
        """Hold the lock file by which others know that this worker lives."""
        self._locks.mkdir(parents=True, exist_ok=True)
        path = self._locks / self.name
        with path.open("w") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            try:
                yield
            finally:
                path.unlink(missing_ok=True)


def transient_reason(error: Exception) -> str | None:
    """Return in words why an operation may succeed later: a full disk, a queue that is away or busy. Else None."""
    if isinstance(error, sqlite3.Error | RedisError):
        return f"the queue's database cannot be used ({type(error).__name__}: {error})"
    if isinstance(error, OSError) and error.errno in _DISK_FULL:
        return f"no room is left on the disk ({error.strerror})"
    return None


def _lower_priority() -> None:
    """Let threads that answer requests run before this one: answers that are known take a fifth less time.

    On Linux a thread has a niceness of its own, and those that it starts, such as torch's, inherit it.
    """
    if sys.platform == "linux":
        os.setpriority(os.PRIO_PROCESS, 0, os.getpriority(os.PRIO_PROCESS, 0) + _NICENESS)


# --- lock files, which the kernel unlocks when their process ends, however it ends ----------------------------------


@contextlib.contextmanager
def wait_for_lock(path: Path, stop: threading.Event) -> Iterator[bool]:
    """Wait for the lock of a file and hold it; yields False when `stop` is set before."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a") as file:
        while not try_lock(file):
            if stop.wait(_POLL_S):
                yield False
                return
        yield True


def try_lock(file: IO[Any]) -> bool:
    """Lock an open file; return False if another process holds the lock."""
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def remove_if_unlocked(path: Path) -> bool:
    """Remove a lock file that no process holds; return False if one does."""
    try:
        with path.open("a") as file:
            if not try_lock(file):
                return False
            path.unlink(missing_ok=True)
            return True
    except FileNotFoundError:
        return True
