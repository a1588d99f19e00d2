"""One row of a manifest, and the key by which its result is known again."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from refam.pipeline.types import FramePrompt, Target

_PROMPT_FIELDS = {"object", "frame", "box", "points", "labels"}


@dataclass(frozen=True)
class ManifestRow:
    """What is asked of one video.

    number: 1-based among the manifest's rows. id: the manifest's own, or "". video: an absolute path or a URL.
    expressions: one for each object, or none where prompts say all. labels: one for each object. prompts: canonical
    JSON, a list of {object, frame, box, points, labels} as FramePrompt has them, object 0-based; "" for none.
    """

    number: int
    id: str
    video: str
    expressions: tuple[str, ...]
    labels: tuple[str, ...]
    prompts: str = ""

    def __post_init__(self) -> None:
        if not self.video:
            raise ValueError("video is empty")
        if not self.labels:
            raise ValueError("expressions is empty, and so is prompts: say what to find")
        if self.expressions and len(self.expressions) != len(self.labels):
            raise ValueError(f"labels has {len(self.labels)} entries for {len(self.expressions)} expressions")
        self.targets()

    @property
    def key(self) -> str:
        """The same for rows that ask the same, wherever they stand: 32 hexadecimal digits."""
        asked = [self.id, self.video, self.expressions, self.labels, self.prompts]
        return hashlib.sha256(json.dumps(asked, ensure_ascii=True).encode()).hexdigest()[:32]

    def targets(self) -> list[Target]:
        """What the pipeline is to find. Raises ValueError for prompts that cannot be meant."""
        drawn: list[list[FramePrompt]] = [[] for _ in self.labels]
        for i, item in enumerate(json.loads(self.prompts) if self.prompts else []):
            try:
                number, prompt = _prompt(item)
                if not 0 <= number < len(drawn):
                    raise ValueError(
                        f"there is no object {number}; they are counted from 0, and there are {len(drawn)}"
                    )
            except (TypeError, ValueError, KeyError) as error:
                raise ValueError(f"prompts, entry {i}: {error}") from None
            drawn[number].append(prompt)
        words = self.expressions or (None,) * len(self.labels)
        return [
            Target(label=label, words=word, prompts=tuple(prompts))
            for label, word, prompts in zip(self.labels, words, drawn, strict=True)
        ]

    def as_json(self) -> str:
        """For the way to a worker."""
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> ManifestRow:
        """The inverse."""
        content = json.loads(text)
        return cls(**{**content, "expressions": tuple(content["expressions"]), "labels": tuple(content["labels"])})


def _prompt(item: Any) -> tuple[int, FramePrompt]:
    if not isinstance(item, Mapping):
        raise ValueError(f'must be like {{"frame": 0, "box": [0.1, 0.2, 0.3, 0.4]}}, not {item!r}')
    if unknown := sorted(set(item) - _PROMPT_FIELDS):
        raise ValueError(f"has no field {unknown[0]!r}; there are {', '.join(sorted(_PROMPT_FIELDS))}")
    if not isinstance(item.get("frame"), int):
        raise ValueError(f"frame must be a whole number from 0, not {item.get('frame')!r}")
    points = tuple((float(x), float(y)) for x, y in item.get("points") or ())
    labels = tuple(int(v) for v in item.get("labels") or (1,) * len(points))
    box = None
    if item.get("box") is not None:
        x0, y0, x1, y1 = (float(v) for v in item["box"])
        box = (x0, y0, x1, y1)
    return int(item.get("object") or 0), FramePrompt(item["frame"], points=points, labels=labels, box=box)
