"""Anchors on words: which grounded mask is taken, and what is said of it."""

from __future__ import annotations

import numpy as np
import pytest

from refam.pipeline.pipeline import FramePrompt
from refam.segmenters.grabcut import GrabCutSegmenter
from tests.refam.pipeline.prompted_scene import STAR, run
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
