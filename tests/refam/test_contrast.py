"""Contrast: what a second text draws is taken off."""

from __future__ import annotations

import numpy as np
import pytest

from refam.contrast import join_texts, subtract_contrast

# The median of nine cells is 0, so that maps of one or two peaks stay as they are.
LEFT = np.zeros((3, 3), np.float32)
LEFT[1, 0] = 1
RIGHT = LEFT[:, ::-1].copy()


@pytest.mark.parametrize("scale", [1.0, 0.02])
def test_equal_maps_leave_nothing_whatever_their_scale(scale: float) -> None:
    rng = np.random.default_rng(0)
    heat = rng.random((5, 7), np.float32)
    assert not subtract_contrast(heat, np.float32(scale) * heat, 1.0).any()


def test_a_strength_of_zero_leaves_the_map() -> None:
    heat = np.random.default_rng(0).random((5, 7), np.float32)
    expected = np.maximum(heat - np.median(heat), 0)
    np.testing.assert_allclose(subtract_contrast(heat, heat, 0.0), expected / expected.max(), atol=1e-6)


def test_what_both_draw_is_lowered_and_what_the_expression_alone_draws_stays() -> None:
    both = LEFT + 0.8 * RIGHT
    left, right = subtract_contrast(both, RIGHT, 0.5)[1, [0, 2]]
    assert (left, right) == (pytest.approx(1.0), pytest.approx(0.3))


def test_what_the_second_text_alone_draws_is_not_negative() -> None:
    assert (subtract_contrast(LEFT, RIGHT, 1.0) == LEFT).all()


def test_maps_of_two_pictures_are_refused() -> None:
    with pytest.raises(ValueError, match=r"got \(3, 3\) and \(2, 3\)"):
        subtract_contrast(LEFT, RIGHT[:2], 1.0)


def test_texts_are_joined_to_one() -> None:
    assert join_texts(["the background"]) == "the background"
    assert join_texts(["the background", "the car", "the cat"]) == "the background and the car and the cat"
