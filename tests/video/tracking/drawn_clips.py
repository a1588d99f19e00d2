"""Drawn clips with the masks of their objects, and a segmenter whose features are colours."""

import cv2
import numpy as np

from refam.segmenters.grabcut import GrabCutSegmenter
from refam.tiny.scenes import Scene, SceneObject, draw_scene
from video import masks

SIZE = (192, 108)
EXTENT = (64 * 16 / 9, 64.0)
STAR = ("red", "star", "plain", "large")
DISC = ("blue", "circle", "dotted", "large")


def scene_clip(paths, *, n=24, ground=5, tone="grey", size=SIZE):
    """frames (n, H, W, 3), masks (K, n, H, W) of things (Thing, position(t)) with t from 0 to 1."""
    frames, truth = [], []
    for t in np.linspace(0, 1, n):
        things = tuple(SceneObject(*words, *at(t), radius) for words, radius, at in paths)
        frame, seen = draw_scene(Scene(EXTENT, things, tone, ground), size)
        frames.append(frame)
        truth.append(seen)
    return np.stack(frames), np.stack(truth, 1)


def ious(track, truth, least_px=40):
    return np.array(
        [
            masks.iou(masks.decode(rle), truth[f])
            for rle, f in zip(track.rles, track.frames, strict=True)
            if truth[f].sum() >= least_px
        ]
    )


class ColourSegmenter:
    """GrabCut with features: how much of each of 27 colours there is in each place of a 64 x 36 grid."""

    name = "colours"

    def __init__(self):
        self.encoded = 0
        self._inner = GrabCutSegmenter()

    def features(self, image):
        self.encoded += 1
        bins = (image // 86).astype(np.int32) @ np.array([9, 3, 1])
        one_hot = np.eye(27, dtype=np.float32)[bins]
        return np.stack([cv2.resize(one_hot[..., k], (64, 36), interpolation=cv2.INTER_AREA) for k in range(27)], -1)

    def segment(self, image, prompt, *, frame=0):
        return self._inner.segment(image, prompt, frame=frame)
