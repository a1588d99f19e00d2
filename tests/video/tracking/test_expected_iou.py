from dataclasses import replace

import numpy as np
import pytest
from scipy.special import logit

from tests.video.moving_tracks import track_of
from video.tracking.expected_iou import expect_ious, iou_evidence

N = 24


def rectangle(width, height, *, left=10):
    """A mask with a rectangle of pixels in a frame of 160x96."""
    mask = np.zeros((96, 160), bool)
    mask[10 : 10 + height, left : left + width] = True
    return mask


def cross(side):
    """A mask with a plus of side x side pixels, whose arms are half as wide."""
    mask = rectangle(side // 2, side, left=10 + side // 4)
    mask[10 + side // 4 : 10 + side // 4 + side // 2, 10 : 10 + side] = True
    return mask


def track_through(masks, *, scores=0.9, hidden=()):
    track = track_of(masks, hidden=hidden)
    return replace(track, scores=np.where(track.visible, scores, 0.3))


@pytest.mark.parametrize(
    ("before", "after", "alike"),
    [
        (rectangle(20, 20), rectangle(20, 20, left=60), 1),
        (rectangle(20, 20), rectangle(40, 40), 1),  # nearer
        (rectangle(20, 20), rectangle(10, 40), 1 / 3),  # of one area: 10 x 20 of 400 + 400 - 200
        (rectangle(10, 10), rectangle(20, 80), 1 / 3),  # the same, and nearer
        (rectangle(20, 20), cross(20), 3 / 4),  # of one box: its four corners are missing
        (cross(20), rectangle(40, 40), 3 / 4),
        (cross(20), rectangle(10, 40), 1 / 4),
    ],
)
def test_alike_is_the_overlap_of_the_boxes_times_the_ratio_of_what_is_filled(before, after, alike):
    evidence = iou_evidence(track_through([before] * 4 + [after] * 2), known=[0])
    assert evidence[:, 0] == pytest.approx(logit(0.9))
    assert evidence[:, 1] == pytest.approx([1] * 4 + [alike] * 2)


@pytest.mark.parametrize(
    ("known", "hidden", "unlike"),
    [
        ([0], [], range(12, 24)),
        ([23], [], range(12)),
        ([2, 18], [], [11]),  # the nearest one counts: that at 18 from row 11 on
        ([2, 8], [], range(12, 24)),
        ([0], range(14, 24), [12, 13]),  # where the object is not seen nothing is compared
        ([0], [0], []),
        ([], [], []),
        ([99], [], []),
    ],
)
def test_each_frame_is_compared_with_the_nearest_known_one_that_shows_the_object(known, hidden, unlike):
    track = track_through([rectangle(20, 20)] * 12 + [rectangle(10, 40)] * 12, hidden=hidden)
    assert np.flatnonzero(iou_evidence(track, known=known)[:, 1] < 0.99).tolist() == list(unlike)


def test_frames_are_those_of_the_clip():
    track = replace(track_through([rectangle(20, 20)] * 12 + [rectangle(10, 40)] * 12), frames=np.arange(50, 74))
    assert (iou_evidence(track, known=[0])[:, 1] == 1).all()
    assert np.flatnonzero(iou_evidence(track, known=[51])[:, 1] < 0.99).tolist() == list(range(12, 24))


def test_the_more_evidence_the_more_is_expected():
    by_score = track_through([rectangle(20, 20)] * N, scores=np.linspace(0.46, 0.98, N))
    expected = expect_ious(by_score, known=[0], tracker="memory")
    assert (np.diff(expected) > 0).all()
    assert 0.85 < expected[-1] < 1, "the best outlines are not perfect"
    by_shape = track_through([rectangle(20, 20 + 2 * i) for i in range(N)])
    assert (np.diff(expect_ious(by_shape, known=[0], tracker="memory")) < 0).all()


def test_given_masks_and_frames_without_the_object_keep_their_scores():
    track = track_through([rectangle(20, 20)] * N, scores=np.where(np.arange(N) == 5, 1.0, 0.9), hidden=[9])
    expected = expect_ious(track, known=[5], tracker="memory")
    assert (expected[5], expected[9]) == (1.0, 0.3)


@pytest.mark.parametrize("tracker", ["dis-flow", "sam2-video"])
def test_scores_of_a_tracker_without_a_fitted_model_stay(tracker):
    track = replace(track_through([rectangle(20, 20)] * N), scores=np.linspace(0, 1, N))
    assert np.array_equal(expect_ious(track, known=[0], tracker=tracker), track.scores)
