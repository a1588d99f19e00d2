from dataclasses import replace

import numpy as np
import pytest

from refam.pipeline.doubts import describe_doubts
from tests.video.moving_tracks import moving_masks, track_of

TIMES = np.arange(100) / 10


@pytest.mark.parametrize(
    ("doubtful", "hidden", "said"),
    [
        ([], [], []),
        ([], [3, 4], []),
        ([12], [], ["unsure at 1.20 s, on 1 of 100 frames: look there first"]),
        (range(12, 21), [], ["unsure on 9 of 100 frames (1.20 to 2.00 s), most at 2.00 s: look there first"]),
        (
            [5, *range(12, 21)],
            [15],
            ["unsure on 9 of 99 frames (0.50 s, 1.20 to 1.40 s, 1.60 to 2.00 s), most at 2.00 s: look there first"],
        ),
        (
            range(0, 100, 10),
            [],
            [
                "unsure on 10 of 100 frames (4.00 s, 5.00 s, 6.00 s, 7.00 s, 8.00 s, 9.00 s and 4 times more), most at "
                "9.00 s: look there first"
            ],
        ),
    ],
    ids=["sure", "gone", "one frame", "a stretch", "apart", "many"],
)
def test_doubtful_stretches_are_named_in_order_and_the_least_certain_frame(doubtful, hidden, said):
    track = track_of(moving_masks(100, (320, 96)), hidden=hidden)
    scores = np.where(np.isin(np.arange(100), list(doubtful)), 0.5 - 0.001 * np.arange(100), 0.9)
    assert describe_doubts(replace(track, scores=scores), TIMES) == said
