from itertools import combinations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from video import masks
from video.keyframes import find_runs, fit_keyframe_boxes, interpolate_boxes, make_keyframes, select_keyframes
from video.types import Keyframe, MaskTrack


def track_of(boxes, visible=None, frames=None):
    boxes = np.asarray(boxes, float)
    n = len(boxes)
    visible = np.ones(n, bool) if visible is None else np.asarray(visible, bool)
    return MaskTrack(
        label="thing",
        size=(32, 24),
        frames=np.arange(n) if frames is None else np.asarray(frames),
        rles=(masks.empty((32, 24)),) * n,
        boxes=np.where(visible[:, None], boxes, 0.0),
        scores=np.linspace(0.5, 1, n),
        visible=visible,
    )


def read_by_hand(keyframes, frame):
    """The editor's rule, frame by frame: (drawn?, box)."""
    before = [k for k in keyframes if k.frame <= frame]
    after = [k for k in keyframes if k.frame > frame]
    if not before:
        return False, None
    last = before[-1]
    if last.frame == frame:
        return True, np.array(last.box)
    if not last.enabled:
        return False, None
    if not after:
        return True, np.array(last.box)
    share = (frame - last.frame) / (after[0].frame - last.frame)
    return True, np.array(last.box) + share * (np.array(after[0].box) - np.array(last.box))


side = st.integers(0, 8)


@st.composite
def jittery_boxes(draw, most=9):
    n = draw(st.integers(1, most))
    rows = draw(st.lists(st.tuples(side, side, side, side), min_size=n, max_size=n))
    return np.array([(x / 24, y / 24, (x + 8 + w) / 24, (y + 8 + h) / 24) for x, y, w, h in rows])


def fewest_by_brute_force(boxes, positions, tolerance):
    n = len(boxes)
    for k in range(n):
        for inner in combinations(range(1, n - 1), k):
            rows = sorted({0, *inner, n - 1})
            line = np.stack([np.interp(positions, positions[rows], boxes[rows, c]) for c in range(4)], 1)
            if (masks.box_iou(line, boxes) >= tolerance - 1e-9).all():
                return len(rows)
    return n


@settings(max_examples=150, deadline=None)
@given(jittery_boxes(), st.sampled_from([0.5, 0.7, 0.8, 0.9, 1.0]), st.integers(0, 2**31))
def test_as_few_as_brute_force(boxes, tolerance, seed):
    positions = np.cumsum(np.random.default_rng(seed).uniform(0.01, 0.1, len(boxes)))
    found = select_keyframes(boxes, np.ones(len(boxes), bool), positions=positions, tolerance_iou=tolerance)
    assert len(found) == fewest_by_brute_force(boxes, positions, tolerance)


@settings(max_examples=100, deadline=None)
@given(jittery_boxes(30), st.data())
def test_interpolated_keyframes_are_the_track(boxes, data):
    n = len(boxes)
    visible = np.array(data.draw(st.lists(st.booleans(), min_size=n, max_size=n)))
    times = np.cumsum(np.random.default_rng(n).uniform(0.02, 0.06, n))
    track = track_of(boxes, visible)
    keyframes = make_keyframes(track, times, tolerance_iou=0.8)
    drawn, shown = interpolate_boxes(keyframes, track.frames, times=times)
    np.testing.assert_array_equal(shown, visible)
    assert (masks.box_iou(drawn, track.boxes)[visible] >= 0.8 - 1e-9).all()
    assert not interpolate_boxes(keyframes, [n, n + 5], times=np.append(times, times[-1] + np.arange(1, 9)))[1].any()


@given(st.data())
def test_interpolate_reads_as_the_editor(data):
    at = sorted(data.draw(st.sets(st.integers(0, 20), min_size=1, max_size=5)))
    on = [data.draw(st.booleans()) for _ in at]
    keyframes = [
        Keyframe(frame=f, box=(f / 50, 0.1, 0.5 + f / 50, 0.2 + f / 40), enabled=e, score=1.0)
        for f, e in zip(at, on, strict=True)
    ]
    frames = np.arange(24)
    boxes, visible = interpolate_boxes(keyframes, frames)
    for f in frames:
        drawn, box = read_by_hand(keyframes, f)
        assert visible[f] == drawn
        np.testing.assert_allclose(boxes[f], box if drawn else 0, atol=1e-12)


def test_uniform_motion_needs_two_and_a_corner_three():
    t = np.arange(20)[:, None] / 40
    straight = np.array([0.1, 0.1, 0.3, 0.4]) + t * np.array([1, 0.5, 1, 0.5])
    assert [k.frame for k in make_keyframes(track_of(straight), np.arange(20) / 25)] == [0, 19]
    corner = np.concatenate([straight, straight[-2::-1]])
    assert [k.frame for k in make_keyframes(track_of(corner), np.arange(39) / 25)] == [0, 19, 38]


def test_interpolation_is_in_time_not_in_frames():
    """Uniform motion filmed at an uneven rate is still two keyframes."""
    times = np.cumsum(np.random.default_rng(1).uniform(0.005, 0.2, 30))
    boxes = np.array([0.0, 0.0, 0.2, 0.2]) + 0.7 * (times / times[-1])[:, None]
    assert len(make_keyframes(track_of(boxes), times, tolerance_iou=0.99)) == 2
    assert len(make_keyframes(track_of(boxes), np.arange(30.0), tolerance_iou=0.99)) > 2


@pytest.mark.parametrize(
    ("visible", "expected"),
    [
        ([1, 1, 1, 0, 0, 1, 1], [(0, True), (2, False), (5, True), (6, False)]),
        ([0, 1, 0, 0, 1, 0], [(1, False), (4, False)]),
        ([0, 0, 0], []),
        ([1], [(0, False)]),
    ],
)
def test_spans_end_with_a_disabled_keyframe(visible, expected):
    box = np.tile([0.2, 0.2, 0.4, 0.5], (len(visible), 1))
    found = make_keyframes(track_of(box, visible), np.arange(len(visible)) / 24)
    assert [(k.frame, k.enabled) for k in found] == expected


def test_a_track_with_frames_left_out():
    box = np.tile([0.2, 0.2, 0.4, 0.5], (3, 1))
    found = make_keyframes(track_of(box, frames=[4, 10, 13]), np.arange(14) / 24)
    assert [(k.frame, k.enabled) for k in found] == [(4, True), (13, False)]


def test_long_noisy_track_is_quick_and_small():
    rng = np.random.default_rng(3)
    t = np.linspace(0, 6, 900)
    centre = np.stack([0.5 + 0.3 * np.cos(t), 0.5 + 0.3 * np.sin(2 * t)], 1) + rng.normal(0, 0.001, (900, 2))
    boxes = np.concatenate([centre - 0.08, centre + 0.08], 1)
    found = select_keyframes(boxes, np.ones(900, bool), positions=t)
    assert 8 <= len(found) <= 40


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"positions": [0, 0, 1]}, "ascend"),
        ({"positions": [0, 1]}, r"\(2,\)"),
        ({"tolerance_iou": 0}, "tolerance_iou"),
        ({"tolerance_iou": 1.5}, "1.5"),
    ],
)
def test_bad_input_is_named(change, message):
    arguments = {"positions": [0, 1, 2], "tolerance_iou": 0.9, **change}
    with pytest.raises(ValueError, match=message):
        select_keyframes(np.zeros((3, 4)), np.ones(3, bool), **arguments)


def test_times_too_short():
    with pytest.raises(ValueError, match="last frame"):
        make_keyframes(track_of(np.tile([0, 0, 0.1, 0.1], (4, 1))), np.arange(3.0))


@given(st.lists(st.booleans(), max_size=20))
def test_spans_cover_exactly_what_is_visible(visible):
    visible = np.array(visible, bool)
    covered = np.zeros(len(visible), bool)
    for a, b in find_runs(visible):
        assert not covered[max(a - 1, 0) : b + 1].any()
        covered[a : b + 1] = True
    np.testing.assert_array_equal(covered, visible)


@pytest.mark.slow
def test_a_long_stay_costs_few_keyframes():
    """Longer than runs whose fewest are searched: what the pieces need is thinned, and every box is kept."""
    n = 5000
    boxes = np.tile([0.4, 0.4, 0.6, 0.6], (n, 1)) + np.random.default_rng(0).normal(0, 0.001, (n, 4))
    boxes[n // 2] += 0.05
    chosen = select_keyframes(boxes, np.ones(n, bool), positions=np.arange(n) / 30)
    rows = [row for row, _ in chosen]
    assert (rows[0], rows[-1]) == (0, n - 1)
    assert n // 2 in rows
    assert len(rows) <= 7, "the push, a row on each side of it, the ends, and a piece's end at most"
    line = np.stack([np.interp(np.arange(n), rows, boxes[rows, side]) for side in range(4)], 1)
    assert masks.box_iou(line, boxes).min() >= 0.9 - 1e-9


@st.composite
def trembling_tracks(draw):
    """Boxes on a bent path with noise, some hidden rows, and positions."""
    n = draw(st.integers(1, 40))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    positions = np.cumsum(rng.uniform(0.01, 0.2, n))
    middle = 0.4 + 0.2 * np.sin(draw(st.floats(0, 6)) * positions)[:, None]
    boxes = middle + np.array([-0.2, -0.1, 0.2, 0.1]) + rng.normal(0, draw(st.floats(0, 0.02)), (n, 4))
    return boxes, rng.random(n) > draw(st.floats(0, 0.4)), positions


@given(trembling_tracks(), st.sampled_from([0.7, 0.88, 0.95]), st.sets(st.integers(0, 39)))
def test_fitted_keyframes_keep_the_tolerance_and_are_nearer_to_the_boxes(track, tolerance, fixed):
    boxes, visible, positions = track
    options = {"positions": positions, "tolerance_iou": tolerance}
    fixed = [row for row in fixed if row < len(visible) and visible[row]]
    chosen = select_keyframes(boxes, visible, must=fixed, **options)
    fitted = fit_keyframe_boxes(boxes, visible, chosen, fixed=fixed, **options)
    rows = np.array([row for row, _ in chosen], int)
    np.testing.assert_array_equal(fitted[np.isin(rows, fixed)], boxes[rows[np.isin(rows, fixed)]])
    for first, last in find_runs(visible):
        own, keys = slice(first, last + 1), (rows >= first) & (rows <= last)

        def line(values, own=own, keys=keys):
            return np.stack([np.interp(positions[own], positions[rows[keys]], v[keys]) for v in values.T], axis=1)

        assert masks.box_iou(line(fitted), boxes[own]).min() >= tolerance - 1e-6
        error, before = ((line(v) - boxes[own]) ** 2 for v in (fitted, boxes[rows]))
        assert error.sum() <= before.sum() + 1e-12


def test_keyframes_are_fitted_as_by_a_dense_least_squares():
    rng, n = np.random.default_rng(3), 30
    boxes = np.array([0.3, 0.3, 0.7, 0.7]) + rng.normal(0, 0.004, (n, 4))
    positions, rows = np.sort(rng.random(n)), [0, 11, 20, 29]
    chosen = [(row, row != 29) for row in rows]
    fitted = fit_keyframe_boxes(boxes, np.ones(n, bool), chosen, positions=positions, tolerance_iou=0.5)
    hats = np.stack([np.interp(positions, positions[rows], unit) for unit in np.eye(4)], axis=1)
    expected, *_ = np.linalg.lstsq(hats, boxes, rcond=None)
    np.testing.assert_allclose(fitted, expected, atol=1e-9)
