"""`RefAMBackend`: Label Studio's model class, for either line of label-studio-ml.

What is answered for a task that cannot be done was measured on Label Studio 1.23.2, for a batch of three whose
second task fails:

| answer in `results` | stored |
|---|---|
| `[good, {"error": "..."}, good]` | 1st and 3rd; nothing for the 2nd, and the words stand in Label Studio's log |
| `[good, [], good]` | the same, but nobody is told |
| `[good]`, then one by one | the same, at the price of sending every task twice |
| `[good, {"result": []}, good]` | an EMPTY prediction for the 2nd, which blocks its re-run |
| `[good, null, good]` | nothing at all: Label Studio answers 500 |

So each failure is `{"error": sentence}` in its place, and the next retrieval sends only the failed tasks again. The
reason is always logged. What takes longer than the deadline is answered in the same way and goes on in the queue, see
backend.jobs. An interactive call shows the annotator no error at all: see backend.service.interactive.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from label_studio_ml.model import LabelStudioMLBase

from backend.runtime import Runtime, process_runtime
from backend.service.interactive import InteractivePredictor
from backend.service.predict import PredictService


class RefAMBackend(LabelStudioMLBase):
    """Words and a video in, tracked objects out.

    Args:
        *args: What either line's constructor takes: `label_config, train_output` (1.0.9) or
            `project_id, label_config` (2.x).
        runtime: Models and jobs; those of this process, made from the environment, unless given.
        **kwargs: As `args`.
    """

    def __init__(self, *args: Any, runtime: Runtime | None = None, **kwargs: Any) -> None:
        self._runtime = runtime or process_runtime()
        super().__init__(*args, **kwargs)

    def setup(self) -> None:
        """Set the version that the 2.x line's /setup tells Label Studio; its constructor calls this."""
        self.set("model_version", self._runtime.model_version)

    def predict(
        self, tasks: Sequence[Mapping[str, Any]], context: Mapping[str, Any] | None = None, **kwargs: Any
    ) -> list[dict[str, Any]]:
        """Answer a request.

        Args:
            tasks: As Label Studio sends them.
            context: Of an interactive call; None or empty for any other.
            **kwargs: `label_config`, the project's XML where the caller has it (else the constructor's), and
                `project`, its name. Others are ignored.

        Returns:
            For each task in order a prediction or `{"error": sentence}`, see the module's table. For an interactive
            call the predictions to show.
        """
        label_config = kwargs.get("label_config", self.label_config)
        project = str(kwargs.get("project") or "")
        if context:  # label-studio-ml 2.x gives an empty mapping where there is none
            predictor = InteractivePredictor(self._runtime)
            objects = [t for t in tasks if isinstance(t, Mapping)]
            if "event" in context and not objects:  # what a backend can do is asked without a task
                objects = [{}]
            return [p for t in objects for p in predictor.predict(t, label_config, context, project=project)]
        answers = PredictService(self._runtime).predict(tasks, label_config, project=project)
        return [{"error": answer["error"]} if "error" in answer else answer for answer in answers]

    def fit(self, event: str, data: Mapping[str, Any], **kwargs: Any) -> dict[str, Any]:
        """Take in what a person submitted, see backend.feedback. No weights are trained.

        Args:
            event: A webhook's action.
            data: Its payload, which is never logged.
            **kwargs: Ignored.

        Returns:
            What was done with it, under "status".
        """
        return {"status": self._runtime.collector.handle_event(event, data)}

    def process_event(self, event: str, data: Mapping[str, Any], *_: Any, **__: Any) -> dict[str, Any]:
        """Call `fit`. Both lines come through here, each with arguments that the other does not know."""
        return self.fit(event, data)
