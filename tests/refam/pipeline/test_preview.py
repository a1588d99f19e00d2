"""A preview is there before tracking begins, and its boxes are near the object's."""

from __future__ import annotations

import numpy as np
import pytest

from refam.evaluation.synthetic import ArrayClip
from refam.pipeline.pipeline import FramePrompt, Pipeline, Target, run_in_region
from refam.pipeline.quality import Quality
from refam.pipeline.roi import RegionOfInterest
from refam.segmenters.grabcut import GrabCutSegmenter
from tests import media
from tests.refam.pipeline.ground_truth import SIZE, TruthGrounder, star_and_disc
from video import masks
from video.io.reader import open_clip
from video.masks import box_iou

STAR, DISC = "the red star", "the blue circle"


@pytest.fixture(scope="module")
def scene():
    return star_and_disc(24)


def preview_of(scene, *targets):
    """The preview of these targets, the result, and the stages that had begun before the preview."""
    seen, stages = [], []
    pipeline = Pipeline(GrabCutSegmenter(), grounder=lambda: TruthGrounder(scene[1]))

    def note(results):
        seen.append((results, list(stages)))

    results = pipeline.run(ArrayClip(scene[0]), targets, progress=lambda stage, _: stages.append(stage), preview=note)
    ((early, before),) = seen
    return early, results, before


def test_a_preview_comes_once_before_tracking_and_follows_the_object(scene):
    (early,), (result,), before = preview_of(scene, Target("star", STAR))
    assert "mask" in before
    assert "track" not in before
    truth = np.array([masks.box_of(mask) for mask in scene[1][STAR]])
    assert early.frames.tolist() == list(range(24))
    assert early.visible.all()
    assert box_iou(early.boxes, truth).min() > 0.5
    assert (early.score, early.target) == (0, result.target)
    assert not any(mask.any() for mask in early.masks), "masks are what takes long"


def test_what_is_not_found_or_drawn_already_has_no_preview(scene):
    box = masks.box_of(scene[1][DISC][6])
    drawn = Target("disc", DISC, prompts=(FramePrompt(6, box=box),))
    early, results, _ = preview_of(scene, Target("star", STAR), drawn, Target("cow", "the green cow"))
    assert [bool(r.visible.any()) for r in early] == [True, False, False]
    assert [bool(r.visible.any()) for r in results] == [True, True, False]
    assert "the green cow" in early[2].notes[0]
    truth = [scene[1][STAR], scene[1][DISC]]
    for result, shown, masks_of in zip(results, early, truth, strict=False):
        assert shown.first_mask.frames.tolist() == [shown.anchor_frame] == [result.anchor_frame]
        mask = masks.decode(shown.first_mask.rles[0])
        assert masks.iou(mask, masks_of[shown.anchor_frame]) > 0.7
    assert early[1].anchor_frame == 6
    assert early[2].first_mask is None


@pytest.mark.parametrize("draw", [None, "points", "box"])
def test_a_preview_of_words_says_that_points_come_later(scene, draw):
    """Points correct what is tracked from the words' mask; a box is a mask of its own."""
    mask = scene[1][STAR][3]
    prompts = {
        None: (),
        "points": (FramePrompt(3, points=(masks.deepest_point(mask),), labels=(1,)),),
        "box": (FramePrompt(3, box=masks.box_of(mask)),),
    }[draw]
    (early,), (result,), _ = preview_of(scene, Target("star", STAR, prompts=prompts))
    assert early.is_of_words == (draw != "box")
    assert any("the points correct that once it is tracked" in note for note in early.notes) == (draw == "points")
    assert not any("the preview shows" in note for note in result.notes)


def test_one_look_that_shows_something_else_does_not_bend_the_preview(scene):
    frames, truth = scene
    wrong = {int(frame) for frame in np.linspace(0, 23, 8).round()[3:4]}
    mixed = {STAR: np.where(np.isin(np.arange(24), list(wrong))[:, None, None], truth[DISC], truth[STAR])}
    (early,), _, _ = preview_of((frames, mixed), Target("star", STAR))
    assert box_iou(early.boxes, np.array([masks.box_of(mask) for mask in truth[STAR]])).min() > 0.5


def test_a_preview_of_reduced_frames_has_the_clips_size(scene, tmp_path):
    clip = open_clip(media.cfr(tmp_path / "clip.mp4", scene[0]))
    pipeline = Pipeline(GrabCutSegmenter(), grounder=lambda: TruthGrounder(scene[1]))
    seen = []
    region = RegionOfInterest(max_side_px=96)
    run_in_region(pipeline, clip, [Target("star", STAR)], region, preview=seen.extend)
    (early,) = seen
    assert early.track.size == SIZE
    assert box_iou(early.boxes, np.array([masks.box_of(mask) for mask in scene[1][STAR]])).min() > 0.45
    assert early.first_mask.size == SIZE
    assert masks.iou(masks.decode(early.first_mask.rles[0]), scene[1][STAR][early.anchor_frame]) > 0.6
    box = masks.box_of(scene[1][STAR][13])
    part = []
    drawn = Target("star", prompts=(FramePrompt(13, box=box),))
    run_in_region(pipeline, clip, [drawn], RegionOfInterest("9-20", every=3), preview=part.extend)
    assert part[0].anchor_frame == 13
    assert part[0].first_mask.frames.tolist() == [13]
    assert part[0].frames.tolist() == [9, 12, 13, 15, 18, 20]
    with_quality = []
    Quality.NORMAL.run(pipeline, clip, [Target("star", STAR)], preview=with_quality.extend)
    assert len(with_quality) == 1
