"""`RefAMBackend`: Label Studio's model class, wired to the pipeline. It serves under either line of label-studio-ml.

What is answered for a task that cannot be done was measured on Label Studio 1.23.2, for a batch of three whose
second task fails:

| answer in `results` | stored |
|---|---|
| `[good, {"error": "..."}, good]` | 1st and 3rd; nothing for the 2nd, and the words stand in Label Studio's log |
| `[good, [], good]` | the same, but nobody is told |
| `[good]`, then one by one | the same, at the price of sending every task twice |
| `[good, {"result": []}, good]` | an EMPTY prediction for the 2nd, which blocks its re-run |
| `[good, null, good]` | nothing at all: Label Studio answers 500 |

So each failure is `{"error": sentence}` in its place, and the next retrieval sends only the failed tasks again.
An interactive call has one task and shows the annotator no error at all. There the answer puts the reason behind the
words in the text field, "xyzzy (not found: ...)", and leaves the boxes as they are; the next time it is taken off. The
editor then lists the text among the regions (seen in 1.23.2; submitting works): REFAM_SAY_IN_TEXT_FIELD=false answers
`[]` instead. The reason is always logged. What takes longer than the deadline is answered in the same way and goes on
in the queue, see backend.jobs.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from typing import Any

from label_studio_ml.model import LabelStudioMLBase

from backend.labelstudio.config_xml import LabelConfigError
from backend.labelstudio.empty_regions import read_removal
from backend.labelstudio.label_config import LabelConfig, parse_label_config
from backend.labelstudio.request import RequestError, append_reason, submitted_text
from backend.runtime import Runtime, process_runtime
from backend.service.predict import PredictService

log = logging.getLogger("refam.model")
Prediction = dict[str, Any]


class RefAMBackend(LabelStudioMLBase):
    """Words and a video in, tracked boxes out.

    Takes the constructor's arguments of either line: `label_config, train_output, **kwargs` (1.0.9, keywords)
    or `project_id, label_config` (2.x). `runtime` is for callers that have read their settings themselves.
    """

    def __init__(self, *args: Any, runtime: Runtime | None = None, **kwargs: Any) -> None:
        self._runtime = runtime or process_runtime()
        super().__init__(*args, **kwargs)

    def setup(self) -> None:
        """Called by the 2.x line's constructor: what its /setup shall tell Label Studio as the version."""
        self.set("model_version", self._runtime.model_version)

    def predict(
        self, tasks: Sequence[Mapping[str, Any]], context: Mapping[str, Any] | None = None, **kwargs: Any
    ) -> list[Prediction]:
        """One answer per task, in order: a prediction or `{"error": sentence}`; see the module's table.

        context: of an interactive call; there a failure is told in the text field. label_config (in kwargs): the
        project's, where the caller has it; else the constructor's, which the base class has read by its own parser.
        """
        xml = kwargs.get("label_config", self.label_config)
        project = str(kwargs.get("project") or "")
        if context:  # label-studio-ml 2.x gives an empty mapping where there is none
            return [a for task in tasks for a in self._interactive(task, xml, context, project)]
        runtime = self._runtime
        answers = PredictService(runtime).answer(tasks, xml, None, model_version=runtime.model_version, project=project)
        return [{"error": answer["error"]} if "error" in answer else answer for answer in answers]

    def _interactive(
        self, task: Mapping[str, Any], xml: str | None, context: Mapping[str, Any], project: str
    ) -> list[Prediction]:
        """What was typed, answered; a failure is told where the annotator looks: behind the words."""
        try:
            config = parse_label_config(xml)
            removal = read_removal(task, config, context)
        except (LabelConfigError, RequestError):
            return self._answered(task, xml, context, project)  # which says it
        if removal is None:
            return self._answered(task, xml, context, project)
        others = removal.remaining_context
        answers = self._answered(task, xml, others, project) if others is not None else []
        result = [region for answer in answers for region in answer["result"]]
        there = {region["id"] for region in result}  # another object may have taken a removed one's place
        result += [region for region in removal.regions if region["id"] not in there]
        if removal.failure:
            result = [r for r in result if r["type"] != "textarea"] + self._told(context, config, removal.failure)
        version = self._runtime.model_version
        score = min((answer["score"] for answer in answers), default=0.0)
        return [{"result": result, "score": score, "model_version": version}] if result else []

    def _answered(
        self, task: Mapping[str, Any], xml: str | None, context: Mapping[str, Any], project: str
    ) -> list[Prediction]:
        version = self._runtime.model_version
        (answer,) = PredictService(self._runtime).answer([task], xml, context, model_version=version, project=project)
        if "error" not in answer:
            return [answer]
        try:
            config = parse_label_config(xml)
        except LabelConfigError:
            return []
        said = self._told(context, config, answer["error"], finished="unfinished" not in answer)
        return [{"result": said, "score": 0.0, "model_version": version}] if said else []

    def _told(
        self, context: Mapping[str, Any], config: LabelConfig, why: str, *, finished: bool = True
    ) -> list[dict[str, Any]]:
        found = submitted_text(context, config)
        if found is None or not self._runtime.settings.say_in_text_field:
            return []
        region, words = found
        kept = {name: region[name] for name in ("id", "from_name", "to_name", "type", "origin") if name in region}
        return [{**kept, "value": {"text": [append_reason(words, why, finished=finished)]}}]

    def fit(self, event: str, data: Mapping[str, Any], **kwargs: Any) -> dict[str, Any]:
        """Learns from what a person submitted: see backend.loop. No weights are trained.

        data: a webhook's payload, never logged. Says what was done with it.
        """
        return {"status": self._runtime.collector.handle_event(event, data)}

    def process_event(self, event: str, data: Mapping[str, Any], *_: Any, **__: Any) -> dict[str, Any]:
        """Both lines come through here, each with other arguments to `fit`: give it those that both know."""
        return self.fit(event, data)
