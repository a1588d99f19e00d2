"""How a job's progress is estimated."""

from __future__ import annotations

import pytest

from backend.jobs.models import JobRecord, JobState, Priority
from backend.jobs.runner import estimate_stage_shares


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
