"""Which mask a click means: with a segmenter whose answers are given by hand, on textures that move by known steps."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from refam.pipeline.click_masks import choose_click_mask
from tests.video.clips import ArrayClip, FailingClip
from video import masks
from video.io.reader import open_sequence
from video.types import Candidate

SIZE = (160, 120)
HEAD, TRUNK = (60, 20, 90, 45), (55, 45, 95, 85)  # a figure of two parts: x0, y0, x1, y1 in pixels
ON_HEAD, ON_TRUNK = (75.5 / 160, 32.5 / 120), (75.5 / 160, 65.5 / 120)


def mask_of(*boxes):
    mask = np.zeros(SIZE[::-1], bool)
    for x0, y0, x1, y1 in boxes:
        mask[y0:y1, x0:x1] = True
    return mask


HEAD_MASK, TRUNK_MASK, FIGURE = mask_of(HEAD), mask_of(TRUNK), mask_of(HEAD, TRUNK)
SCENERY = mask_of((20, 10, 130, 110))


class Scripted:
    """A segmenter with a list of (mask, score) for a point on the head, for one on the trunk, and for both."""

    name = "scripted"

    def __init__(self, *, head=(), trunk=(), both=()):
        self.answers = {"head": head, "trunk": trunk, "both": both}
        self.asked = []

    def segment(self, image, prompt, *, frame=0):
        assert prompt.labels.tolist() == [1] * len(prompt.points)
        kinds = {"head" if y * SIZE[1] < HEAD[3] else "trunk" for _, y in prompt.points}
        kind = "both" if len(kinds) == 2 else kinds.pop()
        self.asked.append(kind)
        found = [Candidate(frame, mask, score) for mask, score in self.answers[kind]]
        return sorted(found, key=lambda c: -c.score)


def person(*, sure=False, **answers):
    """The segmenter's best answer is the part under the point, but for both points it is the whole figure.

    Args:
        sure: Whether it is surer of a part than of the figure.
        answers: As `Scripted` takes them, instead of the usual ones.
    """
    part_score = 0.95 if sure else 0.85
    usual = {
        "head": [(HEAD_MASK, part_score), (FIGURE, 0.2)],
        "trunk": [(TRUNK_MASK, part_score - 0.02), (FIGURE, 0.4)],
        "both": [(FIGURE, 0.9)],
    }
    return Scripted(**(usual | answers))


def two_things():
    """For both points, the segmenter is much less sure than for either thing."""
    return person(both=[(FIGURE, 0.6)])


def texture(seed, size):
    noise = np.random.default_rng(seed).normal(0, 60, (size[1] // 4, size[0] // 4, 3)).astype(np.float32)
    return np.clip(cv2.resize(noise, size, interpolation=cv2.INTER_CUBIC) + 128, 0, 255).astype(np.uint8)


def film(*, head=(0, 0), trunk=(0, 0), camera=0, n=9):
    """Frames in which the two parts move by (x, y) pixels a frame in the world; in the middle they are as above."""
    frames = []
    background = texture(1, (SIZE[0] + abs(camera) * n, SIZE[1]))
    for t in range(n):
        pan = camera * t
        frame = background[:, pan : pan + SIZE[0]].copy()
        for seed, box, step in ((2, TRUNK, trunk), (3, HEAD, head)):
            x0, y0, x1, y1 = box
            x, y = x0 + step[0] * (t - n // 2) - pan + camera * (n // 2), y0 + step[1] * (t - n // 2)
            frame[y : y + y1 - y0, x : x + x1 - x0] = texture(seed, (x1 - x0, y1 - y0))
        frames.append(frame)
    return np.stack(frames)


STILL = ArrayClip(film())


def choose(segmenter, clip=STILL, point=ON_HEAD, frame=4):
    chosen = choose_click_mask(clip, frame, clip.frame(frame), point, segmenter)
    assert chosen is None or chosen.frame == frame
    return chosen


def assert_chosen(chosen, mask):
    assert masks.iou(chosen.mask, mask) == 1.0


@pytest.mark.parametrize("point", [ON_HEAD, ON_TRUNK])
def test_a_click_on_a_part_means_the_whole(point):
    segmenter = person()
    assert_chosen(choose(segmenter, point=point), FIGURE)
    assert len(segmenter.asked) == 3, "one prompt for the click and two to check the whole"


@pytest.mark.parametrize(("point", "mask"), [(ON_HEAD, HEAD_MASK), (ON_TRUNK, TRUNK_MASK)])
def test_a_part_that_the_segmenter_is_surer_of_is_meant(point, mask):
    assert_chosen(choose(person(sure=True), point=point), mask)


def test_the_outline_for_two_points_counts_not_that_for_one():
    frayed = FIGURE.copy()
    frayed[20:30, 100:140] = True
    segmenter = person(head=[(HEAD_MASK, 0.85), (frayed, 0.05)])
    assert_chosen(choose(segmenter), FIGURE)


@pytest.mark.parametrize(("point", "mask"), [(ON_HEAD, HEAD_MASK), (ON_TRUNK, TRUNK_MASK)])
def test_two_things_are_not_one(point, mask):
    assert_chosen(choose(two_things(), point=point), mask)


@pytest.mark.parametrize(
    ("head_score", "mask"),
    [
        pytest.param(0.6, HEAD_MASK, id="the click has an answer"),
        pytest.param(0.3, SCENERY, id="the segmenter doubts all answers to the click"),
    ],
)
def test_what_two_points_show_beyond_every_answer_to_the_click_is_another_thing(head_score, mask):
    """A dog in front of a swan: a second point beside it means the swan, with the dog."""
    answers = [(HEAD_MASK, head_score), (FIGURE, 0.2)]
    assert_chosen(choose(person(head=answers, trunk=[(SCENERY, 0.8)], both=[(SCENERY, 0.9)])), mask)


def test_what_the_segmenter_is_surer_of_without_the_part_is_another_thing():
    assert_chosen(choose(person(trunk=[(TRUNK_MASK, 0.95)])), HEAD_MASK)
    assert_chosen(choose(person(trunk=[(FIGURE, 0.95), (TRUNK_MASK, 0.8)])), FIGURE)


@pytest.mark.parametrize("camera", [0, 2])
def test_a_part_that_moves_alone_is_meant(camera):
    clip = ArrayClip(film(head=(0, -2), camera=camera))
    assert_chosen(choose(person(), clip), HEAD_MASK)
    assert_chosen(choose(person(), clip, ON_TRUNK), FIGURE)


def test_a_part_that_seems_to_move_alone_is_not_meant_if_the_segmenter_is_surer_of_the_whole():
    clip = ArrayClip(film(head=(0, -2)))
    assert_chosen(choose(person(head=[(FIGURE, 0.8), (HEAD_MASK, 0.3)]), clip), FIGURE)


def test_a_sure_part_that_moves_with_the_rest_is_not_meant():
    assert_chosen(choose(person(sure=True), ArrayClip(film(head=(2, 0), trunk=(2, 0)))), FIGURE)


def test_a_part_that_moves_with_the_camera_is_judged_by_the_scores():
    clip = ArrayClip(film(camera=2))
    assert_chosen(choose(person(), clip), FIGURE)
    assert_chosen(choose(person(sure=True), clip), HEAD_MASK)


def test_parts_that_move_apart_are_two_things():
    clip = ArrayClip(film(head=(2, 0), trunk=(-2, 0)))
    assert_chosen(choose(person(), clip), HEAD_MASK)
    assert_chosen(choose(person(), clip, ON_TRUNK), TRUNK_MASK)


def test_two_things_that_move_alike_stay_two():
    clip = ArrayClip(film(head=(2, 0), trunk=(2, 0)))
    assert_chosen(choose(two_things(), clip), HEAD_MASK)


@pytest.mark.parametrize(("frame", "shift"), [(0, 4), (8, -4)])
def test_motion_is_known_at_the_clips_ends(frame, shift):
    frames = np.roll(film(head=(0, -2)), shift, axis=0)  # the figure as drawn is now on the first or last frame
    ends = frames[:4] if frame == 0 else frames[-4:]
    clip = ArrayClip(ends)
    assert_chosen(choose(person(), clip, frame=0 if frame == 0 else 3), HEAD_MASK)


def test_motion_beyond_a_cut_or_a_damaged_frame_is_not_known():
    frames = film(head=(0, -2))
    assert_chosen(choose(person(), FailingClip(frames, bad={3, 5})), FIGURE)
    frames[[3, 5]] = np.uint8([250, 20, 20])
    assert_chosen(choose(person(), ArrayClip(frames)), FIGURE)


def test_separate_pictures_have_no_motion(tmp_path):
    for i, frame in enumerate(film(head=(0, -2))):
        cv2.imwrite(str(tmp_path / f"{i}.png"), frame)
    assert_chosen(choose(person(), open_sequence(sorted(tmp_path.glob("*.png")))), FIGURE)


def test_one_mask_is_taken_without_further_questions():
    segmenter = person(head=[(FIGURE, 0.4)])
    assert_chosen(choose(segmenter, ArrayClip(film(head=(0, -2)))), FIGURE)
    assert segmenter.asked == ["head"]


def test_of_similar_outlines_the_better_one_is_taken_without_further_questions():
    larger = FIGURE.copy()
    larger[85:88, 55:95] = True
    segmenter = person(head=[(larger, 0.4), (FIGURE, 0.8)])
    assert_chosen(choose(segmenter), FIGURE)
    assert segmenter.asked == ["head"]


def test_masks_beside_the_click_are_left_out():
    segmenter = person(head=[(HEAD_MASK, 0.5), (TRUNK_MASK, 0.9)])
    assert_chosen(choose(segmenter), HEAD_MASK)
    assert_chosen(choose(person(head=[(TRUNK_MASK, 0.9)])), TRUNK_MASK)  # and noted by the anchor


def test_nothing_is_found_where_the_segmenter_finds_nothing():
    assert choose(Scripted()) is None
    assert choose(Scripted(head=[(np.zeros_like(HEAD_MASK), 0.9)])) is None


def test_the_best_answer_stays_if_nothing_is_found_for_two_points():
    assert_chosen(choose(person(both=[])), HEAD_MASK)
    assert_chosen(choose(person(both=[], head=[(HEAD_MASK, 0.5), (FIGURE, 0.7)])), FIGURE)
