"""From the token maps of one frame to its heatmap, with every step of the method kept.

The steps of RefAM (arXiv 2509.22650): drop the maps of stop words and magnets, suppress global attention sinks (GAS),
sum the maps of the content words, and apply the spatial bias (SB). Edge-aware upsampling is added between the last two.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from refam.attention_sinks import suppress_sinks
from refam.calibration import Calibration, compute_features
from refam.contrast import ContrastMaps, subtract_contrast
from refam.heatmap_regions import HeatmapRegion, apply_weights, find_instance_regions, find_regions, weigh_regions
from refam.heatmaps import UPSAMPLING_FACTOR, joint_bilateral_upsample, make_heatmap, normalise, sum_word_maps
from refam.presence import PresenceModel, WordAttention, measure_word_attention
from refam.prototypes import label_tokens
from refam.reading import Reading
from refam.text.expression import Expression
from refam.text.magnets import Magnets
from video.types import Heatmap, Mode

Point = tuple[float, float]

# What is known of whether words are true of a thing where the model does not have them: nothing.
_UNKNOWN_WORDS_SHARE = 0.5
_MAX_PLAIN_RANGE = 2  # grey levels of 256 that a compressed frame of one colour may vary by


@dataclass(frozen=True)
class GroundingOptions:
    """The parts of the method. Each can be switched off to see what it contributes.

    Attributes:
        magnets: Append attention magnets, those of `magnet_words`.
        stop_filter: Drop the maps of stop words.
        noun_phrase: Keep the head noun phrase (NP): other things that the expression names are not looked for.
        spatial_bias: Words of place and size (SB) choose among the modes of the heatmap, instead of being looked for.
        sinks: Suppress content words that are global attention sinks (GAS).
        edge_aware: Upsample the heatmap along the edges of the picture; otherwise it stays as coarse as the tokens.
        seed: Seed of the noise; each frame and each noise sample gets its own.
        magnet_words: The magnets to append.
        reading: Further ways of reading the attention, which are off unless they are set.
    """

    magnets: bool = True
    stop_filter: bool = True
    noun_phrase: bool = True
    spatial_bias: bool = True
    sinks: bool = True
    edge_aware: bool = True
    seed: int = 0
    magnet_words: Magnets = Magnets()  # noqa: RUF009 - frozen
    reading: Reading = Reading()  # noqa: RUF009 - frozen


@dataclass(frozen=True, eq=False)
class TokenMaps:
    """How much each place of one frame attends to each token of the expression.

    Attributes:
        frame: Index of the frame.
        expression: Whose T tokens the maps are of.
        maps: (T, h, w) float32 probabilities, the mean over noise samples.
        draws: (D, T, h, w) float32, each noise sample by itself.
        sinks: Positions of the global attention sinks; None if they were not looked for.
        contrast: Maps of the second text; None if none was read.
        features: (C, h, w) float32 of the tokens, the mean over noise samples; None if they were not kept.
    """

    frame: int
    expression: Expression
    maps: NDArray[np.float32]
    draws: NDArray[np.float32]
    sinks: tuple[int, ...] | None = None
    contrast: ContrastMaps | None = None
    features: NDArray[np.float32] | None = None

    def __repr__(self) -> str:
        t, h, w = self.maps.shape
        return (
            f"TokenMaps({self.expression.text!r}, frame={self.frame}, {t} tokens of {w}x{h}, {len(self.draws)} draws)"
        )


@dataclass(frozen=True, eq=False)
class GroundingTrace:
    """How token maps became a heatmap, step by step.

    Attributes:
        summed: (h, w) the maps of the content words, summed; less the contrast and labelled by prototypes, where these
            are options.
        upsampled: (h', w') the same after edge-aware upsampling.
        biased: (h', w') after the spatial bias; the heatmap is this, scaled to [0, 1].
        heatmap: The result.
        features: (5,) what its confidence is calibrated on, see `refam.calibration`.
        weighted_regions: The modes that the spatial cues chose among, each with its weight; empty without cues.
        word_attention: The words that can be borne out, each with the attention that it has at the peak; see
            `refam.presence`.
        mode_attention: The same at each mode of the heatmap, with its place, for words that mean several objects.
        doubt: What unknown words leave of the confidence: half, whatever their number, or nothing if the head noun is
            one of them.
    """

    summed: NDArray[np.float32]
    upsampled: NDArray[np.float32]
    biased: NDArray[np.float32]
    heatmap: Heatmap
    features: NDArray[np.float64]
    weighted_regions: tuple[tuple[HeatmapRegion, float], ...] = ()
    word_attention: WordAttention = ()
    mode_attention: tuple[tuple[Point, WordAttention], ...] = ()
    doubt: float = 1.0

    def calibrate(self, calibration: Calibration) -> GroundingTrace:
        """Return the same with the heatmap's confidence as a probability; a flat heatmap keeps 0."""
        if self.heatmap.grid.max() <= 0:
            return self
        confidence = float(calibration(self.features)) * self.doubt
        return replace(self, heatmap=replace(self.heatmap, confidence=confidence))

    def judge_presence(self, model: PresenceModel) -> GroundingTrace:
        """Return the same with how likely the object is there; the heatmap's confidence is multiplied by it.

        Known words alone say whether it is there: unknown ones lower the confidence, but do not hide a fluffy dog.
        """
        presence = model(self.word_attention)
        if self.heatmap.grid.max() <= 0 or self.doubt == 0:
            presence = replace(presence, probability=0.0)
        confidence = self.heatmap.confidence * presence.probability
        modes = tuple(
            Mode(*place, model(attention).probability if self.doubt else 0.0)
            for place, attention in self.mode_attention
        )
        return replace(self, heatmap=replace(self.heatmap, confidence=confidence, presence=presence, modes=modes))


def compute_heatmap(
    maps: TokenMaps,
    frame: NDArray[np.uint8],
    expression: Expression,
    options: GroundingOptions,
    *,
    balanced: bool = False,
    smooth_tokens: float = 0.0,
) -> GroundingTrace:
    """Compute the heatmap of one frame from its token maps.

    Args:
        maps: Token maps of the frame.
        frame: (H, W, 3) uint8 RGB. A frame of a single colour has an empty heatmap.
        expression: Gives the tokens their roles; it may differ from `maps.expression` in these alone.
        options: The parts of the method to use.
        balanced: See `refam.heatmaps.sum_word_maps`.
        smooth_tokens: See `refam.heatmaps.sum_word_maps`.

    Raises:
        ValueError: If sinks are to be suppressed but were not looked for, or if the maps lack what the reading needs.
    """

    def sum_words(token_maps: NDArray[np.float32], words: list[list[int]]) -> NDArray[np.float32]:
        return sum_word_maps(token_maps, words, balanced=balanced, smooth_tokens=smooth_tokens)

    words = expression.content_words()
    if options.sinks:
        maps = suppress_content_sinks(maps, expression)
    summed = sum_words(maps.maps, words)
    summed = np.zeros_like(summed) if _is_plain(frame) else _apply_reading(summed, maps, options.reading, sum_words)
    upsampled = joint_bilateral_upsample(summed, frame) if options.edge_aware else summed
    biased, weighted_regions = _apply_spatial_bias(upsampled, expression)
    # A quarter of a token: the point accuracy stays (0.914 of 430 scenes with and without; half a token: 0.902), and
    # the peak lies 5 pixels inside the object instead of 2.
    smooth_peak = UPSAMPLING_FACTOR / 4 if options.edge_aware else 0.0
    heatmap = make_heatmap(maps.frame, biased, smooth_peak=smooth_peak)
    features = compute_features(
        heatmap.grid,
        heatmap.peak,
        heatmap.confidence,
        by_draw=[sum_words(draw, words) for draw in maps.draws],
        by_word=[sum_words(maps.maps, [word]) for word in words],
    )
    checkable = expression.checkable_words()
    word_maps = np.stack([maps.maps[word].sum(0) for word in checkable])
    names = [expression.tokens[word[0]].word or "" for word in checkable]

    def attention_at(heat: NDArray[np.float32], peak: Point) -> WordAttention:
        return tuple(zip(names, measure_word_attention(word_maps, heat, peak).tolist(), strict=True))

    modes = find_instance_regions(heatmap.grid) if expression.quantity.is_plural else ()
    doubt = 0.0 if expression.unknown_head else _UNKNOWN_WORDS_SHARE if expression.unchecked else 1.0
    return GroundingTrace(
        summed,
        upsampled,
        biased,
        replace(heatmap, confidence=heatmap.confidence * doubt),
        features,
        weighted_regions,
        attention_at(heatmap.grid, heatmap.peak),
        tuple(
            (mode.peak_at(heatmap.grid), attention_at(mode.heat(heatmap.grid), mode.peak_at(heatmap.grid)))
            for mode in modes
        ),
        doubt,
    )


def _apply_reading(
    summed: NDArray[np.float32],
    maps: TokenMaps,
    reading: Reading,
    sum_words: Callable[[NDArray[np.float32], list[list[int]]], NDArray[np.float32]],
) -> NDArray[np.float32]:
    """The summed maps less the contrast, labelled by prototypes; as they are with today's reading."""
    if reading.contrast:
        if maps.contrast is None:
            raise ValueError("these maps were read without a contrast: read them again with it")
        other = sum_words(maps.contrast.maps, maps.contrast.expression.content_words())
        summed = subtract_contrast(summed, other, reading.contrast)
    if reading.prototypes:
        if maps.features is None:
            raise ValueError("these maps were read without features for prototypes: read them again with these")
        labels = label_tokens(summed, maps.features, share=reading.prototypes)
        summed = normalise(summed) * np.maximum(labels, 0)
    return summed


def average_readings(first: TokenMaps, second: TokenMaps) -> TokenMaps:
    """Average two readings of one frame, such as one of the clip and one of the frame alone.

    Sinks are those of either; features are those of the first.
    """

    def mean(a: NDArray[np.float32], b: NDArray[np.float32]) -> NDArray[np.float32]:
        return np.asarray((a + b) / 2, np.float32)

    contrast = first.contrast
    if contrast is not None and second.contrast is not None:
        contrast = replace(contrast, maps=mean(contrast.maps, second.contrast.maps))
    sinks = None
    if first.sinks is not None and second.sinks is not None:
        sinks = tuple(sorted({*first.sinks, *second.sinks}))
    maps, draws = mean(first.maps, second.maps), mean(first.draws, second.draws)
    return replace(first, maps=maps, draws=draws, sinks=sinks, contrast=contrast)


def _is_plain(frame: NDArray[np.uint8]) -> bool:
    """Whether a frame has a single colour, so that nothing can be told apart, whatever the attention says."""
    rows = frame.reshape(len(frame), -1)  # whole rows at a time are ten times faster than three channels
    highest, lowest = (f(0).reshape(-1, 3) for f in (rows.max, rows.min))
    return int((highest.max(0) - lowest.min(0)).max()) <= _MAX_PLAIN_RANGE


def suppress_content_sinks(maps: TokenMaps, expression: Expression) -> TokenMaps:
    """Suppress the global attention sinks among the content words to what the other content words have.

    Sinks on stop words, magnets and the end token are left, since their maps are dropped.

    Raises:
        ValueError: If sinks were not looked for when the maps were read.
    """
    if maps.sinks is None:
        raise ValueError("these maps were read without looking for sinks: read them again with the switch on")
    content = [p for word in expression.content_words() for p in word]
    sinks = [p for p in maps.sinks if p in content]
    if not sinks:
        return maps
    ordinary = [p for p in content if p not in sinks]
    return replace(
        maps,
        maps=suppress_sinks(maps.maps, sinks, ordinary),
        draws=np.stack([suppress_sinks(draw, sinks, ordinary) for draw in maps.draws]),
    )


def _apply_spatial_bias(
    grid: NDArray[np.float32], expression: Expression
) -> tuple[NDArray[np.float32], tuple[tuple[HeatmapRegion, float], ...]]:
    """The grid weighed by the spatial cues, and the regions with their weights."""
    if not expression.cues:
        return grid, ()
    grid = normalise(grid)
    regions = find_regions(grid)
    weights = weigh_regions(regions, expression.cues)
    weighted_regions = tuple((region, float(weight)) for region, weight in zip(regions, weights, strict=True))
    return apply_weights(grid, regions, weights), weighted_regions
