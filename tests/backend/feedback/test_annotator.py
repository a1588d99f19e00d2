"""The simulated annotator: what the editor draws, which stroke comes next, what it costs."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from backend.feedback.annotator import EditorTruth, by_hand, drawn, mend, next_stroke, stroked, verdict
from backend.labelstudio.controls.video_rectangle import box_sequence
from tests.doubles import moving_box


class _Clip:
    def __init__(self, n):
        self.times, self.duration_s = np.arange(n) / 24, n / 24


def _still(n, visible):
    return EditorTruth(np.tile([0.2, 0.2, 0.4, 0.4], (n, 1)), np.asarray(visible, bool))


def _answer(truth):
    """The truth as keyframes, as the backend would write it."""
    n = len(truth.visible)
    track = moving_box(n)
    object.__setattr__(track, "boxes", np.where(truth.visible[:, None], truth.boxes, 0.0))
    object.__setattr__(track, "visible", truth.visible)
    return box_sequence(track, _Clip(n), fps=24)


def test_a_right_answer_costs_nothing():
    truth = _still(20, [True] * 12 + [False] * 3 + [True] * 5)
    tally = mend(_answer(truth), truth, rerun=None, most=50)
    assert (tally.strokes, tally.left, tally.wrong_at_first) == (0, 0, 0)


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
def test_by_hand_a_still_box_costs_its_spans(visible, strokes):
    assert by_hand(_still(20, visible)) == strokes


def test_by_hand_a_straight_way_costs_its_ends_and_a_bend_one_more():
    x = np.concatenate([np.linspace(0, 0.6, 30), np.linspace(0.6, 0, 31)[1:]])
    boxes = np.stack([x, np.full(60, 0.2), x + 0.2, np.full(60, 0.4)], 1)
    # A box may be .02 off (IoU .8 of a side of .2), so the last may be left a few frames before the end.
    assert by_hand(EditorTruth(boxes, np.ones(60, bool))) == 3
    assert by_hand(EditorTruth(boxes[:30], np.ones(30, bool))) == 2


def test_strokes_are_those_of_the_editor():
    """Too long: hidden at its end by one stroke. Too short: seen again by two. A wrong box: moved by one."""
    n = 20
    whole, half = _still(n, [True] * n), _still(n, [True] * 10 + [False] * 10)
    tally = mend(_answer(whole), half, rerun=None, most=50)
    assert dict(tally.kinds) == {"delete": 1, "hide": 1}, "the last keyframe would show it again"
    tally = mend(_answer(half), whole, rerun=None, most=50)
    assert dict(tally.kinds) == {"resume": 1}
    late = _still(n, [False] * 10 + [True] * 10)
    tally = mend(_answer(late), whole, rerun=None, most=50)
    assert (dict(tally.kinds), tally.strokes) == ({"show": 1}, 2)
    shifted = EditorTruth(whole.boxes + np.array([0.1, 0, 0.1, 0]), whole.visible)
    tally = mend(_answer(whole), shifted, rerun=None, most=50)
    assert (dict(tally.kinds), tally.left) == ({"move": 2}, 0), "both ends of the line"
    tally = mend([], whole, rerun=None, most=50)
    assert (tally.strokes, tally.left) == (2, 0), "not found: drawn once, and it stays"


def test_a_stroke_is_answered_and_what_comes_back_is_judged():
    truth = _still(20, [True] * 20)
    asked = []

    def rerun(fixed):
        asked.append([f.frame for f in fixed])
        return _answer(truth)

    shifted = EditorTruth(truth.boxes + np.array([0.1, 0, 0.1, 0]), truth.visible)
    tally = mend(_answer(shifted), truth, rerun=rerun, most=50)
    assert (dict(tally.kinds), tally.left, len(asked)) == ({"move": 1, "ask": 1}, 0, 1)
    assert len(asked[0]) == 1, "only what the annotator touched is fixed"


def test_what_is_short_is_mended_by_hand_and_asking_in_vain_is_given_up():
    truth = _still(40, [True] * 40)
    boxes = truth.boxes.copy()
    boxes[10:15] += np.array([0.1, 0, 0.1, 0])
    tally = mend(_answer(EditorTruth(boxes, truth.visible)), truth, rerun=lambda fixed: 1 / 0, most=50)
    assert tally.left == 0
    assert "ask" not in tally.kinds
    shifted = _answer(EditorTruth(truth.boxes + np.array([0.1, 0, 0.1, 0]), truth.visible))
    tally = mend(shifted, truth, rerun=lambda fixed: shifted, most=50)
    assert (tally.kinds["ask"], tally.left) == (1, 0)


def test_an_answer_that_makes_things_worse_is_taken_back():
    truth = _still(40, [True] * 40)
    wrong = np.array([0.1, 0, 0.1, 0])
    boxes = truth.boxes.copy()
    boxes[10:] += wrong
    first, worse = _answer(EditorTruth(boxes, truth.visible)), _answer(EditorTruth(truth.boxes + wrong, truth.visible))
    without = mend(first, truth, rerun=None, most=50)
    tally = mend(first, truth, rerun=lambda fixed: worse, most=50)
    assert (tally.kinds["ask"], tally.kinds["undo"], tally.left) == (1, 1, 0)
    assert tally.strokes <= without.strokes + 2


def test_the_annotator_gives_up():
    rng = np.random.default_rng(0)
    corner = rng.uniform(0, 0.6, (40, 2))
    truth = EditorTruth(np.concatenate([corner, corner + 0.2], 1), np.ones(40, bool))
    tally = mend([], truth, rerun=None, most=6)
    assert tally.strokes == 6
    assert tally.left > 20


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.booleans(), min_size=2, max_size=24),
    st.lists(st.booleans(), min_size=2, max_size=24),
    st.integers(0, 3),
)
def test_without_help_the_annotator_always_gets_there(first, second, seed):
    """From any answer to any truth, and never with more strokes than two per frame and keyframe."""
    n = min(len(first), len(second))
    rng = np.random.default_rng(seed)
    corner = rng.uniform(0, 0.6, (2, n, 2))
    answer, truth = (
        EditorTruth(np.concatenate([c, c + rng.uniform(0.2, 0.4, (n, 2))], 1), np.array(v[:n]))
        for c, v in zip(corner, (first, second), strict=True)
    )
    sequence = _answer(answer) if answer.visible.any() else []
    tally = mend(sequence, truth, rerun=None, most=10 * n)
    assert tally.left == 0
    assert tally.strokes <= 4 * n + len(sequence)


def test_the_longest_wrong_stretch_comes_first():
    truth = _still(30, [True] * 30)
    boxes = truth.boxes.copy()
    boxes[3:5] += [0.1, 0, 0.1, 0]
    boxes[10:20] += [0.1, 0, 0.1, 0]
    boxes[15] += [0.05, 0, 0.05, 0]
    sequence = _answer(EditorTruth(boxes, truth.visible))
    wrong, ious = verdict(sequence, truth)
    assert np.flatnonzero(wrong).tolist() == [3, 4, *range(10, 20)]
    assert next_stroke(sequence, truth, wrong, ious) == ("move", 15)
    after, spent = stroked(sequence, truth, "move", 15)
    assert spent == {"move": 1}
    assert drawn(after, 30)[0][15] == pytest.approx(truth.boxes[15])
