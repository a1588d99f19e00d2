"""What results print of themselves."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from refam.pipeline.preview import PreviewResult
from refam.pipeline.types import Target, TrackResult
from tests.video.moving_tracks import moving_masks, track_of


@pytest.mark.parametrize(
    ("hidden", "expected"),
    [
        ((), "TrackResult('dog', found on 12 of 12 frames (0 to 11), score=0.87)"),
        ((0, 1, 11), "TrackResult('dog', found on 9 of 12 frames (2 to 10), score=0.87)"),
        (range(12), "TrackResult('dog', found on 0 of 12 frames, score=0.87)"),
    ],
)
def test_a_result_prints_its_label_its_frames_and_its_score(hidden, expected):
    track = track_of(moving_masks(12), label="dog", hidden=hidden)
    result = TrackResult(Target("dog", words="the dog"), track, (), 0.8749, 3, ("a note",), {"presence": 1.0})
    assert repr(result) == expected
    assert str([result]) == f"[{expected}]"


def test_a_result_of_a_range_prints_the_frames_of_the_clip():
    track, target = track_of(moving_masks(12)), Target("ring", words="the ring")
    result = TrackResult(target, replace(track, frames=np.arange(40, 52)), (), 1.0, 40, ())
    assert repr(result) == "TrackResult('ring', found on 12 of 12 frames (40 to 51), score=1.00)"
    preview = PreviewResult(target, track, (), 0.0, 0, ())
    assert repr(preview) == "PreviewResult('ring', found on 12 of 12 frames (0 to 11), score=0.00)"
