"""Interactive calls: what an annotator typed, answered in the editor.

The editor (Label Studio 1.23.2) has no place for a message. It shows no error of such a call, and text that an answer
puts into the text field becomes part of the annotation, with a region of its own in the list. So an answer holds
regions of objects and nothing else: what was typed stays as it was typed. Why nothing was found, and how far a job is,
stands on the jobs page, where refused words are listed too.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

from backend.labelstudio.config_xml import LabelConfigError
from backend.labelstudio.editor_events import read_event
from backend.labelstudio.label_config import parse_label_config
from backend.labelstudio.removal import read_removal
from backend.labelstudio.request import RequestError, submitted_text
from backend.runtime import Runtime
from backend.service.events import EventService
from backend.service.predict import PredictService
from video.errors import UserError

log = logging.getLogger("refam.jobs")


class InteractivePredictor:
    """Answers interactive calls.

    Args:
        runtime: Its jobs and settings are used.
    """

    def __init__(self, runtime: Runtime) -> None:
        self._runtime, self._service, self._events = runtime, PredictService(runtime), EventService(runtime)

    def predict(
        self, task: Mapping[str, Any], label_config: str | None, context: Mapping[str, Any], *, project: str = ""
    ) -> list[dict[str, Any]]:
        """Answer what was typed; words with a minus remove what they name.

        A call in which nothing was typed is not answered. The editor of Label Studio 1.23.2 sends one for each region
        of an annotation when it is submitted, updated or deleted, and puts any answer over what was just stored.

        Args:
            task: As Label Studio sends it.
            label_config: The project's XML.
            context: The call's regions, the text among them.
            project: Label Studio's name of the project.

        Returns:
            One prediction, or none where there is nothing to show. An event of Label Studio Enterprise's editor
            (`context.event`) is never taken for words: it is answered as such, or by `{"error": sentence}`.
        """
        try:
            event = read_event(context)
            if event is not None:
                return [self._events.answer(event, task, label_config, context, project=project)]
        except UserError as error:
            log.warning("task %s: %s", task.get("id"), error)
            return [{"error": str(error)}]
        try:
            config = parse_label_config(label_config)
        except LabelConfigError as error:
            log.warning("task %s: %s", task.get("id"), error)
            return []
        submitted = submitted_text(context, config)
        if submitted is None:
            return []
        words = submitted[1]
        try:
            removal = read_removal(task, config, context)
        except RequestError as error:
            self._service.list_refusal(task, project, words, str(error))
            return []
        if removal is None:
            return self._predict_words(task, label_config, context, project, words)
        if removal.failure:
            self._service.list_refusal(task, project, words, removal.failure)
        others, answers = removal.remaining_context, []
        if others is not None:
            answers = self._predict_words(task, label_config, others, project, words)
        result = [region for answer in answers for region in answer["result"]]
        replaced = {region["id"] for region in result}  # another object may have taken a removed one's place
        result += [region for region in removal.regions if region["id"] not in replaced]
        score = min((answer["score"] for answer in answers), default=0.0)
        return [{"result": result, "score": score, "model_version": self._runtime.model_version}] if result else []

    def _predict_words(
        self, task: Mapping[str, Any], label_config: str | None, context: Mapping[str, Any], project: str, words: str
    ) -> list[dict[str, Any]]:
        (answer,) = self._service.predict([task], label_config, context, project=project)
        if "error" not in answer:
            return [answer]
        if answer.get("refused"):
            self._service.list_refusal(task, project, words, answer["error"])
        return []
