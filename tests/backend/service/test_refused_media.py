"""Addresses that can never work are refused in the answer itself, and cost only their own task."""

from __future__ import annotations

import pytest
from fastapi.testclient import TestClient

from backend.service.app import create_app
from tests.backend.predict_requests import VIDEO_CONFIG, predict, task

PICTURES_CONFIG = """<View><TextArea name="say" toName="v" value="$prompt"/><Image name="v" valueList="$frames"/>
<BrushLabels name="box" toName="v"><Label value="Star"/></BrushLabels></View>"""
HOPELESS = {
    "gopher://host/a.mp4": "are not fetched: give http(s)://",
    "file:///etc/passwd": "are not fetched",
    "/etc/passwd": "not under REFAM_MEDIA_ROOT",
    "../good.mp4": "leaves its folder",
    "http://10.0.0.7/a.mp4": "add it to REFAM_ALLOWED_HOSTS",
    "http://localhost:1/a.mp4": "add it to REFAM_ALLOWED_HOSTS",
    "http://[::1/a.mp4": "is no address",
    "http://host:port/a.mp4": "is no address",
    "": "must be a video's address, got ''",
    "  ": "must be a video's address, got '  '",
    None: "must be a video's address, got None",
    7: "must be a video's address, got 7",
    ("good.mp4",): "must be a video's address, got ('good.mp4',)",
    "a\ud800.mp4": "is no address of a video",
}


def test_hopeless_addresses_are_refused_at_once(patient_runtime):
    runtime = patient_runtime
    tasks = [task(1), *(task(10 + i, video=video) for i, video in enumerate(HOPELESS)), task(2)]
    first, *refused, last = predict(runtime, *tasks)
    assert "result" in first
    assert "result" in last
    for (video, sentence), answer, asked in zip(HOPELESS.items(), refused, tasks[1:-1], strict=True):
        assert set(answer) == {"error"}, video
        assert sentence in answer["error"], video
        assert f"task {asked['id']}" in answer["error"]
    jobs = [record for record in runtime.queue.records() if not record.refused]
    assert sorted(record.task_id for record in jobs) == [1, 2], "none of them is a job"


def test_a_refused_address_stands_on_the_jobs_page(runtime):
    predict(runtime, task(3, "the star", video="gopher://host/a.mp4"))
    (record,) = runtime.queue.records()
    assert (record.task_id, record.title, record.refused) == (3, "the star", True)
    assert "gopher://" in record.error


def test_a_typed_word_with_a_hopeless_address_is_listed_once(runtime):
    typed = {"result": [{"type": "textarea", "from_name": "say", "value": {"text": ["the ring"]}}]}
    assert predict(runtime, task(3, video="http://10.0.0.7/a.mp4"), context=typed) == []
    (record,) = runtime.queue.records()
    assert (record.title, record.refused) == ("the ring", True)


def test_a_hopeless_picture_of_many_is_named(runtime):
    asked = {"id": 5, "data": {"frames": ["good.jpg", "http://10.0.0.7/b.jpg"], "prompt": "the star"}}
    (answer,) = predict(runtime, asked, config=PICTURES_CONFIG)
    assert "task 5, frame 1 (from 0)" in answer["error"]
    assert "10.0.0.7" in answer["error"]


@pytest.mark.parametrize("bad", [7, None, "task", [], {}, {"id": 9}, {"id": 9, "data": []}])
def test_a_bad_task_of_several_costs_only_itself(bad, patient_runtime):
    with TestClient(create_app(patient_runtime.settings, patient_runtime)) as client:
        answer = client.post("/predict", json={"tasks": [task(1), bad, task(2)], "label_config": VIDEO_CONFIG})
        assert answer.status_code == 200
        first, refused, last = answer.json()["results"]
    assert "result" in first
    assert "result" in last
    assert set(refused) == {"error"}
