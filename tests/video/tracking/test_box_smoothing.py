"""Boxes of single frames: those that jump away, and those that tremble."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from video.keyframes import select_keyframes
from video.masks import box_iou
from video.tracking.box_smoothing import remove_outlier_boxes, smooth_boxes

ROW_COUNT = 24
TIMES = np.arange(ROW_COUNT) / 25
ROWS = np.arange(ROW_COUNT)


def path(x, *, side=0.2, y=0.3):
    """Boxes of a square whose left side is at x (n,)."""
    x = np.asarray(x, float)
    return np.stack([x, np.full(len(x), y), x + side, np.full(len(x), y + side)], 1)


PATHS = {
    "still": path(np.full(ROW_COUNT, 0.4)),
    "straight": path(0.1 + 0.02 * ROWS),
    "speeding up": path(0.05 + 0.001 * ROWS**2),
    "turns about": path(0.1 + 0.03 * np.abs(ROWS - 12)),
    "stops": path(0.1 + 0.04 * np.minimum(ROWS, 12)),
    "a cut": path(np.where(ROWS < 12, 0.1, 0.6)),
    "grows": np.stack([0.5 - 0.01 * ROWS, 0.5 - 0.01 * ROWS, 0.5 + 0.01 * ROWS, 0.5 + 0.01 * ROWS], 1)[::-1].copy(),
}
VISIBLE = np.ones(ROW_COUNT, bool)


@pytest.mark.parametrize("name", PATHS)
def test_real_motion_stays_to_the_bit(name):
    np.testing.assert_array_equal(remove_outlier_boxes(PATHS[name], VISIBLE, TIMES), PATHS[name])


@pytest.mark.parametrize("row", range(2, ROW_COUNT - 2))
@pytest.mark.parametrize("name", ["still", "straight", "speeding up"])
def test_an_outlier_box_is_replaced_and_costs_no_keyframe(name, row):
    jumped = PATHS[name].copy()
    jumped[row] += [0.06, -0.04, 0.1, 0.0]
    mended = remove_outlier_boxes(jumped, VISIBLE, TIMES)
    np.testing.assert_allclose(mended, PATHS[name], atol=0.0015)
    count = [len(select_keyframes(b, VISIBLE, positions=TIMES)) for b in (PATHS[name], mended, jumped)]
    assert count[0] == count[1] < count[2]


@pytest.mark.parametrize("row", [0, 1, ROW_COUNT - 2, ROW_COUNT - 1])
def test_boxes_at_the_ends_of_an_appearance_stay(row):
    jumped = PATHS["straight"].copy()
    jumped[row] += 0.1
    np.testing.assert_array_equal(remove_outlier_boxes(jumped, VISIBLE, TIMES), jumped)


def test_kept_rows_and_rows_beside_hidden_ones_stay():
    jumped = PATHS["straight"].copy()
    jumped[10] += 0.1
    np.testing.assert_array_equal(remove_outlier_boxes(jumped, VISIBLE, TIMES, keep={10}), jumped)
    hidden = VISIBLE.copy()
    hidden[12] = False
    np.testing.assert_array_equal(remove_outlier_boxes(jumped, hidden, TIMES), jumped)


def test_uneven_times_are_taken_into_account():
    times = np.cumsum(np.random.default_rng(0).uniform(0.01, 0.08, ROW_COUNT))
    straight = path(0.1 + 0.25 * times)
    np.testing.assert_array_equal(remove_outlier_boxes(straight, VISIBLE, times), straight)
    jumped = straight.copy()
    jumped[9] += 0.08
    np.testing.assert_allclose(remove_outlier_boxes(jumped, VISIBLE, times), straight, atol=1e-9)


@given(
    x=st.lists(st.floats(0, 0.7), min_size=1, max_size=30),
    hidden=st.sets(st.integers(0, 29)),
    keep=st.sets(st.integers(0, 29)),
    tolerance=st.floats(0.5, 1),
)
def test_only_visible_inner_rows_change_and_only_to_the_interpolation(x, hidden, keep, tolerance):
    boxes, n = path(x), len(x)
    seen = np.array([i not in hidden for i in range(n)])
    out = remove_outlier_boxes(boxes, seen, np.arange(n) / 25.0, tolerance_iou=tolerance, keep=keep)
    for row in np.flatnonzero((out != boxes).any(1)):
        assert 2 <= row < n - 2
        assert row not in keep
        assert seen[row - 2 : row + 3].all()
        np.testing.assert_allclose(out[row], (boxes[row - 1] + boxes[row + 1]) / 2, atol=1e-12)


@pytest.mark.parametrize("change", [remove_outlier_boxes, smooth_boxes])
@pytest.mark.parametrize("shape", [(3, 3), (4, 4)])
def test_shapes_are_checked(change, shape):
    with pytest.raises(ValueError, match="are needed"):
        change(np.zeros(shape), np.ones(3, bool), np.arange(3.0))


@given(
    steps=st.lists(st.floats(0.005, 0.3), min_size=1, max_size=25),
    speed=st.tuples(*[st.floats(-0.02, 0.02)] * 4),
    hidden=st.sets(st.integers(0, 24)),
)
def test_even_motion_is_not_smoothed_away(steps, speed, hidden):
    times = np.cumsum(steps)
    boxes = np.array([0.4, 0.4, 0.6, 0.6]) + times[:, None] * speed
    visible = np.array([i not in hidden for i in range(len(times))])
    np.testing.assert_allclose(smooth_boxes(boxes, visible, times), boxes, atol=1e-9)


@given(
    x=st.lists(st.floats(0.3, 0.31), min_size=1, max_size=20),
    steps=st.lists(st.floats(0.005, 0.1), min_size=20, max_size=20),
)
def test_smoothing_is_a_weighted_line_fit_about_each_row(x, steps):
    boxes, times = path(x), np.cumsum(steps)[: len(x)]
    expected = boxes.copy()
    for i, t in enumerate(times):
        near = np.flatnonzero(np.abs(times - t) <= 0.12)
        if len(near) > 1:
            root = np.exp(-0.25 * ((times[near] - t) / 0.04) ** 2)  # polyfit's weights are not squared
            expected[i] = np.polyfit(times[near] - t, boxes[near], 1, w=root)[-1]
    expected = expected.clip(boxes.min(axis=0), boxes.max(axis=0))
    np.testing.assert_allclose(smooth_boxes(boxes, np.ones(len(x), bool), times), expected, atol=1e-6)


@pytest.mark.parametrize("rate", [24, 60, 240])
def test_trembling_boxes_come_nearer_to_the_truth_and_cost_fewer_keyframes(rate):
    rng, n = np.random.default_rng(0), 2 * rate
    times = np.arange(n) / rate
    true = path(0.3 + 0.1 * np.sin(2 * times))
    trembling = true + rng.normal(0, 0.006, true.shape)
    visible = np.ones(n, bool)
    smooth = smooth_boxes(trembling, visible, times)
    assert box_iou(smooth, true).mean() > box_iou(trembling, true).mean() + 0.005
    count = [len(select_keyframes(b, visible, positions=times)) for b in (smooth, trembling)]
    assert count[0] < 0.7 * count[1]


@pytest.mark.parametrize(("keep", "hidden"), [((9, 12), ()), ((), (8, 15)), ((3,), (20,))])
def test_drawn_boxes_stay_and_hidden_rows_separate(keep, hidden):
    rng = np.random.default_rng(1)
    boxes = PATHS["straight"] + rng.normal(0, 0.004, (ROW_COUNT, 4))
    visible = ~np.isin(ROWS, hidden)
    out = smooth_boxes(boxes, visible, TIMES, keep=keep)
    same = (out == boxes).all(axis=1)
    assert same[list(keep)].all()
    assert same[~visible].all()
    assert not same[visible & ~np.isin(ROWS, keep)].any()
    for first, last in zip((0, *(h + 1 for h in hidden)), (*hidden, ROW_COUNT), strict=True):
        alone = smooth_boxes(boxes[first:last], visible[first:last], TIMES[first:last])
        free = ~np.isin(ROWS[first:last], keep)
        np.testing.assert_allclose(out[first:last][free], alone[free], atol=1e-12)


def test_a_box_that_comes_to_rest_at_the_edge_stays_in_the_picture():
    x = np.maximum(0.0, 0.1 - 0.02 * ROWS)
    smooth = smooth_boxes(path(x)[:7], VISIBLE[:7], TIMES[:7])
    assert smooth.min() >= 0
    assert (smooth != path(x)[:7]).any()


def test_a_jump_at_a_cut_is_not_smeared():
    np.testing.assert_array_equal(smooth_boxes(PATHS["a cut"], VISIBLE, TIMES)[10:14], PATHS["a cut"][10:14])


@pytest.mark.parametrize("rate", [240, 1000])
def test_fast_motion_is_not_torn_between_its_own_and_smooth_boxes(rate):
    times = np.arange(1000) / rate
    boxes = path(0.4 + 0.2 * np.sin(2 * np.pi * times / 0.565))
    smooth = smooth_boxes(boxes, np.ones(1000, bool), times)
    assert box_iou(smooth, boxes).min() >= 0.84
    step, before = (np.abs(np.diff(b[:, 0])).max() for b in (smooth, boxes))
    assert step <= 2 * before
