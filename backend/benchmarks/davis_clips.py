"""Clips laid out as DAVIS, whole, interrupted and with things that pass in front: what the tracking benches measure on.

DAVIS: JPEGImages/<clip>/*.jpg and Annotations/<clip>/*.png (Perazzi et al. 2016).
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import cv2
import numpy as np

from video import masks
from video.types import Prompt

ABSENT = 6  # frames of another clip in the middle of an interrupted one
HIDDEN, PARTLY = 0.05, 0.3  # shares of an object that are still seen: below, hidden; below, nobody is blamed
_CROSSING = 6  # frames in which something passes from one side of the frame to the other


@dataclass(frozen=True, eq=False)
class Footage:
    """frames: (N, H, W, 3) uint8 RGB. truth: (N, H, W) bool, what is seen. share: (N,) of the object that is seen."""

    name: str
    frames: np.ndarray
    truth: np.ndarray
    share: np.ndarray


def clip_names(root):
    return sorted(p.name for p in (root / "JPEGImages").iterdir())


def read_clip(root, name, *, step, most):
    files = sorted((root / "JPEGImages" / name).glob("*.jpg"))[::step][:most]
    frames = np.stack([cv2.imread(str(f))[..., ::-1] for f in files])
    truth = np.stack([cv2.imread(str(root / "Annotations" / name / f"{f.stem}.png"), 0) > 127 for f in files])
    return Footage(name, frames, truth, truth.any(axis=(1, 2)).astype(float))


def interrupted(clip, other):
    """The clip with `ABSENT` frames of another one put into its middle: two cuts."""
    middle = len(clip.frames) // 2
    size = (clip.frames.shape[2], clip.frames.shape[1])
    strange = np.stack([cv2.resize(f, size, interpolation=cv2.INTER_AREA) for f in other.frames[:ABSENT]])
    nothing = np.zeros((len(strange), *clip.truth.shape[1:]), bool)
    return Footage(
        f"{clip.name}|{other.name}",
        *(
            np.concatenate([whole[:middle], put, whole[middle:]])
            for whole, put in (
                (clip.frames, strange),
                (clip.truth, nothing),
                (clip.share, np.zeros(len(strange))),
            )
        ),
    )


def behind_bar(clip, other):
    """A bar as high as the frame, of another clip's picture, passes so that its middle meets the object half-way."""
    h, w = clip.truth.shape[1:]
    middle = len(clip.frames) // 2
    x0, _, x1, _ = masks.box_of(clip.truth[middle]) or (0.4, 0.0, 0.6, 1.0)
    speed_px = w / _CROSSING
    width = min(round((x1 - x0) * w + 2 * speed_px), w)
    cover = cv2.resize(other.frames[0], (width, h), interpolation=cv2.INTER_AREA)
    return _covered(clip, f"{clip.name}+bar", cover, np.ones((h, width), bool), speed_px)


def behind_object(clip, other):
    """Another clip's object, cut out and enlarged, passes in front."""
    h, w = clip.truth.shape[1:]
    middle = len(clip.frames) // 2
    x0, y0, x1, y1 = masks.box_of(clip.truth[middle]) or (0.4, 0.4, 0.6, 0.6)
    a, b, c, d = (round(v * s) for v, s in zip(masks.box_of(other.truth[0]), (w, h, w, h), strict=True))
    scale = 1.6 * max((x1 - x0) * w / (c - a), (y1 - y0) * h / (d - b))
    size = (max(2, round((c - a) * scale)), max(2, round((d - b) * scale)))
    cover = cv2.resize(other.frames[0, b:d, a:c], size)
    outline = cv2.resize(other.truth[0, b:d, a:c].astype(np.uint8), size, interpolation=cv2.INTER_NEAREST) > 0
    return _covered(clip, f"{clip.name}+{other.name}", cover, outline, w / _CROSSING)


def _covered(clip, name, cover, outline, speed_px):
    """Pastes a picture over each frame, its middle on the object's in the middle of the clip."""
    frames, truth = clip.frames.copy(), clip.truth.copy()
    middle = len(frames) // 2
    h, w = truth.shape[1:]
    x0, y0, x1, y1 = masks.box_of(truth[middle]) or (0.4, 0.4, 0.6, 0.6)
    for i in range(len(frames)):
        centre = ((x0 + x1) / 2 * w + (i - middle) * speed_px, (y0 + y1) / 2 * h)
        shift = np.array([[1, 0, centre[0] - cover.shape[1] / 2], [0, 1, centre[1] - cover.shape[0] / 2]])
        shift = np.round(shift)
        over = cv2.warpAffine(outline.astype(np.uint8), shift, (w, h), flags=cv2.INTER_NEAREST) > 0
        frames[i][over] = cv2.warpAffine(cover, shift, (w, h), flags=cv2.INTER_NEAREST)[over]
        truth[i] &= ~over
    seen = truth.sum(axis=(1, 2)) / np.maximum(1, clip.truth.sum(axis=(1, 2)))
    return replace(clip, name=name, frames=frames, truth=truth, share=seen)


def first_mask(segmenter, image, truth, start):
    """The mask a track starts from: the true one, or the segmenter's from the true box or one click. None: nothing."""
    if start == "mask":
        return truth
    point = np.array([masks.deepest_point(truth)])
    prompt = Prompt(box=masks.box_of(truth)) if start == "box" else Prompt(points=point, labels=np.array([1]))
    found = segmenter.segment(image, prompt)
    return found[0].mask if found else None
