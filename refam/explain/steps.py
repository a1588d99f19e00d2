"""How words became a heatmap in one frame: every word's map, and what each step of the method changed."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from refam.grounding import GroundingOptions, GroundingTrace, TokenMaps
from refam.heatmaps import normalise, sum_word_maps
from refam.text.expression import Expression, TokenRole
from video.types import Heatmap

if TYPE_CHECKING:
    from refam.grounder import Grounder

# In the order of the method: each step is seen on top of those before it.
_STEPS: tuple[tuple[str, str, str], ...] = (
    ("stop_filter", "Stop words", "Maps of words that mean nothing by themselves are left out."),
    ("noun_phrase", "Noun phrase", "Other things that the words name are not looked for."),
    ("magnets", "Magnets", "Appended words draw off the attention that the background gets."),
    ("sinks", "Sinks", "A word that every place attends to alike is brought down to what the other words have."),
    ("edge_aware", "Edges", "The map, as coarse as the model's tokens, follows the picture's edges."),
    ("spatial_bias", "Place and size", "Words that say where or how large choose among the map's peaks."),
)
_NONE = ("No filter", "Every word's map, summed as it comes.")


@dataclass(frozen=True, eq=False)
class WordMap:
    """One word of the prompt. grid: (h, w) float32 in [0, 1], its own evidence; share: of the attention to all words.

    known: whether the model's tokenizer has it.
    """

    word: str
    role: TokenRole
    known: bool
    grid: NDArray[np.float32]
    share: float


@dataclass(frozen=True, eq=False)
class ExplainedStep:
    """The heatmap after one more part of the method. moved: how far its peak went, in diagonals of the frame.

    contrast: 1 - second mode / first, which can be compared from step to step.
    """

    name: str
    sentence: str
    heatmap: Heatmap
    moved: float
    contrast: float


@dataclass(frozen=True, eq=False)
class ExplainedRegion:
    """One mode of the map. mask: (h, w) bool; peak: its height, of the highest one's; weight: by place and size."""

    mask: NDArray[np.bool_]
    peak: float
    weight: float


@dataclass(frozen=True, eq=False)
class Explanation:
    """Everything between the words and the heatmap of one frame.

    image: (H, W, 3) uint8 RGB. words: of the prompt, magnets too, in their order. steps: the last is the heatmap as
    `ground` gives it. choice: what words of place and size chose among, the strongest first. calibrated_on:
    how many scenes its confidence was fitted on; None: it is the raw contrast. read_s, weigh_s: seconds of the forward
    pass with its encoders, and of all after it, for this frame alone.
    """

    image: NDArray[np.uint8]
    expression: Expression
    words: tuple[WordMap, ...]
    steps: tuple[ExplainedStep, ...]
    choice: tuple[ExplainedRegion, ...]
    calibrated_on: int | None
    read_s: float
    weigh_s: float

    @property
    def heatmap(self) -> Heatmap:
        """The result."""
        return self.steps[-1].heatmap


def explain(grounder: Grounder, image: NDArray[np.uint8], text: str, *, frame: int = 0) -> Explanation:
    """Grounds `text` in one frame (H, W, 3) uint8 RGB and keeps what happens on the way.

    frame: its index, which decides the noise. Two forward passes: with magnets and without. Raises GroundingError.
    """
    started = time.perf_counter()
    maps = _read(grounder, image, text, frame, grounder.options)
    read = time.perf_counter()
    final = grounder.compute_heatmap(maps, image)
    weighed = time.perf_counter()
    steps: list[ExplainedStep] = []
    for name, sentence, options in ladder(grounder.options):
        same = maps.expression.prompt == grounder.parse(text, options=options).prompt
        of = maps if same else _read(grounder, image, text, frame, options)
        found = final if options == grounder.options else grounder.compute_heatmap(of, image, options=options)
        steps.append(_step(name, sentence, found, steps[-1].heatmap if steps else None))
    calibration = grounder.valid_calibration()
    return Explanation(
        image=image,
        expression=maps.expression,
        words=tuple(_words(grounder, maps)),
        steps=tuple(steps),
        choice=tuple(_choice(final)),
        calibrated_on=None if calibration is None else calibration.scenes,
        read_s=read - started,
        weigh_s=weighed - read,
    )


def ladder(options: GroundingOptions) -> Iterator[tuple[str, str, GroundingOptions]]:
    """Name, sentence and switches of each step: nothing, then one more of the parts that `options` has on."""
    switches: dict[str, Any] = {switch: False for switch, _, _ in _STEPS}
    now = replace(options, **switches)
    yield (*_NONE, now)
    for switch, name, sentence in _STEPS:
        if getattr(options, switch):
            switches[switch] = True
            now = replace(options, **switches)
            yield name, sentence, now


def _read(grounder: Grounder, image: NDArray[np.uint8], text: str, frame: int, options: GroundingOptions) -> TokenMaps:
    (row,) = grounder.read_token_maps([image], [text], indices=[frame], options=options)
    return row[0]


def _step(name: str, sentence: str, found: GroundingTrace, before: Heatmap | None) -> ExplainedStep:
    moved = 0.0
    if before is not None:
        h, w = found.heatmap.grid.shape
        (x0, y0), (x1, y1) = before.peak, found.heatmap.peak
        moved = float(np.hypot((x1 - x0) * w, (y1 - y0) * h) / np.hypot(w, h))
    return ExplainedStep(name, sentence, found.heatmap, moved, float(found.features[0]))


def _choice(found: GroundingTrace) -> Iterator[ExplainedRegion]:
    top = max((region.peak for region, _ in found.weighted_regions), default=1.0)
    for region, weight in sorted(found.weighted_regions, key=lambda one: -one[0].peak * one[1]):
        yield ExplainedRegion(region.mask, region.peak / top, weight)


def _words(grounder: Grounder, maps: TokenMaps) -> Iterator[WordMap]:
    preset = grounder.backbone.preset
    total = float(maps.maps.sum())
    for positions in _groups(maps.expression):
        token = maps.expression.tokens[positions[0]]
        grid = sum_word_maps(maps.maps, [positions], balanced=preset.balanced, smooth_tokens=preset.smooth_tokens)
        yield WordMap(
            word=token.word or "end of text",
            role=token.role,
            known=token.word not in maps.expression.unknown,
            grid=normalise(grid),
            share=float(maps.maps[positions].sum()) / total if total > 0 else 0.0,
        )


def _groups(expression: Expression) -> list[list[int]]:
    """Token positions, those of one word together, in the prompt's order."""
    groups: list[list[int]] = []
    for i, token in enumerate(expression.tokens):
        last = expression.tokens[i - 1] if i else None
        if last is not None and token.word is not None and (token.word, token.role) == (last.word, last.role):
            groups[-1].append(i)
        else:
            groups.append([i])
    return groups
