from dataclasses import replace
from fractions import Fraction

import cv2
import numpy as np
import pytest

from tests import media
from tests.video.moving_tracks import moving_masks, track_of
from video.io.reader import open_clip
from video.visualize.review_sheet import frames_to_review, write_sheet

TIMES = np.arange(100) / 25


def test_a_steady_track_with_high_scores_needs_no_review():
    assert frames_to_review([track_of(moving_masks(100, (320, 96)))], TIMES) == []


def test_gaps_jumps_and_low_scores_are_found_where_they_are():
    masks = moving_masks(100, (320, 96))
    masks[70:] = np.roll(masks[70:], 60, axis=2)
    track = track_of(masks, hidden=range(20, 30))
    scores = track.scores.copy()
    scores[50] = 0.2
    looks = frames_to_review([replace(track, scores=scores)], TIMES)
    assert [look.frame for look in looks] == [19, 30, 50, 70]
    assert "gone for 0.44 s" in looks[0].why
    assert "again" in looks[1].why
    assert "0.20" in looks[2].why
    assert "jumped" in looks[3].why
    assert [look.named for look in looks] == [range(19, 30), range(30, 31), range(50, 51), range(70, 71)]


def test_a_tile_names_the_whole_stretch_that_is_doubtful():
    track = track_of(moving_masks(100, (320, 96)), hidden=range(80, 100))
    scores = track.scores.copy()
    scores[40:43] = (0.6, 0.5, 0.6)
    scores[79] = 0.3
    stretch, end = frames_to_review([replace(track, scores=scores)], TIMES)
    assert (stretch.frame, stretch.named) == (41, range(40, 43))
    assert stretch.why == "unsure from frame 40 to 42: score 0.50"
    assert (end.frame, end.named) == (79, range(79, 100)), "two reasons for one frame"
    assert end.why == "unsure: score 0.30; last seen here, then gone to the end"


@pytest.mark.parametrize(("first_hidden", "last_seen"), [(1, 0), (70, 69), (99, 98)])
def test_an_object_that_is_lost_to_the_end_is_shown_where_it_was_seen_last(first_hidden, last_seen):
    track = track_of(moving_masks(100, (320, 96)), hidden=range(first_hidden, 100))
    looks = frames_to_review([track], TIMES)
    assert [(look.frame, look.why) for look in looks] == [(last_seen, "last seen here, then gone to the end")]


def test_frames_on_which_the_words_disagree_are_reported():
    tracks = [track_of(moving_masks(100, (320, 96))) for _ in range(2)]
    looks = frames_to_review(tracks, TIMES, elsewhere=[[], [40]])
    assert [(look.frame, look.track, look.why) for look in looks] == [(40, 1, "the words point elsewhere")]


def test_a_stretch_beside_another_tile_is_shown_and_a_single_frame_is_not():
    track = track_of(moving_masks(100, (320, 96)), hidden=range(33, 40))
    scores = track.scores.copy()
    scores[[30, 60, 62]] = (0.5, 0.5, 0.6)
    looks = frames_to_review([replace(track, scores=scores)], TIMES)
    assert [(look.frame, look.named) for look in looks] == [
        (30, range(30, 31)),
        (32, range(32, 40)),
        (40, range(40, 41)),
        (60, range(60, 61)),
    ]


def test_neighbours_do_not_fill_the_sheet():
    track = track_of(moving_masks(100, (320, 96)))
    frames = [look.frame for look in frames_to_review([replace(track, scores=np.full(100, 0.3))], TIMES)]
    assert len(frames) == 12
    assert np.diff(frames).min() >= 4


def test_a_part_of_a_long_video_has_several_tiles():
    part = replace(track_of(moving_masks(20, (320, 96))), frames=np.arange(50, 70), scores=np.full(20, 0.3))
    frames = [look.frame for look in frames_to_review([part], np.arange(10_000) / 25)]
    assert len(frames) >= 6
    assert 50 <= min(frames) <= max(frames) < 70


def test_the_sheet_is_a_picture_of_tiles(tmp_path):
    clip = open_clip(media.cfr(tmp_path / "clip.mp4", media.numbered_frames(24)))
    track = track_of(moving_masks(24), hidden=[8, 9])
    looks = frames_to_review([track], clip.times)
    picture = cv2.imread(str(write_sheet(clip, [track], looks, tmp_path / "sheet.jpg")))
    assert picture.shape[1] == 2 * 410 + 10
    wide = open_clip(media.anamorphic(tmp_path / "wide.mp4", media.numbered_frames(24), pixel_aspect=Fraction(2)))
    shown = cv2.imread(str(write_sheet(wide, [track], looks, tmp_path / "wide.jpg")))
    heights = [(sheet.shape[0] - 10) // -(-len(looks) // 2) for sheet in (picture, shown)]
    assert heights[0] - heights[1] == 400 * 96 // 160 - 400 * 96 // 320, "a tile has the shape of the film"
    with pytest.raises(ValueError, match="at least one"):
        write_sheet(clip, [track], [], tmp_path / "none.jpg")
