"""The heatmap's modes as candidates, so that words of place and size choose among things, not among pixels.

"the small one of two" cannot be read from where attention is strong: the large one has more of it. But each mode has
an outline, and outlines have sizes and an order from left to right.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from refam.text.spatial import Cue, CueKind

FLOOR = 0.05  # no candidate is ruled out: the words' own evidence can still win
_DEPTH = 0.25  # a mode that rises less than this share of its height above the saddle belongs to its higher neighbour
_LEAST = 0.4  # a mode lower than this share of the highest is none
_ELIGIBLE = 0.55  # and one lower than this is left out where candidates are compared with each other
_EXTENT = 0.65  # a candidate is where its basin holds at least this share of its own peak


@dataclass(frozen=True, eq=False)
class HeatmapRegion:
    """One mode of a heatmap. mask: (h, w) bool, its outline; basin: (h, w) bool, all the ground that leads up to it.

    peak: its highest value. mass: sum of the values in its mask. area: of the mask, in parts of the frame. centre:
    normalised (x, y), weighted by the values. bottom: normalised y of the mask's lower end. height: of the mask.
    """

    mask: NDArray[np.bool_]
    basin: NDArray[np.bool_]
    peak: float
    mass: float
    area: float
    centre: tuple[float, float]
    bottom: float
    height: float

    def __repr__(self) -> str:
        x, y = self.centre
        return f"HeatmapRegion(peak={self.peak:.2f}, area={self.area:.4f}, centre=({x:.2f}, {y:.2f}))"


def find_regions(
    grid: NDArray[np.float32], *, depth: float = _DEPTH, least: float = _LEAST
) -> tuple[HeatmapRegion, ...]:
    """The modes of a non-negative (h, w) grid, highest first; none where it is flat.

    The ground is flooded from the top down: two modes meet at a saddle, and the lower one is a mode of its own only if
    it rises above it by `depth` of its height (the persistence of a peak; Edelsbrunner et al., "Topological
    persistence and simplification", 2002).
    """
    top = float(grid.max())
    if not np.isfinite(top) or top <= 0 or float(grid.min()) == top:
        return ()
    labels = _flooded(grid, depth=depth, down_to=least * _EXTENT * top)
    found = [_region(grid, labels == label) for label in np.unique(labels[labels >= 0])]
    return tuple(sorted((r for r in found if r.peak >= least * top), key=lambda r: -r.peak))


def weigh(found: Sequence[HeatmapRegion], cues: Sequence[Cue]) -> NDArray[np.float64]:
    """(n,) in (0, 1]: how well each region fits all the cues; 1 for each where there is no cue.

    Order and size are relative: they are told among the regions that the words fit nearly as well as the best one.
    """
    weights = np.ones(len(found))
    if not found:
        return weights
    eligible = np.array([r.peak >= _ELIGIBLE * found[0].peak for r in found])
    for cue in cues:
        weights *= np.clip(_fit(found, eligible, cue), FLOOR, 1)
    return weights


def apply(
    grid: NDArray[np.float32], found: Sequence[HeatmapRegion], weights: NDArray[np.float64]
) -> NDArray[np.float32]:
    """The (h, w) grid, each region's basin times its weight; the ground between them times the lowest.

    So the maximum lies in the region whose peak times weight is largest.
    """
    if not found:
        return grid
    factor = np.full(grid.shape, float(weights.min()), np.float32)
    for region, weight in zip(found, weights, strict=True):
        factor[region.basin] = weight
    return grid * factor


# --- how a region fits a cue -----------------------------------------------------------------------------------------


def _fit(found: Sequence[HeatmapRegion], eligible: NDArray[np.bool_], cue: Cue) -> NDArray[np.float64]:
    centres = [r.centre for r in found]
    if cue.kind is CueKind.SIDE:  # a ramp over the frame
        dx, dy = cue.direction
        return np.array([0.5 + dx * (x - 0.5) + dy * (y - 0.5) for x, y in centres])
    if cue.kind is CueKind.CORNER:
        return np.array([1.4 - 2 * min(np.hypot(x - a, y - b) for a in (0, 1) for b in (0, 1)) for x, y in centres])
    if cue.kind is CueKind.MIDDLE:
        return np.array([1 - 2 * max(abs(x - 0.5), abs(y - 0.5)) for x, y in centres])
    measure = _MEASURES[cue.kind]
    values = np.array([measure(r, cue) for r in found])
    if cue.nth is not None:
        return _nth(values, eligible, cue.nth)
    return _relative(values, eligible)


def _relative(values: NDArray[np.float64], eligible: NDArray[np.bool_]) -> NDArray[np.float64]:
    """In parts of the largest; those that are not compared count as the least of all."""
    return np.where(eligible, values / values[eligible].max(), 0.0)


def _nth(values: NDArray[np.float64], eligible: NDArray[np.bool_], nth: int) -> NDArray[np.float64]:
    """1 for the nth largest of those compared (the last one where there are fewer), 0 for the others."""
    order = np.flatnonzero(eligible)[np.argsort(-values[eligible], kind="stable")]
    out = np.zeros(len(values))
    out[order[min(nth, len(order)) - 1]] = 1.0
    return out


def _along(region: HeatmapRegion, cue: Cue) -> float:
    return cue.direction[0] * region.centre[0] + cue.direction[1] * region.centre[1]


def _size(region: HeatmapRegion, cue: Cue) -> float:
    return region.area**cue.sign


def _near(region: HeatmapRegion, cue: Cue) -> float:
    # Nearer things stand lower in a level view and look larger: as far as a single picture tells.
    return float((max(region.bottom, 0.02) * np.sqrt(region.area)) ** cue.sign)


_MEASURES: dict[CueKind, Callable[[HeatmapRegion, Cue], float]] = {
    CueKind.ORDER: _along,
    CueKind.SIZE: _size,
    CueKind.NEAR: _near,
}


# --- flooding --------------------------------------------------------------------------------------------------------


def _region(grid: NDArray[np.float32], basin: NDArray[np.bool_]) -> HeatmapRegion:
    h, w = grid.shape
    peak = float(grid[basin].max())
    mask = basin & (grid >= _EXTENT * peak)
    rows, columns = np.nonzero(mask)
    values = grid[mask].astype(np.float64)
    mass = float(values.sum())
    return HeatmapRegion(
        mask=mask,
        basin=basin,
        peak=peak,
        mass=mass,
        area=float(mask.mean()),
        centre=(float(((columns + 0.5) * values).sum() / mass) / w, float(((rows + 0.5) * values).sum() / mass) / h),
        bottom=float(rows.max() + 1) / h,
        height=float(rows.max() + 1 - rows.min()) / h,
    )


def _flooded(grid: NDArray[np.float32], *, depth: float, down_to: float) -> NDArray[np.int64]:
    """(h, w) int64: which mode each cell leads up to, -1 below `down_to`. Cells touch at their corners too."""
    h, w = grid.shape
    padded = np.pad(grid, 1, constant_values=-np.inf).ravel().tolist()
    order = np.argsort(-grid, axis=None, kind="stable")
    order = order[grid.ravel()[order] >= down_to]
    steps = [dy * (w + 2) + dx for dy in (-1, 0, 1) for dx in (-1, 0, 1) if dx or dy]
    labels = [-1] * len(padded)
    parents: list[int] = []
    peaks: list[float] = []

    def root(label: int) -> int:
        while parents[label] != label:
            parents[label] = parents[parents[label]]
            label = parents[label]
        return label

    for flat in order.tolist():
        cell = (flat // w + 1) * (w + 2) + flat % w + 1
        value = padded[cell]
        near = {root(labels[cell + step]) for step in steps if labels[cell + step] >= 0}
        if not near:
            near = {len(parents)}
            parents.append(len(parents))
            peaks.append(value)
        highest = max(near, key=lambda r: (peaks[r], -r))
        for other in near - {highest}:
            if peaks[other] - value < depth * peaks[other]:
                parents[other] = highest
        labels[cell] = highest
    roots = np.array([root(i) for i in range(len(parents))] + [-1])  # the last is what -1 picks
    return np.asarray(roots[np.array(labels).reshape(h + 2, w + 2)[1:-1, 1:-1]], np.int64)
