"""Anchors from prompts: drawn masks and boxes are kept exactly, and points are respected."""

from __future__ import annotations

import numpy as np
import pytest

from refam.pipeline.pipeline import FramePrompt, PipelineError
from refam.segmenters.grabcut import GrabCutSegmenter
from refam.tiny.scenes import SceneObject
from tests.refam.pipeline.ground_truth import ious
from tests.refam.pipeline.prompted_scene import DISC, SIZE, STAR, bad_mask, render_clip, run
from video import masks
from video.types import Candidate

# --- kept exactly ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("words", [None, STAR, DISC])
def test_a_drawn_mask_is_kept_to_the_pixel(scene, words):
    mask = bad_mask(scene[1][STAR][8])
    found = run(scene, FramePrompt(8, mask=masks.encode(mask)), words=words)
    np.testing.assert_array_equal(masks.decode(found.track.rles[8]), mask)
    assert found.track.visible[8]
    assert any(k.frame == 8 and k.box == pytest.approx(masks.box_of(mask), abs=1e-12) for k in found.keyframes)


@pytest.mark.parametrize("words", [None, STAR])
def test_a_drawn_box_is_kept_as_a_keyframe_to_the_digit(scene, words):
    x0, y0, x1, y1 = masks.box_of(scene[1][STAR][6])
    box = (x0 - 0.0123456789, y0, x1 + 0.002, y1 + 0.03)  # a hat and a shadow
    found = run(scene, FramePrompt(6, box=box), words=words)
    assert [k.box for k in found.keyframes if k.frame == 6] == [box]
    last = found.keyframes[-1].box
    assert found.keyframes[-1].frame > 6
    assert last[3] - last[1] > (y1 - y0) * 1.05, "what the box holds beyond the outline stays with it"


def test_points_lie_on_the_right_side_of_the_outline(scene):
    on = masks.deepest_point(scene[1][STAR][5])
    off = masks.deepest_point(scene[1][DISC][5])
    found = run(scene, FramePrompt(5, points=(on, off), labels=(1, 0)))
    mask = masks.decode(found.track.rles[5])
    assert mask[int(on[1] * SIZE[1]), int(on[0] * SIZE[0])]
    assert not mask[int(off[1] * SIZE[1]), int(off[0] * SIZE[0])]
    assert not any("was to be" in note for note in found.notes)


class Stubborn(GrabCutSegmenter):
    """Always the same square."""

    def segment(self, image, prompt, *, frame=0):
        mask = np.zeros(image.shape[:2], bool)
        mask[:40, :40] = True
        return [Candidate(frame, mask, 0.9)]


@pytest.mark.parametrize(
    ("points", "labels", "said"),
    [
        (((0.9, 0.9),), (1,), "frame 3: the point 0.9,0.9 was to be on the object and is outside its mask"),
        (((0.05, 0.05), (0.01, 0.02)), (1, 0), "frame 3: the point 0.01,0.02 was to be off the object and is within"),
    ],
)
def test_a_violated_point_is_noted(scene, points, labels, said):
    found = run(scene, FramePrompt(3, points=points, labels=labels), segmenter=Stubborn())
    assert any(said in note for note in found.notes)


class Blank(GrabCutSegmenter):
    """Answers with a mask without pixels."""

    def segment(self, image, prompt, *, frame=0):
        return [Candidate(frame, np.zeros(image.shape[:2], bool), 0.9)]


@pytest.mark.parametrize("points", [((0.5, 0.5),), ((0.5, 0.5), (0.6, 0.6))])
def test_an_outline_without_pixels_is_none(scene, points):
    with pytest.raises(PipelineError, match="no outline was found where the point or box is"):
        run(scene, FramePrompt(3, points=points, labels=(1,) * len(points)), segmenter=Blank())


def test_a_drawn_mask_overrules_a_point_with_a_note(scene):
    mask = scene[1][STAR][3]
    point = masks.deepest_point(mask)
    found = run(scene, FramePrompt(3, points=(point,), labels=(0,), mask=masks.encode(mask)))
    np.testing.assert_array_equal(masks.decode(found.track.rles[3]), mask)
    assert any("was to be off the object and is within" in note for note in found.notes)


class Fixed(GrabCutSegmenter):
    """Outlines the given share of the box from its top left; without points, or else those off the object, more."""

    share = 0.25
    obeys = False

    def segment(self, image, prompt, *, frame=0):
        mask = np.zeros(image.shape[:2], bool)
        h, w = mask.shape
        x0, y0, x1, y1 = prompt.box or (0.25, 0.25, 0.75, 0.75)
        side = self.share**0.5
        right = x0 + (x1 - x0) * side * (0.5 if self.obeys and 0 in prompt.labels else 1)
        mask[round(y0 * h) : round((y0 + (y1 - y0) * side) * h), round(x0 * w) : round(right * w)] = True
        return [Candidate(frame, mask, 1.0)]


@pytest.mark.parametrize(("share", "speck"), [(0.012, True), (0.03, False), (0.9, False)])
def test_a_speck_in_a_loose_box_is_noted_and_scores_low(scene, share, speck):
    segmenter = Fixed()
    object.__setattr__(segmenter, "share", share)
    found = run(scene, FramePrompt(4, box=(0.1, 0.1, 0.9, 0.9)), segmenter=segmenter)
    assert any("frame 4: the mask fills only 1." in note for note in found.notes) == speck
    assert (found.score <= 0.3) == speck
    assert (found.track.scores.max() <= 0.3) == speck


BOX = (0.2, 0.2, 0.8, 0.8)


@pytest.mark.parametrize(
    ("prompts", "obeys", "idle"),
    [
        ([FramePrompt(4, ((0.95, 0.95),), (0,), box=BOX)], False, "frame 4: the point off the object changes nothing"),
        ([FramePrompt(4, ((0.95, 0.95),), (0,), box=BOX)], True, ""),
        (
            [FramePrompt(4, box=BOX), FramePrompt(4, ((0.95, 0.95), (0.05, 0.9)), (0, 0))],
            False,
            "frame 4: the points off the object change nothing",
        ),
        (
            [FramePrompt(4, ((0.3, 0.3), (0.9, 0.9)), (1, 0))],
            False,
            "frame 4: the point off the object changes nothing",
        ),
        ([FramePrompt(4, ((0.3, 0.3), (0.9, 0.9)), (1, 0))], True, ""),
        ([FramePrompt(4, ((0.3, 0.3),), (1,), box=BOX)], False, ""),
    ],
)
def test_a_point_off_the_object_that_changes_nothing_is_noted(scene, prompts, obeys, idle):
    segmenter = Fixed()
    object.__setattr__(segmenter, "obeys", obeys)
    found = run(scene, *prompts, segmenter=segmenter)
    said = [note for note in found.notes if "off the object change" in note]
    assert bool(said) == bool(idle)
    assert not idle or said[0].startswith(idle)


def test_a_point_off_a_drawn_mask_is_noted(scene):
    mask = scene[1][STAR][3]
    found = run(scene, FramePrompt(3, points=((0.01, 0.01),), labels=(0,), mask=masks.encode(mask)))
    assert any("frame 3: the point off the object changes nothing" in note for note in found.notes)


# --- clips of any kind ------------------------------------------------------------------------------------------------


def test_a_mask_of_another_size_is_refused_by_the_pipeline(scene):
    with pytest.raises(PipelineError, match=r"it: the mask on frame 1 is 16x9; the video's frames are 192x108"):
        run(scene, FramePrompt(1, mask=masks.encode(np.ones((9, 16), bool))))


def test_a_clip_of_one_frame(scene):
    frames, truth = scene[0][:1], {k: v[:1] for k, v in scene[1].items()}
    for prompts, words in (((), STAR), ((FramePrompt(0, mask=masks.encode(truth[STAR][0])),), None)):
        found = run((frames, truth), *prompts, words=words)
        assert ious(found.track, truth[STAR]).min() > 0.85
        assert [(k.frame, k.enabled) for k in found.keyframes] == [(0, False)]


def test_an_object_that_leaves_is_noted_as_lost_to_the_end():
    frames, seen = render_clip(lambda t: [SceneObject("red", "star", "plain", "large", 60 + 9 * t, 30, 11)], 16)
    truth = seen[:, 0]
    gone = np.flatnonzero(~truth.any((1, 2)))
    found = run((frames, {STAR: truth}), FramePrompt(0, mask=masks.encode(truth[0])), words=STAR)
    assert len(gone) > 5
    assert not found.track.visible[gone[1:]].any()
    assert any(note.startswith("lost from") and note.endswith("to the end") for note in found.notes)
    assert not found.keyframes[-1].enabled


# --- one click means the whole ---------------------------------------------------------------------------------------


class PartFirst(GrabCutSegmenter):
    """For points on a part the part is the best answer, for others the larger mask, which holds all points."""

    PART, WHOLE = (slice(40, 60), slice(80, 100)), (slice(30, 90), slice(70, 120))

    def segment(self, image, prompt, *, frame=0):
        found = []
        on_part = all(80 <= x * SIZE[0] < 100 and 40 <= y * SIZE[1] < 60 for x, y in prompt.points)
        for place, score in ((self.PART, 0.8), (self.WHOLE, 0.6 if on_part else 0.9)):
            mask = np.zeros(image.shape[:2], bool)
            mask[place] = True
            found.append(Candidate(frame, mask, score))
        return found


def part_first_mask(scene, *points, **drawn):
    at = tuple((x / SIZE[0], y / SIZE[1]) for x, y in points)
    found = run(scene, FramePrompt(3, points=at, labels=(1,) * len(at), **drawn), segmenter=PartFirst())
    return masks.decode(found.track.rles[3])


def test_one_click_means_the_whole(scene):
    assert part_first_mask(scene, (90, 50)).sum() == 60 * 50


def test_a_second_click_or_a_box_says_what_is_meant(scene):
    assert part_first_mask(scene, (90, 50), (85, 45)).sum() == 20 * 20
    assert part_first_mask(scene, (90, 50), (110, 80)).sum() == 60 * 50
    assert part_first_mask(scene, (90, 50), box=(0.4, 0.3, 0.6, 0.6)).sum() == 20 * 20
