from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from video.heatmap_contrast import contrast_heatmaps
from video.types import Heatmap


def heatmap(grid, frame=0, confidence=0.7):
    grid = np.asarray(grid, np.float32)
    grid = grid / grid.max() if grid.max() > 0 else grid
    y, x = np.unravel_index(int(grid.argmax()), grid.shape)
    return Heatmap(frame, grid, ((x + 0.5) / grid.shape[1], (y + 0.5) / grid.shape[0]), confidence)


def grids(h=5, w=7):
    return st.lists(st.floats(0, 1, width=32), min_size=h * w, max_size=h * w).map(lambda v: np.reshape(v, (h, w)))


def test_what_the_other_looks_for_is_left_to_it():
    """Both maps are highest on the left; the second knows only the left, so the first means the right."""
    first, second = heatmap([[1.0, 0, 0, 0.8]]), heatmap([[1.0, 0, 0, 0.0]])
    (one,), (two,) = contrast_heatmaps([[first], [second]])
    np.testing.assert_allclose(one.grid, [[0.625, 0, 0, 1.0]])
    assert one.peak == (0.875, 0.5)
    np.testing.assert_allclose(two.grid, [[1.0, 0, 0, 0.0]])
    assert (one.confidence, one.frame) == (0.7, 0)


@settings(max_examples=50, deadline=None)
@given(grids(), st.integers(1, 4))
def test_searches_for_one_thing_and_single_ones_change_nothing(grid, n):
    own = heatmap(grid)
    for (found,) in contrast_heatmaps([[own]] * n):
        np.testing.assert_allclose(found.grid, own.grid, atol=1e-6)
        assert found.peak == own.peak


@settings(max_examples=50, deadline=None)
@given(grids(), grids(), grids())
def test_maps_stay_maps(a, b, c):
    searches = [[heatmap(g, 3), heatmap(g[::-1], 8)] for g in (a, b, c)]
    for row, before in zip(contrast_heatmaps(searches), searches, strict=True):
        for found, was in zip(row, before, strict=True):
            assert found.frame == was.frame
            assert found.grid.max() == pytest.approx(1) or was.grid.max() == 0
            assert ((found.grid > 0) <= (was.grid > 0)).all(), "nothing appears that was not there"


def test_a_map_that_would_vanish_stays():
    weak, strong = heatmap(np.zeros((2, 3))), heatmap(np.ones((2, 3)))
    (kept,), _ = contrast_heatmaps([[weak], [strong]])
    assert kept is weak


@pytest.mark.parametrize(
    ("searches", "options", "said"),
    [
        ([[heatmap(np.eye(2))], [heatmap(np.eye(3))]], {}, "same frames"),
        ([[heatmap(np.eye(2), 1)], [heatmap(np.eye(2), 2)]], {}, "same frames"),
        ([[heatmap(np.eye(2))]], {"share": 1.0}, "share"),
    ],
)
def test_what_does_not_go_together_is_refused(searches, options, said):
    with pytest.raises(ValueError, match=said):
        contrast_heatmaps(searches, **options)
