"""One-frame jumps are put back, and nothing else is touched."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from video.keyframes import fewest_keyframes
from video.tracking.box_outliers import remove_outlier_boxes

N = 24
TIMES = np.arange(N) / 25
ROWS = np.arange(N)


def path(x, *, side=0.2, y=0.3):
    """Boxes of a square whose left side is at x (n,)."""
    x = np.asarray(x, float)
    return np.stack([x, np.full(len(x), y), x + side, np.full(len(x), y + side)], 1)


WAYS = {
    "still": path(np.full(N, 0.4)),
    "straight": path(0.1 + 0.02 * ROWS),
    "speeding up": path(0.05 + 0.001 * ROWS**2),
    "turns about": path(0.1 + 0.03 * np.abs(ROWS - 12)),
    "stops": path(0.1 + 0.04 * np.minimum(ROWS, 12)),
    "a cut": path(np.where(ROWS < 12, 0.1, 0.6)),
    "grows": np.stack([0.5 - 0.01 * ROWS, 0.5 - 0.01 * ROWS, 0.5 + 0.01 * ROWS, 0.5 + 0.01 * ROWS], 1)[::-1].copy(),
}
SEEN = np.ones(N, bool)


@pytest.mark.parametrize("name", WAYS)
def test_real_motion_stays_to_the_bit(name):
    np.testing.assert_array_equal(remove_outlier_boxes(WAYS[name], SEEN, TIMES), WAYS[name])


@pytest.mark.parametrize("row", range(2, N - 2))
@pytest.mark.parametrize("name", ["still", "straight", "speeding up"])
def test_a_jump_is_undone_and_costs_no_keyframe(name, row):
    jumped = WAYS[name].copy()
    jumped[row] += [0.06, -0.04, 0.1, 0.0]
    mended = remove_outlier_boxes(jumped, SEEN, TIMES)
    np.testing.assert_allclose(mended, WAYS[name], atol=0.0015)
    count = [len(fewest_keyframes(b, SEEN, positions=TIMES)) for b in (WAYS[name], mended, jumped)]
    assert count[0] == count[1] < count[2]


@pytest.mark.parametrize("row", [0, 1, N - 2, N - 1])
def test_at_the_ends_nothing_is_known(row):
    jumped = WAYS["straight"].copy()
    jumped[row] += 0.1
    np.testing.assert_array_equal(remove_outlier_boxes(jumped, SEEN, TIMES), jumped)


def test_what_a_person_drew_and_what_is_hidden_beside_it_stay():
    jumped = WAYS["straight"].copy()
    jumped[10] += 0.1
    np.testing.assert_array_equal(remove_outlier_boxes(jumped, SEEN, TIMES, keep={10}), jumped)
    hidden = SEEN.copy()
    hidden[12] = False
    np.testing.assert_array_equal(remove_outlier_boxes(jumped, hidden, TIMES), jumped)


def test_uneven_times_are_gone_by():
    times = np.cumsum(np.random.default_rng(0).uniform(0.01, 0.08, N))
    straight = path(0.1 + 0.25 * times)
    np.testing.assert_array_equal(remove_outlier_boxes(straight, SEEN, times), straight)
    jumped = straight.copy()
    jumped[9] += 0.08
    np.testing.assert_allclose(remove_outlier_boxes(jumped, SEEN, times), straight, atol=1e-9)


@given(
    x=st.lists(st.floats(0, 0.7), min_size=1, max_size=30),
    hidden=st.sets(st.integers(0, 29)),
    keep=st.sets(st.integers(0, 29)),
    tolerance=st.floats(0.5, 1),
)
def test_only_inner_rows_that_are_seen_may_change_and_only_to_between_their_neighbours(x, hidden, keep, tolerance):
    boxes, n = path(x), len(x)
    seen = np.array([i not in hidden for i in range(n)])
    out = remove_outlier_boxes(boxes, seen, np.arange(n) / 25.0, tolerance_iou=tolerance, keep=keep)
    for row in np.flatnonzero((out != boxes).any(1)):
        assert 2 <= row < n - 2
        assert row not in keep
        assert seen[row - 2 : row + 3].all()
        np.testing.assert_allclose(out[row], (boxes[row - 1] + boxes[row + 1]) / 2, atol=1e-12)


@pytest.mark.parametrize("shape", [(3, 3), (4, 4)])
def test_shapes_are_checked(shape):
    with pytest.raises(ValueError, match="are needed"):
        remove_outlier_boxes(np.zeros(shape), np.ones(3, bool), np.arange(3.0))
