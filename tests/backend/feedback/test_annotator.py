"""The simulated annotator: what the editor draws, which stroke comes next, and what it costs."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from backend.feedback.annotator import (
    EditorTruth,
    apply_stroke,
    choose_stroke,
    correct_sequence,
    fewest_manual_strokes,
    find_wrong_frames,
    interpolate_sequence,
)
from backend.labelstudio.controls.video_rectangle import box_sequence
from tests.doubles import moving_box


class _Clip:
    def __init__(self, n):
        self.times, self.duration_s = np.arange(n) / 24, n / 24


def _still(n, visible):
    return EditorTruth(np.tile([0.2, 0.2, 0.4, 0.4], (n, 1)), np.asarray(visible, bool))


def _predict(truth):
    """Return the truth as the keyframes that the backend would predict."""
    n = len(truth.visible)
    track = moving_box(n)
    object.__setattr__(track, "boxes", np.where(truth.visible[:, None], truth.boxes, 0.0))
    object.__setattr__(track, "visible", truth.visible)
    return box_sequence(track, _Clip(n), fps=24)


def test_a_correct_prediction_needs_no_stroke():
    truth = _still(20, [True] * 12 + [False] * 3 + [True] * 5)
    count = correct_sequence(_predict(truth), truth, rerun=None, max_strokes=50)
    assert (count.strokes, count.frames_left, count.frames_wrong_at_first) == (0, 0, 0)


@pytest.mark.parametrize(
    ("visible", "strokes"),
    [
        ([True] * 20, 1),  # never leaves: one keyframe, and it stays
        ([True] * 10 + [False] * 10, 3),  # two keyframes, and hiding it
        ([True] * 5 + [False] * 5 + [True] * 10, 5),  # the same, then switched on and placed
        ([False] * 19 + [True], 1),
        ([False] * 20, 0),
    ],
)
def test_without_a_prediction_a_still_box_costs_its_spans(visible, strokes):
    assert fewest_manual_strokes(_still(20, visible)) == strokes


def test_without_a_prediction_a_straight_way_costs_its_ends_and_a_bend_one_more():
    x = np.concatenate([np.linspace(0, 0.6, 30), np.linspace(0.6, 0, 31)[1:]])
    boxes = np.stack([x, np.full(60, 0.2), x + 0.2, np.full(60, 0.4)], 1)
    # A box may be .02 off (IoU .8 of a side of .2), so the last may be left a few frames before the end.
    assert fewest_manual_strokes(EditorTruth(boxes, np.ones(60, bool))) == 3
    assert fewest_manual_strokes(EditorTruth(boxes[:30], np.ones(30, bool))) == 2


def test_strokes_are_those_of_the_editor():
    """Too long: hidden at its end by one stroke. Too short: seen again by two. A wrong box: moved by one."""
    n = 20
    whole, half = _still(n, [True] * n), _still(n, [True] * 10 + [False] * 10)
    count = correct_sequence(_predict(whole), half, rerun=None, max_strokes=50)
    assert dict(count.kinds) == {"delete": 1, "hide": 1}, "the last keyframe would show it again"
    count = correct_sequence(_predict(half), whole, rerun=None, max_strokes=50)
    assert dict(count.kinds) == {"resume": 1}
    late = _still(n, [False] * 10 + [True] * 10)
    count = correct_sequence(_predict(late), whole, rerun=None, max_strokes=50)
    assert (dict(count.kinds), count.strokes) == ({"show": 1}, 2)
    shifted = EditorTruth(whole.boxes + np.array([0.1, 0, 0.1, 0]), whole.visible)
    count = correct_sequence(_predict(whole), shifted, rerun=None, max_strokes=50)
    assert (dict(count.kinds), count.frames_left) == ({"move": 2}, 0), "both ends of the line"
    count = correct_sequence([], whole, rerun=None, max_strokes=50)
    assert (count.strokes, count.frames_left) == (2, 0), "not found: drawn once, and it stays"


def test_the_model_is_run_again_from_the_corrected_keyframe():
    truth = _still(20, [True] * 20)
    reruns = []

    def rerun(fixed):
        reruns.append([f.frame for f in fixed])
        return _predict(truth)

    shifted = EditorTruth(truth.boxes + np.array([0.1, 0, 0.1, 0]), truth.visible)
    count = correct_sequence(_predict(shifted), truth, rerun=rerun, max_strokes=50)
    assert (dict(count.kinds), count.frames_left, len(reruns)) == ({"move": 1, "rerun": 1}, 0, 1)
    assert len(reruns[0]) == 1, "only what the annotator touched is fixed"


def test_short_spans_are_corrected_by_hand_and_useless_reruns_stop():
    truth = _still(40, [True] * 40)
    boxes = truth.boxes.copy()
    boxes[10:15] += np.array([0.1, 0, 0.1, 0])
    count = correct_sequence(
        _predict(EditorTruth(boxes, truth.visible)), truth, rerun=lambda fixed: 1 / 0, max_strokes=50
    )
    assert count.frames_left == 0
    assert "rerun" not in count.kinds
    shifted = _predict(EditorTruth(truth.boxes + np.array([0.1, 0, 0.1, 0]), truth.visible))
    count = correct_sequence(shifted, truth, rerun=lambda fixed: shifted, max_strokes=50)
    assert (count.kinds["rerun"], count.frames_left) == (1, 0)


def test_a_rerun_that_makes_things_worse_is_undone():
    truth = _still(40, [True] * 40)
    wrong = np.array([0.1, 0, 0.1, 0])
    boxes = truth.boxes.copy()
    boxes[10:] += wrong
    first, worse = (
        _predict(EditorTruth(boxes, truth.visible)),
        _predict(EditorTruth(truth.boxes + wrong, truth.visible)),
    )
    without = correct_sequence(first, truth, rerun=None, max_strokes=50)
    count = correct_sequence(first, truth, rerun=lambda fixed: worse, max_strokes=50)
    assert (count.kinds["rerun"], count.kinds["undo"], count.frames_left) == (1, 1, 0)
    assert count.strokes <= without.strokes + 2


def test_the_annotator_gives_up():
    rng = np.random.default_rng(0)
    corner = rng.uniform(0, 0.6, (40, 2))
    truth = EditorTruth(np.concatenate([corner, corner + 0.2], 1), np.ones(40, bool))
    count = correct_sequence([], truth, rerun=None, max_strokes=6)
    assert count.strokes == 6
    assert count.frames_left > 20


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.booleans(), min_size=2, max_size=24),
    st.lists(st.booleans(), min_size=2, max_size=24),
    st.integers(0, 3),
)
def test_the_annotator_always_finishes_by_hand(first, second, seed):
    """From any answer to any truth, and never with more strokes than two per frame and keyframe."""
    n = min(len(first), len(second))
    rng = np.random.default_rng(seed)
    corner = rng.uniform(0, 0.6, (2, n, 2))
    prediction, truth = (
        EditorTruth(np.concatenate([c, c + rng.uniform(0.2, 0.4, (n, 2))], 1), np.array(v[:n]))
        for c, v in zip(corner, (first, second), strict=True)
    )
    sequence = _predict(prediction) if prediction.visible.any() else []
    count = correct_sequence(sequence, truth, rerun=None, max_strokes=10 * n)
    assert count.frames_left == 0
    assert count.strokes <= 4 * n + len(sequence)


def test_the_longest_wrong_span_comes_first():
    truth = _still(30, [True] * 30)
    boxes = truth.boxes.copy()
    boxes[3:5] += [0.1, 0, 0.1, 0]
    boxes[10:20] += [0.1, 0, 0.1, 0]
    boxes[15] += [0.05, 0, 0.05, 0]
    sequence = _predict(EditorTruth(boxes, truth.visible))
    wrong, ious = find_wrong_frames(sequence, truth)
    assert np.flatnonzero(wrong).tolist() == [3, 4, *range(10, 20)]
    assert choose_stroke(sequence, truth, wrong, ious) == ("move", 15)
    after, strokes = apply_stroke(sequence, truth, "move", 15)
    assert strokes == {"move": 1}
    assert interpolate_sequence(after, 30)[0][15] == pytest.approx(truth.boxes[15])
