"""The excerpts of real video: their files, boxes and masks, and how the demo has their objects followed."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from backend.demo.local_studio import StudioError
from backend.demo.real_clips import RealClip, load_real_clips
from backend.demo.run import box_ious, track_drawn_box
from backend.jobs.models import JobRecord, JobState, Priority
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


class FakeStudio:
    """Notes what is stored and deleted; its answers are given in order."""

    def __init__(self, *results: list[dict[str, Any]] | None) -> None:
        self._results = list(results)
        self.stored: dict[int, dict[str, Any]] = {}
        self.drafts: dict[int, list[Any]] = {}
        self.asked: list[Any] = []

    def store_prediction(self, task: int, result: Any, **fields: Any) -> int:
        self.stored[len(self.stored) + 1] = {"task": task, "result": list(result), **fields}
        return len(self.stored)

    def save_draft(self, task: int, result: Any) -> int:
        self.drafts[5] = list(result)
        return 5

    def predict_interactively(self, model: int, task: int, result: Any) -> dict[str, Any] | None:
        assert [region["origin"] for region in self.drafts[5]] == ["manual"]
        self.asked.append((model, task, result))
        regions = self._results.pop(0)
        return None if regions is None else {"result": regions, "score": 0.9, "model_version": "v"}

    def api(self, method: str, path: str) -> None:
        assert (method, path) == ("DELETE", "/api/drafts/5/")
        del self.drafts[5]


def job(**fields: Any) -> list[JobRecord]:
    """The jobs of a backend that has one, of task 7."""
    return [JobRecord(id="a", title="the dog", task_id=7, project="1.1", urgency=Priority.INTERACTIVE, **fields)]


def test_the_answer_replaces_the_drawn_box_once_it_is_finished(clip: RealClip) -> None:
    track = {**clip.drawn_region(), "origin": "prediction"}
    studio = FakeStudio(None, [track])
    track_drawn_box(studio, 3, 7, clip, lambda: job(state=JobState.RUNNING, fraction=0.4))  # type: ignore[arg-type]
    assert not studio.drafts
    assert list(studio.stored.values()) == [{"task": 7, "result": [track], "score": 0.9, "model_version": "v"}]
    assert [(model, task) for model, task, _ in studio.asked] == [(3, 7), (3, 7)]
    assert studio.asked[0][2][0]["value"]["text"] == [clip.words]


@pytest.mark.parametrize(
    ("jobs", "why"),
    [(job(state=JobState.FAILED, error="it cannot be read"), "it cannot be read"), ([], "was not asked")],
)
def test_an_object_that_is_not_found_ends_the_demo_with_the_reason(
    jobs: list[JobRecord], why: str, clip: RealClip
) -> None:
    with pytest.raises(StudioError, match=f"was not followed: .*{why}"):
        track_drawn_box(FakeStudio(None), 3, 7, clip, lambda: jobs)  # type: ignore[arg-type]
