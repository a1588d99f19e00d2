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
        ([12], [], ["doubtful at 1.2 s: look there first"]),
        (range(12, 21), [], ["doubtful from 1.2 s to 2.0 s: look there first"]),
        ([5, *range(12, 21)], [15], ["doubtful at 0.5 s, from 1.2 s to 1.4 s, from 1.6 s to 2.0 s: look there first"]),
        (range(0, 100, 10), [], None),
    ],
    ids=["sure", "gone", "one frame", "a stretch", "apart", "many"],
)
def test_doubtful_stretches_are_named_in_order(doubtful, hidden, said):
    track = track_of(moving_masks(100, (320, 96)), hidden=hidden)
    scores = np.where(np.isin(np.arange(100), list(doubtful)), 0.5 - 0.001 * np.arange(100), 0.9)
    sentences = describe_doubts(replace(track, scores=scores), TIMES)
    if said is None:  # the six least certain ones are the last
        said = ["doubtful " + ", ".join(f"at {s}.0 s" for s in range(4, 10)) + " and 4 times more: look there first"]
    assert sentences == said
