"""When to look: what calls for a look, and how the stride follows what looks find."""

from __future__ import annotations

import itertools

import pytest

from video.tracking.schedule import EVERY_FRAME, FlowEvidence, LookPlan, LookSchedule

GOOD = {"flow_confidence": 0.9, "motion": 0.02, "area_ratio": 1.0, "color_similarity": 0.98}


@pytest.mark.parametrize(
    ("sign", "calls"),
    [
        ({}, False),
        ({"flow_confidence": 0.1}, True),
        ({"motion": 1.0}, True),
        ({"area_ratio": 2.0}, True),
        ({"area_ratio": 0.5}, True),
        ({"color_similarity": 0.2}, True),
    ],
)
def test_what_calls_for_a_look(sign, calls):
    evidence = FlowEvidence(**{**GOOD, **sign})
    assert LookSchedule().calls_for_look(evidence) is calls
    plan = LookPlan(stride=8)
    assert plan.is_due(3, [FlowEvidence(**GOOD), evidence], LookSchedule()) is calls
    assert plan.is_due(8, [], LookSchedule()), "whatever the evidence"


def looks(agreements, schedule, *, lost=()):
    """The frames that are looked at where nothing but the stride calls for it."""
    plan, at, frames = LookPlan(), 0, []
    for i, agreement in enumerate(agreements):
        n = next(n for n in range(1, 99) if plan.is_due(n, [], schedule))
        at += n
        frames.append(at)
        plan = plan.after_look(agreement, has_lost=i in lost, frames=n, schedule=schedule)
    return frames


def test_the_stride_doubles_while_looks_confirm_flow():
    assert looks([1.0] * 6, LookSchedule(max_stride=16)) == [1, 3, 7, 15, 31, 47]
    assert looks([1.0] * 4, EVERY_FRAME) == [1, 2, 3, 4]


def test_the_stride_stays_where_a_look_half_confirms_and_ends_where_it_does_not():
    schedule = LookSchedule(confirmed_iou=0.9, wrong_iou=0.6)
    assert looks([1.0, 1.0, 0.8, 0.8, 0.2, 0.2, 0.2], schedule) == [1, 3, 7, 11, 15, 16, 17]


def test_a_lost_object_is_searched_on_every_frame_at_first_and_rarely_later():
    at = looks([1.0] * 80, LookSchedule(max_stride=16), lost=range(80))
    steps = [b - a for a, b in itertools.pairwise(at)]
    assert steps[:6] == [1] * 6
    assert steps == sorted(steps)
    assert steps[-1] == 16


def test_a_wrong_look_halves_the_way_until_every_frame_is_looked_at():
    plan, strides = LookPlan(stride=16), []
    for frames in (16, 8, 4, 2, 1):
        plan = plan.after_wrong_look(frames)
        strides.append(plan.stride)
    assert strides == [8, 4, 2, 1, 1]


@pytest.mark.parametrize("values", [{"max_stride": 0}, {"wrong_iou": 0.9, "confirmed_iou": 0.8}, {"wrong_iou": -1}])
def test_values_out_of_range_are_refused(values):
    with pytest.raises(ValueError, match=next(iter(values))):
        LookSchedule(**values)
