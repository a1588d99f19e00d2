"""The modes of a heatmap as regions, so that words of place and size choose among objects (spatial bias, SB).

"the small one of two" cannot be read from the strength of attention: the large one has more of it. But each mode has
an outline, and outlines have sizes and an order from left to right.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from refam.text.spatial import CueKind, SpatialCue

MIN_FIT = 0.05  # no region is ruled out: its attention can still win
_PROMINENCE = 0.25  # a mode that rises less than this share of its height above the saddle belongs to its neighbour
_MIN_PEAK = 0.4  # of the highest mode; what is lower is no mode
_MIN_INSTANCE_PEAK = 0.25  # the same for words that mean several objects, see `refam.pipeline.instances`
_COMPARABLE_PEAK = 0.55  # of the highest mode; regions below are not compared with each other
_EXTENT = 0.65  # the mask of a region is where its basin holds at least this share of its own peak


@dataclass(frozen=True, eq=False)
class HeatmapRegion:
    """One mode of a heatmap.

    Attributes:
        mask: (h, w) bool, its outline.
        basin: (h, w) bool, its watershed basin: all cells from which the way up leads to this mode.
        peak: Its highest value.
        area: Area of the mask, as a share of the frame.
        centre: Normalised (x, y) of the mask, weighted by the values.
        bottom: Normalised y of the mask's lower end.
    """

    mask: NDArray[np.bool_]
    basin: NDArray[np.bool_]
    peak: float
    area: float
    centre: tuple[float, float]
    bottom: float

    def heat(self, grid: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return a heatmap of this region alone, (h, w) float32 with the maximum 1. grid: (h, w) that it is of."""
        return np.where(self.basin, grid / self.peak, 0).clip(0, 1).astype(np.float32)

    def peak_at(self, grid: NDArray[np.float32]) -> tuple[float, float]:
        """Return the normalised (x, y) of its highest cell. grid: (h, w) that it is of."""
        row, column = np.unravel_index(int(np.where(self.basin, grid, -1).argmax()), grid.shape)
        return (float(column) + 0.5) / grid.shape[1], (float(row) + 0.5) / grid.shape[0]

    def __repr__(self) -> str:
        x, y = self.centre
        return f"HeatmapRegion(peak={self.peak:.2f}, area={self.area:.4f}, centre=({x:.2f}, {y:.2f}))"


def find_regions(
    grid: NDArray[np.float32], *, prominence: float = _PROMINENCE, min_peak: float = _MIN_PEAK
) -> tuple[HeatmapRegion, ...]:
    """Find the modes of a heatmap.

    The grid is flooded from the top down (a watershed). Two modes meet at a saddle, and the lower one counts as a mode
    of its own only if it rises above the saddle by enough (the persistence of a peak; Edelsbrunner et al., "Topological
    persistence and simplification", 2002).

    Args:
        grid: (h, w) non-negative.
        prominence: The least rise above the saddle, as a share of the mode's height.
        min_peak: The least height, as a share of the highest mode's.

    Returns:
        The regions, highest first; none if the grid is flat.
    """
    top = float(grid.max())
    if not np.isfinite(top) or top <= 0 or float(grid.min()) == top:
        return ()
    labels = _flood(grid, prominence=prominence, floor=min_peak * _EXTENT * top)
    regions = [_region(grid, labels == label) for label in np.unique(labels[labels >= 0])]
    return tuple(sorted((r for r in regions if r.peak >= min_peak * top), key=lambda r: -r.peak))


def find_instance_regions(grid: NDArray[np.float32]) -> tuple[HeatmapRegion, ...]:
    """Find the modes of a heatmap of words that mean several objects, as `find_regions`; lower ones count, too.

    Args:
        grid: (h, w) non-negative.
    """
    return find_regions(grid, min_peak=_MIN_INSTANCE_PEAK)


def weigh_regions(regions: Sequence[HeatmapRegion], cues: Sequence[SpatialCue]) -> NDArray[np.float64]:
    """Compute how well each region fits all the cues.

    Order and size are relative, and are compared among the regions whose peak is nearly as high as the highest.

    Args:
        regions: As `find_regions` returns them.
        cues: Words of place and size.

    Returns:
        (n,) weights in (0, 1]; all 1 without cues.
    """
    weights = np.ones(len(regions))
    if not regions:
        return weights
    comparable = np.array([r.peak >= _COMPARABLE_PEAK * regions[0].peak for r in regions])
    for cue in cues:
        weights *= np.clip(_fit_of(regions, comparable, cue), MIN_FIT, 1)
    return weights


def apply_weights(
    grid: NDArray[np.float32], regions: Sequence[HeatmapRegion], weights: NDArray[np.float64]
) -> NDArray[np.float32]:
    """Multiply the basin of each region by its weight, and the rest by the lowest weight.

    The maximum then lies in the region whose peak times weight is largest.

    Args:
        grid: (h, w) heatmap that the regions are of.
        regions: (n,) regions.
        weights: (n,) as `weigh_regions` returns them.

    Returns:
        (h, w) float32; the grid itself if there are no regions.
    """
    if not regions:
        return grid
    factor = np.full(grid.shape, float(weights.min()), np.float32)
    for region, weight in zip(regions, weights, strict=True):
        factor[region.basin] = weight
    return grid * factor


# --- how a region fits a cue -----------------------------------------------------------------------------------------


def _fit_of(regions: Sequence[HeatmapRegion], comparable: NDArray[np.bool_], cue: SpatialCue) -> NDArray[np.float64]:
    """(n,) how well each region fits one cue, at most 1."""
    centres = [r.centre for r in regions]
    if cue.kind is CueKind.SIDE:  # a ramp over the frame
        dx, dy = cue.direction
        return np.array([0.5 + dx * (x - 0.5) + dy * (y - 0.5) for x, y in centres])
    if cue.kind is CueKind.CORNER:
        return np.array([1.4 - 2 * min(np.hypot(x - a, y - b) for a in (0, 1) for b in (0, 1)) for x, y in centres])
    if cue.kind is CueKind.MIDDLE:
        return np.array([1 - 2 * max(abs(x - 0.5), abs(y - 0.5)) for x, y in centres])
    measure = _MEASURES[cue.kind]
    values = np.array([measure(r, cue) for r in regions])
    if cue.rank is not None:
        return _select_rank(values, comparable, cue.rank)
    return _relative_to_largest(values, comparable)


def _relative_to_largest(values: NDArray[np.float64], comparable: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Each value as a share of the largest comparable one; 0 for those that are not comparable."""
    return np.where(comparable, values / values[comparable].max(), 0.0)


def _select_rank(values: NDArray[np.float64], comparable: NDArray[np.bool_], rank: int) -> NDArray[np.float64]:
    """1 for the comparable value of this rank (1 is the largest; the last one if there are fewer), 0 for the others."""
    order = np.flatnonzero(comparable)[np.argsort(-values[comparable], kind="stable")]
    out = np.zeros(len(values))
    out[order[min(rank, len(order)) - 1]] = 1.0
    return out


def _position_along(region: HeatmapRegion, cue: SpatialCue) -> float:
    return cue.direction[0] * region.centre[0] + cue.direction[1] * region.centre[1]


def _size(region: HeatmapRegion, cue: SpatialCue) -> float:
    return region.area**cue.sign


def _height(region: HeatmapRegion, cue: SpatialCue) -> float:
    return float(region.mask.any(axis=1).mean()) ** cue.sign


def _nearness(region: HeatmapRegion, cue: SpatialCue) -> float:
    # In a level view, nearer objects stand lower and look larger. A single picture tells no more.
    return float((max(region.bottom, 0.02) * np.sqrt(region.area)) ** cue.sign)


_MEASURES: dict[CueKind, Callable[[HeatmapRegion, SpatialCue], float]] = {
    CueKind.ORDER: _position_along,
    CueKind.SIZE: _size,
    CueKind.HEIGHT: _height,
    CueKind.NEAR: _nearness,
}


# --- watershed -------------------------------------------------------------------------------------------------------


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
        area=float(mask.mean()),
        centre=(float(((columns + 0.5) * values).sum() / mass) / w, float(((rows + 0.5) * values).sum() / mass) / h),
        bottom=float(rows.max() + 1) / h,
    )


def _flood(grid: NDArray[np.float32], *, prominence: float, floor: float) -> NDArray[np.int64]:
    """(h, w) int64: the mode that each cell belongs to, -1 below `floor`. Cells are neighbours at corners too."""
    h, w = grid.shape
    padded = np.pad(grid, 1, constant_values=-np.inf).ravel().tolist()
    order = np.argsort(-grid, axis=None, kind="stable")
    order = order[grid.ravel()[order] >= floor]
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
            if peaks[other] - value < prominence * peaks[other]:
                parents[other] = highest
        labels[cell] = highest
    roots = np.array([root(i) for i in range(len(parents))] + [-1])  # index -1 gives -1
    return np.asarray(roots[np.array(labels).reshape(h + 2, w + 2)[1:-1, 1:-1]], np.int64)
