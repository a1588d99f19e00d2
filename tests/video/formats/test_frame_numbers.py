"""Annotated frames are brought to those of a video file by their numbers, where these cannot be meant otherwise."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from video.formats.base import FormatError, even_times, make_video, track_from_boxes
from video.formats.frame_numbers import numbers_in_names, place_on_video, read_numbers


def annotated(n, *, frames=None, **told):
    """A video of n annotated frames; its object moves right by 0.01 of the width on each of them."""
    boxes = {f: (0.01 * f, 0.2, 0.01 * f + 0.3, 0.6) for f in (range(n) if frames is None else frames)}
    return replace(make_video("v", (100, 50), even_times(n), [track_from_boxes("dog", boxes)]), **told)


@pytest.mark.parametrize(
    ("video", "n_frames", "expected"),
    [
        (annotated(3), 3, [0, 1, 2]),
        (annotated(3, numbers=(1, 2, 3)), 3, [0, 1, 2]),  # as many frames as the file: counted from 1
        (annotated(3, open_end=True), 9, [0, 1, 2]),
        (annotated(3, numbers=(4, 5, 6), length=9), 9, [4, 5, 6]),
        (annotated(1, numbers=(8,), length=9), 9, [8]),
        (annotated(3, numbers=(0, 5, 10)), 14, list(range(11))),  # every fifth frame of all
        (annotated(4, frames=(0, 1, 3), numbers=(0, 5, 10, 12)), 14, [*range(6), 12]),
    ],
)
def test_frames_are_matched(video, n_frames, expected):
    (one,) = place_on_video(video, n_frames, "v.mp4").objects
    assert one.frames.tolist() == expected


def test_boxes_between_annotated_frames_are_interpolated():
    (one,) = place_on_video(annotated(3, numbers=(0, 4, 8)), 10, "v.mp4").objects
    np.testing.assert_allclose(one.boxes[:, 0], 0.0025 * np.arange(9), atol=1e-9)


@pytest.mark.parametrize(
    ("video", "n_frames", "message"),
    [
        (annotated(3), 2, "3 frames annotated, v.mp4 has 2"),
        (annotated(3, open_end=True), 2, "3 frames annotated, v.mp4 has 2"),
        (annotated(3), 9, "cannot be matched"),
        (annotated(3, numbers=(0, 1, 2)), 9, "cannot be matched"),  # or extracted at a third of the rate
        (annotated(3, numbers=(1, 6, 11)), 14, "cannot be matched"),  # counted from 0 or from 1
        (annotated(3, numbers=(0, 1, 3)), 90, "import them as pictures, without --videos"),  # empty frames left out
        (annotated(3, numbers=(0, 5, 10)), 10, "cannot be matched"),
        (annotated(3, numbers=(4, 5, 6), length=9), 8, "annotated on a video of 9 frames, and v.mp4 has 8"),
        (annotated(3, numbers=(4, 5, 6), length=9), 3, "annotated on a video of 9 frames, and v.mp4 has 3"),
    ],
)
def test_frames_that_cannot_be_matched_are_an_error(video, n_frames, message):
    with pytest.raises(FormatError, match=message):
        place_on_video(video, n_frames, "v.mp4")


@pytest.mark.parametrize(
    ("names", "numbers"),
    [
        (["a9/00000.jpg", "a9/00005.jpg", "a9/00010.jpg"], (0, 5, 10)),
        (["cam2_frame_7.png", "cam2_frame_30.png"], (7, 30)),
        (["a/1.jpg", "a/b.jpg"], ()),
        (["a/2.jpg", "a/1.jpg"], ()),
        (["a/1.jpg", "b/1.jpg"], ()),
    ],
)
def test_the_last_number_of_a_name_counts(names, numbers):
    assert numbers_in_names(names) == numbers


@pytest.mark.parametrize("values", [[1.5, 2], [True, 2], [None], ["1"], [3, 3], [-1, 0]])
def test_what_are_no_frame_numbers(values):
    assert read_numbers(values) == ()
