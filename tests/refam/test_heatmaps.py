"""Heatmaps and upsampling against cases worked out by hand and plain loops."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from refam.heatmaps import (
    UPSAMPLING_FACTOR,
    joint_bilateral_upsample,
    make_heatmap,
    measure_contrast,
    normalise,
    sum_word_maps,
)


def blob(shape: tuple[int, int], x: float, y: float, sigma: float = 1.5) -> np.ndarray:
    rows, columns = np.mgrid[0 : shape[0], 0 : shape[1]] + 0.5
    return np.exp(-((columns - x * shape[1]) ** 2 + (rows - y * shape[0]) ** 2) / (2 * sigma**2)).astype(np.float32)


@given(x=st.floats(0.15, 0.85), y=st.floats(0.15, 0.85))
def test_the_peak_is_found_between_cells(x: float, y: float) -> None:
    heatmap = make_heatmap(3, blob((16, 28), x, y) * 7 + 5)
    assert heatmap.frame == 3
    assert heatmap.peak == pytest.approx((x, y), abs=0.02)


@pytest.mark.parametrize(("second", "low", "high"), [(0.0, 0.5, 1.0), (0.9, 0.05, 0.15), (1.0, 0.0, 0.02)])
def test_contrast_falls_as_the_second_mode_rises(second: float, low: float, high: float) -> None:
    grid = normalise(blob((16, 28), 0.2, 0.5) + second * blob((16, 28), 0.8, 0.5))
    assert low <= measure_contrast(grid) <= high


def test_a_flat_map_makes_an_empty_heatmap_of_confidence_zero() -> None:
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
def test_sum_word_maps_equals_sums_worked_out_by_hand(
    maps: list, words: list[list[int]], options: dict[str, bool], expected: list
) -> None:
    np.testing.assert_allclose(sum_word_maps(np.array(maps, np.float32), words, **options), expected, atol=1e-3)


def test_smoothing_lets_an_object_win_over_one_strong_token() -> None:
    maps = np.zeros((1, 16, 16), np.float32)
    maps[0, 3, 3] = 1.0
    maps[0, 9:13, 9:13] = 0.6
    assert sum_word_maps(maps, [[0]]).argmax() == 3 * 16 + 3
    row, column = np.unravel_index(sum_word_maps(maps, [[0]], smooth_tokens=1.5).argmax(), (16, 16))
    assert 9 <= row < 13
    assert 9 <= column < 13


def test_the_tokens_of_a_word_are_summed_before_balancing() -> None:
    maps = np.random.default_rng(0).random((3, 4, 5), dtype=np.float32)
    merged = np.stack([maps[0], maps[1] + maps[2]])
    np.testing.assert_allclose(
        sum_word_maps(maps, [[0], [1, 2]], balanced=True), sum_word_maps(merged, [[0], [1]], balanced=True), atol=1e-5
    )


def test_smooth_peak_moves_the_peak_of_a_level_map_inside() -> None:
    grid = np.zeros((40, 40), np.float32)
    grid[10:30, 10:30] = 0.98
    grid[10, 10] = 1.0
    assert make_heatmap(0, grid).peak == pytest.approx((10.5 / 40, 10.5 / 40), abs=0.01)
    x, y = make_heatmap(0, grid, smooth_peak=2.0).peak
    assert all(15 < 40 * c < 25 for c in (x, y))
    single = np.zeros((40, 40), np.float32)
    single[5, 30] = 1
    assert make_heatmap(0, single, smooth_peak=2.0).peak == pytest.approx((30.5 / 40, 5.5 / 40), abs=0.01)


def upsample_slowly(
    grid: np.ndarray, image: np.ndarray, sigma_tokens: float, sigma_colour: float, radius: int
) -> np.ndarray:
    """The definition, cell by cell."""
    h, w = grid.shape
    big = (
        cv2.resize(image, (w * UPSAMPLING_FACTOR, h * UPSAMPLING_FACTOR), interpolation=cv2.INTER_AREA).astype(
            np.float32
        )
        / 255
    )
    lab = cv2.cvtColor(big, cv2.COLOR_RGB2LAB) / 100
    small = lab.reshape(h, UPSAMPLING_FACTOR, w, UPSAMPLING_FACTOR, 3).mean((1, 3))
    out = np.zeros((h * UPSAMPLING_FACTOR, w * UPSAMPLING_FACTOR))
    for i in range(h * UPSAMPLING_FACTOR):
        for j in range(w * UPSAMPLING_FACTOR):
            y, x = (i + 0.5) / UPSAMPLING_FACTOR - 0.5, (j + 0.5) / UPSAMPLING_FACTOR - 0.5
            total = weight = 0.0
            for r in range(max(0, round(y) - radius), min(h, round(y) + radius + 1)):
                for c in range(max(0, round(x) - radius), min(w, round(x) + radius + 1)):
                    similarity = np.exp(-((lab[i, j] - small[r, c]) ** 2).sum() / (2 * sigma_colour**2)) + 1e-6
                    share = np.exp(-((y - r) ** 2 + (x - c) ** 2) / (2 * sigma_tokens**2)) * similarity
                    total, weight = total + share * grid[r, c], weight + share
            out[i, j] = total / weight
    return out


def test_upsampling_equals_the_definition() -> None:
    rng = np.random.default_rng(0)
    grid = rng.random((5, 7), dtype=np.float32)
    image = cv2.GaussianBlur(rng.integers(0, 255, (40, 56, 3), dtype=np.uint8), (0, 0), 3)
    upsampled = joint_bilateral_upsample(grid, image, sigma_tokens=1.2, sigma_colour=0.3, radius=2)
    np.testing.assert_allclose(upsampled, upsample_slowly(grid, image, 1.2, 0.3, 2), rtol=1e-4)


def test_attention_in_the_hole_of_a_ring_moves_onto_the_ring() -> None:
    image = np.full((64, 112, 3), 120, np.uint8)
    cv2.circle(image, (40, 32), 11, (215, 35, 35), -1)
    cv2.circle(image, (40, 32), 5, (120, 120, 120), -1)
    rows, columns = np.mgrid[0:16, 0:28]
    grid = np.exp(-((columns - 9.5) ** 2 + (rows - 7.5) ** 2) / (2 * 1.5**2)).astype(np.float32)
    fine = joint_bilateral_upsample(grid, image)
    row, column = np.unravel_index(fine.argmax(), fine.shape)
    assert tuple(image[row, column]) == (215, 35, 35)
    assert tuple(image[32, 40]) == (120, 120, 120), "where the plain maximum is"


@pytest.mark.parametrize("value", [0.0, 0.7])
def test_a_flat_map_stays_flat_when_upsampled(value: float) -> None:
    image = np.random.default_rng(1).integers(0, 255, (48, 48, 3), dtype=np.uint8)
    fine = joint_bilateral_upsample(np.full((6, 6), value, np.float32), image)
    np.testing.assert_allclose(fine, value, atol=1e-6)


def test_every_cell_is_the_weighted_mean_of_the_papers_formula() -> None:
    """One cell at a time, in plain loops and float64."""
    rng = np.random.default_rng(2)
    h, w, radius, sigma_tokens, sigma_colour = 3, 5, 2, 1.5, 0.2
    grid = rng.normal(size=(h, w)).astype(np.float32)
    image = rng.integers(0, 255, (h * UPSAMPLING_FACTOR, w * UPSAMPLING_FACTOR, 3), dtype=np.uint8)
    lab = cv2.cvtColor(image.astype(np.float32) / 255, cv2.COLOR_RGB2LAB).astype(np.float64) / 100
    token = lab.reshape(h, UPSAMPLING_FACTOR, w, UPSAMPLING_FACTOR, 3).mean((1, 3))
    expected = np.zeros((h * UPSAMPLING_FACTOR, w * UPSAMPLING_FACTOR))
    for y, x in np.ndindex(expected.shape):
        at_y, at_x = (y + 0.5) / UPSAMPLING_FACTOR - 0.5, (x + 0.5) / UPSAMPLING_FACTOR - 0.5
        total = weight = 0.0
        for r, c in np.ndindex(h, w):
            if abs(r - y // UPSAMPLING_FACTOR) <= radius and abs(c - x // UPSAMPLING_FACTOR) <= radius:
                near = np.exp(-((at_y - r) ** 2 + (at_x - c) ** 2) / (2 * sigma_tokens**2))
                similarity = np.exp(-((lab[y, x] - token[r, c]) ** 2).sum() / (2 * sigma_colour**2)) + 1e-6
                total, weight = total + near * similarity * grid[r, c], weight + near * similarity
        expected[y, x] = total / weight
    upsampled = joint_bilateral_upsample(
        grid, image, sigma_tokens=sigma_tokens, sigma_colour=sigma_colour, radius=radius
    )
    np.testing.assert_allclose(upsampled, expected, atol=2e-5)
