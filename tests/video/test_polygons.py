"""Masks as polygons, drawn again by an independent rasteriser (pycocotools)."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pycocotools import mask as coco

from video.polygons import polygons_of

W, H = 160, 120
Y, X = np.mgrid[:H, :W] + 0.5


def disc(x, y, r):
    return (X - x) ** 2 + (Y - y) ** 2 <= r**2


def drawn(polygons):
    codes = coco.frPyObjects([p.ravel().tolist() for p in polygons], H, W)
    return coco.decode(coco.merge(codes)) > 0


def iou(a, b):
    return (a & b).sum() / (a | b).sum()


RING = disc(80, 60, 45) & ~disc(80, 60, 25)
TWO = disc(40, 60, 30) | disc(120, 60, 20)
STAR = np.hypot(X - 80, Y - 60) <= 34 + 16 * np.cos(5 * np.arctan2(Y - 60, X - 80))


@pytest.mark.parametrize(
    ("mask", "parts", "most_vertices"),
    [
        (disc(80, 60, 45), 1, 16),
        (RING, 1, 40),
        (TWO, 2, 30),
        (STAR, 1, 30),
        ((X > 20) & (X < 100) & (Y > 30) & (Y < 90), 1, 4),
        (disc(40, 60, 30) | RING, 1, 60),
        (disc(30, 30, 20) | disc(90, 60, 14) | disc(130, 90, 25), 3, 40),
    ],
    ids=["disc", "ring", "two parts", "star", "box", "disc on a ring", "three parts"],
)
def test_few_vertices_draw_the_mask(mask, parts, most_vertices):
    found = polygons_of(mask)
    assert len(found) == parts
    assert sum(map(len, found)) <= most_vertices
    assert iou(drawn(found), mask) >= 0.95
    areas = [drawn([polygon]).sum() for polygon in found]
    assert areas == sorted(areas, reverse=True), "the largest part first"


def test_a_hole_stays_a_hole():
    again = drawn(polygons_of(RING))
    assert not again[52:68, 72:88].any()
    assert again[60, 40]


def test_specks_are_left_out_and_a_line_keeps_its_box():
    mask = disc(80, 60, 40)
    mask[5:8, 5:8] = True
    assert len(polygons_of(mask)) == 1
    line = np.zeros((H, W), bool)
    line[40, 20:90] = True
    (polygon,) = polygons_of(line)
    assert (polygon.min(0) >= [20, 40]).all()
    assert (polygon.max(0) <= [90, 41]).all()
    assert polygons_of(np.zeros((H, W), bool)) == []


@settings(max_examples=60, deadline=None)
@given(
    discs=st.lists(st.tuples(st.floats(20, W - 20), st.floats(20, H - 20), st.floats(8, 40)), min_size=1, max_size=5),
    hole=st.tuples(st.floats(20, W - 20), st.floats(20, H - 20), st.floats(5, 12)),
)
def test_any_union_of_discs_with_a_hole(discs, hole):
    mask = np.any([disc(*d) for d in discs], axis=0) & ~disc(*hole)
    if mask.sum() >= 100:
        assert iou(drawn(polygons_of(mask)), mask) >= 0.92  # a speck may be left out
