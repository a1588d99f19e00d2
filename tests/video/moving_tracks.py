"""Tracks of a rectangle that moves one pixel per frame."""

from __future__ import annotations

import numpy as np

from video.masks import box_of, encode
from video.types import MaskTrack


def track_of(masks, *, label="object", hidden=(), frames=None):
    """A track through `masks` (n, H, W) bool."""
    masks = np.array(masks)
    for i in hidden:
        masks[i] = False
    boxes = np.array([box_of(m) or (0, 0, 0, 0) for m in masks], np.float64)
    return MaskTrack(
        label=label,
        size=(masks.shape[2], masks.shape[1]),
        frames=np.arange(len(masks)) if frames is None else np.asarray(frames),
        rles=tuple(encode(m) for m in masks),
        boxes=boxes,
        scores=np.full(len(masks), 0.9),
        visible=masks.any(axis=(1, 2)),
    )


def moving_masks(n, size=(160, 96), *, left=20, top=50):
    masks = np.zeros((n, size[1], size[0]), bool)
    for i, mask in enumerate(masks):
        mask[top : top + 24, left + i : left + i + 30] = True
    return masks
