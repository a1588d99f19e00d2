"""From the token maps of one frame to its heatmap, every step of it open to be looked at."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from refam import heatmap_regions as candidates
from refam.attention_sinks import suppress_sinks
from refam.calibration import Calibration, compute_features
from refam.heatmaps import FACTOR, evidence, joint_bilateral_upsample, make_heatmap, normalise
from refam.text.expression import Expression
from refam.text.magnets import Magnets
from video.types import Heatmap

_ONE_COLOUR = 2  # steps of 256 that a compressed frame of one colour may vary by


@dataclass(frozen=True)
class GroundingOptions:
    """What the method does; each part can be switched off to see what it is worth.

    magnets: append attention magnets, `magnet_words`. stop_filter: leave stop words' maps out. spatial_bias: "left",
    "smallest", ... choose among the heatmap's modes instead of being looked for. sinks: words that are global attention
    sinks are brought down to what the other words have.
    noun_phrase: other things that the expression names are not looked for.
    edge_aware: the heatmap follows the picture's edges (joint bilateral upsampling); else it stays as coarse as the
    tokens. seed: of the noise; each frame of each draw gets its own.
    """

    magnets: bool = True
    stop_filter: bool = True
    noun_phrase: bool = True
    spatial_bias: bool = True
    sinks: bool = True
    edge_aware: bool = True
    seed: int = 0
    magnet_words: Magnets = Magnets()  # noqa: RUF009 - frozen


@dataclass(frozen=True, eq=False)
class TokenMaps:
    """What one forward pass said of one frame: how much each place attends to each token of the expression.

    maps: (T, h, w) float32, the mean over draws, T as in expression.tokens. draws: (D, T, h, w) float32, each draw of
    noise by itself. frame: its index. sinks: positions of global attention sinks; None: not looked for.
    """

    frame: int
    expression: Expression
    maps: NDArray[np.float32]
    draws: NDArray[np.float32]
    sinks: tuple[int, ...] | None = None

    def __repr__(self) -> str:
        t, h, w = self.maps.shape
        return (
            f"TokenMaps({self.expression.text!r}, frame={self.frame}, {t} tokens of {w}x{h}, {len(self.draws)} draws)"
        )


@dataclass(frozen=True, eq=False)
class GroundingTrace:
    """How token maps became a heatmap, step by step.

    evidence: (h, w) the words' maps summed. fine: (h', w') evidence brought to the picture's edges. weighed: (h', w')
    after words of place and size; the heatmap is this, scaled to [0, 1]. signs: (5,) what its confidence is judged by,
    see refam.calibration. chosen: the candidates that those words chose among, each with the weight they gave it.
    """

    evidence: NDArray[np.float32]
    fine: NDArray[np.float32]
    weighed: NDArray[np.float32]
    heatmap: Heatmap
    signs: NDArray[np.float64]
    chosen: tuple[tuple[candidates.HeatmapRegion, float], ...] = ()

    def calibrated(self, calibration: Calibration) -> GroundingTrace:
        """The same with the heatmap's confidence as a probability; a flat map stays at 0."""
        if self.heatmap.grid.max() <= 0:
            return self
        return replace(self, heatmap=replace(self.heatmap, confidence=float(calibration(self.signs))))


def ground_maps(
    maps: TokenMaps,
    frame: NDArray[np.uint8],
    parsed: Expression,
    options: GroundingOptions,
    *,
    balanced: bool = False,
    smooth_tokens: float = 0.0,
) -> GroundingTrace:
    """Token maps -> heatmap. frame: (H, W, 3) uint8 RGB. parsed: roles for the tokens that the maps are of.

    balanced, smooth_tokens: see refam.heatmaps.evidence. The heatmap of a frame of one colour is zero everywhere.
    """

    def summed(of: NDArray[np.float32], some: list[list[int]]) -> NDArray[np.float32]:
        return evidence(of, some, balanced=balanced, smooth_tokens=smooth_tokens)

    words = parsed.content_words()
    if options.sinks:
        maps = without_sinks(maps, parsed)
    grid = summed(maps.maps, words)
    if _plain(frame):
        grid = np.zeros_like(grid)
    fine = joint_bilateral_upsample(grid, frame) if options.edge_aware else grid
    weighed, chosen = _with_prior(parsed, fine)
    # A quarter of a token: no point is lost by it (0.914 of 430 scenes with and without; half a token: 0.902), and the
    # peak lies 5 pixels inside the object instead of 2.
    heatmap = make_heatmap(maps.frame, weighed, smooth_peak=FACTOR / 4 if options.edge_aware else 0.0)
    signs = compute_features(
        heatmap.grid,
        heatmap.peak,
        heatmap.confidence,
        by_draw=[summed(draw, words) for draw in maps.draws],
        by_word=[summed(maps.maps, [word]) for word in words],
    )
    return GroundingTrace(grid, fine, weighed, heatmap, signs, chosen)


def _plain(frame: NDArray[np.uint8]) -> bool:
    """Whether a frame is of one colour: whatever a model's attention says of it, there is nothing to be told apart."""
    rows = frame.reshape(len(frame), -1)  # whole rows at a time are ten times faster than three channels
    most, least = (f(0).reshape(-1, 3) for f in (rows.max, rows.min))
    return int((most.max(0) - least.min(0)).max()) <= _ONE_COLOUR


def without_sinks(maps: TokenMaps, parsed: Expression) -> TokenMaps:
    """The same maps, sinks among the words that are meant brought down to what the other words have.

    Sinks elsewhere (stop words, magnets, the end) are left: their maps are dropped. Raises ValueError for maps that
    were read without looking for sinks.
    """
    if maps.sinks is None:
        raise ValueError("these maps were read without looking for sinks: read them again with the switch on")
    meant = [p for word in parsed.content_words() for p in word]
    found = [p for p in maps.sinks if p in meant]
    if not found:
        return maps
    like = [p for p in meant if p not in found]
    return replace(
        maps,
        maps=suppress_sinks(maps.maps, found, like),
        draws=np.stack([suppress_sinks(draw, found, like) for draw in maps.draws]),
    )


def _with_prior(
    parsed: Expression, grid: NDArray[np.float32]
) -> tuple[NDArray[np.float32], tuple[tuple[candidates.HeatmapRegion, float], ...]]:
    """The grid, weighed by the cues over its candidates."""
    if not parsed.cues:
        return grid, ()
    ground = normalise(grid)
    found = candidates.find_regions(ground)
    weights = candidates.weigh(found, parsed.cues)
    chosen = tuple((region, float(weight)) for region, weight in zip(found, weights, strict=True))
    return candidates.apply(ground, found, weights), chosen
