"""Interpolated shapes against analytic ones."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from video.tracking.shape_interpolation import interpolate_shape

SHAPE = (24, 32)
MASKS = arrays(bool, SHAPE)


def rectangle(x: int, y: int, width: int, height: int, *, shape=(200, 300)):
    mask = np.zeros(shape, bool)
    mask[y : y + height, x : x + width] = True
    return mask


@given(before=MASKS, after=MASKS, share=st.floats(0, 1))
def test_what_both_have_stays_and_what_neither_has_is_not_added(before, after, share):
    between = interpolate_shape(before, after, share)
    assert (between >= (before & after)).all()
    assert (between <= (before | after)).all()


@given(before=MASKS, after=MASKS)
def test_the_ends_are_the_masks(before, after):
    assert (interpolate_shape(before, after, 0) == before).all()
    assert (interpolate_shape(before, after, 1) == after).all()


@pytest.mark.parametrize(("share", "shift"), [(0.25, 1), (0.5, 2), (0.75, 3)])
def test_an_edge_that_moves_lies_between(share, shift):
    before, after = rectangle(50, 50, 120, 100), rectangle(50, 50, 124, 100)
    between = interpolate_shape(before, after, share)
    assert (between.sum(1)[60:140] == 120 + shift).all(), "corners may be rounded"


@pytest.mark.parametrize(("share", "length"), [(0.3, 0), (0.7, 40)])
def test_a_limb_that_one_mask_has_is_taken_from_the_nearer_one(share, length):
    body = rectangle(100, 50, 100, 100)
    with_limb = body | rectangle(200, 90, 40, 20)
    between = interpolate_shape(body, with_limb, share)
    assert (between & body).sum() == body.sum()
    limb = rectangle(204, 90, 36, 20)
    assert (between & limb).sum() == pytest.approx(limb.sum() * bool(length), rel=0.3), "and a little thinner"


def test_the_border_of_the_picture_is_no_hindrance():
    before, after = rectangle(0, 0, 100, 200), rectangle(0, 0, 104, 200)
    between = interpolate_shape(before, after, 0.5)
    assert (between.sum(1)[10:190] == 102).all()
    assert between[:, :100].all()
