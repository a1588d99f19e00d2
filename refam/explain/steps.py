"""How words became a heatmap in one frame: the map of every word, and what each step of the method changed."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from refam.grounding import GroundingOptions, GroundingTrace, TokenMaps
from refam.heatmaps import normalise, sum_word_maps
from refam.text.expression import Expression
from refam.text.tokens import TokenRole
from video.types import Heatmap

if TYPE_CHECKING:
    from refam.grounder import Grounder

# Switch, name and sentence, in the order of the method: each step is added to those before it.
_STEPS: tuple[tuple[str, str, str], ...] = (
    ("stop_filter", "Stop words", "Maps of words that mean nothing by themselves are left out."),
    ("noun_phrase", "Noun phrase", "Other things that the words name are not looked for."),
    ("magnets", "Magnets", "Appended words draw off the attention that the background gets."),
    ("sinks", "Sinks", "A word that every place attends to alike is brought down to what the other words have."),
    ("edge_aware", "Edges", "The map, as coarse as the model's tokens, follows the picture's edges."),
    ("spatial_bias", "Place and size", "Words that say where or how large choose among the map's peaks."),
)
_BASELINE = ("No filter", "Every word's map, summed as it comes.")


@dataclass(frozen=True, eq=False)
class WordMap:
    """One word of the prompt.

    Attributes:
        word: The word, or "end of text".
        role: Role of its tokens.
        known: Whether the model's tokenizer has it.
        grid: (h, w) float32 in [0, 1], its own map.
        share: Share of the attention to all words.
    """

    word: str
    role: TokenRole
    known: bool
    grid: NDArray[np.float32]
    share: float


@dataclass(frozen=True, eq=False)
class ExplainedStep:
    """The heatmap after one more part of the method.

    Attributes:
        name: Name of the part.
        sentence: What it does.
        heatmap: The result so far.
        moved: How far its peak moved, as a share of the frame's diagonal.
        contrast: 1 - second mode / first mode, which can be compared from step to step.
    """

    name: str
    sentence: str
    heatmap: Heatmap
    moved: float
    contrast: float


@dataclass(frozen=True, eq=False)
class ExplainedRegion:
    """One mode of the heatmap.

    Attributes:
        mask: (h, w) bool, its outline.
        peak: Its height, as a share of the highest mode's.
        weight: How well it fits the words of place and size.
    """

    mask: NDArray[np.bool_]
    peak: float
    weight: float


@dataclass(frozen=True, eq=False)
class Explanation:
    """Everything between the words and the heatmap of one frame.

    Attributes:
        image: (H, W, 3) uint8 RGB.
        expression: The parsed words.
        words: Words of the prompt, magnets included, in their order.
        steps: In the order of the method; the last is the heatmap as `Grounder.ground` returns it.
        regions: The modes that words of place and size chose among, best first; empty without such words.
        calibrated_on: How many scenes the confidence was fitted on; None if it is the raw contrast.
        attention_s: Seconds of the forward pass with its encoders, for this frame alone.
        heatmap_s: Seconds of everything after it.
    """

    image: NDArray[np.uint8]
    expression: Expression
    words: tuple[WordMap, ...]
    steps: tuple[ExplainedStep, ...]
    regions: tuple[ExplainedRegion, ...]
    calibrated_on: int | None
    attention_s: float
    heatmap_s: float

    @property
    def heatmap(self) -> Heatmap:
        """The result."""
        return self.steps[-1].heatmap


def explain(grounder: Grounder, image: NDArray[np.uint8], text: str, *, frame: int = 0) -> Explanation:
    """Ground an expression in one frame and keep every step.

    There are two forward passes, with magnets and without.

    Args:
        grounder: Whose options are explained.
        image: (H, W, 3) uint8 RGB.
        text: The expression.
        frame: Its index, which decides the noise.

    Raises:
        GroundingError: If the expression cannot be grounded.
    """
    start = time.perf_counter()
    maps = _read_token_maps(grounder, image, text, frame, grounder.options)
    after_attention = time.perf_counter()
    final = grounder.compute_heatmap(maps, image)
    after_heatmap = time.perf_counter()
    steps: list[ExplainedStep] = []
    for name, sentence, options in list_steps(grounder.options):
        has_same_prompt = maps.expression.prompt == grounder.parse(text, options=options).prompt
        step_maps = maps if has_same_prompt else _read_token_maps(grounder, image, text, frame, options)
        is_final = options == grounder.options
        trace = final if is_final else grounder.compute_heatmap(step_maps, image, options=options)
        steps.append(_explain_step(name, sentence, trace, steps[-1].heatmap if steps else None))
    calibration = grounder.valid_calibration()
    return Explanation(
        image=image,
        expression=maps.expression,
        words=tuple(_word_maps(grounder, maps)),
        steps=tuple(steps),
        regions=tuple(_explain_regions(final)),
        calibrated_on=None if calibration is None else calibration.scenes,
        attention_s=after_attention - start,
        heatmap_s=after_heatmap - after_attention,
    )


def list_steps(options: GroundingOptions) -> Iterator[tuple[str, str, GroundingOptions]]:
    """Yield name, sentence and options of each step.

    The first has all parts switched off; each following one adds one of the parts that `options` has on.
    """
    switches: dict[str, Any] = {switch: False for switch, _, _ in _STEPS}
    yield (*_BASELINE, replace(options, **switches))
    for switch, name, sentence in _STEPS:
        if getattr(options, switch):
            switches[switch] = True
            yield name, sentence, replace(options, **switches)


def _read_token_maps(
    grounder: Grounder, image: NDArray[np.uint8], text: str, frame: int, options: GroundingOptions
) -> TokenMaps:
    (row,) = grounder.read_token_maps([image], [text], indices=[frame], options=options)
    return row[0]


def _explain_step(name: str, sentence: str, trace: GroundingTrace, before: Heatmap | None) -> ExplainedStep:
    moved = 0.0
    if before is not None:
        h, w = trace.heatmap.grid.shape
        (x0, y0), (x1, y1) = before.peak, trace.heatmap.peak
        moved = float(np.hypot((x1 - x0) * w, (y1 - y0) * h) / np.hypot(w, h))
    return ExplainedStep(name, sentence, trace.heatmap, moved, float(trace.features[0]))


def _explain_regions(trace: GroundingTrace) -> Iterator[ExplainedRegion]:
    top = max((region.peak for region, _ in trace.weighted_regions), default=1.0)
    for region, weight in sorted(trace.weighted_regions, key=lambda pair: -pair[0].peak * pair[1]):
        yield ExplainedRegion(region.mask, region.peak / top, weight)


def _word_maps(grounder: Grounder, maps: TokenMaps) -> Iterator[WordMap]:
    preset = grounder.backbone.preset
    total = float(maps.maps.sum())
    for positions in _tokens_by_word(maps.expression):
        token = maps.expression.tokens[positions[0]]
        grid = sum_word_maps(maps.maps, [positions], balanced=preset.balanced, smooth_tokens=preset.smooth_tokens)
        yield WordMap(
            word=token.word or "end of text",
            role=token.role,
            known=token.word not in maps.expression.unknown,
            grid=normalise(grid),
            share=float(maps.maps[positions].sum()) / total if total > 0 else 0.0,
        )


def _tokens_by_word(expression: Expression) -> list[list[int]]:
    """The positions of the tokens of each word, in the prompt's order."""
    groups: list[list[int]] = []
    for i, token in enumerate(expression.tokens):
        last = expression.tokens[i - 1] if i else None
        if last is not None and token.word is not None and (token.word, token.role) == (last.word, last.role):
            groups[-1].append(i)
        else:
            groups.append([i])
    return groups
