"""Points on frames that the track reaches: they correct its mask there, and what no point touched stays."""

from __future__ import annotations

import numpy as np
import pytest

from refam.pipeline.pipeline import FramePrompt, Pipeline, Target, run_in_region
from refam.pipeline.roi import RegionOfInterest
from refam.pipeline.stage_cache import StageCache
from refam.segmenters.grabcut import GrabCutSegmenter
from refam.tiny.scenes import SceneObject
from tests.media import cfr
from tests.refam.pipeline.ground_truth import ious
from tests.refam.pipeline.prompted_scene import DISC, SIZE, STAR, N, assert_same_rows, render_clip, run
from video import masks
from video.io.reader import open_clip
from video.types import Candidate


def pixel(mask, point):
    return mask[int(point[1] * SIZE[1]), int(point[0] * SIZE[0])]


def on(frame, mask):
    return FramePrompt(frame, points=(masks.deepest_point(mask),), labels=(1,))


def off(frame, mask):
    return FramePrompt(frame, points=(masks.deepest_point(mask),), labels=(0,))


def drawn(frame, mask):
    return FramePrompt(frame, mask=masks.encode(mask))


@pytest.fixture(scope="module")
def doubled():
    """A star that touches a square: one mask may hold both."""

    def at(t):
        yield SceneObject("red", "star", "plain", "large", 40, 32, 11)
        yield SceneObject("yellow", "square", "plain", "large", 58, 32, 10)

    return render_clip(at, 6)


def test_a_point_off_the_object_takes_only_what_it_is_on(doubled):
    frames, truth = doubled
    both = truth[0, 0] | truth[0, 1]
    found = run((frames, {}), drawn(0, both), off(3, truth[3, 1]))
    assert masks.iou(masks.decode(found.track.rles[3]), truth[3, 0]) > 0.85
    np.testing.assert_array_equal(masks.decode(found.track.rles[0]), both)
    assert masks.iou(masks.decode(found.track.rles[5]), truth[5, 0]) > 0.85, "the correction is followed"


def test_a_point_on_the_object_adds_what_is_missing(doubled):
    frames, truth = doubled
    found = run((frames, {}), drawn(0, truth[0, 0]), on(3, truth[3, 1]))
    mask = masks.decode(found.track.rles[3])
    assert masks.iou(mask, truth[3, 0] | truth[3, 1]) > 0.85
    np.testing.assert_array_equal(masks.decode(found.track.rles[0]), truth[0, 0])


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    """What several tests track from the same masks is tracked once."""
    return StageCache(tmp_path_factory.mktemp("stages"), "clip")


def test_a_point_in_the_mask_confirms_it(scene, cache):
    first = drawn(0, scene[1][STAR][0])
    before = run(scene, first, cache=cache)
    after = run(scene, first, on(9, scene[1][STAR][9]), cache=cache)
    assert after.track.rles[9] == before.track.rles[9]
    assert 9 in [k.frame for k in after.keyframes]
    assert not any("frame 9" in note for note in after.notes)


def test_points_on_several_frames_are_one_track(scene):
    """The first frame with a point on the object starts it, the others confirm it."""
    truth = scene[1][STAR]
    found = run(scene, off(2, scene[1][DISC][2]), on(4, truth[4]), on(12, truth[12]))
    assert found.anchor_frame == 4
    assert ious(found.track, truth).min() > 0.85
    assert any("frame 2: the point off the object misses its mask and changed nothing" in n for n in found.notes)


def test_a_point_off_the_object_that_misses_the_mask_changes_nothing_and_says_so(scene, cache):
    first = drawn(0, scene[1][STAR][0])
    before = run(scene, first, cache=cache)
    after = run(scene, first, FramePrompt(9, points=((0.01, 0.99),), labels=(0,)), cache=cache)
    assert_same_rows(before, after, range(N))
    assert any("frame 9: the point off the object misses its mask" in note for note in after.notes)


def test_a_point_far_from_the_mask_begins_anew_there(scene, cache):
    truth = scene[1]
    found = run(scene, drawn(0, truth[STAR][0]), on(12, truth[DISC][12]), cache=cache)
    assert masks.iou(masks.decode(found.track.rles[0]), truth[STAR][0]) == 1
    assert masks.iou(masks.decode(found.track.rles[12]), truth[DISC][12]) > 0.85
    assert any(note.startswith("frame 12: the point is on another thing") for note in found.notes)


def test_points_where_the_object_is_not_seen():
    """It leaves the picture and another one enters: a point off it changes nothing, one on it begins anew."""

    def at(t):
        yield SceneObject("red", "star", "plain", "large", 80 + 9 * t, 30, 11)
        yield SceneObject("red", "star", "plain", "large", 20, 9 * t - 60, 11)

    frames, truth = render_clip(at, 12)
    first = drawn(0, truth[0, 0])
    found = run((frames, {}), first, off(10, truth[10, 1]))
    assert not found.track.visible[10]
    assert any("not found on frame 10, so nothing was taken" in note for note in found.notes)
    found = run((frames, {}), first, on(10, truth[10, 1]))
    assert masks.iou(masks.decode(found.track.rles[10]), truth[10, 1]) > 0.85


class TakesAll(GrabCutSegmenter):
    """Where a point alone is asked about, its answer is the whole picture."""

    def segment(self, image, prompt, *, frame=0):
        if not len(prompt.points):
            return super().segment(image, prompt, frame=frame)
        is_alone = len(prompt.points) == 1
        return [Candidate(frame, np.ones(image.shape[:2], bool), 0.9)] if is_alone else []


def test_a_correction_that_leaves_nothing_is_refused(scene):
    truth = scene[1][STAR]
    found = run(scene, drawn(0, truth[0]), off(6, truth[6]), segmenter=TakesAll())
    assert found.track.visible[6]
    assert any("nothing was taken from it; draw a box around the object there" in note for note in found.notes)


def test_a_point_refines_what_the_words_found(scene, cache):
    truth = scene[1][STAR]
    before = run(scene, words=STAR, cache=cache)
    frame = before.anchor_frame + (3 if before.anchor_frame < 7 else -3)
    after = run(scene, on(frame, truth[frame]), words=STAR, cache=cache)
    assert after.track.rles[frame] == before.track.rles[frame]
    assert after.anchor_frame == before.anchor_frame


def test_a_point_on_another_object_overrules_the_words(scene):
    found = run(scene, on(0, scene[1][DISC][0]), words=STAR)
    assert ious(found.track, scene[1][DISC]).min() > 0.85
    assert any("the words point at something else" in note for note in found.notes)


@pytest.mark.parametrize("offset", [0, 3])
@pytest.mark.parametrize("words_mean_both", [False, True], ids=["a piece is missing", "a piece is too much"])
def test_a_point_that_refines_what_the_words_found_is_no_conflict(words_mean_both, offset):
    """Words may lead to a part, such as a face, or to too much; the piece of a point may be the larger one."""

    def at(t):
        yield SceneObject("red", "star", "plain", "large", 40, 32, 10)
        yield SceneObject("yellow", "square", "plain", "large", 60, 32, 13)

    frames, truth = render_clip(at, 8)
    both, star = truth.any(1), truth[:, 0]
    scene = frames, {STAR: both if words_mean_both else star}
    anchor = run(scene, words=STAR).anchor_frame
    frame = anchor + offset if anchor + offset < len(frames) else anchor - offset
    point = (off if words_mean_both else on)(frame, truth[frame, 1])
    found = run(scene, point, words=STAR)
    meant = star if words_mean_both else both
    assert masks.iou(masks.decode(found.track.rles[frame]), meant[frame]) > 0.75
    assert not any("the words point at something else" in note for note in found.notes)


def test_later_corrections_see_the_earlier_ones(doubled):
    """The square is taken on frame 2, so on frame 5 there is nothing left to take."""
    frames, truth = doubled
    both = truth[0, 0] | truth[0, 1]
    found = run((frames, {}), drawn(0, both), off(5, truth[5, 1]), off(2, truth[2, 1]))
    assert any("frame 5: the point off the object misses its mask" in note for note in found.notes)
    assert masks.iou(masks.decode(found.track.rles[5]), truth[5, 0]) > 0.85


def test_the_cache_changes_no_correction(doubled, tmp_path):
    frames, truth = doubled
    prompts = drawn(0, truth[0, 0] | truth[0, 1]), off(2, truth[2, 1]), on(4, truth[4, 0])
    cache = StageCache(tmp_path, "clip")
    fresh = run((frames, {}), *prompts)
    for found in (run((frames, {}), *prompts, cache=cache), run((frames, {}), *prompts, cache=cache)):
        assert_same_rows(found, fresh, range(6))
        assert found.notes == fresh.notes


def test_notes_name_the_frames_of_the_video(scene, tmp_path):
    """Of a video of which a part is looked at, too."""
    frames, truth = scene
    clip = open_clip(cfr(tmp_path / "clip.mp4", frames))
    target = Target("it", prompts=(drawn(6, truth[STAR][6]), FramePrompt(9, points=((0.01, 0.99),), labels=(0,))))
    (found,) = run_in_region(Pipeline(GrabCutSegmenter()), clip, [target], RegionOfInterest("6-10"))
    assert any(note.startswith("frame 9: the point off the object misses") for note in found.notes)
