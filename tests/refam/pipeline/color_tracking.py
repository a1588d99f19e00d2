"""Two coloured squares, one of which moves, and a tracker that follows colours."""

from __future__ import annotations

import numpy as np

from refam.pipeline.state import GroundedMask
from tests.video.clips import ArrayClip
from video.tracking.appearance import ColorModel
from video.types import Candidate, Heatmap, Observation

H, W, N = 60, 96, 24
GROUNDED = (1, 5, 9, 14, 18, 22)
RED, BLUE = (220, 40, 40), (40, 60, 220)


def _square(x, y):
    mask = np.zeros((H, W), bool)
    mask[y : y + 12, x : x + 12] = True
    return mask


MOVING = [_square(3 * t, 8) for t in range(N)]
STILL = [_square(40, 40)] * N


def _picture(t):
    image = np.full((H, W, 3), 128, np.uint8)
    image[MOVING[t]], image[STILL[t]] = RED, BLUE
    return image


CLIP = ArrayClip(np.stack([_picture(t) for t in range(N)]))


class ColorTracker:
    """Follows each object as all pixels of the colour that it had first."""

    name = "color"

    def __init__(self):
        self._image, self._colors = None, {}

    def step(self, image):
        self._image = image
        return {k: self._observe(color) for k, color in self._colors.items()}

    def start(self, object_id, mask):
        self._colors[object_id] = np.median(self._image[mask], 0)
        return Observation(mask, 1.0, True)

    def _observe(self, color):
        mask = (self._image == color).all(2)
        return Observation(mask, 1.0, bool(mask.any()))


class ColorSegmenter:
    """Outlines what is hot in a heatmap of the image's size; its trackers follow colours."""

    name, tracker_name, is_fast = "color", "color", True

    def __init__(self):
        self.trackers = 0

    def make_tracker(self):
        self.trackers += 1
        return ColorTracker()

    def segment(self, image, prompt, *, frame=0):
        return [Candidate(frame, prompt.prior > 0.5, 0.9)]


def ground(shown, confidences=None):
    """Return heatmaps and grounded masks: on the grounded frames, in their order, the words point at these things."""
    heatmaps, grounded = [], []
    for i, (frame, thing) in enumerate(zip(GROUNDED, shown, strict=True)):
        grid = thing[frame].astype(np.float32)
        heatmap = Heatmap(frame, grid, (0.5, 0.5), 0.5 if confidences is None else confidences[i])
        heatmaps.append(heatmap)
        appearance = ColorModel.of(CLIP.frame(frame), thing[frame])
        grounded.append(GroundedMask(heatmap, thing[frame], appearance, heatmap.confidence, 1.0, 0.9))
    return heatmaps, grounded
