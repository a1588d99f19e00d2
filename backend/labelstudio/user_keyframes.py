"""A track held to the keyframes that a person fixed: they stay exactly, what lies between follows them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from backend.labelstudio.editor_frames import hidden_by
from backend.labelstudio.edits import UserKeyframe
from refam.pipeline.tracks import spread_box_edits


def apply_user_keyframes(
    boxes: NDArray[np.float64], visible: NDArray[np.bool_], fixed: Sequence[UserKeyframe]
) -> tuple[NDArray[np.float64], NDArray[np.bool_], dict[int, UserKeyframe]]:
    """Boxes (n, 4) normalised xyxy and visible (n,) by editor frame, corrected; and the fixed keyframe of each row.

    A person's box differs from the track's in place and size (a hat that counts, a shadow that does not). Between two
    fixed keyframes that difference goes over from the one to the other, before the first and after the last it stays.
    """
    rows = {f.frame - 1: f for f in fixed if f.frame <= len(boxes) and f.box() is not None}
    boxes = spread_box_edits(boxes, visible, {row: _box(keyframe) for row, keyframe in rows.items()})
    for row, keyframe in rows.items():
        boxes[row] = _box(keyframe)
    visible = hidden_by(visible, rows.values())
    return boxes, visible, {row: f for row, f in rows.items() if visible[row]}


def _box(keyframe: UserKeyframe) -> NDArray[np.float64]:
    return np.array(keyframe.box(), np.float64)
