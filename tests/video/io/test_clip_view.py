"""A part of a clip, read as a clip, and tracks of it brought back to the whole; and files that break off on the way."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests import media
from tests.video.moving_tracks import moving_masks, track_of
from video import masks
from video.io.clip_view import lifted, view_of
from video.io.reader import ClipError, open_clip
from video.sampling import plan_frames

N, SIZE = 60, (160, 96)


@pytest.fixture(scope="module")
def clip(tmp_path_factory):
    return open_clip(media.cfr(tmp_path_factory.mktemp("view") / "clip.mp4", media.numbered_frames(N)))


@settings(max_examples=25, deadline=None)
@given(st.integers(0, N - 1), st.integers(0, N - 1), st.integers(1, 20), st.lists(st.integers(0, N - 1), max_size=3))
def test_a_view_shows_the_clips_own_frames(clip, a, b, every, must):
    first, last = sorted((a, b))
    must = [f for f in must if first <= f <= last]
    view = view_of(clip, first=first, last=last, every=every, must=must)
    assert view.frames.tolist() == sorted({*range(first, last + 1, every), last, *must})
    seen = [
        (int(i), media.read_number(im)) for found, images in view.batches() for i, im in zip(found, images, strict=True)
    ]
    assert seen == list(enumerate(view.frames.tolist()))
    assert np.array_equal(view.times, clip.times[view.frames])
    assert media.read_number(view.frame(-1)) == last
    assert set(plan_frames(view, count=4)) <= set(range(len(view)))


def test_pictures_are_shrunk_never_enlarged(clip):
    small = view_of(clip, most_px=80)
    assert (small.size, small.frame(3).shape) == ((80, 48), (48, 80, 3))
    assert view_of(clip, most_px=4000).size == SIZE
    assert len(repr(small)) < 200


@pytest.mark.parametrize(
    ("asked", "words"),
    [
        ({"first": 5, "last": 60}, "frames 5 to 60 are not within the clip's frames 0 to 59"),
        ({"first": 9, "last": 8}, "frames 9 to 8"),
        ({"every": 0}, "every must be 1 or more"),
        ({"first": 5, "must": [4]}, r"frames \[4\] must lie within 5 to 59"),
    ],
)
def test_what_is_not_there_is_refused(clip, asked, words):
    with pytest.raises(ValueError, match=words):
        view_of(clip, **asked)


def test_between_looked_at_frames_an_even_motion_is_met(clip):
    truth = moving_masks(N)
    view = view_of(clip, first=3, every=7)
    found, between = lifted(track_of(truth[view.frames]), view)
    assert found.frames.tolist() == list(range(3, N))
    assert np.array_equal(between, ~np.isin(found.frames, view.frames))
    got = [masks.iou(masks.decode(r), truth[f]) for r, f in zip(found.rles, found.frames, strict=True)]
    assert min(got) > 0.9
    assert min(g for g, b in zip(got, between, strict=True) if not b) == 1.0


def test_masks_of_a_smaller_view_come_back_in_full_size(clip):
    truth = moving_masks(N)
    view = view_of(clip, most_px=80)
    small = np.stack([masks.resize_mask(m, view.size) for m in truth])
    found, between = lifted(track_of(small), view)
    assert found.size == SIZE
    assert not between.any()
    assert min(masks.iou(masks.decode(r), m) for r, m in zip(found.rles, truth, strict=True)) > 0.85


def test_beside_a_gap_nothing_is_guessed(clip):
    view = view_of(clip, every=10)
    hidden = track_of(moving_masks(N)[view.frames], hidden=[2])
    found, _ = lifted(hidden, view)
    assert np.flatnonzero(~found.visible).tolist() == list(range(11, 30))
    assert not any(masks.area(r) for r in found.rles[11:30])


BROKEN = {
    "cut.mp4": media.truncated,
    "cut.mkv": media.truncated,
    "damaged.mp4": media.damaged,
    "damaged-hevc.mp4": lambda p, f: media.damaged(p, f, codec="libx265"),
}


@pytest.mark.parametrize("name", BROKEN)
def test_of_a_file_that_breaks_off_the_part_before_is_opened_where_that_is_asked_for(name, tmp_path):
    path = BROKEN[name](tmp_path / name, media.numbered_frames(N))
    with pytest.raises(ClipError):
        open_clip(path)
    part = open_clip(path, partial=True)
    assert 1 <= len(part) < N
    assert part.broken.startswith(f"the video can be decoded up to {part.times[-1]:.1f} s: the file is ")
    # By time: where the last frames refer to one behind the break, that one is missing and no other has its time.
    numbers = [media.read_number(i) for _, images in part.batches() for i in images]
    assert numbers == np.round(part.times * 25).astype(int).tolist()
    assert media.read_number(part.frame(-1)) == numbers[-1]
    assert part.decoder == "pyav"


def test_of_a_whole_file_nothing_is_broken_and_of_one_without_frames_there_is_no_part(clip, tmp_path):
    assert open_clip(clip.path, partial=True).broken == ""
    with pytest.raises(ClipError, match="no frame can be read"):
        open_clip(media.garbage(tmp_path / "garbage.mp4"), partial=True)
