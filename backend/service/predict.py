"""Answering Label Studio within its deadline: what is finished is returned, the rest goes on and is pushed later.

Label Studio sends all selected tasks in one request and forgets everything when it gives up waiting. An answer
`{"error": sentence}` in a task's place stores nothing for it and keeps the others (measured, see
backend.service.model).
"""

from __future__ import annotations

import hashlib
import logging
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from backend.jobs.models import JobRecord, JobSpec, JobState, Priority
from backend.jobs.worker import transient_reason
from backend.labelstudio.label_config import parse_label_config
from backend.labelstudio.request import read_request
from backend.logging import current_request
from backend.runtime import Runtime
from video.errors import UserError

log = logging.getLogger("refam.jobs")

_POLL_S, _DRAFT_POLL_S = 0.05, 0.4
_JUST_NOW_S = 5.0  # another request was answered with the same prediction: Label Studio is storing it


@dataclass
class _Asked:
    """One task of a request. error: why it has no job."""

    spec: JobSpec | None
    error: str | None = None


class PredictService:
    """Takes requests, waits as long as each may wait, and says honestly what is not finished."""

    def __init__(self, runtime: Runtime) -> None:
        self._settings, self._queue, self._drafts = runtime.settings, runtime.queue, runtime.drafts
        self._closing = runtime.closing

    def answer(
        self,
        tasks: Sequence[Mapping[str, Any]],
        label_config: str | None,
        context: Mapping[str, Any] | None,
        *,
        model_version: str,
        project: str = "",
    ) -> list[dict[str, Any]]:
        """One answer per task: the prediction, or `{"error": sentence}`."""
        interactive = context is not None
        one = len(tasks) == 1
        urgency = Priority.INTERACTIVE if interactive else Priority.PAGE if one else Priority.BATCH
        allowed_s = self._settings.deadline_s
        if one and not interactive:
            allowed_s = min(allowed_s, self._settings.page_deadline_s)
        deadline = time.monotonic() + allowed_s

        def ask(some: Sequence[Mapping[str, Any]]) -> list[_Asked]:
            asked = [self._ask(task, label_config, context, model_version, project) for task in some]
            for item in asked:
                if item.spec is not None:
                    self._submit(item, urgency, allowed_s, pushed=not interactive)
            return asked

        asked = ask(tasks)
        if interactive and self._drafts.available and self._settings.draft_wait_s:
            # It is computed meanwhile: mostly nothing was drawn, and then nothing was lost.
            fresh = self._with_last_strokes(tasks, min(deadline, time.monotonic() + self._settings.draft_wait_s))
            if fresh is not None:
                before, asked = asked, ask(fresh)
                self._drop(before, asked)
        self._wait([item.spec.id for item in asked if item.spec is not None and item.error is None], urgency, deadline)
        return [self._surely_one(item, interactive=interactive) for item in asked]

    def _with_last_strokes(self, tasks: Sequence[Mapping[str, Any]], until: float) -> list[Mapping[str, Any]] | None:
        """The tasks with the drafts that were saved since; None when none was."""
        while time.monotonic() < until and not self._closing.is_set():
            newer = [self._drafts.newer_drafts(task) for task in tasks]
            if any(drafts is not None for drafts in newer):
                return [t if d is None else {**t, "drafts": d} for t, d in zip(tasks, newer, strict=True)]
            self._closing.wait(min(_DRAFT_POLL_S, max(0.0, until - time.monotonic())))
        return None

    def _drop(self, before: Sequence[_Asked], after: Sequence[_Asked]) -> None:
        """Jobs whose answer nobody wants any more make room."""
        wanted = {item.spec.id for item in after if item.spec is not None}
        for item in before:
            if item.spec is not None and item.spec.id not in wanted:
                self._queue.cancel(item.spec.id, "asked again with what was drawn since")

    def _ask(
        self,
        task: Mapping[str, Any],
        label_config: str | None,
        context: Mapping[str, Any] | None,
        model_version: str,
        project: str,
    ) -> _Asked:
        name = f"task {task.get('id')}"
        try:
            work = read_request(task, parse_label_config(label_config), context=context)
        except Exception as error:
            if isinstance(error, UserError):
                log.warning("%s: %s", name, error)
                return _Asked(None, str(error))
            log.exception("%s: failed unexpectedly", name)
            return _Asked(None, f"{name} failed unexpectedly: the backend's log says more")
        identity = task.get("id")
        text = repr((project, name, work, label_config, model_version))
        spec = JobSpec(
            id=hashlib.sha256(text.encode()).hexdigest()[:16],
            task_id=identity if isinstance(identity, int) else None,
            project=project,
            work=work,
            label_config=label_config or "",
            model_version=model_version,
        )
        return _Asked(spec)

    def _submit(self, item: _Asked, urgency: Priority, allowed_s: float, *, pushed: bool) -> None:
        assert item.spec is not None
        try:
            self._queue.submit(item.spec, urgency, fresh_s=self._settings.fresh_s, request=current_request())
            if pushed:
                self._queue.schedule_push(item.spec.id, time.time() + allowed_s)
        except Exception as error:  # the disk is full, Redis is away: nothing was accepted, and that is said
            log.exception("%s: the queue cannot be written", item.spec.work.task)
            item.error = f"the queue cannot be written ({type(error).__name__}): the backend's log says more"

    def _wait(self, jobs: Sequence[str], urgency: Priority, deadline: float) -> None:
        left = list(jobs)
        while left and time.monotonic() < deadline and not self._closing.is_set():
            left = [job for job in left if not self._over(job, urgency, deadline)]
            if left:
                time.sleep(min(_POLL_S * (1 + len(left) / 10), max(0.0, deadline - time.monotonic())))

    def _over(self, job: str, urgency: Priority, deadline: float) -> bool:
        """Nothing more will come of it before the deadline: one bad address must not keep all others waiting."""
        try:
            run = self._queue.record(job)
        except Exception as error:
            if transient_reason(error) is None:
                raise
            return False  # the queue is away for a moment
        if run is None or run.state.final:
            return True
        # One that was less urgent until now is tried at once, which its record says when a worker has taken it.
        later = run.retry_at is not None and run.retry_at - time.time() > deadline - time.monotonic()
        return later and run.urgency >= urgency

    def _surely_one(self, item: _Asked, *, interactive: bool) -> dict[str, Any]:
        """One task whose answer cannot be read must not cost Label Studio the others."""
        try:
            return self._one(item, interactive=interactive)
        except Exception as error:
            if (reason := transient_reason(error)) is None:
                raise
            log.warning("%s cannot be answered", item.spec.work.task if item.spec else "a task", exc_info=error)
            return {"error": f"{reason}; retrieve again later", "unfinished": True}

    def _one(self, item: _Asked, *, interactive: bool) -> dict[str, Any]:
        if item.spec is None or item.error is not None:
            return {"error": item.error or "nothing to do"}
        run = self._queue.record(item.spec.id)
        prediction = self._queue.prediction(item.spec.id) if run and run.state is JobState.DONE else None
        if run is not None and run.state is JobState.DONE and prediction is None:
            run = self._queue.fail(run, f"the result of {item.spec.work.task} was damaged: retrieve again")
        if run is None or prediction is None:
            return {"error": self._not_yet(item.spec, run), **({} if run and run.state.final else {"unfinished": True})}
        if not interactive:
            if not self._queue.claim_delivery(item.spec.id, "answered"):
                how, when = self._queue.delivered(item.spec.id) or ("answered", 0.0)
                if how == "pushing" or time.time() - when < _JUST_NOW_S:
                    return {"error": f"{item.spec.work.task} was answered just now; it is stored already"}
                self._queue.set_delivered(item.spec.id, "answered")
            self._queue.cancel_push(item.spec.id)
        return prediction

    def _not_yet(self, spec: JobSpec, run: JobRecord | None) -> str:
        if run is not None and run.state in (JobState.FAILED, JobState.CANCELLED):
            return run.error or str(run.state)
        doing = "waits for its turn" if run is None or run.state is JobState.QUEUED else f"is {run.fraction:.0%} done"
        if run is not None and run.retry_at is not None:
            doing = f"failed ({run.error}) and is tried again in {max(0.0, run.retry_at - time.time()):.0f} s"
        if run is not None and run.left_s is not None:
            doing += f", about {run.left_s:.0f} s are left"
        after = "its prediction is stored when it is finished" if self._settings.can_push else "retrieve again later"
        text = f"{spec.work.task} {doing}; {after}"
        log.info("%s", text)
        return text
