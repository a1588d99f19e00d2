"""Motion of a part and of the rest of a thing, on displacements written down by hand."""

from __future__ import annotations

import numpy as np
import pytest

from refam.pipeline.part_motion import PartMotion, compare_motion, subtract_camera_motions
from video.relative_motion import Displacement

H, W = 120, 160
PART, REST = (slice(20, 45), slice(60, 90)), (slice(45, 85), slice(55, 95))


def mask_of(*places):
    mask = np.zeros((H, W), bool)
    for place in places:
        mask[place] = True
    return mask


def displaced(*, part=(0, 0), rest=(0, 0), background=(0, 0), offset=1, unknown=()):
    field = np.full((H, W, 2), background, np.float32)
    field[PART] += part
    field[REST] += rest
    confidence = np.ones((H, W), np.float32)
    for place in unknown:
        confidence[place] = 0
    return Displacement(offset, field, confidence)


def judge(*displacements):
    whole = mask_of(PART, REST)
    return compare_motion(mask_of(PART), whole, subtract_camera_motions(whole, displacements))


@pytest.mark.parametrize("background", [(0, 0), (-7, 3)])
@pytest.mark.parametrize(
    ("part", "rest", "expected"),
    [
        ((0, -5), (0, 0), PartMotion.ALONE),
        ((0, -5), (0, -0.9), PartMotion.ALONE),
        ((0, -5), (0, -5), PartMotion.WITH_THE_REST),
        ((0, -5), (2, -4), PartMotion.WITH_THE_REST),
        ((0, -5), (1, -3), PartMotion.WITH_THE_REST),
        ((0, -5), (0, -2), PartMotion.ALONE),  # more like the background
        ((0, -5), (0, 5), PartMotion.ALONE),
        ((0, -5), (5, 0), PartMotion.ALONE),
        ((0, -1), (0, 0), PartMotion.UNCLEAR),  # too little to be sure of
        ((0, 0), (0, -5), PartMotion.UNCLEAR),
        ((0, 0), (0, 0), PartMotion.UNCLEAR),
    ],
)
def test_the_rest_moves_with_the_part_or_does_not(part, rest, expected, background):
    assert judge(displaced(part=part, rest=rest, background=background)) is expected


def test_one_frame_is_enough_to_move_but_the_rest_must_not_move_with_it_in_any():
    still, moving, both = displaced(), displaced(part=(0, -5), offset=2), displaced(part=(0, -5), rest=(0, -5))
    assert judge(still, moving) is PartMotion.ALONE
    assert judge(still, both) is PartMotion.WITH_THE_REST
    assert judge(moving, both) is PartMotion.WITH_THE_REST


def test_half_of_the_rest_says_nothing():
    half = displaced(part=(0, -5), rest=(0, 0))
    half.field[45:65, 55:95] = (0, -5)
    assert judge(half) is PartMotion.UNCLEAR


def test_a_part_that_does_not_move_as_one_is_not_alone():
    torn = displaced(part=(0, -5))
    torn.field[20:33, 60:90] = (0, 5)
    assert judge(torn) is PartMotion.UNCLEAR


def test_what_is_not_known_says_nothing():
    assert judge() is PartMotion.UNCLEAR
    assert judge(displaced(part=(0, -5), unknown=[PART])) is PartMotion.UNCLEAR
    assert judge(displaced(part=(0, -5), unknown=[REST])) is PartMotion.UNCLEAR
    everywhere = (slice(None), slice(None))
    assert judge(displaced(part=(0, -5), unknown=[everywhere])) is PartMotion.UNCLEAR


def test_a_coarser_grid_than_the_masks_is_used():
    whole, part = (np.kron(m, np.ones((3, 3), bool)) for m in (mask_of(PART, REST), mask_of(PART)))
    motions = subtract_camera_motions(whole, [displaced(part=(0, -5))])
    assert compare_motion(part, whole, motions) is PartMotion.ALONE
