"""Interactive calls: what an annotator typed, answered in the editor, which shows no error at all.

So a failure is written behind the words in the text field, "xyzzy (not found: ...)", and the boxes stay as they are;
the next call takes it off again. The editor then lists the text among the regions (seen in Label Studio 1.23.2;
submitting works): REFAM_SAY_IN_TEXT_FIELD=false answers `[]` instead.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from backend.labelstudio.config_xml import LabelConfigError
from backend.labelstudio.empty_regions import read_removal
from backend.labelstudio.label_config import LabelConfig, parse_label_config
from backend.labelstudio.request import RequestError, append_reason, submitted_text
from backend.runtime import Runtime
from backend.service.predict import PredictService

_TEXT_REGION_FIELDS = ("id", "from_name", "to_name", "type", "origin")


class InteractivePredictor:
    """Answers interactive calls.

    Args:
        runtime: Its jobs and settings are used.
    """

    def __init__(self, runtime: Runtime) -> None:
        self._runtime, self._service = runtime, PredictService(runtime)

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
            One prediction, or none where there is nothing to show.
        """
        try:
            config = parse_label_config(label_config)
            if submitted_text(context, config) is None:
                return []
            removal = read_removal(task, config, context)
        except (LabelConfigError, RequestError):
            return self._predict_words(task, label_config, context, project)  # its answer says what is wrong
        if removal is None:
            return self._predict_words(task, label_config, context, project)
        others = removal.remaining_context
        answers = self._predict_words(task, label_config, others, project) if others is not None else []
        result = [region for answer in answers for region in answer["result"]]
        replaced = {region["id"] for region in result}  # another object may have taken a removed one's place
        result += [region for region in removal.regions if region["id"] not in replaced]
        if removal.failure:
            result = [r for r in result if r["type"] != "textarea"]
            result += self._failure_regions(context, config, removal.failure)
        return self._prediction(result, min((answer["score"] for answer in answers), default=0.0))

    def _predict_words(
        self, task: Mapping[str, Any], label_config: str | None, context: Mapping[str, Any], project: str
    ) -> list[dict[str, Any]]:
        (answer,) = self._service.predict([task], label_config, context, project=project)
        if "error" not in answer:
            return [answer]
        try:
            config = parse_label_config(label_config)
        except LabelConfigError:
            return []
        finished = "unfinished" not in answer
        return self._prediction(self._failure_regions(context, config, answer["error"], finished=finished), 0.0)

    def _failure_regions(
        self, context: Mapping[str, Any], config: LabelConfig, reason: str, *, finished: bool = True
    ) -> list[dict[str, Any]]:
        """The text field's region with the reason behind the words; none where it is not to be written there."""
        submitted = submitted_text(context, config)
        if submitted is None or not self._runtime.settings.say_in_text_field:
            return []
        region, words = submitted
        kept = {name: region[name] for name in _TEXT_REGION_FIELDS if name in region}
        return [{**kept, "value": {"text": [append_reason(words, reason, finished=finished)]}}]

    def _prediction(self, result: list[dict[str, Any]], score: float) -> list[dict[str, Any]]:
        version = self._runtime.model_version
        return [{"result": result, "score": score, "model_version": version}] if result else []
