"""A point adds a piece to a mask or takes one from it, and touches nothing else, whatever the segmenter answers."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from refam.segmenters.refinement import distance_in_sizes, refine_mask
from video import masks
from video.types import Candidate

H, W = 60, 100
IMAGE = np.zeros((H, W, 3), np.uint8)


def rectangle(x0, y0, x1, y1):
    mask = np.zeros((H, W), bool)
    mask[y0:y1, x0:x1] = True
    return mask


TRUNK, LIMB, CURTAIN = rectangle(20, 20, 50, 45), rectangle(50, 25, 65, 35), rectangle(50, 0, 100, 60)


def centre(mask):
    return masks.deepest_point(mask)


class Answering:
    """Answers each prompt with masks that a function gives; keeps the prompts."""

    name = "answering"

    def __init__(self, answer):
        self.answer, self.prompts = answer, []

    def segment(self, image, prompt, *, frame=0):
        self.prompts.append(prompt)
        return [Candidate(frame, mask, score) for mask, score in self.answer(prompt)]


def knowing(*things):
    """Answers with the union of the things that hold a point on the object, without those that hold one off it."""

    def answer(prompt):
        found = np.zeros((H, W), bool)
        for thing in things:
            sides = [bool(n) for p, n in zip(prompt.points, prompt.labels, strict=True) if masks.contains(thing, p)]
            if sides and all(sides):
                found |= thing
        return [(found, 0.9)] if found.any() else []

    return Answering(answer)


def refined(segmenter, mask, *hints):
    points = np.array([point for point, _ in hints]).reshape(-1, 2)
    return refine_mask(segmenter, IMAGE, mask, points, np.array([int(label) for _, label in hints]))


def test_a_point_on_the_object_adds_what_is_missing():
    result = refined(knowing(TRUNK, LIMB), TRUNK, (centre(LIMB), True))
    np.testing.assert_array_equal(result.mask, TRUNK | LIMB)
    assert result.score == pytest.approx(1.0)


def test_a_point_off_the_object_takes_what_does_not_belong():
    result = refined(knowing(TRUNK, CURTAIN), TRUNK | CURTAIN, (centre(CURTAIN), False))
    np.testing.assert_array_equal(result.mask, TRUNK)


def test_points_of_both_kinds():
    below = rectangle(20, 45, 40, 60)
    hints = (centre(LIMB), True), (centre(below), False), (centre(TRUNK), True)
    result = refined(knowing(TRUNK, LIMB, below), TRUNK | below, *hints)
    np.testing.assert_array_equal(result.mask, TRUNK | LIMB)


@pytest.mark.parametrize(("point", "label"), [(centre(TRUNK), True), (centre(CURTAIN), False)])
def test_a_point_on_its_right_side_changes_nothing_and_asks_nothing(point, label):
    segmenter = Answering(lambda prompt: [(np.ones((H, W), bool), 1.0)])
    np.testing.assert_array_equal(refined(segmenter, TRUNK, (point, label)).mask, TRUNK)
    assert not segmenter.prompts


def test_without_an_answer_the_mask_stays():
    assert refined(Answering(lambda prompt: []), TRUNK, (centre(LIMB), True)).mask is TRUNK


def test_one_wrong_answer_of_three_is_outvoted():
    """The answer to the mask prompt is the whole picture: half of it would be added."""

    def answer(prompt):
        return [(np.ones((H, W), bool), 0.9)] if prompt.prior is not None else [(TRUNK | LIMB, 0.9)]

    result = refined(Answering(answer), TRUNK, (centre(LIMB), True))
    np.testing.assert_array_equal(result.mask, TRUNK | LIMB)
    assert result.score < 0.9


def test_the_mask_is_asked_about_together_with_the_points():
    segmenter = knowing(TRUNK, LIMB)
    refined(segmenter, TRUNK, (centre(LIMB), True))
    (with_mask,) = [prompt for prompt in segmenter.prompts if prompt.prior is not None]
    np.testing.assert_array_equal(with_mask.prior > 0.5, TRUNK)
    on = [tuple(p) for p, label in zip(with_mask.points, with_mask.labels, strict=True) if label]
    assert centre(LIMB) in on
    assert any(masks.contains(TRUNK, point) for point in on)


def test_a_piece_never_takes_in_a_point_of_the_other_kind():
    everything = Answering(lambda prompt: [(np.ones((H, W), bool), 0.9)])
    off = (0.95, 0.95)
    np.testing.assert_array_equal(refined(everything, TRUNK, (centre(LIMB), True), (off, False)).mask, TRUNK)
    np.testing.assert_array_equal(refined(everything, CURTAIN, ((0.6, 0.1), False), ((0.95, 0.95), True)).mask, CURTAIN)


def test_the_object_itself_is_not_removed_for_a_point_on_a_part_of_it():
    """The best answer for the thing under the point is all of the object, the next one the part."""
    hair, person = rectangle(20, 20, 50, 25), TRUNK | LIMB

    def answer(prompt):
        is_alone = len(prompt.points) == 1
        return [(person, 0.95), (hair, 0.6)] if is_alone else [(LIMB, 0.9)]

    result = refined(Answering(answer), person, (centre(hair), False))
    np.testing.assert_array_equal(result.mask, person & ~hair)


def test_slivers_of_what_was_taken_go_too_and_small_parts_of_the_object_stay():
    hand = rectangle(5, 5, 9, 9)  # apart from the trunk
    almost = CURTAIN.copy()
    almost[59:] = False  # the answer misses the curtain's last row
    result = refined(knowing(TRUNK, hand, almost), TRUNK | hand | CURTAIN, (centre(almost), False))
    np.testing.assert_array_equal(result.mask, TRUNK | hand)


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 2**16), label=st.booleans())
def test_whatever_is_answered_a_point_only_adds_or_only_takes_around_itself(seed, label):
    rng = np.random.default_rng(seed)

    def answer(prompt):
        for _ in range(rng.integers(0, 4)):
            x, y, w, h = rng.integers((0, 0, 5, 5), (W, H, W, H))
            yield rectangle(x, y, x + w, y + h) ^ rectangle(*rng.integers(0, 60, 4)), float(rng.uniform())

    point = (0.58, 0.5) if label else (0.3, 0.5)
    result = refined(Answering(lambda prompt: list(answer(prompt))), TRUNK, (point, label)).mask
    if label:
        assert not (TRUNK & ~result).any()
        changed = result & ~TRUNK
    else:
        assert not (result & ~TRUNK).any()
        changed = TRUNK & ~result
    if changed.any():
        assert masks.contains(result, point) == label
    if label:
        assert len(masks.components(changed)) <= 1


def test_distance_in_sizes():
    square = rectangle(10, 10, 30, 30)
    assert distance_in_sizes(square, (0.2, 0.3)) == 0
    assert distance_in_sizes(square, (49.5 / W, 20.5 / H)) == pytest.approx(1.0, abs=0.03)


def test_a_sliver_with_a_point_on_the_object_stays():
    body, stick, ball = rectangle(10, 5, 60, 55), rectangle(60, 28, 75, 32), rectangle(75, 29, 78, 31)

    def answer(prompt):
        if len(prompt.points) == 1:
            return [(stick, 0.9)] if masks.contains(stick, prompt.points[0]) else [(body | stick | ball, 0.9)]
        return [(body, 0.9)]

    result = refined(Answering(answer), body | stick | ball, (centre(stick), False), (centre(ball), True))
    assert masks.contains(result.mask, centre(ball))
    assert not masks.contains(result.mask, centre(stick))
