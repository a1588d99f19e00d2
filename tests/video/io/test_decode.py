"""Clips that were opened and then cannot be read: what was tracked is kept, and the missing frame is reported."""

import numpy as np
import pytest

from refam.evaluation.synthetic import red_star_and_blue_ring
from refam.segmenters.grabcut import GrabCutSegmenter
from tests import media
from tests.video.clips import FailingClip
from video import masks
from video.io.reader import ReadingError, make_view, open_clip, open_sequence
from video.tracking.propagate import TrackStart, propagate_all

N = 24


@pytest.fixture(scope="module")
def star():
    frames, truth = red_star_and_blue_ring(N, size=(192, 108))
    return frames, truth[0]


def read_into(read, clip):
    for indices, images in clip.batches(size=3):
        read += zip(indices.tolist(), images, strict=True)


def test_frames_before_a_reading_error_are_yielded_and_the_missing_one_is_named(tmp_path):
    frames = media.numbered_frames(60)
    path = media.cfr(tmp_path / "clip.mkv", frames)
    clip = open_clip(path)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    read = []
    with pytest.raises(ReadingError, match=r"clip\.mkv: .* reading stopped at frame \d+ \(\d+\.\d\d s\)") as caught:
        read_into(read, make_view(clip, every=2))
    assert 5 < len(read) < 30
    assert [(i, media.read_number(image)) for i, image in read] == [(i, 2 * i) for i in range(len(read))]
    assert caught.value.frame == len(read)
    assert f"frame {2 * len(read)} (" in str(caught.value), "people know the whole clip's frames"


def test_a_missing_image_raises_a_reading_error(tmp_path, star):
    paths = [media.picture(tmp_path / f"{i}.png", star[0][i]) for i in range(6)]
    sequence = open_sequence(paths)
    paths[4].unlink()
    read = []
    with pytest.raises(ReadingError, match=r"4\.png.*reading stopped at frame 4") as caught:
        read_into(read, sequence)
    assert ([i for i, _ in read], caught.value.frame) == ([0, 1, 2, 3], 4)


@pytest.mark.parametrize(
    ("anchors", "bad", "seen"),
    [
        ([0], [15], range(15)),
        ([N - 1], [9], range(10, N)),
        ([12], [4, 20], range(5, 20)),
        ([0, N - 1], [10], [*range(10), *range(11, N)]),
        ([0, 6, N - 1], [10, 14], [*range(10), *range(15, N)]),
        ([0], [0], []),
    ],
)
def test_each_pass_continues_as_far_as_it_can_read(star, anchors, bad, seen):
    frames, truth = star
    stops = []
    (track,) = propagate_all(
        FailingClip(frames, bad=bad),
        [TrackStart("star", {f: truth[f] for f in anchors})],
        GrabCutSegmenter(),
        on_read_error=stops.append,
    )
    assert track.frames.tolist() == list(range(N))
    assert np.flatnonzero(track.visible).tolist() == list(seen)
    assert all(masks.iou(masks.decode(track.rles[f]), truth[f]) > 0.8 for f in seen)
    assert {stop.frame for stop in stops} <= set(bad)
    assert stops


def test_without_a_handler_the_reading_error_is_raised(star):
    frames, truth = star
    with pytest.raises(ReadingError, match="stopped at frame 15"):
        propagate_all(FailingClip(frames, bad=[15]), [TrackStart("star", {0: truth[0]})], GrabCutSegmenter())
