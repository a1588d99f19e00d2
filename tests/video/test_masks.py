import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy import ndimage

from video import masks
from video.types import Rle

any_mask = hnp.arrays(np.bool_, hnp.array_shapes(min_dims=2, max_dims=2, min_side=1, max_side=24))
corner = st.floats(0, 1)


@given(any_mask)
def test_rle_round_trip_keeps_every_pixel(mask):
    rle = masks.encode(mask)
    assert rle.size == (mask.shape[1], mask.shape[0])
    assert masks.area(rle) == mask.sum()
    np.testing.assert_array_equal(masks.decode(rle), mask)


def test_rle_of_a_view_and_of_nothing():
    mask = np.zeros((9, 14), bool)
    mask[2:5, 3:11] = True
    np.testing.assert_array_equal(masks.decode(masks.encode(mask[::-1, ::2])), mask[::-1, ::2])
    empty = masks.empty((14, 9))
    assert isinstance(empty, Rle)
    assert masks.decode(empty).shape == (9, 14)
    assert masks.area(empty) == 0


@pytest.mark.parametrize("bad", [np.zeros((3, 3), np.uint8), np.zeros((2, 3, 4), bool), np.zeros((0, 4), bool)])
def test_encode_refuses_what_is_not_a_mask(bad):
    with pytest.raises(ValueError, match="mask must"):
        masks.encode(bad)


@given(any_mask)
def test_box_is_tight(mask):
    box = masks.box_of(mask)
    assert masks.rle_box(masks.encode(mask)) == (None if box is None else pytest.approx(box))
    if not mask.any():
        assert box is None
        return
    inside = masks.box_mask(box, (mask.shape[1], mask.shape[0]))
    assert not (mask & ~inside).any()
    ys, xs = np.nonzero(mask)
    assert inside.sum() == (np.ptp(ys) + 1) * (np.ptp(xs) + 1)


def test_box_spans_outer_pixel_edges():
    mask = np.zeros((5, 10), bool)
    mask[0, 0] = True
    assert masks.box_of(mask) == (0.0, 0.0, 0.1, 0.2)


@given(any_mask.flatmap(lambda m: st.tuples(st.just(m), hnp.arrays(np.bool_, m.shape))))
def test_mask_iou_against_sets(pair):
    a, b = (set(map(tuple, np.argwhere(m))) for m in pair)
    expected = len(a & b) / len(a | b) if a | b else 1.0
    assert masks.iou(*pair) == pytest.approx(expected)


@given(*[st.tuples(corner, corner, corner, corner)] * 2)
def test_box_iou_against_a_plain_formula(p, q):
    a, b = ((min(r[0], r[2]), min(r[1], r[3]), max(r[0], r[2]), max(r[1], r[3])) for r in (p, q))
    w = max(0.0, min(a[2], b[2]) - max(a[0], b[0]))
    h = max(0.0, min(a[3], b[3]) - max(a[1], b[1]))
    union = (a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - w * h
    assert masks.box_iou(a, b) == pytest.approx(w * h / union if union > 0 else 0.0)
    assert masks.box_iou(a, b) == masks.box_iou(b, a)


def test_box_iou_broadcasts():
    assert masks.box_iou(np.zeros((3, 1, 4)), np.ones((5, 4))).shape == (3, 5)


def _filled(*boxes):
    """(20, 40) bool: boxes x0, y0, x1, y1."""
    mask = np.zeros((20, 40), np.bool_)
    for x0, y0, x1, y1 in boxes:
        mask[y0:y1, x0:x1] = True
    return mask


@pytest.mark.parametrize(
    ("mask", "expected"),
    [
        pytest.param(_filled((10, 5, 20, 15)), 0.125, id="one piece of an eighth of the picture"),
        pytest.param(_filled((10, 5, 15, 15), (25, 5, 30, 15)), 0.125 * 0.5**2, id="two equal pieces"),
        pytest.param(_filled((10, 10, 20, 20)), 0.125 * 0.8, id="at the lower border"),
        pytest.param(_filled((0, 10, 40, 20)), 0.5 * 0.8**3, id="the lower half: three borders"),
        pytest.param(_filled((10, 5, 20, 15), (0, 0, 1, 1)), 0.12625 * (100 / 101) ** 2, id="a pixel in the corner"),
    ],
)
def test_wholeness_falls_with_pieces_and_borders(mask, expected):
    assert masks.wholeness(mask, 1.0) == pytest.approx(expected)
    assert masks.wholeness(mask, 0.5) == pytest.approx(expected / mask.mean() ** 0.5)
    assert masks.wholeness(mask, 0.0) == 1


@pytest.mark.parametrize(
    ("sides_px", "count"),
    [((), 0), ((12,), 1), ((12, 11, 10), 3), ((12, 6), 2), ((12, 5), 1), ((12, 1, 1), 1), ((1, 1), 0)],
)
def test_parts_are_similar_from_a_quarter_of_the_largest_one_on(sides_px, count):
    mask = np.zeros((16, 64), bool)
    for i, side_px in enumerate(sides_px):
        mask[:side_px, 16 * i : 16 * i + side_px] = True
    assert masks.similar_parts(mask) == count


@given(any_mask)
def test_components_against_scipy(mask):
    labels, n = ndimage.label(mask, np.ones((3, 3)))
    parts = masks.components(mask)
    assert len(parts) == n
    assert [p.sum() for p in parts] == sorted(np.bincount(labels.ravel())[1:].tolist(), reverse=True)
    assert not parts or (np.logical_or.reduce(parts) == mask).all()
    np.testing.assert_array_equal(masks.components(mask, most=2), parts[:2])


@given(any_mask)
def test_filled_holes_against_scipy(mask):
    np.testing.assert_array_equal(masks.fill_holes(mask, most_px=mask.size), ndimage.binary_fill_holes(mask))
    np.testing.assert_array_equal(masks.fill_holes(mask, most_px=0), mask)


@given(any_mask)
def test_boundary_against_erosion(mask):
    cross = ndimage.generate_binary_structure(2, 1)
    expected = mask & ~ndimage.binary_erosion(mask, cross, border_value=1)
    np.testing.assert_array_equal(masks.boundary(mask), expected)


def test_deepest_point_of_a_ring_lies_on_the_ring():
    y, x = np.mgrid[0:60, 0:80]
    r = np.hypot(x - 40, y - 30)
    mask = (r < 25) & (r > 15)
    px, py = masks.deepest_point(mask)
    assert mask[int(py * 60), int(px * 80)]
    assert np.hypot(px * 80 - 40.5, py * 60 - 30.5) == pytest.approx(20, abs=1)
    assert masks.deepest_point(np.zeros((4, 4), bool)) is None
    assert masks.deepest_point(np.ones((1, 1), bool)) == (0.5, 0.5)


@settings(max_examples=60)
@given(
    st.tuples(st.integers(2, 20), st.integers(2, 20)),
    st.tuples(st.floats(1, 4), st.sampled_from([1 / 2, 1 / 3, 1.0, 2.6])),
    st.floats(-1, 1),
    st.floats(-1, 1),
)
def test_resizing_keeps_pixel_centres(source, zoom, a, b):
    """A plane a*x + b*y over normalised pixel centres stays the same plane (away from the clamped edge)."""

    def plane(w, h):
        return (a * (np.arange(w) + 0.5) / w + b * ((np.arange(h) + 0.5) / h)[:, None]).astype(np.float32)

    source = (source[0], source[1] * 6)
    target = (int(source[0] * zoom[0]), round(source[1] * zoom[1]))
    out = masks.resize_map(plane(*source), target)
    assert out.shape == (target[1], target[0])
    dx, dy = (int(np.ceil(t / s / 2)) if t > s else 0 for s, t in zip(source, target, strict=True))
    inner = (slice(dy, target[1] - dy), slice(dx, target[0] - dx))
    np.testing.assert_allclose(out[inner], plane(*target)[inner], atol=2e-3)


def test_shrinking_averages_and_masks_survive_doubling():
    rng = np.random.default_rng(0)
    grid = rng.random((6, 8)).astype(np.float32)
    np.testing.assert_allclose(masks.resize_map(grid, (4, 2)), grid.reshape(2, 3, 4, 2).mean((1, 3)), atol=1e-6)
    mask = np.kron(rng.random((5, 7)) > 0.5, np.ones((8, 8))).astype(bool)
    np.testing.assert_array_equal(masks.resize_mask(masks.resize_mask(mask, (112, 80)), (56, 40)), mask)


def test_pad_box_stays_in_the_frame():
    assert masks.pad_box((0.4, 0.4, 0.6, 0.8), 0.5) == pytest.approx((0.3, 0.2, 0.7, 1.0))
    assert masks.pad_box((0.0, 0.5, 0.1, 0.6), 0.0, least=0.2) == pytest.approx((0.0, 0.3, 0.3, 0.8))


def test_rim_prior_keeps_a_sure_core_in_thin_things():
    line = np.zeros((40, 40), bool)
    line[19:22, 4:36] = True
    prior = masks.rim_prior(line)
    assert prior.dtype == np.float32
    assert (prior[20, 8:32] > 0.95).all()
    assert (prior[line] >= 0.5).all()
    assert (prior[~line] < 0.5).all()
    assert prior[0, 0] == 0


def test_points_are_on_the_mask_of_the_pixel_under_them():
    mask = np.zeros((4, 8), bool)
    mask[3, 7] = mask[0, 0] = True
    points = [(0.0, 0.0), (0.124, 0.249), (0.126, 0.1), (1.0, 1.0), (0.875, 0.75)]
    assert [masks.contains(mask, point) for point in points] == [True, True, False, True, True]
    assert masks.point_accuracy(mask, points, [1, 1, 1, 1, 0]) == pytest.approx(3 / 5)
    assert masks.point_accuracy(mask, [], []) == 1.0


@pytest.mark.parametrize(
    ("side", "gap", "kept", "stays"),
    [
        (3, 100, (), False),  # 9 pixels beside 1600, whose size is 40
        (3, 8, (), False),
        (3, 5, (), True),  # a leg seen through grass
        (10, 100, (), True),  # 100 pixels: a part of the object behind a pole
        (3, 100, ([0.805, 0.305],), True),  # clicked on
        (3, 100, ([0.5, 0.5],), False),
    ],
)
def test_specks_are_dropped_unless_they_are_near_or_asked_for(side, gap, kept, stays):
    mask = np.zeros((100, 200), bool)
    mask[10:50, 20:60] = True
    body = mask.copy()
    mask[30 : 30 + side, 60 + gap : 60 + gap + side] = True
    cleaned = masks.drop_specks(mask, kept=[np.array(point) for point in kept])
    assert (cleaned == (mask if stays else body)).all()


def test_an_empty_mask_has_no_specks():
    assert not masks.drop_specks(np.zeros((4, 5), bool)).any()
