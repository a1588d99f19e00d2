"""Answers predict requests within their deadline: what is finished is returned, the rest is pushed later.

Label Studio sends all selected tasks in one request and forgets everything when it gives up waiting. An answer
`{"error": sentence}` in a task's place stores nothing for it and keeps the others (measured, see
backend.service.model).
"""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from backend.jobs.models import JobRecord, JobSpec, JobState, Priority, content_id
from backend.jobs.worker import transient_reason
from backend.labelstudio.label_config import parse_label_config
from backend.labelstudio.request import PredictRequest, read_request, read_task_id
from backend.logging import current_request
from backend.media.store import MediaError
from backend.runtime import Runtime
from refam.pipeline.errors import WordsError
from video.errors import UserError

log = logging.getLogger("refam.jobs")

_POLL_S, _DRAFT_POLL_S = 0.05, 0.4
_MOST_TITLE = 200  # characters of refused words on the jobs page
_JUST_NOW_S = 5.0  # another request was answered with the same prediction: a Label Studio is storing it


@dataclass
class _RequestedTask:
    """One task of a request. error: why it has no job."""

    spec: JobSpec | None
    error: str | None = None


class PredictService:
    """Submits the tasks of a request as jobs, waits as long as it may, and says what is not finished.

    Args:
        runtime: Its queue, settings and drafts are used; once it closes, nothing is waited for any more.
    """

    def __init__(self, runtime: Runtime) -> None:
        self._runtime, self._queue, self._settings = runtime, runtime.queue, runtime.settings

    def predict(
        self,
        tasks: Sequence[Mapping[str, Any]],
        label_config: str | None,
        context: Mapping[str, Any] | None = None,
        *,
        project: str = "",
    ) -> list[dict[str, Any]]:
        """Answer a request.

        Args:
            tasks: As Label Studio sends them.
            label_config: The project's XML.
            context: Of an interactive call; None for any other.
            project: Label Studio's name of the project.

        Returns:
            For each task its prediction, or `{"error": sentence}`; with `"refused": True` where there is no job.
        """
        interactive = context is not None
        single = len(tasks) == 1
        priority = Priority.INTERACTIVE if interactive else Priority.PAGE if single else Priority.BATCH
        allowed_s = self._settings.deadline_s
        if single and not interactive:
            allowed_s = min(allowed_s, self._settings.page_deadline_s)
        start = time.monotonic()
        deadline = start + allowed_s

        def submit(tasks: Sequence[Mapping[str, Any]]) -> list[_RequestedTask]:
            requested = [self._read_task(task, label_config, context, project) for task in tasks]
            for item in requested:
                if item.spec is not None:
                    self._submit(item, priority, allowed_s, push_late=not interactive)
            return requested

        requested = submit(tasks)
        if interactive and self._runtime.drafts.available and self._settings.draft_wait_s:
            # The job runs meanwhile: mostly nothing was drawn, and then no time was lost.
            draft_deadline = min(deadline, time.monotonic() + self._settings.draft_wait_s)
            drawn = self._wait_for_drafts(tasks, context, draft_deadline)
            if drawn is not None:
                outdated, requested = requested, submit(drawn)
                self._cancel_outdated(outdated, requested)
        jobs = [item.spec.id for item in requested if item.spec is not None and item.error is None]
        # What would come too late is answered by its preview as soon as a page would give up.
        preview_from = start + self._settings.page_deadline_s if interactive else deadline
        self._wait(jobs, priority, deadline, preview_from)
        return [self._answer_safely(item, interactive=interactive) for item in requested]

    def list_refusal(
        self,
        task: Mapping[str, Any],
        project: str,
        words: str,
        reason: str,
        priority: Priority = Priority.INTERACTIVE,
    ) -> None:
        """List on the jobs page why these words led to no job."""
        log.warning("task %s: %s", task.get("id"), reason)
        task_id, now = read_task_id(task), time.time()
        record = JobRecord(
            id=content_id(project, task_id, words, reason),
            title=" ".join(words.split())[:_MOST_TITLE],
            task_id=task_id,
            project=project,
            urgency=priority,
            request=current_request(),
            state=JobState.FAILED,
            refused=True,
            submitted_at=now,
            finished_at=now,
            error=reason,
        )
        try:
            self._queue.list_refused(record)
        except Exception as error:
            if transient_reason(error) is None:
                raise
            log.warning("the jobs page does not say so: the queue cannot be written", exc_info=error)

    # --- submit -------------------------------------------------------------------------------------------------

    def _read_task(
        self,
        task: Mapping[str, Any],
        label_config: str | None,
        context: Mapping[str, Any] | None,
        project: str,
    ) -> _RequestedTask:
        if not isinstance(task, Mapping):
            return _RequestedTask(None, f"a task must be an object with its data, got {task!r:.80}")
        name = f"task {task.get('id')}"
        try:
            work = read_request(task, parse_label_config(label_config), context=context)
            self._check_media(work, task)
            self._runtime.check_words(work)
        except WordsError as error:
            if context is None:  # what was typed is listed as it was typed, by those who read it
                words = "; ".join(refused for refused, _ in error.errors)
                self.list_refusal(task, project, words, str(error), Priority.BATCH)
            return _RequestedTask(None, str(error))
        except MediaError as error:
            if context is None:
                words = "; ".join(target.words or target.label for target in work.targets)
                self.list_refusal(task, project, words, str(error), Priority.BATCH)
            return _RequestedTask(None, str(error))
        except UserError as error:
            if context is None:
                log.warning("%s: %s", name, error)
            return _RequestedTask(None, str(error))
        except Exception:
            log.exception("%s: failed unexpectedly", name)
            return _RequestedTask(None, f"{name} failed unexpectedly: the backend's log says more")
        task_id, model_version = read_task_id(task), self._runtime.model_version
        spec = JobSpec(
            id=content_id(project, name, work, label_config, model_version),
            task_id=task_id,
            project=project,
            work=work,
            label_config=label_config or "",
            model_version=model_version,
        )
        return _RequestedTask(spec)

    def _check_media(self, work: PredictRequest, task: Mapping[str, Any]) -> None:
        """Raise MediaError, which names the task, for an address that can never be had: it would only fail later."""
        for number, address in enumerate(work.frames or (work.video,)):
            try:
                self._runtime.media.check(address, task_id=read_task_id(task))
            except MediaError as error:
                frame = f", frame {number} (from 0)" if work.frames else ""
                raise MediaError(f"{work.task}{frame}: {error}") from None

    def _submit(self, item: _RequestedTask, priority: Priority, allowed_s: float, *, push_late: bool) -> None:
        assert item.spec is not None
        try:
            self._queue.submit(item.spec, priority, fresh_s=self._settings.fresh_s, request=current_request())
            if push_late:
                self._queue.schedule_push(item.spec.id, time.time() + allowed_s)
        except Exception as error:  # the disk is full, Redis is away: nothing was accepted, and the answer says so
            log.exception("%s: the queue cannot be written", item.spec.work.task)
            item.error = f"the queue cannot be written ({type(error).__name__}): the backend's log says more"

    # --- wait ---------------------------------------------------------------------------------------------------

    def _wait_for_drafts(
        self, tasks: Sequence[Mapping[str, Any]], context: Mapping[str, Any] | None, deadline: float
    ) -> list[Mapping[str, Any]] | None:
        """The tasks with the drafts that the editor saved since they were sent; None when it saved none."""
        closing = self._runtime.closing
        while time.monotonic() < deadline and not closing.is_set():
            newer = [self._runtime.drafts.newer_drafts(task, context) for task in tasks]
            if any(drafts is not None for drafts in newer):
                return [t if d is None else {**t, "drafts": d} for t, d in zip(tasks, newer, strict=True)]
            closing.wait(min(_DRAFT_POLL_S, max(0.0, deadline - time.monotonic())))
        return None

    def _cancel_outdated(self, outdated: Sequence[_RequestedTask], current: Sequence[_RequestedTask]) -> None:
        """Cancel jobs whose answer is no longer wanted."""
        wanted = {item.spec.id for item in current if item.spec is not None}
        for item in outdated:
            if item.spec is not None and item.spec.id not in wanted:
                self._queue.cancel(item.spec.id, "asked again with what was drawn since")

    def _wait(self, jobs: Sequence[str], priority: Priority, deadline: float, preview_from: float) -> None:
        pending = list(jobs)
        while pending and time.monotonic() < deadline and not self._runtime.closing.is_set():
            pending = [job for job in pending if not self._is_over(job, priority, deadline, preview_from)]
            if pending:
                time.sleep(min(_POLL_S * (1 + len(pending) / 10), max(0.0, deadline - time.monotonic())))

    def _is_over(self, job: str, priority: Priority, deadline: float, preview_from: float) -> bool:
        """Whether nothing more comes before the deadline: one bad address must not keep all others waiting."""
        try:
            record = self._queue.record(job)
        except Exception as error:
            if transient_reason(error) is None:
                raise
            return False  # the queue is away for a moment
        if record is None or record.state.final:
            return True
        now = time.monotonic()
        comes_in_time = record.left_s is not None and now + record.left_s < deadline
        if now >= preview_from and not comes_in_time and self._queue.preview(job) is not None:
            return True
        # A retry whose priority this request has raised runs at once, as its record says when a worker has claimed it.
        late = record.retry_at is not None and record.retry_at - time.time() > deadline - time.monotonic()
        return late and record.urgency >= priority

    # --- answer -------------------------------------------------------------------------------------------------

    def _answer_safely(self, item: _RequestedTask, *, interactive: bool) -> dict[str, Any]:
        """One task whose answer cannot be read must not cost Label Studio the others."""
        try:
            return self._answer(item, interactive=interactive)
        except Exception as error:
            if (reason := transient_reason(error)) is None:
                raise
            log.warning("%s cannot be answered", item.spec.work.task if item.spec else "a task", exc_info=error)
            return {"error": f"{reason}; retrieve again later"}

    def _answer(self, item: _RequestedTask, *, interactive: bool) -> dict[str, Any]:
        if item.spec is None or item.error is not None:
            return {"error": item.error or "nothing to do", "refused": True}
        job, task = item.spec.id, item.spec.work.task
        record = self._queue.record(job)
        prediction = self._queue.prediction(job) if record and record.state is JobState.DONE else None
        if record is not None and record.state is JobState.DONE and prediction is None:
            record = self._queue.fail(record, f"the result of {task} was damaged: retrieve again")
        if record is not None and not record.state.final and interactive:
            prediction = self._queue.preview(job)
            return (
                self._describe_preview(prediction, task, record) if prediction else {"error": _progress(task, record)}
            )
        if record is None or prediction is None:
            return {"error": self._describe(task, record)}
        if not interactive:
            if not self._queue.claim_delivery(job, "answered"):
                how, when = self._queue.delivered(job) or ("answered", 0.0)
                if how == "pushing":
                    return {"error": f"the prediction of {task} is being stored in Label Studio just now"}
                if time.time() - when < _JUST_NOW_S:  # given twice, it would be stored twice
                    wait = f"retrieve again in {_JUST_NOW_S:.0f} s"
                    return {"error": f"{task} was answered just now, and the answer had its prediction; {wait}"}
                self._queue.set_delivered(job, "answered")
            self._queue.cancel_push(job)
        return prediction

    def _describe(self, task: str, record: JobRecord | None) -> str:
        """Why a job gave no prediction, or how far it is, as a sentence."""
        if record is not None and record.state in (JobState.FAILED, JobState.CANCELLED):
            return record.error or str(record.state)
        pushed = "its prediction is stored when it is finished" if self._settings.can_push else "retrieve again later"
        text = f"{_progress(task, record)}; {pushed}"
        log.info("%s", text)
        return text

    def _describe_preview(self, prediction: dict[str, Any], task: str, record: JobRecord) -> dict[str, Any]:
        """Return a preview whose regions say that they are one, and how far the track is."""
        note = f"preview: boxes on a few frames and straight lines between them. {_progress(task, record)}; " + (
            "when it is finished, the same words with a further ';' bring the track"
        )
        log.info("%s", note)
        return prediction | {"result": [{**region, "meta": {"text": [note]}} for region in prediction["result"]]}


def _progress(task: str, record: JobRecord | None) -> str:
    """How far a job that is not final is, as a clause."""
    if record is None or record.state is JobState.QUEUED:
        progress = "waits for its turn"
    else:
        progress = f"is {record.fraction:.0%} done"
    if record is not None and record.retry_at is not None:
        wait_s = max(0.0, record.retry_at - time.time())
        progress = f"failed ({record.error}) and is tried again in {wait_s:.0f} s"
    if record is not None and record.left_s is not None:
        progress += f", about {record.left_s:.0f} s are left"
    return f"{task} {progress}"
