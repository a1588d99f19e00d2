"""What an object's last look says about a mask: on a plain picture, with values worked out by hand."""

from __future__ import annotations

import numpy as np
import pytest

from video.tracking.appearance import ColorModel
from video.tracking.mask_evidence import MaskEvidence
from video.tracking.memory_state import MemoryObject
from video.tracking.motion import ConstantVelocity

SIZE = (60, 40)
RED, BLUE, GREY = (200, 40, 40), (40, 40, 200), (120, 120, 120)


def mask_of(x0, y0, x1, y1):
    mask = np.zeros(SIZE[::-1], np.bool_)
    mask[y0:y1, x0:x1] = True
    return mask


def picture(color, mask):
    return np.where(mask[..., None], np.uint8(color), np.uint8(GREY))


def tracked(mask, **changes):
    colors = ColorModel.of(picture(RED, mask), mask)
    area = int(mask.sum())
    known = {"colors": colors, "area": area, "whole_area": float(area)} | changes
    return MemoryObject(mask, 1.0, ConstantVelocity(mask), **known)


HERE, THERE, WIDE = mask_of(5, 5, 25, 15), mask_of(30, 20, 50, 30), mask_of(5, 5, 57, 15)
GROWN_THERE = mask_of(25, 18, 58, 28)  # 1.65 times the area: half way from 1.3 to 2


@pytest.mark.parametrize(
    ("color", "mask", "changes", "continuity", "loose", "has_other_colors"),
    [
        pytest.param(RED, THERE, {}, 1.0, 1.0, False, id="elsewhere"),
        pytest.param(RED, GROWN_THERE, {}, 0.0, 0.5, False, id="elsewhere and larger"),
        pytest.param(RED, mask_of(5, 5, 32, 15), {}, 0.0, 0.96, False, id="larger at its place: IoU 0.74"),
        pytest.param(BLUE, HERE, {}, 0.0, 0.0, True, id="something else at its place"),
        pytest.param(RED, WIDE, {}, 0.0, 0.0, False, id="2.6 times as large"),
        pytest.param(RED, mask_of(5, 5, 32, 15), {"visible": False}, 0.0, 0.93, False, id="larger, and lost before"),
        pytest.param(BLUE, HERE, {"colors": None}, 0.0, 0.0, False, id="no colours are known"),
    ],
)
def test_colours_area_and_place_are_compared_with_the_last_look(
    color, mask, changes, continuity, loose, has_other_colors
):
    evidence = MaskEvidence(mask, fit=0.9, similarity=0.6, segmenter_score=0.8)
    compared = tracked(HERE, **changes).compare_with_last_look(evidence, picture(color, mask))
    assert compared.continuity == continuity
    assert compared.loose_continuity == pytest.approx(loose, abs=0.05)
    assert compared.has_other_colors == has_other_colors
    assert compared.fit == 0.9


@pytest.mark.parametrize(
    ("changes", "excess"),
    [
        pytest.param({}, 0.25, id="0.5 of what is beyond 1.3 times its area"),
        pytest.param({"whole_area": 520.0}, 0.0, id="it was partly hidden"),
        pytest.param({"visible": False}, 0.0, id="it is lost"),
    ],
)
def test_a_mask_may_be_too_large_for_the_object(changes, excess):
    assert tracked(HERE, **changes).excess(WIDE) == pytest.approx(excess)


def test_an_object_is_expected_where_flow_or_its_velocity_leads():
    motion = ConstantVelocity(HERE, velocity=(25.0, 15.0), moved=(25.0, 15.0), since=1, steps=2)
    grid = MemoryObject(HERE, 1.0, motion).proximity(SIZE, 0.1)
    assert grid[HERE | THERE].min() == 1
    assert grid[35:, :5].max() < 0.1
    unknown = MemoryObject(HERE, 1.0, ConstantVelocity(HERE)).proximity(SIZE, 0.1)
    assert unknown[HERE].min() == 1
    assert unknown[THERE].max() < 0.5
