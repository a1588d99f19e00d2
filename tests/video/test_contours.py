"""Polygons of masks, and outlines whose vertices stay at the same places of a shape."""

from __future__ import annotations

import itertools

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pycocotools import mask as coco

from video.contours import (
    count_vertices,
    extract_contour,
    fit_outline,
    mask_to_polygons,
    move_outline,
    outline_iou,
    select_outline_keyframes,
)
from video.keyframes import fewest_in_band

_L = np.array([(0, 0), (60, 0), (60, 20), (20, 20), (20, 80), (0, 80)], float)


def _mask(points, size=(200, 200)):
    drawn = np.zeros(size[::-1], np.uint8)
    return cv2.fillPoly(drawn, [np.round(np.asarray(points) * 16).astype(np.int32)], 1, shift=4) > 0


def _turned(points, degrees, about=(30, 40)):
    c, s = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
    return (points - about) @ np.array([[c, s], [-s, c]]) + about


def test_a_contour_runs_along_the_edges_of_the_pixels():
    mask = np.zeros((40, 60), bool)
    mask[5:25, 10:50] = True
    points, share = extract_contour(mask)
    assert share == 1.0
    np.testing.assert_allclose(points.min(axis=0), (10, 5), atol=0.26)
    np.testing.assert_allclose(points.max(axis=0), (50, 25), atol=0.26)


def test_the_contour_is_the_largest_parts_with_its_share_of_the_area():
    mask = np.zeros((40, 60), bool)
    mask[5:25, 5:25] = mask[30:35, 40:48] = True
    points, share = extract_contour(mask)
    assert points.max() < 26
    assert share == pytest.approx(400 / 440, abs=0.02)
    assert extract_contour(np.zeros((4, 4), bool))[0].shape == (0, 2)


@pytest.mark.parametrize("pixels", [(1, 1), (1, 7), (2, 2)])
def test_the_smallest_masks_have_outlines_too(pixels):
    mask = np.zeros((20, 20), bool)
    mask[8 : 8 + pixels[0], 9 : 9 + pixels[1]] = True
    points, _ = extract_contour(mask)
    again = move_outline(fit_outline(points, 4), points)
    assert again.shape == (4, 2)
    assert np.isfinite(again).all()
    assert (again.min(axis=0) >= (8.5, 7.5)).all()
    assert (again.max(axis=0) <= (9.5 + pixels[1], 8.5 + pixels[0])).all()


def test_vertices_are_the_corners_where_there_are_any():
    points, _ = extract_contour(_mask(_L + 50))
    found = fit_outline(points, 6)
    nearest = np.linalg.norm(found[:, None] - (_L + 50)[None], axis=2)
    assert nearest.min(axis=0).max() < 2.5, "each corner has a vertex; 128 points on 280 pixels are 2.2 apart"
    assert count_vertices([points]) == 6
    assert count_vertices([points], least=9, most=12) == 9
    assert count_vertices([points], most=4) == 4


@pytest.mark.parametrize(
    "place",
    [
        lambda t: _L + 40 + 5 * t,
        lambda t: _turned(_L, 6 * t) + 50,
        lambda t: _L * (1 + 0.04 * t) + 30,
        lambda t: _turned(_L * (1 + 0.02 * t), -4 * t) + np.array([40 + 3 * t, 50]),
    ],
    ids=["moved", "turned", "grown", "all"],
)
def test_the_same_vertex_stays_at_the_same_corner(place):
    outline = fit_outline(extract_contour(_mask(place(0)))[0], 6)
    corner = np.linalg.norm(outline[:, None] - place(0)[None], axis=2).argmin(axis=1)
    assert sorted(corner) == list(range(6))
    for t in range(1, 13):
        contour, _ = extract_contour(_mask(place(t)))
        outline = move_outline(outline, contour)
        assert np.linalg.norm(outline - place(t)[corner], axis=1).max() < 5, t
        assert outline_iou(outline, contour) > 0.93


def test_outline_iou_is_that_of_the_areas():
    square = np.array([(0, 0), (1, 0), (1, 1), (0, 1)], float)
    assert outline_iou(square, square) == 1.0
    assert outline_iou(square, square + np.array([0.5, 0])) == pytest.approx(1 / 3, abs=0.02)
    assert outline_iou(square, square + 5) == 0.0


def _keeps(values, band, rows):
    at = np.arange(len(values))
    drawn = np.stack([np.interp(at, rows, values[rows, d]) for d in range(values.shape[1])], axis=1)
    return bool((np.abs(drawn - values) <= band[:, None] + 1e-9).all())


@settings(max_examples=60, deadline=None)
@given(
    st.integers(2, 9).flatmap(
        lambda n: st.tuples(
            st.lists(st.tuples(st.integers(0, 4), st.integers(0, 4)), min_size=n, max_size=n),
            st.lists(st.sampled_from([0.0, 0.5, 1.0, 2.0]), min_size=n, max_size=n),
        )
    )
)
def test_the_rows_within_a_band_are_the_fewest_there_are(case):
    values, band = np.array(case[0], float), np.array(case[1])
    n = len(values)
    rows = fewest_in_band(values, np.arange(n), band)
    assert (rows[0], rows[-1]) == (0, n - 1)
    assert _keeps(values, band, rows)
    inner = range(1, n - 1)
    fewer = (c for k in range(len(rows) - 2) for c in itertools.combinations(inner, k))
    assert not any(_keeps(values, band, [0, *c, n - 1]) for c in fewer)


def test_long_runs_are_kept_within_their_band_too():
    t = np.arange(6000.0)
    values = np.stack([np.sin(t / 90) * 40, t / 7], axis=1)
    band = np.full(6000, 1.0)
    rows = fewest_in_band(values, t, band)
    assert _keeps(values, band, rows)
    assert len(rows) < 6000 / 20
    assert fewest_in_band(np.stack([t, -t], axis=1), t, band) == [0, 5999]


def test_uniform_motion_needs_two_keyframes_and_the_required_ones():
    outlines = np.stack([_L + 2 * t for t in range(30)])
    assert select_outline_keyframes(outlines, tolerance_iou=0.9) == [0, 29]
    assert select_outline_keyframes(outlines, tolerance_iou=0.9, must=[11]) == [0, 11, 29]
    assert select_outline_keyframes(outlines[:1], tolerance_iou=0.9) == [0]


@pytest.mark.parametrize("tolerance", [0.8, 0.95, 1.0])
def test_every_frame_between_keeps_its_outline(tolerance):
    rng = np.random.default_rng(3)
    walk = np.cumsum(rng.normal(0, 2, (40, 6, 2)), axis=0)
    outlines = _L + 60 + walk
    rows = select_outline_keyframes(outlines, tolerance_iou=tolerance)
    flat = outlines.reshape(40, -1)
    drawn = np.stack([np.interp(np.arange(40), rows, flat[rows, d]) for d in range(12)], axis=1).reshape(40, 6, 2)
    assert min(outline_iou(a, b) for a, b in zip(drawn, outlines, strict=True)) >= tolerance
    if tolerance < 0.9:
        assert len(rows) < 30


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
    found = mask_to_polygons(mask)
    assert len(found) == parts
    assert sum(map(len, found)) <= most_vertices
    assert iou(drawn(found), mask) >= 0.95
    areas = [drawn([polygon]).sum() for polygon in found]
    assert areas == sorted(areas, reverse=True), "the largest part first"


def test_a_hole_stays_a_hole():
    again = drawn(mask_to_polygons(RING))
    assert not again[52:68, 72:88].any()
    assert again[60, 40]


def test_specks_are_left_out_and_a_line_keeps_its_box():
    mask = disc(80, 60, 40)
    mask[5:8, 5:8] = True
    assert len(mask_to_polygons(mask)) == 1
    line = np.zeros((H, W), bool)
    line[40, 20:90] = True
    (polygon,) = mask_to_polygons(line)
    assert (polygon.min(0) >= [20, 40]).all()
    assert (polygon.max(0) <= [90, 41]).all()
    assert mask_to_polygons(np.zeros((H, W), bool)) == []


@settings(max_examples=60, deadline=None)
@given(
    discs=st.lists(st.tuples(st.floats(20, W - 20), st.floats(20, H - 20), st.floats(8, 40)), min_size=1, max_size=5),
    hole=st.tuples(st.floats(20, W - 20), st.floats(20, H - 20), st.floats(5, 12)),
)
def test_any_union_of_discs_with_a_hole(discs, hole):
    mask = np.any([disc(*d) for d in discs], axis=0) & ~disc(*hole)
    if mask.sum() >= 100:
        assert iou(drawn(mask_to_polygons(mask)), mask) >= 0.92  # a speck may be left out
