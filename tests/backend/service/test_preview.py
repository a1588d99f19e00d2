"""A typed answer that would come too late: its preview comes in time, says what it is, and the track replaces it."""

from __future__ import annotations

import time

import pytest

from backend.jobs.models import JobState
from backend.labelstudio.label_config import parse_label_config
from backend.labelstudio.request import read_request
from refam.pipeline.pipeline import TrackResult
from tests.backend.predict_requests import VIDEO_CONFIG, predict, task, wait_until
from tests.doubles import moving_box


def typed(words):
    return {"result": [{"id": "t", "type": "textarea", "from_name": "say", "value": {"text": [words]}}]}


@pytest.fixture
def held(runtime, monkeypatch):
    """A pipeline that has a preview at once, and tracks only what holds no word of the set that is returned."""
    run, waiting = runtime.truth.run, set()

    def run_with_preview(clip, targets, progress, preview=None, **kwargs):
        if preview is not None:
            preview([TrackResult(t, moving_box(len(clip), side=0.3), (), 0.0, 0, ()) for t in targets])
        while any(word in (t.words or "") for t in targets for word in waiting):
            progress("track", 0.5)
            time.sleep(0.02)
        return run(clip, targets, progress=progress, **kwargs)

    monkeypatch.setattr(runtime.truth, "run", run_with_preview)
    runtime.settings.__dict__.update(deadline_s=60.0, page_deadline_s=0.5, draft_wait_s=0.0)
    return waiting


def sequence(region):
    return region["value"]["sequence"]


def test_a_preview_comes_in_time_and_the_same_words_bring_the_track(runtime, held):
    held.add("ring")
    began = time.monotonic()
    (answer,) = predict(runtime, task(1), context=typed("the ring"))
    assert time.monotonic() - began < 30, "long before the deadline"
    (region,) = answer["result"]
    assert region["type"] == "videorectangle"
    assert all(keyframe["preview"] for keyframe in sequence(region))
    assert region["score"] == answer["score"] == 0
    (note,) = region["meta"]["text"]
    assert note.startswith("preview: ")
    assert "task 1 is " in note
    held.clear()
    wait_until(lambda: runtime.queue.records()[0].state is JobState.DONE)
    shown = {**task(1), "drafts": [{"id": 5, "result": [region]}]}
    (finished,) = predict(runtime, shown, context=typed("the ring;"))
    (track,) = finished["result"]
    assert track["id"] == region["id"]
    assert not any("preview" in keyframe for keyframe in sequence(track))
    assert "preview" not in track["meta"]["text"][0]
    assert track["score"] == 0.8
    assert len(runtime.queue.records()) == 1, "nothing was computed twice"
    assert runtime.queue.preview(runtime.queue.records()[0].id) is None


def test_what_is_finished_in_time_has_no_preview(runtime, held):
    (answer,) = predict(runtime, task(1), context=typed("the star"))
    assert not any("preview" in keyframe for keyframe in sequence(answer["result"][0]))


def test_a_job_that_will_be_done_before_the_deadline_is_waited_for(runtime, held, monkeypatch):
    held.add("ring")
    monkeypatch.setattr("backend.jobs.worker.ProgressReporter.__call__", _report_one_second_left)
    began = time.monotonic()
    runtime.settings.__dict__["deadline_s"] = 3.0
    (answer,) = predict(runtime, task(1), context=typed("the ring"))
    assert time.monotonic() - began > 1.5, "past the time from which a preview would have been answered"
    assert sequence(answer["result"][0])[0]["preview"], "it was not done all the same"


def _report_one_second_left(reporter, stage, fraction):
    reporter.check()
    reporter._queue.update(reporter._record.but(stage=stage, fraction=fraction, left_s=1.0))


def test_pages_and_batches_get_no_preview(runtime, held):
    held.add("star")
    runtime.settings.__dict__["deadline_s"] = 1.0
    assert set(predict(runtime, task(1))[0]) == {"error"}
    assert all(set(answer) == {"error"} for answer in predict(runtime, task(2), task(3)))


def test_a_preview_is_asked_for_again_even_beside_an_object_that_is_done():
    """Objects whose words are the same are left out of a call; a preview is not done."""

    def region(identity, words, **more):
        keyframe = {"frame": 1, "enabled": True, "x": 1.0, "y": 1.0, "width": 9.0, "height": 9.0, "rotation": 0}
        keyframe |= {"words": words, **more}
        value = {"sequence": [keyframe], "labels": ["Star"]}
        return {"id": identity, "type": "videorectangle", "from_name": "box", "to_name": "v", "value": value}

    config = parse_label_config(VIDEO_CONFIG)
    for more, asked in (({"preview": True}, ["the ring", "the cross"]), ({}, ["the cross"])):
        shown = {**task(1), "predictions": [{"id": 1, "result": [region("refam-a", "the ring", **more)]}]}
        work = read_request(shown, config, context=typed("the ring; the cross"))
        assert [target.words for target in work.targets] == asked
