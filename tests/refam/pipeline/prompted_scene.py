"""A drawn clip of two objects, and the pipeline run on prompts in it."""

from __future__ import annotations

import numpy as np

from refam.pipeline.pipeline import Pipeline, Target
from refam.segmenters.grabcut import GrabCutSegmenter
from refam.tiny.scenes import Scene, draw_scene
from tests.refam.pipeline.ground_truth import EXTENT, TruthGrounder
from tests.video.clips import ArrayClip

STAR, DISC = "the red star", "the blue circle"
SIZE = (192, 108)  # width, height
N = 14  # frames


def render_clip(objects_at, n):
    """Return (n, H, W, 3) frames and (n, K, H, W) masks of the objects that `objects_at` gives for each frame."""
    drawn = [draw_scene(Scene(EXTENT, tuple(objects_at(t)), "grey", 5), SIZE) for t in range(n)]
    return np.stack([frame for frame, _ in drawn]), np.stack([seen for _, seen in drawn])


def run(scene, *prompts, words=None, cache=None, segmenter=None, grounder=None):
    """Return the result of one target with these prompts and words. scene: frames, {words: masks}."""
    pipeline = Pipeline(segmenter or GrabCutSegmenter(), grounder=lambda: grounder or TruthGrounder(scene[1]))
    return pipeline.run(ArrayClip(scene[0]), [Target("it", words=words, prompts=prompts)], cache=cache)[0]


def bad_mask(truth):
    """Return a mask that no segmenter would give: half the object, and a square far from it."""
    mask = truth.copy()
    mask[:, : int(np.flatnonzero(truth.any(0)).mean())] = False
    mask[3:12, 3:12] = True
    return mask


def assert_same_rows(a, b, rows):
    for row in rows:
        assert a.track.rles[row] == b.track.rles[row], row
        assert a.track.scores[row] == b.track.scores[row], row
        assert a.track.visible[row] == b.track.visible[row], row
        np.testing.assert_array_equal(a.track.boxes[row], b.track.boxes[row])
