"""Modes at known places as regions, and which of them words of place and size choose."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from refam.heatmap_regions import MIN_FIT, apply_weights, find_regions, weigh_regions
from refam.text.spatial import find_spatial_cues
from refam.text.words import split_words

SIZE = (48, 96)  # h, w


def discs(*some: tuple[float, float, float, float], size: tuple[int, int] = SIZE) -> np.ndarray:
    """A heatmap of cones: x, y (normalised), radius (cells), height."""
    h, w = size
    y, x = np.mgrid[0:h, 0:w]
    grid = np.zeros(size, np.float32)
    for cx, cy, radius, height in some:
        distance = np.hypot(x + 0.5 - cx * w, y + 0.5 - cy * h)
        grid = np.maximum(grid, height * np.clip(1.2 - 0.6 * distance / radius, 0, 1)).astype(np.float32)
    return grid


# A (large), B (small, strongest), C (middle-sized), from left to right; A lowest in the frame.
ROW = ((0.15, 0.72, 8, 0.9), (0.5, 0.3, 3, 1.0), (0.85, 0.5, 5, 0.8))


# A wide, B tall, C in between.
ROW_OF_HEIGHTS = ((0.15, 12, 4), (0.5, 3, 20), (0.85, 5, 10))


def bars() -> np.ndarray:
    """A heatmap of boxes, each of which is weaker towards its edges: x (normalised), width and height (cells)."""
    grid = np.zeros(SIZE, np.float32)
    y, x = np.mgrid[0 : SIZE[0], 0 : SIZE[1]]
    for cx, width, height in ROW_OF_HEIGHTS:
        edge = np.maximum(np.abs(x + 0.5 - cx * SIZE[1]) / width, np.abs(y + 0.5 - 24) / height) * 2
        grid = np.maximum(grid, np.clip(1.3 - 0.6 * edge, 0, 1)).astype(np.float32)
    return grid


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("the tallest star", "B"),
        ("the taller of the two stars", "B"),
        ("the shortest star", "A"),
        ("the second tallest star", "C"),
    ],
)
def test_heights_choose_among_regions(text: str, expected: str) -> None:
    assert choose(text, bars()) == expected


def choose(text: str, grid: np.ndarray) -> str:
    cues = find_spatial_cues([w.text for w in split_words(text)])
    regions = find_regions(grid)
    biased = apply_weights(grid, regions, weigh_regions(regions, cues))
    column = np.unravel_index(biased.argmax(), grid.shape)[1]
    x = (column + 0.5) / grid.shape[1]
    return min("ABC", key=lambda name: abs(x - ROW["ABC".index(name)][0]))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("the star", "B"),
        ("the star on the left", "A"),
        ("the leftmost star", "A"),
        ("star far right", "C"),
        ("the second star from the left", "B"),
        ("second from the right", "B"),
        ("third one from the left", "C"),
        ("the fifth star from the left", "C"),
        ("star in the middle", "B"),
        ("the top star", "B"),
        ("the star in the lower left corner", "A"),
        ("the big star", "A"),
        ("the largest star", "A"),
        ("second largest star", "C"),
        ("a tiny star", "B"),
        ("the smallest star", "B"),
        ("the star closest to the camera", "A"),
        ("the star in the background", "B"),
        ("the big star on the right", "C"),
        ("the left hand", "B"),
        ("star left of the tree", "B"),
    ],
)
def test_spatial_cues_choose_among_regions(text: str, expected: str) -> None:
    assert choose(text, discs(*ROW)) == expected


def test_attributes_of_regions() -> None:
    regions = find_regions(discs(*ROW))
    assert [round(r.peak, 2) for r in regions] == [1.0, 0.9, 0.8]
    for region, (x, y, radius, _) in zip(regions, (ROW[1], ROW[0], ROW[2]), strict=True):
        assert region.centre == pytest.approx((x, y), abs=0.02)
        # A cone of this slope is at 0.65 of its peak 0.55 / 0.6 of the radius out.
        assert region.area * SIZE[0] * SIZE[1] == pytest.approx(np.pi * (radius * 0.55 / 0.6) ** 2, rel=0.2)
        assert region.bottom == pytest.approx(y + radius * 0.55 / 0.6 / SIZE[0], abs=0.03)
        assert (region.mask <= region.basin).all()


@pytest.mark.parametrize(
    ("saddle", "count"),
    [(0.95, 1), (0.8, 1), (0.7, 2), (0.5, 2), (0.0, 2)],
)
def test_modes_of_low_prominence_are_merged(saddle: float, count: int) -> None:
    line = np.interp(np.arange(41), [0, 10, 20, 30, 40], [0, 1, saddle, 0.99, 0]).astype(np.float32)
    assert len(find_regions(np.tile(line, (5, 1)))) == count


@pytest.mark.parametrize("grid", [np.zeros((8, 8)), np.ones((8, 8)), np.full((1, 1), 0.3)])
def test_a_flat_map_has_no_regions_and_is_unchanged(grid: np.ndarray) -> None:
    grid = grid.astype(np.float32)
    regions = find_regions(grid)
    assert regions == ()
    assert np.array_equal(apply_weights(grid, regions, weigh_regions(regions, find_spatial_cues(["left"]))), grid)


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 10_000), size=st.tuples(st.integers(2, 24), st.integers(2, 24)))
def test_regions_and_weights_of_any_map(seed: int, size: tuple[int, int]) -> None:
    grid = np.random.default_rng(seed).random(size).astype(np.float32) ** 2
    regions = find_regions(grid, prominence=0.0)
    # With depth 0 each local maximum is a mode: the independent truth is a maximum filter.
    highest = ndimage.maximum_filter(grid, size=3, mode="constant") == grid
    assert len(regions) == int((highest & (grid >= 0.4 * grid.max())).sum())
    weights = weigh_regions(regions, find_spatial_cues(["small", "thing", "on", "the", "left"]))
    assert ((weights > 0) & (weights <= 1)).all()
    assert (weights >= MIN_FIT**2 - 1e-12).all()
    biased = apply_weights(grid, regions, weights)
    best = int(np.argmax([r.peak * w for r, w in zip(regions, weights, strict=True)]))
    assert regions[best].basin.ravel()[biased.argmax()]
    merged = find_regions(grid, prominence=0.3)
    assert 1 <= len(merged) <= len(regions)
    assert sum(r.basin.astype(int) for r in merged).max() == 1, "basins do not overlap"
