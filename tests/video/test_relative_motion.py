"""Displacements around a frame, and motion against the background, on a texture that is moved by known maps."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from tests.video.clips import ArrayClip, FailingClip
from video.io.reader import open_sequence
from video.relative_motion import Displacement, displacements_around, subtract_camera_motion

SIZE = (160, 120)


def texture(seed, size=SIZE):
    noise = np.random.default_rng(seed).normal(0, 60, (size[1] // 4, size[0] // 4, 3)).astype(np.float32)
    return np.clip(cv2.resize(noise, size, interpolation=cv2.INTER_CUBIC) + 128, 0, 255).astype(np.uint8)


def panned(n=13, seed=1, *, speed=2):
    """A camera that pans to the right: what is at x in one frame is at x - speed in the next."""
    wide = texture(seed, (SIZE[0] + speed * n, SIZE[1]))
    return np.stack([wide[:, speed * t : speed * t + SIZE[0]] for t in range(n)])


def offsets(clip, frame, **options):
    return sorted(d.offset for d in displacements_around(clip, frame, **options))


def test_displacements_are_those_of_the_pan():
    found = displacements_around(ArrayClip(panned()), 6, most_frames=4)
    assert sorted(d.offset for d in found) == [-4, -3, -2, -1, 1, 2, 3, 4]
    for displacement in found:
        inner = displacement.field[20:-20, 30:-30]
        assert np.abs(np.median(inner, axis=(0, 1)) - [-2 * displacement.offset, 0]).max() < 0.3
        assert np.median(displacement.confidence[20:-20, 30:-30]) > 0.8


@pytest.mark.parametrize(("frame", "expected"), [(0, [1, 2, 3]), (12, [-3, -2, -1]), (11, [-3, -2, -1, 1])])
def test_the_clips_ends_end_them(frame, expected):
    assert offsets(ArrayClip(panned()), frame, most_frames=3) == expected


def test_a_cut_ends_them():
    frames = panned()
    frames[8:] = np.uint8([200, 30, 30])
    assert offsets(ArrayClip(frames), 6, most_frames=4) == [-4, -3, -2, -1, 1]


@pytest.mark.parametrize(
    ("bad", "expected"),
    [({8}, [-4, -3, -2, -1, 1]), ({4}, [-1, 1, 2, 3, 4]), ({2, 5, 7}, []), ({3, 4, 9}, [-1, 1, 2]), ({6}, [])],
)
def test_frames_that_cannot_be_read_end_them(bad, expected):
    assert offsets(FailingClip(panned(), bad=bad), 6, most_frames=4) == expected


def test_frames_far_away_in_time_are_not_read():
    clip = ArrayClip(panned(), times=[0, 1, 2, 3, 4, 4.9, 5, 5.1, 5.2, 6, 7, 8, 9])
    assert offsets(clip, 6, most_s=0.5) == [-1, 1, 2]
    assert set(clip.frames_read) == {5, 6, 7, 8}


def test_a_clip_of_one_frame_and_separate_pictures_have_no_motion(tmp_path):
    frames = panned(3)
    assert displacements_around(ArrayClip(frames[:1]), 0) == []
    for i, frame in enumerate(frames):
        cv2.imwrite(str(tmp_path / f"{i}.png"), frame)
    assert displacements_around(open_sequence(sorted(tmp_path.glob("*.png"))), 1) == []


@pytest.mark.parametrize("zoom_deg_shift", [(1.0, 0, (0, 0)), (1.0, 0, (7, -3)), (1.06, 4, (3, 5))])
def test_only_what_moves_by_itself_is_left(zoom_deg_shift):
    zoom, degrees, shift = zoom_deg_shift
    affine = cv2.getRotationMatrix2D((80, 60), degrees, zoom)
    affine[:, 2] += shift
    x, y = np.meshgrid(np.arange(SIZE[0]), np.arange(SIZE[1]))
    field = np.stack([x, y, np.ones_like(x)], -1) @ affine.T - np.stack([x, y], -1)
    field[30:60, 40:80] += [9, -4]
    field[90:110, 100:150] += [-12, 0]  # another thing that moves, in what is taken for the background
    thing = np.zeros(SIZE[::-1], bool)
    thing[30:60, 40:80] = True
    displacement = Displacement(1, field.astype(np.float32), np.ones(SIZE[::-1], np.float32))
    left = subtract_camera_motion(displacement, ~thing)
    np.testing.assert_allclose(left[thing], np.broadcast_to([9, -4], left[thing].shape), atol=0.05)
    assert np.abs(left[:25]).max() < 0.05


def test_the_cameras_motion_is_unknown_without_enough_background():
    sure = np.ones(SIZE[::-1], np.float32)
    field = np.zeros((*SIZE[::-1], 2), np.float32)
    few = np.zeros(SIZE[::-1], bool)
    few[:4, :5] = True
    assert subtract_camera_motion(Displacement(1, field, sure), few) is None
    assert subtract_camera_motion(Displacement(1, field, 0 * sure), ~few) is None
