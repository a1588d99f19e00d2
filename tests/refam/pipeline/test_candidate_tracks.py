"""Candidate tracks: of several things that words point at, the one that is hot on all grounded frames is meant."""

from __future__ import annotations

import hypothesis.extra.numpy as np_strategies
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from refam.pipeline.candidate_tracks import CandidateTrack, correlation, follow_candidates
from refam.pipeline.stage_cache import StageCache
from refam.segmenters.grabcut import GrabCutSegmenter
from tests.refam.pipeline.color_tracking import CLIP, GROUNDED, MOVING, STILL, ColorSegmenter, ground
from tests.video.clips import ArrayClip
from video.io.probe import ReadingError


def _things(candidates):
    return ["still" if one.grounded[0].mask[45, 45] else "moving" for one in candidates]


@pytest.mark.parametrize(
    ("shown", "confidences", "expected"),
    [
        pytest.param([STILL, STILL, MOVING, MOVING, MOVING, MOVING], None, ["moving", "still"], id="most frames"),
        pytest.param([STILL, STILL, STILL, STILL, STILL, MOVING], None, ["still", "moving"], id="most frames show it"),
        pytest.param(
            [STILL, MOVING, MOVING, STILL, STILL, MOVING],
            (0.1, 0.9, 0.9, 0.1, 0.1, 0.9),
            ["moving", "still"],
            id="half of the frames but more certain",
        ),
        pytest.param([MOVING] * 6, None, ["moving"], id="one thing"),
    ],
)
def test_the_thing_that_is_hot_on_most_frames_comes_first(shown, confidences, expected):
    heatmaps, grounded = ground(shown, confidences)
    for ranked in (grounded, grounded[::-1]):  # whichever mask came first
        candidates = follow_candidates(CLIP, heatmaps, ranked, ColorSegmenter(), most=5)
        assert _things(candidates) == expected
        assert [one for candidate in candidates for one in candidate.grounded if one not in ranked] == []
        best = candidates[0].grounded
        assert list(best) == [one for one in ranked if one in best]  # in the order of the ranking
        assert all(-1 <= candidate.agreement <= 1 for candidate in candidates)


def test_the_agreement_is_the_weighted_mean_correlation():
    confidences = (0.2, 0.4, 0.6, 0.8, 0.5, 0.1)
    heatmaps, grounded = ground([STILL, STILL, MOVING, MOVING, MOVING, STILL], confidences)
    candidates = follow_candidates(CLIP, heatmaps, grounded, ColorSegmenter(), most=5)
    for candidate, thing in zip(candidates, (MOVING, STILL), strict=True):
        each = [np.corrcoef(thing[h.frame].ravel(), h.grid.ravel())[0, 1] for h in heatmaps]
        assert candidate.agreement == pytest.approx(np.average(each, weights=confidences), abs=1e-5)


def test_masks_of_one_thing_cost_one_track():
    segmenter = ColorSegmenter()
    follow_candidates(CLIP, *ground([MOVING] * 6), segmenter, most=5)
    assert segmenter.trackers == 2  # forward and backward


def test_tracks_are_stored(tmp_path):
    cache, segmenter = StageCache(tmp_path, "clip"), ColorSegmenter()
    first, again = (
        follow_candidates(CLIP, *ground([STILL, MOVING, STILL, STILL, MOVING, STILL]), segmenter, cache=cache, most=5)
        for _ in range(2)
    )
    assert segmenter.trackers == 4
    assert [c.agreement for c in first] == [c.agreement for c in again]


def test_progress_rises():
    shares = []
    follow_candidates(CLIP, *ground([STILL, MOVING] * 3), ColorSegmenter(), progress=shares.append, most=5)
    assert shares == sorted(shares)
    assert 0 <= shares[0] <= shares[-1] < 1


@pytest.mark.parametrize(
    ("count", "segmenter"),
    [
        pytest.param(1, ColorSegmenter(), id="one mask"),
        pytest.param(0, ColorSegmenter(), id="no mask"),
        pytest.param(6, GrabCutSegmenter(), id="a tracker by motion"),
    ],
)
def test_nothing_is_followed_where_nothing_can_be_compared(count, segmenter):
    heatmaps, grounded = ground([STILL, MOVING] * 3)
    assert follow_candidates(CLIP, heatmaps, grounded[:count], segmenter, most=5) == []


def test_a_frame_that_cannot_be_read_is_left_out():
    class Broken(ArrayClip):
        def frame(self, i):
            if i == GROUNDED[2]:
                raise ReadingError("frame 9 is damaged", frame=9)
            return super().frame(i)

    heatmaps, grounded = ground([STILL, STILL, STILL, MOVING, MOVING, MOVING])
    readable = [one for one in grounded if one.frame != GROUNDED[2]]
    for ranked in (readable, grounded):  # whether it could be read before or not
        candidates = follow_candidates(Broken(CLIP.frames), heatmaps, ranked, ColorSegmenter(), most=5)
        assert _things(candidates) == ["moving", "still"]
        assert all(one.frame != GROUNDED[2] for candidate in candidates for one in candidate.grounded)


@pytest.mark.parametrize(
    ("smaller", "is_part"), [((8, 3, 14, 10), True), ((40, 40, 52, 52), False), ((0, 0, 15, 11), False)]
)
def test_a_part_is_no_other_thing(smaller, is_part):
    x0, y0, x1, y1 = smaller
    inner, outer = np.zeros((60, 96), bool), np.zeros((60, 96), bool)
    inner[y0:y1, x0:x1] = outer[2:40, 5:30] = True
    a, b = (CandidateTrack((), {3: mask, 7: mask}, 0.5) for mask in (inner, outer))
    assert a.is_part_of(b) == b.is_part_of(a) == is_part
    assert not a.is_part_of(CandidateTrack((), {9: outer}, 0.5))  # they are never seen together


# --- correlation -----------------------------------------------------------------------------------------------------

_GRIDS = np_strategies.arrays(np.float32, (5, 7), elements=st.floats(0, 1, width=32))
_MASKS = np_strategies.arrays(np.bool_, (5, 7))


@given(_MASKS, _GRIDS)
def test_the_correlation_is_pearsons(mask, heat):
    if mask.any() and not mask.all() and np.ptp(heat) > 1e-3:
        assert correlation(mask, heat) == pytest.approx(np.corrcoef(mask.ravel(), heat.ravel())[0, 1], abs=1e-3)


@pytest.mark.parametrize("mask", [np.zeros((4, 4), bool), np.ones((4, 4), bool)])
def test_a_constant_mask_is_not_correlated(mask):
    assert correlation(mask, np.eye(4, dtype=np.float32)) == 0


def test_a_mask_is_compared_at_the_resolution_of_the_heat():
    heat = np.zeros((4, 4), np.float32)
    heat[1:3, 1:3] = 1
    assert correlation(np.kron(heat, np.ones((25, 25))) > 0, heat) == pytest.approx(1)
