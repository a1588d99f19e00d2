"""From the webhook to stored corrections. Taking an annotation in costs milliseconds: Submit waits for it.

The comparison is done later on a thread of its own, for it asks the server for the prediction that the annotation was
made from. What could not be compared yet (the server is away) is tried again, also after a restart.
"""

from __future__ import annotations

import logging
import sqlite3
import threading
from collections.abc import Mapping, Sequence
from typing import Any

from backend.feedback.compare import compare
from backend.feedback.store import CorrectionStore, SubmittedAnnotation
from backend.labelstudio.client import LabelStudioAuthError, label_studio_client
from backend.labelstudio.config_xml import LabelConfigError
from backend.labelstudio.label_config import parse_label_config
from backend.settings import Settings

log = logging.getLogger("refam.loop")

_AGAIN_S = 30.0  # after Label Studio could not be asked
_TAKEN = ("ANNOTATION_CREATED", "ANNOTATION_UPDATED")


class CorrectionCollector:
    """Takes annotations in and compares them. Without a token it takes them in, and compares once there is one."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self.store = CorrectionStore(settings.data_dir)
        self._client: Any = None
        self._wake, self._closing = threading.Event(), threading.Event()
        self._thread = threading.Thread(target=self._run, name="refam-learner", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Ends the thread; what is not compared yet waits on disk."""
        self._closing.set()
        self._wake.set()
        self._thread.join(timeout=10)

    def take(self, event: str, data: Mapping[str, Any]) -> str:
        """One event of the webhook; says what was done with it. Never raises for what the event holds."""
        if event == "ANNOTATIONS_DELETED":
            gone = [a["id"] for a in data.get("annotations") or () if isinstance(a, Mapping) and _whole(a.get("id"))]
            self.store.forget(gone)
            return f"forgot {len(gone)}"
        if event not in _TAKEN:
            return "nothing to learn"
        submitted = read_event(data)
        if submitted is None:
            return "nothing to learn"
        self.store.receive(submitted)
        self._wake.set()
        return "taken in"

    def settle(self) -> int:
        """Compares what waits; says how many annotations still wait."""
        left = 0
        for submitted, at in self.store.waiting():
            try:
                before, version = self._prediction(submitted)
            except LabelStudioAuthError as error:
                log.info("annotation %d is compared later: %s", submitted.annotation, error)
                left += 1
                continue
            found = compare(before, submitted.result)
            self.store.keep(submitted, at, found, model_version=version)
            log.info("annotation %d: %s", submitted.annotation, ", ".join(c.fate for c in found) or "no region")
        return left

    def _run(self) -> None:
        wait_s: float | None = 0.0
        while not self._closing.is_set():
            self._wake.wait(wait_s)
            self._wake.clear()
            try:
                wait_s = _AGAIN_S if not self._closing.is_set() and self.settle() else None
            except sqlite3.Error:
                log.exception("corrections cannot be stored")
                wait_s = _AGAIN_S

    def _prediction(self, submitted: SubmittedAnnotation) -> tuple[Sequence[Mapping[str, Any]], str]:
        """The result that the annotation began from, and its model version. Raises LabelStudioAuthError."""
        if self._client is None:
            self._client = label_studio_client(self._settings)
        if self._client is None:
            raise LabelStudioAuthError("LABEL_STUDIO_URL and LABEL_STUDIO_API_KEY are not both set", transient=True)
        try:
            if submitted.parent_prediction is not None:
                found = self._client.predictions.get(id=submitted.parent_prediction)
            else:  # made in an empty annotation, or by interactive answers: the newest prediction it could be
                some = self._client.predictions.list(task=submitted.task) if submitted.task else []
                found = max(some, key=lambda p: p.id, default=None)
        except Exception as error:
            if getattr(error, "status_code", None) == 404:
                return [], ""  # deleted since
            raise LabelStudioAuthError(
                f"the prediction cannot be read: {type(error).__name__}", transient=True
            ) from None
        if found is None:
            return [], ""
        return [r for r in found.result or [] if isinstance(r, Mapping)], str(found.model_version or "")


def read_event(data: Mapping[str, Any]) -> SubmittedAnnotation | None:
    """What is needed of an event's body; None where there is nothing to compare.

    An annotation that was cancelled (skipped) says nothing about the boxes.
    """
    annotation, task, project = (_mapping(data.get(name)) for name in ("annotation", "task", "project"))
    identity, result = annotation.get("id"), annotation.get("result")
    if not _whole(identity) or not isinstance(result, list) or annotation.get("was_cancelled"):
        return None
    try:
        config = parse_label_config(project.get("label_config"))
        fields = _mapping(task.get("data"))
        video, fps = fields.get(config.media_field), config.fps(fields)
    except LabelConfigError:
        return None  # a project that this backend cannot answer for
    return SubmittedAnnotation(
        annotation=int(identity),  # type: ignore[arg-type]
        project=_whole(project.get("id")),
        task=_whole(task.get("id")),
        parent_prediction=_whole(annotation.get("parent_prediction")),
        video=video if isinstance(video, str) else "",
        fps=fps,
        result=tuple(r for r in result if isinstance(r, Mapping)),
    )


def _whole(value: Any) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}
