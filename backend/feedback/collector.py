"""Collect corrections from Label Studio's webhook.

Receiving an annotation takes milliseconds, since Submit waits for it. The comparison runs later on a thread of its own,
because it requests the prediction that the annotation was made from. While Label Studio cannot be reached, it is
repeated, also after a restart.
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
from video.errors import Skipped, UserError

log = logging.getLogger("refam.loop")

_RETRY_S = 30.0  # after Label Studio could not be reached
_STORED_EVENTS = ("ANNOTATION_CREATED", "ANNOTATION_UPDATED")


class CorrectionCollector:
    """Stores submitted annotations and compares them with their predictions, once there is a token to read these with.

    Args:
        settings: The data directory, and how to reach Label Studio.

    Raises:
        sqlite3.Error: If the store cannot be opened.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self.store = CorrectionStore(settings.data_dir)
        self._client: Any = None
        self._wake, self._closing = threading.Event(), threading.Event()
        self._thread = threading.Thread(target=self._run, name="refam-learner", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Stop the thread; annotations that are not compared yet stay on disk."""
        self._closing.set()
        self._wake.set()
        self._thread.join(timeout=10)

    def handle_event(self, event: str, data: Mapping[str, Any]) -> str:
        """Handle one event of the webhook and return what was done. Malformed events raise nothing."""
        if event == "ANNOTATIONS_DELETED":
            annotations = [a for a in data.get("annotations") or () if isinstance(a, Mapping)]
            deleted = [a["id"] for a in annotations if _as_integer(a.get("id"))]
            self.store.delete(deleted)
            return f"forgot {len(deleted)}"
        if event not in _STORED_EVENTS:
            return "nothing to learn"
        submitted = parse_event(data)
        if submitted is None:
            return "nothing to learn"
        self.store.receive(submitted)
        self._wake.set()
        return "taken in"

    def compare_pending(self) -> int:
        """Compare the annotations that wait, and return how many still do."""
        if self._client is None:
            self._client = label_studio_client(self._settings)
        return compare_pending(self.store, self._client)

    def _run(self) -> None:
        wait_s: float | None = 0.0
        while not self._closing.is_set():
            self._wake.wait(wait_s)
            self._wake.clear()
            try:
                wait_s = _RETRY_S if not self._closing.is_set() and self.compare_pending() else None
            except sqlite3.Error:
                log.exception("corrections cannot be stored")
                wait_s = _RETRY_S


def compare_pending(store: CorrectionStore, client: Any, *, skipped: Skipped = None) -> int:
    """Compare the annotations that wait with the predictions that they began from, and store the corrections.

    Several processes may do so at the same time: each annotation is stored once.

    Args:
        store: Holds the annotations and their corrections.
        client: Label Studio's own client; None where its address or token is not set.
        skipped: If given, it gets a sentence for each annotation that is malformed. These cost only themselves: they
            wait on, since a later version of the annotation may replace them.

    Returns:
        How many other annotations still wait, because their prediction cannot be read at present.
    """
    left = 0
    for submitted, received_at in store.pending():
        try:
            before, version = _prediction(submitted, client)
        except LabelStudioAuthError as error:
            log.info("annotation %d is compared later: %s", submitted.annotation, error)
            left += 1
            continue
        try:
            corrections = compare(before, submitted.result)
        except Exception as error:  # what stands in an annotation is validated by nobody
            expected = isinstance(error, UserError)
            why = str(error) if expected else f"it is malformed ({type(error).__name__}: {error})"
            text = f"task {submitted.task}: annotation {submitted.annotation} cannot be compared: {why}"
            log.warning("%s", text, exc_info=None if expected else error)
            if skipped is not None:
                skipped.append(text)
            continue
        store.save(submitted, received_at, corrections, model_version=version)
        log.info("annotation %d: %s", submitted.annotation, ", ".join(c.fate for c in corrections) or "no region")
    return left


def _prediction(submitted: SubmittedAnnotation, client: Any) -> tuple[Sequence[Mapping[str, Any]], str]:
    """Return the regions that the annotation began from and their model version. Raises LabelStudioAuthError."""
    if client is None:
        raise LabelStudioAuthError("LABEL_STUDIO_URL and LABEL_STUDIO_API_KEY are not both set", transient=True)
    try:
        if submitted.parent_prediction is not None:
            prediction = client.predictions.get(id=submitted.parent_prediction)
        else:  # begun empty, or with interactive predictions: take the task's newest prediction
            predictions = client.predictions.list(task=submitted.task) if submitted.task else []
            prediction = max(predictions, key=lambda p: p.id, default=None)
    except Exception as error:
        if getattr(error, "status_code", None) == 404:
            return [], ""  # deleted since
        raise LabelStudioAuthError(f"the prediction cannot be read: {type(error).__name__}", transient=True) from None
    if prediction is None:
        return [], ""
    result = prediction.result if isinstance(prediction.result, list) else []
    return [r for r in result if isinstance(r, Mapping)], str(prediction.model_version or "")


def parse_event(data: Mapping[str, Any]) -> SubmittedAnnotation | None:
    """Return the annotation of an event; None if there is nothing to compare, as in one that was skipped."""
    annotation, task, project = (_as_mapping(data.get(name)) for name in ("annotation", "task", "project"))
    identity, result = annotation.get("id"), annotation.get("result")
    if not _as_integer(identity) or not isinstance(result, list) or annotation.get("was_cancelled"):
        return None
    try:
        config = parse_label_config(project.get("label_config"))
        fields = _as_mapping(task.get("data"))
        video, fps = fields.get(config.media_field), config.fps(fields)
    except LabelConfigError:
        return None  # a project that this backend cannot answer for
    return SubmittedAnnotation(
        annotation=int(identity),  # type: ignore[arg-type]
        project=_as_integer(project.get("id")),
        task=_as_integer(task.get("id")),
        parent_prediction=_as_integer(annotation.get("parent_prediction")),
        video=video if isinstance(video, str) else "",
        fps=fps,
        result=tuple(r for r in result if isinstance(r, Mapping)),
    )


def _as_integer(value: Any) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def _as_mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}
