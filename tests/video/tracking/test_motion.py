"""Motions of drawn discs that are known."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from video.masks import iou
from video.tracking.motion import ConstantVelocity, exclusive_regions

H, W = 90, 160


def disc(x, y, radius=9):
    rows, columns = np.mgrid[:H, :W]
    return (columns - x) ** 2 + (rows - y) ** 2 <= radius**2


def motion_of(xs, y=45):
    found = ConstantVelocity(disc(xs[0], y))
    for x in xs[1:]:
        found = found.advance().observe(disc(x, y))
    return found


def after(one, n):
    for _ in range(n):
        one = one.advance()
    return one


@given(st.integers(-6, 6), st.integers(-3, 3), st.integers(1, 6))
def test_uniform_motion_is_predicted_exactly(dx, dy, n):
    found = ConstantVelocity(disc(80, 45))
    for i in range(1, 4):
        found = found.advance().observe(disc(80 + i * dx, 45 + i * dy))
    assert found.velocity == pytest.approx((dx, dy))
    np.testing.assert_array_equal(after(found, n).predict_mask(), disc(80 + (3 + n) * dx, 45 + (3 + n) * dy))


def test_a_correction_moves_the_object_and_changes_its_velocity():
    found = motion_of([40, 44, 48]).advance()
    np.testing.assert_array_equal(found.predict_mask(), disc(52, 45))
    put = found.correct((3, -2))
    np.testing.assert_array_equal(put.predict_mask(), disc(55, 43))
    assert put.velocity == pytest.approx((4.3, -0.2))
    np.testing.assert_array_equal(found.with_velocity(np.array([-2.0, 5.0])).advance().predict_mask(), disc(50, 50))


def test_a_partly_hidden_or_merged_mask_does_not_change_the_motion():
    found = motion_of([40, 44, 48]).advance()
    half = disc(52, 45)
    half[:, 52:] = False
    assert found.observe(half) is found
    assert found.observe(disc(52, 45) | disc(66, 45)) is found
    assert found.observe(disc(52, 45)).since == 0


def test_crossing_objects_share_the_frame_by_distance_to_their_expected_places():
    left, right = (
        after(motion_of([40, 45, 50]), 4),
        after(motion_of([110, 105, 100]), 4),
    )  # expected at 70 and 80
    found = exclusive_regions({3: left, 7: right})
    assert set(found) == {3, 7}
    assert found[3][45, 60]
    assert not found[7][45, 60]
    assert found[7][45, 90]
    assert not found[3][45, 90]
    common = left.predict_mask() & right.predict_mask()
    assert (found[3] & found[7])[common].all(), "where they lie on each other it is everyone's"


def test_distant_objects_and_unknown_motions_have_no_exclusive_region():
    assert exclusive_regions({0: motion_of([20, 22, 24]), 1: motion_of([130, 128, 126])}) == {}
    assert exclusive_regions({0: ConstantVelocity(disc(60, 45)), 1: ConstantVelocity(disc(66, 45))}) == {}
    stale = after(motion_of([60, 60, 60]), 30)
    assert exclusive_regions({0: stale, 1: motion_of([66, 66, 66])}) == {}


def test_an_object_that_left_the_frame_has_an_empty_prediction():
    gone = after(motion_of([100, 112, 124]), 6)
    assert not gone.predict_mask().any()
    assert exclusive_regions({0: gone, 1: motion_of([150, 150, 150])}) == {}
    assert iou(after(motion_of([100, 104, 108]), 1).predict_mask(), disc(112, 45)) == 1
