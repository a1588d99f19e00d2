"""Which instances of a concept are meant: words of place and size and the heatmap choose among them.

A segmenter with a detector of concepts (SAM3) outlines every "dog", and does not know "left", "biggest" or "with a
ball". Here each instance is ranked by how its mask fits the words of place and size (`refam.heatmap_regions`), times
the square root of the heat under it: the mean of its hottest cells, as many as the smallest instance has, so that
neither a large instance nor a hot spot wins by itself, and heat on a part of an object is enough.

The root, because the heat was weighed by the same words before, mode by mode; but sizes and order of masks are exact,
those of modes are not: an instance that the modes were wrong about has a heat of `refam.heatmap_regions.MIN_FIT` and
still wins against one whose mask does not fit.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from refam.heatmap_regions import HeatmapRegion, weigh_regions
from refam.segmenters.concepts import ConceptDetector, concepts_of
from refam.text.concept import Concept, read_concept
from refam.text.quantity import Quantity, read_quantity
from refam.text.spatial import CueKind, SpatialCue
from video.masks import Mask, iou, resize_map
from video.types import Candidate, Heatmap, Segmenter

if TYPE_CHECKING:
    from refam.pipeline.stage_cache import StageCache

_MAX_IOU = 0.5  # of two instances
# Of an instance, as a share of the best one's, where words mean any number: a fifth of the heat. Not fitted.
_LEAST_FIT = 0.45


@dataclass(frozen=True, eq=False)
class RankedInstance:
    """An instance of a concept.

    Attributes:
        candidate: Its mask, with the detector's score.
        fit: How well the words fit it, as a share of the best instance's, in (0, 1].
    """

    candidate: Candidate
    fit: float


class ConceptSearch:
    """Looks for the instances of what an expression names, frame by frame.

    Args:
        detector: What finds them.
        concept: What is looked for.
        quantity: How many objects are meant.
        source: The name of the segmenter whose detector it is, for the cache.
        cache: Where instances are stored and looked up.
    """

    def __init__(
        self,
        detector: ConceptDetector,
        concept: Concept,
        quantity: Quantity,
        *,
        source: str,
        cache: StageCache | None = None,
    ) -> None:
        self._detector, self._concept, self._quantity = detector, concept, quantity
        self._cues = tuple(map(_of_several, concept.cues)) if quantity.is_plural else concept.cues
        self._source, self._cache = source, cache
        self._looked_at: set[int] = set()
        self._missed: set[int] = set()

    @classmethod
    def of(cls, segmenter: Segmenter, words: str | None, *, cache: StageCache | None = None) -> ConceptSearch | None:
        """Return the search for an expression; None without a detector, or if the words name no kind of thing."""
        detector = concepts_of(segmenter)
        concept = read_concept(words) if detector is not None and words else None
        if detector is None or concept is None:
            return None
        return cls(detector, concept, read_quantity(words or ""), source=segmenter.name, cache=cache)

    def rank(self, image: NDArray[np.uint8], heatmap: Heatmap) -> list[RankedInstance]:
        """Return the instances on which there is heat, the one that is meant first.

        Args:
            image: (H, W, 3) uint8 RGB.
            heatmap: Where the words point in it.

        Returns:
            Where any number is meant, those that fit nearly as well as the first; otherwise all.
        """
        ranked = rank_instances(self._detect(image, heatmap.frame), heatmap.grid, self._cues)
        if self._quantity.most is None:
            ranked = [one for one in ranked if one.fit >= _LEAST_FIT]
        self._looked_at.add(heatmap.frame)
        if not ranked:
            self._missed.add(heatmap.frame)
        return ranked

    def describe_missed(self, *, why_there: str = "") -> list[str]:
        """Return a sentence for people if there were frames without an instance.

        Args:
            why_there: Why these frames were looked at, as a clause.
        """
        if not self._missed:
            return []
        where = " ".join(
            filter(None, (f"on {len(self._missed)} of {len(self._looked_at)} frames looked at", why_there))
        )
        return [f"{self._detector.name} found no {self._concept.noun_phrase!r} {where}: the heatmap alone says where"]

    def _detect(self, image: NDArray[np.uint8], frame: int) -> list[Candidate]:
        key = (self._source, frame, self._concept.noun_phrase)
        found = self._cache.load_instances(key) if self._cache is not None else None
        if found is None:
            found = self._detector.detect(image, self._concept.noun_phrase, frame=frame)
            if self._cache is not None:
                self._cache.save_instances(key, found)
        return found


def outline_words(image: NDArray[np.uint8], words: str, heatmap: Heatmap, segmenter: Segmenter) -> list[Candidate]:
    """Return the masks that words may mean in one image, the likeliest first.

    Args:
        image: (H, W, 3) uint8 RGB.
        words: The expression.
        heatmap: Where it points in the image.
        segmenter: What outlines.

    Returns:
        The instances of what the words name, if the segmenter can look for them and finds any; else its answers to the
        heatmap.
    """
    search = ConceptSearch.of(segmenter, words)
    instances = [one.candidate for one in search.rank(image, heatmap)] if search is not None else []
    return instances or segmenter.segment(image, heatmap.to_prompt(), frame=heatmap.frame)


def describe_unasked(segmenter: Segmenter, words: str | None) -> list[str]:
    """Return a sentence for people if a segmenter's detector of concepts cannot be asked for some words."""
    detector = concepts_of(segmenter)
    if detector is None or not words or read_concept(words) is not None:
        return []
    return [f"{detector.name} was not asked, for {words!r} names no single kind of thing: name it by one noun"]


def rank_instances(
    candidates: Sequence[Candidate], grid: NDArray[np.float32], cues: Sequence[SpatialCue]
) -> list[RankedInstance]:
    """Rank the instances of a concept by the words that are said of it.

    Args:
        candidates: One mask for each instance.
        grid: (h, w) float32 in [0, 1], the heatmap.
        cues: Words of place and size.

    Returns:
        The instances with any heat under them, the one that fits best first, with fit 1; none overlaps a better one
        by more than half.
    """
    candidates = [one for one in candidates if one.mask.any()]
    weights = weigh_regions([_region_of(one.mask) for one in candidates], cues)
    values = weights * np.sqrt(measure_heat(grid, [one.mask for one in candidates]))
    best = float(values.max(initial=0.0))
    order = sorted(range(len(candidates)), key=lambda i: -values[i])
    kept: list[RankedInstance] = []
    for i in order:
        if values[i] > 0 and all(iou(candidates[i].mask, other.candidate.mask) <= _MAX_IOU for other in kept):
            kept.append(RankedInstance(candidates[i], float(values[i]) / best))
    return kept


def measure_heat(grid: NDArray[np.float32], masks: Sequence[Mask]) -> NDArray[np.float64]:
    """Return the mean heat of the hottest cells under each mask, as many as the smallest mask covers.

    Args:
        grid: (h, w) in [0, 1].
        masks: n masks, (H, W) bool, none of them empty.

    Returns:
        (n,) float64 in [0, 1].
    """
    h, w = grid.shape
    covers = [resize_map(mask, (w, h)) for mask in masks]
    heats = [np.sort(grid[cover >= min(0.5, float(cover.max()))]) for cover in covers]  # of a speck its fullest cell
    n_cells = min(map(len, heats), default=1)
    return np.array([heat[-n_cells:].mean() for heat in heats], np.float64)


def _of_several(cue: SpatialCue) -> SpatialCue:
    """Return a cue that compares all where it would choose one: "the two largest", "the two leftmost"."""
    if cue.rank != 1:
        return cue
    return replace(cue, kind=CueKind.SIDE if cue.kind is CueKind.ORDER else cue.kind, rank=None)


def _region_of(mask: Mask) -> HeatmapRegion:
    """Return a mask as a region, to be weighed by words of place and size; all are compared with each other."""
    h, w = mask.shape
    rows, columns = np.nonzero(mask)
    centre = float((columns.mean() + 0.5) / w), float((rows.mean() + 0.5) / h)
    return HeatmapRegion(mask, mask, 1.0, float(mask.mean()), centre, float(rows.max() + 1) / h)
