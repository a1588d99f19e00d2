"""Cuts detected frame by frame on drawn clips."""

import numpy as np
import pytest

from refam.segmenters.grabcut import GrabCutSegmenter
from tests.video.clips import ArrayClip
from tests.video.tracking.drawn_clips import DISC, STAR, ColourSegmenter, scene_clip
from video import masks
from video.shots import CutDetector
from video.tracking.memory_tracker import MemoryTracker, MemoryTrackerOptions
from video.tracking.propagate import propagate
from video.tracking.schedule import LookSchedule


def said(frames):
    watch = CutDetector()
    return [watch.step(frame) for frame in frames]


@pytest.fixture(scope="module")
def star():
    return scene_clip([(STAR, 11, lambda t: (40 + 30 * t, 30))], n=16)


@pytest.fixture(scope="module")
def other():
    return scene_clip([(DISC, 10, lambda t: (80, 30))], n=16, ground=9, tone="dark")[0]


def test_a_cut_is_reported_on_the_first_frame_after_it(star, other):
    frames = star[0]
    assert said(frames) == ["same"] * 16
    assert said(np.concatenate([frames[:9], other])) == ["same"] * 9 + ["cut"] + ["same"] * 15


@pytest.mark.parametrize("length", [1, 2, 3])
def test_the_end_of_a_flash_is_reported_as_back(star, length):
    frames = star[0].copy()
    frames[6 : 6 + length] = 255
    expected = ["same"] * 16
    expected[6], expected[6 + length] = "cut", "back"
    assert said(frames) == expected


def test_a_short_insert_is_a_flash_and_a_long_one_two_cuts(star, other):
    frames = star[0]
    short = said(np.concatenate([frames[:6], other[:4], frames[6:]]))
    assert [(i, s) for i, s in enumerate(short) if s != "same"] == [(6, "cut"), (10, "back")]
    long = said(np.concatenate([frames[:6], other[:10], frames[6:]]))
    assert [(i, s) for i, s in enumerate(long) if s != "same"] == [(6, "cut"), (16, "cut")]


@pytest.mark.parametrize("segmenter", [ColourSegmenter, GrabCutSegmenter], ids=["memory", "flow"])
def test_objects_are_tracked_on_after_a_flash(star, segmenter):
    frames, truth = star[0].copy(), star[1][0]
    frames[6:8] = 255
    track = propagate(ArrayClip(frames), 0, truth[0], segmenter())
    assert np.flatnonzero(~track.visible).tolist() == [6, 7]
    overlap = [masks.iou(masks.decode(track.rles[f]), truth[f]) for f in range(16) if f not in (6, 7)]
    assert min(overlap) > 0.8


def test_after_a_cut_an_object_is_found_anywhere_in_the_frame():
    """The same star, at the other side of another shot; found on its first frame, though looks are rare."""
    size = (320, 180)  # smaller, the star covers too few places of the features
    one, truth = scene_clip([(STAR, 9, lambda t: (22 + 4 * t, 18))], n=8, size=size)
    two, there = scene_clip([(STAR, 9, lambda t: (92 - 4 * t, 46))], n=8, size=size, ground=9)
    assert not (truth[0, -1] & there[0, 0]).any()
    segmenter = ColourSegmenter()
    options = MemoryTrackerOptions(schedule=LookSchedule(max_stride=8))
    track = propagate(
        ArrayClip(np.concatenate([one, two])),
        0,
        truth[0, 0],
        segmenter,
        make_tracker=lambda: MemoryTracker(segmenter, options=options),
    )
    assert track.visible.all()
    assert track.scores[8] > 0.8, "on a ground that was never seen"
    assert min(masks.iou(masks.decode(track.rles[8 + f]), there[0, f]) for f in range(8)) > 0.8
