"""Stand-ins for tests only: a grounder that knows colours, a pipeline that knows the truth."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from backend.runtime import Runtime
from backend.settings import Settings
from refam.pipeline.pipeline import PipelineError, Target, TrackResult
from refam.tiny.scenes import COLOURS
from video.masks import box_of, encode
from video.types import Heatmap, MaskTrack


class ColourGrounder:
    """Points at what has the colour that the words name. Shapes, sizes and places it does not know."""

    name = "colour-double"

    def for_words(self, expression: str) -> ColourGrounder:
        return self

    def unknown_words(self, expression: str) -> list[str]:
        return []

    def reading_notes(self, expression: str) -> list[str]:
        return []

    def ground(
        self, frames: Sequence[NDArray[np.uint8]], expressions: Sequence[str], *, indices: Sequence[int], **_: object
    ) -> list[list[Heatmap]]:
        return [
            [self._map(frame, expression, i) for frame, i in zip(frames, indices, strict=True)]
            for expression in expressions
        ]

    def _map(self, frame: NDArray[np.uint8], expression: str, index: int) -> Heatmap:
        colour = next((rgb for word, rgb in COLOURS.items() if word in expression.split()), None)
        h, w = 36, round(36 * frame.shape[1] / frame.shape[0])
        if colour is None:
            return Heatmap(index, np.zeros((h, w), np.float32), (0.5, 0.5), 0.0)
        far = np.linalg.norm(frame.astype(np.float32) - np.float32(colour), axis=-1)
        grid = cv2.resize((far < 60).astype(np.float32), (w, h), interpolation=cv2.INTER_AREA)
        y, x = np.unravel_index(int(grid.argmax()), grid.shape)
        if grid.max() > 0:
            grid = grid / grid.max()
        return Heatmap(index, grid.astype(np.float32), ((x + 0.5) / w, (y + 0.5) / h), 0.9 if grid.max() > 0 else 0.0)


def track_of_masks(masks: NDArray[np.bool_], *, label: str = "Target", scores: float = 0.9) -> MaskTrack:
    """(N, H, W) bool -> the track of exactly these masks on frames 0..N-1."""
    n, h, w = masks.shape
    boxes = [box_of(mask) for mask in masks]
    return MaskTrack(
        label=label,
        size=(w, h),
        frames=np.arange(n),
        rles=tuple(encode(mask) for mask in masks),
        boxes=np.array([box or (0, 0, 0, 0) for box in boxes], np.float64),
        scores=np.full(n, scores),
        visible=np.array([box is not None for box in boxes]),
    )


def moving_box(
    n: int, *, start: tuple[float, float] = (0.1, 0.2), speed: tuple[float, float] = (0.01, 0.004), side: float = 0.2
) -> MaskTrack:
    """A square of `side` that moves by `speed` per frame: a track whose every box is known in closed form."""
    x, y = (np.array(start)[:, None] + np.array(speed)[:, None] * np.arange(n)).clip(0, 1 - side)
    blank = encode(np.zeros((9, 16), np.bool_))
    return MaskTrack(
        label="Target",
        size=(16, 9),
        frames=np.arange(n),
        rles=(blank,) * n,
        boxes=np.stack([x, y, x + side, y + side], axis=1),
        scores=np.full(n, 0.9),
        visible=np.ones(n, np.bool_),
    )


class TruthPipeline:
    """Answers each target with a moving box; words that hold `nothing` are not found, `boom` is a bug."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, tuple[Target, ...]]] = []

    def run(self, clip: Any, targets: Sequence[Target], **_: Any) -> list[TrackResult]:
        self.asked.append((clip.path.name, tuple(targets)))
        if any("boom" in (t.words or "") for t in targets):
            raise ZeroDivisionError("a bug")
        if any("nothing" in (t.words or "") for t in targets):
            raise PipelineError("no object fits the words 'nothing'")
        return [TrackResult(t, moving_box(len(clip)), (), 0.8, 0, ("lost for a while",)) for t in targets]


class TruthRuntime(Runtime):
    """Runtime whose models are never loaded."""

    def __init__(self, settings: Settings) -> None:
        super().__init__(settings)
        self.truth = TruthPipeline()

    def pipeline(self) -> Any:
        return self.truth

    def check_words(self, work: Any) -> None:
        """The truth knows all words."""
