from __future__ import annotations

import json
import time

import pytest
from fastapi.testclient import TestClient

from backend.service.app import BackgroundServer, create_app
from backend.settings import load_settings
from tests.backend.predict_requests import predict, slow_down, task
from tests.doubles import TruthRuntime


@pytest.fixture
def runtime(media, tmp_path):
    settings = load_settings(
        media_root=media, cache_dir=tmp_path / "c", data_dir=tmp_path / "d", label_studio_url="http://studio.example"
    )
    runtime = TruthRuntime(settings)
    yield runtime
    runtime.close()


@pytest.fixture
def client(runtime):
    return TestClient(create_app(runtime.settings, runtime))


HEADER = {"X-Refam": "1"}


def test_browsers_get_the_dashboard_and_label_studio_its_status(client):
    assert client.get("/").json()["status"] == "UP"
    page = client.get("/", headers={"Accept": "text/html,application/xhtml+xml"})
    assert page.headers["content-type"].startswith("text/html")
    policy = page.headers["content-security-policy"]
    nonce = policy.split("'nonce-")[1].split("'")[0]
    assert page.text.count(f'nonce="{nonce}"') == 2
    assert "unsafe" not in policy
    again = client.get("/", headers={"Accept": "text/html"})
    assert nonce not in again.text


def test_jobs_lists_finished_and_failed_jobs(client, runtime):
    predict(runtime, task(1), task(2, "nothing"), {"id": 3, "data": {}})
    found = client.get("/jobs").json()
    assert found["counts"] == {"done": 1, "failed": 1}
    jobs = {job["task_id"]: job for job in found["jobs"]}
    assert (jobs[1]["state"], jobs[1]["title"], jobs[1]["score"]) == ("done", "the star", 0.8)
    assert (jobs[1]["delivered"], jobs[1]["link"]) == ("answered", "http://studio.example/projects/1/data?task=1")
    assert "no object fits" in jobs[2]["error"]
    one = client.get(f"/jobs/{jobs[1]['id']}").json()
    assert one["prediction"]["result"][0]["from_name"] == "box"
    picture = client.get(f"/jobs/{jobs[1]['id']}/thumbnail")
    assert picture.headers["content-type"] == "image/jpeg"
    assert picture.content[:2] == b"\xff\xd8"
    assert client.get(f"/jobs/{jobs[2]['id']}/thumbnail").status_code == 404
    assert client.get("/jobs/nowhere").status_code == 404


def test_cancel_and_retry(client, runtime, monkeypatch):
    slow_down(runtime, monkeypatch, {"slow": 5})
    runtime.settings.__dict__["page_deadline_s"] = 0.3
    predict(runtime, task(1, "slow"))
    (job,) = client.get("/jobs").json()["jobs"]
    assert job["state"] == "running"
    assert client.post(f"/jobs/{job['id']}/cancel").status_code == 403  # as another site's form would send it
    assert client.post(f"/jobs/{job['id']}/retry", headers=HEADER).status_code == 409
    assert client.post(f"/jobs/{job['id']}/erase", headers=HEADER).status_code == 404
    assert client.post(f"/jobs/{job['id']}/cancel", headers=HEADER).status_code == 200
    for _ in range(100):
        (job,) = client.get("/jobs").json()["jobs"]
        if job["state"] == "cancelled":
            break
        time.sleep(0.05)
    assert job["state"] == "cancelled"
    assert client.post(f"/jobs/{job['id']}/retry", headers=HEADER).status_code == 200
    assert client.get("/jobs").json()["jobs"][0]["state"] in ("queued", "running")


def test_events_report_every_change_and_do_not_delay_a_stop(runtime):
    from backend.demo.local_studio import free_port

    settings = runtime.settings.model_copy(update={"port": free_port()})
    import httpx

    with BackgroundServer(settings, runtime) as server, httpx.Client(trust_env=False, timeout=30) as http:
        seen = []
        with http.stream("GET", server.url + "/jobs/events") as stream:
            assert stream.headers["content-type"].startswith("text/event-stream")
            for line in stream.iter_lines():
                if line.startswith("data: "):
                    seen.append(json.loads(line[6:])["counts"])
                    if len(seen) == 1:
                        predict(runtime, task(1))
                if seen and seen[-1] == {"done": 1}:
                    break
        held = http.stream("GET", server.url + "/jobs/events")
        next(held.__enter__().iter_lines())
        began = time.monotonic()
        server.__exit__(None, None, None)
        assert time.monotonic() - began < 12
    assert seen[0] == {}


def test_metrics_can_be_parsed_by_prometheus(client, runtime):
    from prometheus_client.parser import text_string_to_metric_families

    predict(runtime, task(1), task(2, "nothing"))
    client.get("/ready")
    families = {f.name: f for f in text_string_to_metric_families(client.get("/metrics").text)}
    jobs = {s.labels["state"]: s.value for s in families["refam_jobs"].samples}
    assert jobs == {"queued": 0, "running": 0, "done": 1, "failed": 1, "cancelled": 0}
    assert families["refam_queue_waiting"].samples[0].value == 0
    assert {s.labels["cache"] for s in families["refam_cache_bytes"].samples} == {"media", "stages"}
    paths = {s.labels["path"] for s in families["refam_request_seconds"].samples}
    assert "/ready" in paths
    assert paths <= {
        "/",
        "/health",
        "/ready",
        "/setup",
        "/versions",
        "/predict",
        "/webhook",
        "/jobs",
        "/metrics",
        "other",
    }
    assert any(s.labels.get("stage") == "fetch" for s in families["refam_stage_seconds"].samples)


def test_hostile_words_are_never_html(client, runtime):
    predict(runtime, task(1, "<img src=x onerror=alert(1)>"))
    assert client.get("/jobs").headers["content-type"] == "application/json"
    assert "innerHTML" not in client.get("/", headers={"Accept": "text/html"}).text
