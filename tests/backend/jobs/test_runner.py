"""How a job's progress is estimated, and the picture in the list of jobs."""

from __future__ import annotations

from fractions import Fraction

import cv2
import numpy as np
import pytest

from backend.jobs.models import JobRecord, JobState, Priority
from backend.jobs.runner import estimate_stage_shares, render_thumbnail
from refam.pipeline.types import Target, TrackResult
from tests import media
from tests.doubles import track_of_masks
from video.io.reader import open_clip


def record(state, **stages):
    return JobRecord(id="a", title="", task_id=1, project="", urgency=Priority.BATCH, state=state, stages_s=stages)


def test_stage_shares_follow_finished_jobs_weighted_by_their_length():
    default = estimate_stage_shares([])
    assert sum(default.values()) == pytest.approx(1)
    long = [record(JobState.DONE, fetch=1000, track=9000), record(JobState.FAILED, fetch=9e9, track=1)]
    shares = estimate_stage_shares(long)
    assert shares["track"] == pytest.approx(0.9, abs=0.01)
    assert shares["fetch"] == pytest.approx(0.1, abs=0.01)
    assert shares["mask"] > 0
    shares = estimate_stage_shares([record(JobState.DONE, fetch=0.5, track=0.01)])  # short: it hardly counts
    assert shares["track"] > 0.5


@pytest.mark.parametrize(("pixel_aspect", "height"), [(1, 192), (2, 96)])
def test_a_thumbnail_has_the_shape_of_the_film(pixel_aspect, height, tmp_path):
    frames = media.numbered_frames(3)
    clip = open_clip(media.anamorphic(tmp_path / "clip.mp4", frames, pixel_aspect=Fraction(pixel_aspect)))
    masks = np.zeros((3, 96, 160), bool)
    masks[:, 30:60, 40:90] = True
    result = TrackResult(Target("a", words="a"), track_of_masks(masks), (), 0.9, 0, ())
    jpeg = np.frombuffer(render_thumbnail(clip, [result]), np.uint8)
    assert cv2.imdecode(jpeg, cv2.IMREAD_COLOR).shape == (height, 320, 3)
