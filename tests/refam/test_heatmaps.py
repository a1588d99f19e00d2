"""Heatmaps against cases worked out by hand."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from refam.heatmaps import confidence_of, evidence, make_heatmap, normalise


def blob(shape: tuple[int, int], x: float, y: float, sigma: float = 1.5) -> np.ndarray:
    rows, columns = np.mgrid[0 : shape[0], 0 : shape[1]] + 0.5
    return np.exp(-((columns - x * shape[1]) ** 2 + (rows - y * shape[0]) ** 2) / (2 * sigma**2)).astype(np.float32)


@given(x=st.floats(0.15, 0.85), y=st.floats(0.15, 0.85))
def test_the_peak_lies_between_cells_where_the_evidence_does(x: float, y: float) -> None:
    heatmap = make_heatmap(3, blob((16, 28), x, y) * 7 + 5)
    assert heatmap.frame == 3
    assert heatmap.peak == pytest.approx((x, y), abs=0.02)


@pytest.mark.parametrize(("second", "low", "high"), [(0.0, 0.5, 1.0), (0.9, 0.05, 0.15), (1.0, 0.0, 0.02)])
def test_confidence_falls_when_another_place_is_as_likely(second: float, low: float, high: float) -> None:
    grid = normalise(blob((16, 28), 0.2, 0.5) + second * blob((16, 28), 0.8, 0.5))
    assert low <= confidence_of(grid) <= high


def test_a_flat_map_has_no_confidence_and_no_evidence() -> None:
    heatmap = make_heatmap(0, np.full((4, 6), 0.3, np.float32))
    assert heatmap.confidence == 0
    assert heatmap.grid.max() == 0


RAW = [[[1, 5], [4, 2]], [[1, 2], [2, 3]], [[2, 3], [4, 3]]]
EVEN = [[[9, 8], [7, 6]], [[1, 2], [3, 4]]]  # 10 everywhere: shares are maps / 10, and standardise alike


@pytest.mark.parametrize(
    ("maps", "words", "options", "expected"),
    [
        (RAW, [[1], [2]], {}, [[3, 5], [6, 6]]),
        (RAW, [[1, 2]], {}, [[3, 5], [6, 6]]),
        (EVEN, [[1]], {"balanced": True}, [[-2.6833, -0.8944], [0.8944, 2.6833]]),
    ],
)
def test_evidence_worked_out_by_hand(
    maps: list, words: list[list[int]], options: dict[str, bool], expected: list
) -> None:
    np.testing.assert_allclose(evidence(np.array(maps, np.float32), words, **options), expected, atol=1e-3)


def test_smoothing_pools_an_object_against_one_loud_token() -> None:
    maps = np.zeros((1, 16, 16), np.float32)
    maps[0, 3, 3] = 1.0
    maps[0, 9:13, 9:13] = 0.6
    assert evidence(maps, [[0]]).argmax() == 3 * 16 + 3
    row, column = np.unravel_index(evidence(maps, [[0]], smooth_tokens=1.5).argmax(), (16, 16))
    assert 9 <= row < 13
    assert 9 <= column < 13


def test_a_word_of_several_tokens_is_one_word() -> None:
    maps = np.random.default_rng(0).random((3, 4, 5), dtype=np.float32)
    merged = np.stack([maps[0], maps[1] + maps[2]])
    np.testing.assert_allclose(
        evidence(maps, [[0], [1, 2]], balanced=True), evidence(merged, [[0], [1]], balanced=True), atol=1e-5
    )


def test_the_peak_of_a_level_map_is_inside_it_and_not_at_its_rim() -> None:
    grid = np.zeros((40, 40), np.float32)
    grid[10:30, 10:30] = 0.98
    grid[10, 10] = 1.0
    assert make_heatmap(0, grid).peak == pytest.approx((10.5 / 40, 10.5 / 40), abs=0.01)
    x, y = make_heatmap(0, grid, smooth_peak=2.0).peak
    assert all(15 < 40 * c < 25 for c in (x, y))
    one = np.zeros((40, 40), np.float32)
    one[5, 30] = 1
    assert make_heatmap(0, one, smooth_peak=2.0).peak == pytest.approx((30.5 / 40, 5.5 / 40), abs=0.01)
