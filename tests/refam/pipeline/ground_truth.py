"""A drawn clip whose masks are known, and a grounder that points at them."""

from __future__ import annotations

import cv2
import numpy as np

from refam.tiny.scenes import Scene, SceneObject, draw_scene
from video import masks
from video.types import Heatmap, MaskTrack

SIZE = (192, 108)
EXTENT = (64 * 16 / 9, 64.0)


class TruthGrounder:
    """A grounder for tests: the true mask, coarse and noisy; on some frames it points somewhere else."""

    name = "true-double"

    def __init__(self, truth, *, noise=0.1, wrong=(), unknown=(), warnings=()):
        self.warnings = list(warnings)
        self.truth, self.noise, self.wrong, self.unknown = truth, noise, set(wrong), list(unknown)
        self.grounded = []

    def for_words(self, expression):
        return self

    def unknown_words(self, expression):
        if not expression.strip(" ?"):
            raise ValueError("the expression holds no word")
        return [w for w in self.unknown if w in expression.split()]

    def reading_notes(self, expression):
        return [f"{expression!r} is read so"]

    def ground(self, frames, expressions, *, indices, **_):
        self.grounded += list(indices)
        return [[self._heatmap(e, int(i)) for i in indices] for e in expressions]

    def _heatmap(self, expression, frame):
        rng = np.random.default_rng(frame)
        mask = self.truth.get(expression, np.zeros((999, 9, 16), bool))[frame]
        grid = cv2.GaussianBlur(masks.resize_map(mask, (28, 16)), (0, 0), 0.8)
        grid = np.roll(grid, 12, axis=1) if frame in self.wrong else grid
        if grid.max() <= 0:
            return Heatmap(frame, np.zeros((16, 28), np.float32), (0.5, 0.5), 0.0)
        grid = np.clip(grid / grid.max() + rng.normal(0, self.noise, grid.shape), 0, None)
        grid = (grid / grid.max()).astype(np.float32)
        y, x = np.unravel_index(int(grid.argmax()), grid.shape)
        return Heatmap(frame, grid, ((x + 0.5) / 28, (y + 0.5) / 16), 0.5)


def star_and_disc(n=24, *, size=SIZE):
    """frames, {words: masks (n, H, W)}: both cross the picture at different heights."""
    frames, truth = [], []
    for t in np.linspace(0, 1, n):
        things = (
            SceneObject("red", "star", "plain", "large", 20 + 70 * t, 18, 11),
            SceneObject("blue", "circle", "dotted", "large", 95 - 70 * t, 48, 10),
        )
        frame, seen = draw_scene(Scene(EXTENT, things, "grey", 5), size)
        frames.append(frame)
        truth.append(seen)
    truth = np.stack(truth, 1)
    return np.stack(frames), {"the red star": truth[0], "the blue circle": truth[1]}


def ious(track, truth):
    return np.array([masks.iou(masks.decode(r), truth[f]) for r, f in zip(track.rles, track.frames, strict=True)])


def random_heatmap():
    grid = np.random.default_rng(0).random((9, 16)).astype(np.float32)
    return Heatmap(3, grid, (0.25, 0.75), 0.5)


def track_visible_on(visible):
    """A track of a whole-frame mask that is visible on some frames."""
    visible = np.array(visible, bool)
    n = len(visible)
    full = masks.encode(np.ones((9, 16), bool))
    return MaskTrack(
        label="x",
        size=(16, 9),
        frames=np.arange(n),
        rles=tuple(full if v else masks.empty((16, 9)) for v in visible),
        boxes=np.where(visible[:, None], [0.0, 0.0, 1.0, 1.0], 0.0),
        scores=visible * 0.8,
        visible=visible,
    )
