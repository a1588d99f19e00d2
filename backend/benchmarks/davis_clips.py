"""Clips for the tracking benchmarks: read in the layout of DAVIS, with optional cuts and occlusions.

The layout is JPEGImages/<clip>/*.jpg and Annotations/<clip>/*.png (Perazzi et al. 2016), one object a clip.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import cv2
import numpy as np

from refam.evaluation.synthetic import ArrayClip
from refam.segmenters.sam2 import Sam2Segmenter
from video import masks
from video.types import Prompt

MOST_FRAMES = 1000  # of a clip
FEATURES_MB = 100_000  # that may be kept
INSERTED_FRAMES = 6  # frames of another clip that are inserted
HIDDEN_SHARE = 0.05  # an object is hidden if a smaller share of it is visible
PARTIAL_SHARE = 0.3  # frames between the two shares are not scored
_CROSSING_FRAMES = 6  # frames that an occluder takes from one side of the frame to the other


@dataclass(frozen=True, eq=False)
class AnnotatedClip:
    """A clip with the true mask of one object.

    Attributes:
        name: The clip's folder, with what was done to it.
        frames: (N, H, W, 3) uint8 RGB.
        truth: (N, H, W) bool, the visible part of the object.
        share: (N,) float, the share of the object that is visible.
    """

    name: str
    frames: np.ndarray
    truth: np.ndarray
    share: np.ndarray


class VideoInMemory(ArrayClip):
    """An `ArrayClip` with the rest of the interface of `Clip`, so that views of it can be made."""

    rotation, decoder, codec, broken, pixel_aspect, _probe = 0, "memory", "none", "", 1.0, None

    def __init__(self, frames, *, name, fps=24.0):
        super().__init__(frames, fps=fps)
        self.path, self.duration_s = Path(name), len(frames) / fps


def clip_names(root):
    """Return the names of the clips in a folder in the layout of DAVIS, sorted."""
    return sorted(p.name for p in (root / "JPEGImages").iterdir())


def add_input_arguments(parser, *, is_sam2_required=False):
    """Add what every benchmark with SAM2 on such clips takes: --davis, --sam2 and --features."""
    parser.add_argument("--davis", type=Path, required=True)
    sam2 = "directory or hub id" if is_sam2_required else "directory or hub id; GrabCut without it"
    parser.add_argument("--sam2", required=is_sam2_required, help=sam2)
    parser.add_argument("--features", type=Path, help="directory where SAM2's features are kept (8 MB a frame)")


def load_sam2(weights, features):
    """Load SAM2 from a directory or the hub; features of frames are kept in the directory `features`."""
    return Sam2Segmenter.load(weights, cache=features, cache_mb=FEATURES_MB)


def read_clips(root, names, *, step, max_frames=MOST_FRAMES):
    """Read clips as `read_clip` does."""
    return [read_clip(root, name, step=step, max_frames=max_frames) for name in names]


def read_clip(root, name, *, step, max_frames=MOST_FRAMES):
    """Read every step-th frame of a clip, `max_frames` at most."""
    files = sorted((root / "JPEGImages" / name).glob("*.jpg"))[::step][:max_frames]
    frames = np.stack([cv2.imread(str(f))[..., ::-1] for f in files])
    truth = np.stack([cv2.imread(str(root / "Annotations" / name / f"{f.stem}.png"), 0) > 127 for f in files])
    return AnnotatedClip(name, frames, truth, truth.any(axis=(1, 2)).astype(float))


def insert_other_clip(clip, other):
    """Return the clip with `INSERTED_FRAMES` frames of another one inserted in its middle, which makes two cuts."""
    middle = len(clip.frames) // 2
    size = (clip.frames.shape[2], clip.frames.shape[1])
    inserted = np.stack([cv2.resize(f, size, interpolation=cv2.INTER_AREA) for f in other.frames[:INSERTED_FRAMES]])
    empty = np.zeros((len(inserted), *clip.truth.shape[1:]), bool)
    return AnnotatedClip(
        f"{clip.name}|{other.name}",
        *(
            np.concatenate([whole[:middle], insert, whole[middle:]])
            for whole, insert in (
                (clip.frames, inserted),
                (clip.truth, empty),
                (clip.share, np.zeros(len(inserted))),
            )
        ),
    )


def occlude_with_bar(clip, other):
    """Let a bar as high as the frame pass in front of the object, which it covers in the middle of the clip.

    The bar is filled with the first frame of `other`.
    """
    h, w = clip.truth.shape[1:]
    middle = len(clip.frames) // 2
    x0, _, x1, _ = masks.box_of(clip.truth[middle]) or (0.4, 0.0, 0.6, 1.0)
    speed_px = w / _CROSSING_FRAMES
    width = min(round((x1 - x0) * w + 2 * speed_px), w)
    occluder = cv2.resize(other.frames[0], (width, h), interpolation=cv2.INTER_AREA)
    return _paste_occluder(clip, f"{clip.name}+bar", occluder, np.ones((h, width), bool), speed_px)


def occlude_with_object(clip, other):
    """Let the object of another clip, cut out and enlarged, pass in front of the object."""
    h, w = clip.truth.shape[1:]
    middle = len(clip.frames) // 2
    x0, y0, x1, y1 = masks.box_of(clip.truth[middle]) or (0.4, 0.4, 0.6, 0.6)
    a, b, c, d = (round(v * s) for v, s in zip(masks.box_of(other.truth[0]), (w, h, w, h), strict=True))
    scale = 1.6 * max((x1 - x0) * w / (c - a), (y1 - y0) * h / (d - b))
    size = (max(2, round((c - a) * scale)), max(2, round((d - b) * scale)))
    occluder = cv2.resize(other.frames[0, b:d, a:c], size)
    outline = cv2.resize(other.truth[0, b:d, a:c].astype(np.uint8), size, interpolation=cv2.INTER_NEAREST) > 0
    return _paste_occluder(clip, f"{clip.name}+{other.name}", occluder, outline, w / _CROSSING_FRAMES)


def _paste_occluder(clip, name, occluder, outline, speed_px):
    """Paste a moving picture covered each frame; its centre meets the object's in the middle of the clip."""
    frames, truth = clip.frames.copy(), clip.truth.copy()
    middle = len(frames) // 2
    h, w = truth.shape[1:]
    x0, y0, x1, y1 = masks.box_of(truth[middle]) or (0.4, 0.4, 0.6, 0.6)
    for i in range(len(frames)):
        centre = ((x0 + x1) / 2 * w + (i - middle) * speed_px, (y0 + y1) / 2 * h)
        shift = np.array([[1, 0, centre[0] - occluder.shape[1] / 2], [0, 1, centre[1] - occluder.shape[0] / 2]])
        shift = np.round(shift)
        covered = cv2.warpAffine(outline.astype(np.uint8), shift, (w, h), flags=cv2.INTER_NEAREST) > 0
        frames[i][covered] = cv2.warpAffine(occluder, shift, (w, h), flags=cv2.INTER_NEAREST)[covered]
        truth[i] &= ~covered
    share = truth.sum(axis=(1, 2)) / np.maximum(1, clip.truth.sum(axis=(1, 2)))
    return replace(clip, name=name, frames=frames, truth=truth, share=share)


def first_mask(segmenter, image, truth, start):
    """Return the mask that a track starts from, or None if the segmenter finds nothing.

    Args:
        segmenter: Asked for the mask unless `start` is "mask".
        image: (H, W, 3) uint8 RGB.
        truth: (H, W) bool.
        start: "mask" (the truth itself), "box" (its box) or "click" (its deepest point).
    """
    if start == "mask":
        return truth
    point = np.array([masks.deepest_point(truth)])
    prompt = Prompt(box=masks.box_of(truth)) if start == "box" else Prompt(points=point, labels=np.array([1]))
    candidates = segmenter.segment(image, prompt)
    return candidates[0].mask if candidates else None
