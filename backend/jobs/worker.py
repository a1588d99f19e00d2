"""Does the jobs, one at a time on each accelerator, and survives being killed.

- While a long job runs, one that somebody waits for is done within its next step, and the long one goes on after it:
  the models are loaded already, and nothing of the long job is lost.
- What can heal (network, Label Studio away) is tried again after a while; what cannot is told at once.
- A lock file says which workers of a data directory live, also after `kill -9`: the kernel drops the lock.
"""

from __future__ import annotations

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
from typing import Any, Protocol

from redis.exceptions import RedisError

from backend.jobs.locks import can_lock, held
from backend.jobs.models import JobRecord, JobSpec, JobState
from backend.jobs.progress import JobCancelled, ProgressReporter, WorkerStopping
from backend.jobs.queue import JobQueue
from backend.logging import written_for
from video.errors import UserError

log = logging.getLogger("refam.jobs")

RETRY_AFTER_S = (2.0, 10.0, 60.0, 300.0)  # before the second, third, ... try of what can heal
_POLL_S, _HEARTBEAT_S = 0.1, 2.0
_NICENESS = 5
_SILENT_S = 20.0  # a worker elsewhere that has given no sign for so long is dead
_AGAIN_S = 5.0  # between two tries to write what cannot be written


_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


class TransientError(Exception):
    """Something that may heal by itself; the message is a sentence for people."""


@dataclass(frozen=True)
class JobResult:
    """What a job gave. notes: sentences for people; thumbnail: a JPEG."""

    prediction: dict[str, Any]
    notes: tuple[str, ...] = ()
    thumbnail: bytes | None = None


class JobHandler(Protocol):
    """Computes one job. Raises ValueError with a sentence for people, or TransientError."""

    def __call__(self, spec: JobSpec, tell: Callable[[str, float], None]) -> JobResult: ...  # noqa: D102


def _yield_to_answers() -> None:
    """Whoever waits for an answer of this machine goes before what is computed: known answers take a fifth less.

    On Linux a thread has a niceness of its own, and those that it starts, such as torch's, have the same.
    """
    if sys.platform == "linux":
        os.setpriority(os.PRIO_PROCESS, 0, os.getpriority(os.PRIO_PROCESS, 0) + _NICENESS)


class Worker:
    """Takes jobs off a queue until it is stopped. `push` is called every few seconds, on a thread of its own."""

    def __init__(
        self,
        queue: JobQueue,
        do: JobHandler,
        *,
        data_dir: Path,
        accelerator: str,
        push: Callable[[], None] = lambda: None,
    ) -> None:
        self.name = f"{socket.gethostname()}-{os.getpid()}-{uuid.uuid4().hex[:6]}"
        self._queue, self._do, self._push = queue, do, push
        self._locks = data_dir / "workers"
        self._accelerator = data_dir / f"accelerator-{accelerator.replace(':', '-')}.lock"
        self._stop = threading.Event()
        self._seen: dict[str, tuple[int | None, float]] = {}
        self._depth = 0
        self._threads: list[threading.Thread] = []

    def start(self) -> None:
        """Works on threads of its own."""
        for target in (self.run, self._look_after, self._deliver):
            thread = threading.Thread(target=target, name=f"refam-{target.__name__}", daemon=True)
            thread.start()
            self._threads.append(thread)

    def stop(self, *, wait_s: float = 10.0) -> None:
        """Takes no more jobs. One that is under way goes back to the queue at its next step."""
        self._stop.set()
        for thread in self._threads:
            thread.join(wait_s)

    def run(self) -> None:
        """Works until `stop`."""
        _yield_to_answers()
        with self._alive(), held(self._accelerator, self._stop) as ours:
            while ours and not self._stop.is_set():
                try:
                    if not self.work_once():
                        self._stop.wait(_POLL_S)
                except Exception:  # the database is away or full: what was accepted waits for better times
                    log.exception("the queue cannot be used at the moment")
                    self._stop.wait(_AGAIN_S)

    def work_once(self, *, above: int = -1) -> bool:
        """Does the most urgent job, if one waits that is more urgent than `above`. False when none does."""
        taken = self._queue.claim_next(self.name, above=above)
        if taken is None:
            return False
        spec, run = taken
        with written_for(request=run.request, job=run.id):
            self._write_surely(self._ended(spec, run))
        return True

    def _ended(self, spec: JobSpec, run: JobRecord) -> Callable[[], object]:
        """Does a job; returns what writes down how it ended."""
        queue, watch, task = self._queue, ProgressReporter(self._queue, run, self._between, self._stop), spec.work.task
        try:
            watch.check()
            done = self._do(spec, watch)
            told = watch.closed().but(notes=done.notes, score=done.prediction.get("score"))
            log.info("job %s (%s) done", run.id, task)
            return partial(queue.finish, told, done.prediction, done.thumbnail)
        except JobCancelled as ended:
            log.info("job %s: %s", run.id, ended)
            return partial(queue.fail, watch.closed(), str(ended), state=JobState.CANCELLED)
        except WorkerStopping:
            log.info("job %s goes back to the queue: this worker stops", run.id)
            return partial(queue.requeue, watch.closed())
        except TransientError as error:
            reason = str(error)
        except Exception as error:
            if (passing := may_heal(error)) is not None:
                log.warning("job %s (%s)", run.id, task, exc_info=error)
                reason = passing
            elif isinstance(error, UserError):
                log.warning("job %s (%s): %s", run.id, task, error)
                return partial(queue.fail, watch.closed(), str(error))
            else:
                log.exception("job %s (%s) failed unexpectedly", run.id, task)
                text = f"{task} failed unexpectedly: the backend's log says more (job {run.id})"
                return partial(queue.fail, watch.closed(), text)
        return partial(self._retry, watch.closed(), reason)

    def _write_surely(self, write: Callable[[], object]) -> None:
        """How a job ended is written as soon as it can be: a full disk or a Redis that is away lose nothing."""
        while True:
            try:
                write()
                return
            except Exception as error:
                if may_heal(error) is None or self._stop.wait(_AGAIN_S):
                    raise
                log.warning("how the job ended cannot be written yet", exc_info=error)

    def recover(self) -> None:
        """Puts back what dead workers left."""
        for run in self._queue.recover(self._is_dead):
            log.warning("job %s was left by a worker that ended: %s", run.id, run.error or "taken up again")

    def _between(self, urgency: int) -> None:
        """Called from within a job: whoever waits more urgently comes first."""
        if self._depth < 2:
            self._depth += 1
            try:
                while self.work_once(above=urgency):
                    pass
            finally:
                self._depth -= 1

    def _retry(self, run: JobRecord, reason: str) -> None:
        if run.retries >= len(RETRY_AFTER_S):
            self._queue.fail(run, f"{reason} (tried {run.retries + 1} times)")
            return
        delay_s = RETRY_AFTER_S[run.retries]
        log.warning("job %s: %s; again in %.0f s", run.id, reason, delay_s)
        self._queue.requeue(run, delay_s=delay_s, retries=run.retries + 1, error=reason)

    def _look_after(self) -> None:
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

    def _deliver(self) -> None:
        """Apart from the signs of life, which must not wait for a slow Label Studio."""
        while not self._stop.is_set():
            try:
                self._push()
            except Exception:
                log.exception("delivering failed; it is tried again")
            self._stop.wait(_HEARTBEAT_S)

    def _is_dead(self, worker: str) -> bool:
        if worker in (self.name, "cancel"):
            return False
        path = self._locks / worker
        if path.exists():
            return can_lock(path)
        count, now = self._queue.last_heartbeat(worker), time.monotonic()  # on another machine: by its signs of life
        if worker not in self._seen or self._seen[worker][0] != count:
            self._seen[worker] = (count, now)
        return now - self._seen[worker][1] > _SILENT_S

    @contextlib.contextmanager
    def _alive(self) -> Iterator[None]:
        self._locks.mkdir(parents=True, exist_ok=True)
        path = self._locks / self.name
        with path.open("w") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            try:
                yield
            finally:
                path.unlink(missing_ok=True)


def may_heal(error: Exception) -> str | None:
    """In words, when it is a full disk or a queue that is away or busy: another time it may go. Else None."""
    if isinstance(error, sqlite3.Error | RedisError):
        return f"the queue's database cannot be used ({type(error).__name__}: {error})"
    if isinstance(error, OSError) and error.errno in _FULL:
        return f"no room is left on the disk ({error.strerror})"
    return None
