"""What files of others hold in place of sizes, boxes and polygons costs a sentence, never a crash or the memory."""

from __future__ import annotations

import math

import numpy as np
import pytest

from video.formats.base import FormatError
from video.formats.values import MAX_PIXELS, finite_number, get_size, parse_count, polygons_to_mask, xywh_box

SIZE = (160, 96)


@pytest.mark.parametrize(
    ("value", "number"),
    [(3, 3.0), (-2.5, -2.5), (True, None), ("3", None), (None, None), (math.nan, None), (-math.inf, None)],
)
def test_finite_numbers_are_those_that_can_be_computed_with(value, number):
    assert finite_number(value) == number


def test_a_whole_number_beyond_float64_is_none():
    assert finite_number(10**400) is None


@pytest.mark.parametrize(
    ("text", "count"),
    [(" 20 ", 20), ("0", 0), ("-1", None), ("1.5", None), ("%(x)s", None), ("", None), ("9" * 19, None)],
)
def test_a_count_is_a_whole_number(text, count):
    assert parse_count(text) == count


@pytest.mark.parametrize(
    "sides",
    [
        (0, 96),
        (-160, 96),
        (160, -96),
        (MAX_PIXELS, 2),
        (10**12, 10**12),
        ("160", 96),
        (160.5, 96),
        (True, 96),
        (None, 96),
    ],
)
def test_sizes_that_no_picture_has_are_refused(sides):
    with pytest.raises(FormatError, match=r"a file (has pictures|needs)"):
        get_size({"width": sides[0], "height": sides[1]}, "a file")


def test_the_largest_size_is_read():
    assert get_size({"width": MAX_PIXELS, "height": 1}, "a file") == (MAX_PIXELS, 1)


@pytest.mark.parametrize(
    "box", [5, None, "abcd", [1, 2, 3], [1, 2, 3, None], [1, 2, 3, True], [math.nan] * 4, [1, 2, 3, 10**400]]
)
def test_boxes_that_are_none_are_refused(box):
    with pytest.raises(FormatError, match="a file: a box must be"):
        xywh_box(box, SIZE, "a file")


@pytest.mark.parametrize(
    "polygons",
    [
        [], [5], [[]], [[1, 1, 2, 2]], [[1, 1, 2, 2, 3]], [{"a": 1}], ["abcdef"], [["a"] * 6], [[None] * 6],
        [[True] * 6], [[math.nan] * 6], [[math.inf] * 6], [[0, 0, 10**400, 0, 9, 9]], [[0, 0, 1e9, 0, 9, 9]],
        {"size": 1}, None,
    ],
)  # fmt: skip
def test_polygons_that_are_none_are_refused(polygons):
    with pytest.raises(FormatError, match=r"a file: .*polygon"):
        polygons_to_mask(polygons, SIZE, "a file")


def test_a_polygon_may_reach_beyond_the_picture():
    mask = polygons_to_mask([[-300, 10, 80, 10, 80, 20, -300, 20]], SIZE, "a file")
    expected = np.zeros((96, 160), bool)
    expected[10:20, :80] = True
    np.testing.assert_array_equal(mask, expected)
