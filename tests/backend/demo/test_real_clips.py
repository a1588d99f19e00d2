"""The excerpts of real video: their files, boxes and masks."""

from __future__ import annotations

import numpy as np
import pytest

from backend.demo.real_clips import RealClip, load_real_clips
from backend.demo.run import box_ious
from backend.labelstudio.edits import read_user_keyframes
from video.io.reader import open_clip
from video.masks import box_iou

CLIPS = load_real_clips()


@pytest.fixture(params=CLIPS, ids=[clip.path.stem for clip in CLIPS])
def clip(request: pytest.FixtureRequest) -> RealClip:
    return request.param


def test_a_clip_is_a_few_seconds_with_ten_checked_masks(clip: RealClip) -> None:
    file = open_clip(clip.path)
    assert len(file) == len(clip.times) == len(clip.boxes)
    assert file.average_fps == pytest.approx(clip.fps)
    assert file.duration_s == pytest.approx(clip.duration_s, abs=0.01)
    assert 2 <= clip.duration_s <= 4
    assert np.isfinite(clip.boxes).all(axis=1).sum() >= 10
    assert box_iou(np.array(clip.box), clip.boxes[0]) > 0.85


def test_the_clips_are_small_and_their_licence_is_beside_them() -> None:
    folder = CLIPS[0].path.parent
    assert sum(file.stat().st_size for file in folder.iterdir()) <= 2e6
    notice = (folder / "NOTICE").read_text()
    assert "Apache License" in notice
    assert all(clip.path.name in notice for clip in CLIPS)


def test_the_drawn_box_is_a_persons_keyframe_on_the_first_frame(clip: RealClip) -> None:
    (keyframe,) = read_user_keyframes(clip.drawn_region())
    assert keyframe.frame == 1
    assert keyframe.box(1.0) == pytest.approx(clip.box)


def test_tracks_are_compared_on_checked_frames_alone(clip: RealClip) -> None:
    prediction = {"result": [clip.drawn_region()]}  # the box stays where it was drawn
    ious = box_ious(prediction, clip.boxes, clip)
    known = np.isfinite(clip.boxes).all(axis=1)
    np.testing.assert_allclose(ious, box_iou(np.array([clip.box] * known.sum()), clip.boxes[known]), atol=1e-6)
