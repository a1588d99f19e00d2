"""Editing rows of a `MaskTrack`, and its form as plain data."""

from __future__ import annotations

import json

import numpy as np
import pytest

from tests.video.moving_tracks import moving_masks, track_of
from video import masks
from video.types import MaskTrack

COLUMNS = ("frames", "boxes", "scores", "visible")


def assert_equal_tracks(one, other):
    assert (one.label, one.size, one.rles) == (other.label, other.size, other.rles)
    for column in COLUMNS:
        np.testing.assert_array_equal(getattr(one, column), getattr(other, column), err_msg=column)


@pytest.fixture
def track():
    return track_of(moving_masks(6), hidden=[2], frames=[3, 4, 5, 7, 8, 9])


def test_row_of_finds_only_frames_of_the_track(track):
    assert [track.row_of(frame) for frame in (2, 3, 6, 7, 9, 10)] == [None, 0, None, 3, 5, None]


def test_replace_rows_changes_the_given_columns_of_the_given_rows(track):
    empty = masks.empty(track.size)
    edited = track.replace_rows([1, 4], rles=[empty, empty], visible=[False, False])
    assert [rle == empty for rle in edited.rles] == [False, True, True, False, True, False]
    assert edited.visible.tolist() == [True, False, False, True, False, True]
    np.testing.assert_array_equal(edited.boxes, track.boxes)
    np.testing.assert_array_equal(edited.scores, track.scores)
    assert track.visible.tolist() == [True, True, False, True, True, True]


def test_replace_rows_refuses_another_number_of_values(track):
    with pytest.raises(ValueError, match="2 rows but values of shape"):
        track.replace_rows([1, 4], scores=[0.5])
    with pytest.raises(ValueError, match="zip"):
        track.replace_rows([1, 4], rles=[masks.empty(track.size)])


def test_fill_takes_the_rows_of_another_track_on_the_given_frames(track):
    other = track_of(moving_masks(3, left=60), frames=[5, 7, 8])
    filled = track.fill(other, [5, 8, 100])
    for row, frame in enumerate(filled.frames.tolist()):
        source = other if frame in (5, 8) else track
        assert filled.rles[row] == source.rles[source.row_of(frame)]
        np.testing.assert_array_equal(filled.boxes[row], source.boxes[source.row_of(frame)])
        assert filled.visible[row] == source.visible[source.row_of(frame)]


def test_fill_refuses_frames_that_the_track_does_not_have(track):
    with pytest.raises(ValueError, match="does not have all frames"):
        track.fill(track_of(moving_masks(1), frames=[6]), [6])


def test_a_track_survives_the_way_through_json(track):
    assert_equal_tracks(MaskTrack.from_dict(json.loads(json.dumps(track.to_dict()))), track)
