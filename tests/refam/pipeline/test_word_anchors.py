"""Anchors on words: which grounded mask is taken, and what is said of it."""

from __future__ import annotations

import numpy as np
import pytest

from refam.pipeline.pipeline import FramePrompt, PipelineOptions, Target
from refam.pipeline.state import ObjectState
from refam.pipeline.word_anchors import anchor_on_words
from refam.segmenters.grabcut import GrabCutSegmenter
from tests.refam.pipeline.color_tracking import CLIP, GROUNDED, MOVING, STILL, ColorSegmenter, ground
from tests.refam.pipeline.prompted_scene import STAR, run
from video.heatmap_fusion import FusedHeatmaps
from video.types import Candidate


class Pieces(GrabCutSegmenter):
    """Outlines squares of these sides, apart from each other."""

    sides_px = (20,)

    def segment(self, image, prompt, *, frame=0):
        mask = np.zeros(image.shape[:2], bool)
        for i, side_px in enumerate(self.sides_px):
            mask[20 : 20 + side_px, 30 * i : 30 * i + side_px] = True
        return [Candidate(frame, mask, 0.9)]


@pytest.mark.parametrize(
    ("words", "prompts", "sides_px", "is_said"),
    [
        (STAR, (), (20, 18, 16), True),
        (STAR, (), (20, 4, 4), False),
        (STAR, (FramePrompt(3, points=((0.02, 0.2),), labels=(1,)),), (20, 18, 16), False),
    ],
)
def test_a_mask_of_the_words_that_is_in_pieces_is_noted(scene, words, prompts, sides_px, is_said):
    segmenter = Pieces()
    object.__setattr__(segmenter, "sides_px", sides_px)
    found = run(scene, *prompts, words=words, segmenter=segmenter)
    said = [note for note in found.notes if "is in 3 pieces: if they are parts of one thing, a point on it" in note]
    assert len(said) == is_said, found.notes


# --- things that fit the words equally well --------------------------------------------------------------------------


def _anchored(shown, *, confidences=None, prompts=()):
    heatmaps, _ = ground(shown, confidences)
    state = ObjectState(Target("the square", "the square", prompts=prompts))
    state.consensus = FusedHeatmaps(tuple(heatmaps), np.ones(len(heatmaps)), 0)
    anchor_on_words(CLIP, state, ColorSegmenter(), options=PipelineOptions())
    return state


def test_the_anchor_shows_the_thing_that_is_hot_on_most_frames():
    sure_once = (0.9, 0.5, 0.5, 0.5, 0.5, 0.5)  # alone the first mask ranks first
    state = _anchored([STILL, MOVING, MOVING, MOVING, MOVING, MOVING], confidences=sure_once)
    assert state.word_anchors[state.anchor_frame].tolist() == MOVING[state.anchor_frame].tolist()
    assert sorted(one.frame for one in state.grounded_masks) == list(GROUNDED)
    assert (state.rival_ratio, state.notes, state.limit_score(0.8)) == (0, [], 0.8)


def test_a_thing_that_fits_as_well_is_said_and_lowers_the_score():
    state = _anchored([STILL, MOVING] * 3)
    (note,) = state.notes
    assert "the words fit another thing nearly as well" in note
    assert 0.7 <= state.rival_ratio <= 1
    assert state.limit_score(0.8) == pytest.approx(0.8 / (1 + state.rival_ratio))


def test_a_drawn_object_has_no_rival():
    state = _anchored([STILL, MOVING] * 3, prompts=(FramePrompt(1, points=((0.1, 0.2),), labels=(1,)),))
    assert state.notes == []
    assert state.limit_score(0.8) == 0.8
