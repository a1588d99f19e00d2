"""Answers the events of Label Studio Enterprise's editor: see `backend.labelstudio.editor_events`.

A track and a prewarm are jobs like any other: they wait in the queue, are on the jobs page, can be cancelled there, and
any worker may run them. A session is its job's id, so any server of the queue can answer for it. All masks of a track
come with the answer that says it is done: the segmenter's own tracker goes through the frames in both directions.
"""

from __future__ import annotations

import contextlib
import logging
import time
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from backend.jobs.known_clips import ClipTimes
from backend.jobs.models import JobSpec, JobState, Priority, content_id
from backend.jobs.runner import ClipOpener
from backend.labelstudio.editor_events import (
    EditorEvent,
    EventError,
    FrameSpan,
    capabilities,
    event_answer,
    read_frame,
    read_prewarm_span,
    read_prompt,
    read_track_span,
)
from backend.labelstudio.label_config import LabelConfig, parse_label_config
from backend.labelstudio.request import PredictRequest, read_task_id
from backend.labelstudio.timeline import rate_for_task
from backend.logging import current_request
from backend.runtime import Runtime
from refam.pipeline.types import Target
from video.errors import UserError

log = logging.getLogger("refam.jobs")

_WAIT_S, _POLL_S = 5.0, 0.1  # how long `track_progress` waits for the end, as the reference implementation does
_LABEL = "object"


class EventService:
    """Answers events, for one task each.

    Args:
        runtime: Its queue, media and settings are used.
    """

    def __init__(self, runtime: Runtime) -> None:
        self._runtime, self._queue = runtime, runtime.queue
        self._opener = ClipOpener(runtime.media, runtime.settings)

    def answer(
        self,
        event: EditorEvent,
        task: Mapping[str, Any],
        label_config: str | None,
        context: Mapping[str, Any],
        *,
        project: str = "",
    ) -> dict[str, Any]:
        """Return the prediction that answers an event.

        Args:
            event: The event.
            task: As Label Studio sends it.
            label_config: The project's XML.
            context: The event's context.
            project: Label Studio's name of the project.

        Raises:
            UserError: The label config or the task's data cannot be used.
        """
        if event is EditorEvent.CAPABILITIES:
            runtime = self._runtime
            return event_answer("capabilities", capabilities(runtime.segmenter_choice.name, runtime.model_version))
        config = parse_label_config(label_config)
        if event is EditorEvent.TRACK_PROGRESS:
            return event_answer("track_progress", self._progress(task, context), config)
        if event is EditorEvent.TRACK_CANCEL:
            session = self._session(task, context)
            ended = session is not None and self._queue.cancel(session.id, "cancelled in the editor")
            return event_answer("track_cancel_ack", {"status": "cancelled" if ended else "not_found"}, config)
        if event is EditorEvent.RELEASE:
            self._cancel_prewarms(task)
            return event_answer("release_ack", {"status": "released"}, config)
        kind = "prewarm_ack" if event is EditorEvent.PREWARM else "track_error"
        try:
            work, clip = self._open(task, config, label_config or "", project)
            data = task["data"]
            frame = read_frame(context, config, data, clip)
            if event is EditorEvent.PREWARM:
                span = read_prewarm_span(context, frame, len(clip.times))
                return event_answer(kind, self._prewarm(work, span, len(clip.times)), config)
            span, prompt = read_track_span(context, frame, clip.times), read_prompt(context, frame)
            targets = (Target(_LABEL, prompts=(prompt,)),)
            job = self._submit(work, replace(work.work, targets=targets, region_ids=("",), span=span))
        except UserError as error:
            log.warning("task %s: %s: %s", task.get("id"), event, error)
            failed = {"status": "error"} if event is EditorEvent.PREWARM else {"done": True}
            return event_answer(kind, {"error": str(error), **failed}, config)
        total = span.last - span.first + 1
        value = {
            "session_id": job,
            "total_frames": total,
            "fps": clip.fps,
            "duration_ms": round(clip.duration_s * 1000, 3),
        }
        return event_answer("track_started", value, config)

    # --- events ------------------------------------------------------------------------------------------------------

    def _prewarm(self, spec: JobSpec, span: FrameSpan, n: int) -> dict[str, Any]:
        """Have frames encoded in the background. Without SAM2 there is nothing to encode: the video is fetched."""
        cached: list[int] = []
        pending: list[int] = []
        if self._runtime.segmenter_choice.name != "grabcut":
            job = self._submit(spec, replace(spec.work, span=span), Priority.PAGE)
            record = self._queue.record(job)
            done = record is not None and record.state is JobState.DONE
            cached, pending = (span.frames, []) if done else ([], span.frames)
        return {"status": "ok", "cached": cached, "pending": pending, "frame_count": n}

    def _progress(self, task: Mapping[str, Any], context: Mapping[str, Any]) -> dict[str, Any]:
        """Return how far a track is, and all its masks once it is done; wait a little for that."""
        spec = self._session(task, context)
        if spec is None or spec.work.span is None:
            return {"error": "session not found", "done": True}
        total = spec.work.span.last - spec.work.span.first + 1
        deadline = time.monotonic() + _WAIT_S
        while (record := self._queue.record(spec.id)) is not None and not record.state.final:
            if time.monotonic() >= deadline or self._runtime.closing.wait(_POLL_S):
                produced = int(record.fraction * total)
                return {"frames": [], "produced": produced, "total": total, "done": False, "error": None}
        result = self._queue.prediction(spec.id) if record is not None and record.state is JobState.DONE else None
        if record is None or result is None:
            why = record.error if record is not None else None
            return {"frames": [], "produced": 0, "total": total, "done": True, "error": why or "session not found"}
        frames = result["frames"]
        return {"frames": frames, "produced": len(frames), "total": total, "done": True, "error": None}

    def _cancel_prewarms(self, task: Mapping[str, Any]) -> None:
        """End the encoding of frames for a task that nobody has open any more. What is on disk stays, within limits."""
        for record in self._queue.records():
            if record.task_id == task.get("id") and not record.state.final:
                spec = self._queue.spec(record.id)
                if spec is not None and spec.work.span is not None and spec.work.span.purpose == "features":
                    self._queue.cancel(record.id, "released by the editor")

    # --- jobs --------------------------------------------------------------------------------------------------------

    def _session(self, task: Mapping[str, Any], context: Mapping[str, Any]) -> JobSpec | None:
        """Return the job of a task's tracking session; None if there is none of that name."""
        name = context.get("session_id")
        spec = self._queue.spec(name) if isinstance(name, str) and name else None
        if spec is None or spec.task_id != task.get("id"):
            return None
        return spec if spec.work.span is not None and spec.work.span.purpose == "masks" else None

    def _open(
        self, task: Mapping[str, Any], config: LabelConfig, label_config: str, project: str
    ) -> tuple[JobSpec, ClipTimes]:
        """Return a job for a task's video, without anything to do yet, and the video's times. Fetches the video."""
        data = task.get("data")
        address = data.get(config.media_field) if isinstance(data, Mapping) else None
        if config.on_pictures or not isinstance(address, str) or not address.strip():
            raise EventError(f'task {task.get("id")}: the field "{config.media_field}" must be a video\'s address')
        spec = JobSpec(
            id="",
            task_id=read_task_id(task),
            project=project,
            work=PredictRequest(f"task {task.get('id')}", address.strip(), config.fps(task["data"]), (), ()),
            label_config=label_config,
            model_version=self._runtime.model_version,
        )
        clips, key = self._runtime.known_clips, (spec.work.video, spec.task_id)
        if (known := clips.get(*key)) is not None:
            return spec, known
        with contextlib.ExitStack() as files:
            clip, _ = self._opener.open(spec, files, lambda _: None)
            times = ClipTimes(clip.times, clip.duration_s, rate_for_task(clip))
        clips.add(*key, times)
        return spec, times

    def _submit(self, spec: JobSpec, work: PredictRequest, priority: Priority = Priority.INTERACTIVE) -> str:
        """Queue a job, and return its id: the same event on the same task is the same job."""
        name = content_id(spec.project, work, spec.label_config, spec.model_version)
        job = spec.model_copy(update={"id": name, "work": work})
        self._queue.submit(job, priority, fresh_s=self._runtime.settings.fresh_s, request=current_request())
        return job.id
