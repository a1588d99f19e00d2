import numpy as np
import pytest

from video.tracking.score_calibration import calibrate_scores


def test_what_is_told_keeps_the_order_and_what_is_certain():
    scores = np.array([0.0, 0.3, 0.46, 0.7, 0.9, 0.98, 1.0])
    told = calibrate_scores(scores, "memory")
    assert (np.diff(told) > 0).all()
    assert (told[0], told[-1]) == (0.0, 1.0)
    assert 0.9 < told[5] < 1, "the surest outlines are not perfect ones"


@pytest.mark.parametrize("tracker", ["dis-flow", "sam2-video"])
def test_of_a_tracker_that_was_not_fitted_scores_stay(tracker):
    scores = np.linspace(0, 1, 7)
    assert np.array_equal(calibrate_scores(scores, tracker), scores)
