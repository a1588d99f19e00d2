"""Whether a part of a thing moves by itself, or together with the rest of it (the Gestalt law of common fate).

Motion is that against the background, from `video.relative_motion`. Nothing is said where the part stands still, or
where some of the rest moves with it and some does not, as limbs do.
"""

from __future__ import annotations

from collections.abc import Sequence
from enum import Enum

import cv2
import numpy as np
from numpy.typing import NDArray

from video.masks import Mask, resize_mask
from video.optical_flow import Field
from video.relative_motion import SURE, Displacement, subtract_camera_motion

# Chosen on 386 parts of clicked objects in seven DAVIS clips and clips composed of them. No part was said to move alone
# where the truth held more than it (with 0.2 of the rest, a camel without its legs), none to move with the rest where
# the truth held less. From 0.5 to 0.9 of the rest give the same masks.
_ALONE_SHARE, _TOGETHER_SHARE = 0.1, 0.8  # of the rest's pixels that move by what the part moves: at most, at least
_RIGID_SHARE = 0.8  # of the part's own pixels that do

# Set by hand.
_LEAST_MOTION_PX, _LEAST_MOTION_SIZE = 1.5, 0.05  # of a part: in pixels of the flow, and in parts of its own size
_LEAST_PX = 10  # that must be known of each


class PartMotion(Enum):
    """How a part of a thing moves."""

    ALONE = "it moves and the rest does not move with it"
    WITH_THE_REST = "most of the rest moves with it"
    UNCLEAR = "neither"


def subtract_camera_motions(whole: Mask, displacements: Sequence[Displacement]) -> list[tuple[Field, Mask]]:
    """Subtract the camera's motion, as it is seen around a thing.

    Args:
        whole: (H, W) bool: the thing.
        displacements: From its frame to others.

    Returns:
        For each displacement by which the camera's motion is known: (h, w, 2) float32 in pixels, and (h, w) bool, true
        where it may be used.
    """
    found = []
    for displacement in displacements:
        h, w = displacement.confidence.shape
        field = subtract_camera_motion(displacement, ~_dilated(resize_mask(whole, (w, h)), 9))
        if field is not None:
            found.append((field, displacement.confidence >= SURE))
    return found


def compare_motion(part: Mask, whole: Mask, motions: Sequence[tuple[Field, Mask]]) -> PartMotion:
    """Compare the motion of a part of a thing with that of the rest.

    Args:
        part: (H, W) bool.
        whole: (H, W) bool.
        motions: See `subtract_camera_motions`.

    Returns:
        ALONE if almost none of the rest moves more like the part than like the background in any of the frames around
        in which the part moves; WITH_THE_REST if in one of these frames most of the rest does.
    """
    rigid, shares = True, []
    for field, known in motions:
        h, w = known.shape
        small, around = resize_mask(part, (w, h)), resize_mask(whole, (w, h))
        # The flow is blurred at the edges of what moves.
        core = _eroded(small, 3)
        inside = (core if np.count_nonzero(core) >= _LEAST_PX else small) & known
        rest = around & ~_dilated(small, 5) & known
        if min(np.count_nonzero(inside), np.count_nonzero(rest)) < _LEAST_PX:
            continue
        motion = np.median(field[inside], axis=0)
        least_px = max(_LEAST_MOTION_PX, _LEAST_MOTION_SIZE * float(np.sqrt(np.count_nonzero(small))))
        if np.linalg.norm(motion) >= least_px:
            rigid = rigid and _share_moving_by(motion, field[inside]) >= _RIGID_SHARE
            shares.append(_share_moving_by(motion, field[rest]))
    if shares and rigid and max(shares) <= _ALONE_SHARE:
        return PartMotion.ALONE
    return PartMotion.WITH_THE_REST if max(shares, default=0.0) >= _TOGETHER_SHARE else PartMotion.UNCLEAR


def _share_moving_by(motion: NDArray[np.floating], vectors: NDArray[np.floating]) -> float:
    """Return the share of (n, 2) displacements that are nearer to a given one, (2,), than to none."""
    return float(np.mean(vectors @ motion > motion @ motion / 2))


def _dilated(mask: Mask, side_px: int) -> Mask:
    return np.asarray(cv2.dilate(mask.astype(np.uint8), np.ones((side_px, side_px), np.uint8)) > 0, np.bool_)


def _eroded(mask: Mask, side_px: int) -> Mask:
    return np.asarray(cv2.erode(mask.astype(np.uint8), np.ones((side_px, side_px), np.uint8)) > 0, np.bool_)
