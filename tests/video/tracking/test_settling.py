"""Frames between two looks, with flows that are known."""

from __future__ import annotations

import numpy as np
import pytest

from video.tracking.memory_state import PendingFrame
from video.tracking.settling import settle_between_looks
from video.types import Observation

H, W = 120, 200
NO_MOTION = np.zeros((H, W, 2), np.float32)


def square(x: float, *, side: int = 60):
    mask = np.zeros((H, W), bool)
    mask[30 : 30 + side, round(x) : round(x) + side] = True
    return mask


def pending(number: int, masks, *, flow=NO_MOTION) -> PendingFrame:
    image = np.zeros((H, W, 3), np.uint8)
    observations = {k: Observation(np.zeros((H, W), bool) if m is None else m, 0.9, m is not None) for k, m in masks}
    return PendingFrame(number, image, image, None, flow, None, observations=observations)


def test_masks_lie_between_those_of_both_looks():
    # Nothing moves, so that flow carries both masks as they are: they differ by 4 pixels on the right.
    wide = square(50) | square(54)
    frames = [pending(i, [(0, square(50))]) for i in range(3)] + [pending(3, [(0, wide)])]
    settle_between_looks(frames)
    widths = [int(f.observations[0].mask[40].sum()) for f in frames]
    assert widths == [61, 62, 63, 64]


def test_flow_leads_back_from_the_later_look():
    step = np.full((H, W, 2), (4.0, 0.0), np.float32)  # from a pixel of the frame before to where it is on the next
    true = [square(50 + 4 * i) for i in range(5)]
    drifted = [
        *(square(50 + 4 * i + i // 2) for i in range(4)),
        true[4],
    ]  # ahead by up to 1 pixel
    frames = [pending(i, [(0, mask)], flow=step) for i, mask in enumerate(drifted)]
    settle_between_looks(frames)
    wrong = [int((f.observations[0].mask ^ t).sum()) for f, t in zip(frames, true, strict=True)]
    before = [int((d ^ t).sum()) for d, t in zip(drifted, true, strict=True)]
    assert all(w <= b for w, b in zip(wrong, before, strict=True))
    assert sum(wrong) < sum(before)


@pytest.mark.parametrize("missing", ["at the later look", "before it", "flow"])
def test_what_comes_from_one_side_alone_stays(missing):
    kept = [square(50), None if missing == "before it" else square(50), square(50)]
    last = None if missing == "at the later look" else square(54)
    frames = [pending(i, [(0, mask)], flow=None if missing == "flow" else NO_MOTION) for i, mask in enumerate(kept)]
    frames.append(pending(3, [(0, last)]))
    if missing == "flow":
        frames[3].from_previous = None
    settle_between_looks(frames)
    first = frames[0].observations[0]
    assert first.visible
    assert (first.mask == square(50)).all()
    assert frames[1].observations[0].visible == (missing != "before it")


def test_objects_side_by_side_share_no_pixel():
    left, right = square(40), square(100)
    frames = [pending(i, [(0, left), (1, right)]) for i in range(3)]
    frames.append(pending(3, [(0, left | square(44)), (1, right & ~square(44))]))
    settle_between_looks(frames)
    for frame in frames:
        a, b = (frame.observations[k].mask for k in (0, 1))
        assert not (a & b).any()
        assert (a | b).sum() >= 2 * 60 * 60 - 60, "at most a column between them is left out"
