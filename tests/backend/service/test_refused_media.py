"""Addresses that can never work are refused in the answer itself, and cost only their own task."""

from __future__ import annotations

import pytest
from fastapi.testclient import TestClient

from backend.media.store import MediaError, MediaStore
from backend.service.app import create_app
from backend.settings import load_settings
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


@pytest.mark.parametrize(
    "video",
    [
        "/data/upload/../../api/x?token=SEKRET",
        "http:/127.0.0.1/x?token=SEKRET",
        "/nope/x.mp4#token=SEKRET",
        "nope.mp4?SEKRET",
        "n" * 300 + ".mp4?SEKRET",
        "C:\\x.mp4?SEKRET",
        "http://u:SEKRET@ho\u2100st/x.mp4",
        "//u:SEKRET@host/x.mp4",
    ],
)
def test_no_secret_of_an_address_reaches_an_answer_the_log_or_the_jobs_page(video, patient_runtime, caplog):
    (answer,) = predict(patient_runtime, task(3, video=video))
    assert "error" in answer
    records = list(patient_runtime.queue.records())
    assert records
    assert "SEKRET" not in f"{answer} {caplog.text} {[(record.title, record.error) for record in records]}"


@pytest.mark.parametrize("host", ["[fe80::1%25lo]", "[fe80::1%lo]", "[::7f00:1]", "[fec0::1]", "[64:ff9b:1::7f00:1]"])
def test_an_ipv6_address_that_is_not_public_is_refused_at_once(host, runtime):
    (answer,) = predict(runtime, task(3, video=f"http://{host}/a.mp4"))
    assert "add it to REFAM_ALLOWED_HOSTS" in answer["error"]


def test_a_file_of_label_studio_is_named_without_its_query(tmp_path):
    store = MediaStore(load_settings(cache_dir=tmp_path, data_dir=tmp_path, label_studio_url=None))
    with pytest.raises(MediaError) as refused:
        store.check("/data/upload/x.mp4?token=SEKRET")
    assert str(refused.value) == "'/data/upload/x.mp4' is a file of Label Studio: set LABEL_STUDIO_URL"
