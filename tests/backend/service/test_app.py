from __future__ import annotations

import json
import logging
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient

from backend.service.app import BackgroundServer, create_app
from backend.service.model import RefAMBackend
from backend.settings import Settings, load_settings
from tests.backend.predict_requests import VIDEO_CONFIG
from tests.doubles import TruthRuntime
from tests.media import cfr, garbage, numbered_frames


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("media")
    cfr(folder / "good.mp4", numbered_frames(10))
    garbage(folder / "noise.mp4")
    (folder / "empty.mp4").touch()
    return folder


@pytest.fixture
def settings(root: Path, tmp_path: Path) -> Settings:
    return load_settings(media_root=root, cache_dir=tmp_path / "cache")


@pytest.fixture
def runtime(settings: Settings) -> Iterator[TruthRuntime]:
    runtime = TruthRuntime(settings)
    yield runtime
    runtime.close()


@pytest.fixture
def client(settings: Settings, runtime: TruthRuntime) -> TestClient:
    return TestClient(create_app(settings, runtime), raise_server_exceptions=False)


def _task(video: str = "good.mp4", prompt: str = "the star", identity: int = 1) -> dict[str, Any]:
    return {"id": identity, "data": {"video": video, "prompt": prompt}, "annotations": [], "predictions": []}


def _predict(client: TestClient, *tasks: dict[str, Any], xml: Any = VIDEO_CONFIG, context: Any = None) -> Any:
    body = {"tasks": list(tasks), "project": "1.1", "label_config": xml, "params": {"login": None, "context": context}}
    answer = client.post("/predict", json=body)
    assert answer.status_code == 200, answer.text
    return answer.json()["results"]


def test_a_prediction_comes_back(client: TestClient, runtime: TruthRuntime) -> None:
    (result,) = _predict(client, _task())
    assert result["model_version"] == runtime.model_version
    assert result["score"] == 0.8
    assert result["result"][0]["value"]["labels"] == ["Star"]
    assert result["result"][0]["value"]["framesCount"] == 10


@pytest.mark.parametrize(
    ("task", "words"),
    [
        (_task("noise.mp4"), "noise.mp4"),
        (_task("empty.mp4"), "empty.mp4"),
        (_task("missing.mp4"), "missing.mp4"),
        (_task("/data/upload/1/a.mp4"), "LABEL_STUDIO_URL"),
        (_task("http://127.0.0.1:9/a.mp4"), "REFAM_ALLOWED_HOSTS"),
        (_task(prompt="nothing"), "no object fits"),
        (_task(prompt="boom"), "failed unexpectedly"),
        ({"id": 2}, "no data"),
        ({}, "no data"),
    ],
)
def test_a_failed_task_of_a_batch_is_an_error_beside_the_others_predictions(
    task: dict[str, Any], words: str, client: TestClient, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO):
        before, bad, after = _predict(client, _task(identity=1), task, _task(identity=3))
    assert len(before["result"]) == len(after["result"]) == 1
    assert set(bad) == {"error"}  # no `result`: that, Label Studio would store
    assert words in bad["error"]
    assert any(words in record.getMessage() for record in caplog.records)
    assert "Traceback" not in bad["error"]
    assert "division" not in bad["error"]


def _post(client: TestClient, path: str, body: str) -> Any:
    """Post JSON with escapes, which no JSON library writes for lone surrogates unless it is told to."""
    answer = client.post(path, content=body, headers={"Content-Type": "application/json"})
    assert answer.status_code in (200, 201), answer.text
    return answer.json()


def test_lone_surrogates_are_refused_where_they_are_words_and_readable_elsewhere(client: TestClient) -> None:
    def body(*tasks: dict[str, Any], project: str = "1", context: Any = None) -> str:
        return json.dumps(
            {"tasks": tasks, "project": project, "label_config": VIDEO_CONFIG, "params": {"context": context}}
        )

    good, bad = _post(client, "/predict", body(_task(), _task(prompt="\ud800 star")))["results"]
    assert len(good["result"]) == 1
    assert "no text in UTF-8" in bad["error"]
    (good,) = _post(client, "/predict", body(_task(), project="\ud800"))["results"]
    assert len(good["result"]) == 1
    (bad,) = _post(client, "/predict", body(_task("\udfff.mp4")))["results"]
    assert "\N{REPLACEMENT CHARACTER}.mp4" in bad["error"]
    typed = {"result": [_text_region("\ud800 star")]}
    assert _post(client, "/predict", body(_task(), context=typed))["results"] == []
    assert any("no text in UTF-8" in (job["error"] or "") for job in client.get("/jobs").json()["jobs"])
    _post(client, "/webhook", '{"action": "ANNOTATIONS_DELETED", "annotations": ["x"], "task": {"id": "\\ud800"}}')


def _text_region(*texts: Any, source: str = "say") -> dict[str, Any]:
    return {"id": "t", "type": "textarea", "from_name": source, "to_name": "v", "value": {"text": list(texts)}}


@pytest.mark.parametrize(
    "context",
    [
        {"result": []},  # what the editor sends for each region at Submit and Update
        {"result": None},
        {"result": [_text_region()]},
        {"result": [_text_region("the ring", "")]},
        {"result": [_text_region(" \n ")]},
        {"result": [_text_region("the ring", source="remarks")]},
        {"result": [{"id": "b", "type": "videorectangle", "from_name": "box", "value": {"sequence": []}}]},
    ],
)
def test_a_call_in_which_nothing_was_typed_changes_nothing(
    context: dict[str, Any], client: TestClient, runtime: TruthRuntime
) -> None:
    assert _predict(client, _task(), context=context) == []
    assert runtime.truth.asked == []
    assert runtime.queue.records() == []


@pytest.mark.parametrize("context", [None, {}])
def test_an_empty_context_is_no_context(context: Any, client: TestClient, runtime: TruthRuntime) -> None:
    (answer,) = _predict(client, _task(prompt="nothing"), context=context)
    assert set(answer) == {"error"}
    task, backend = _task(prompt="nothing", identity=2), RefAMBackend(label_config=VIDEO_CONFIG, runtime=runtime)
    (old,) = backend.predict([task], context, login="x", project="1.1", label_config=VIDEO_CONFIG)  # as 1.0.9 calls it
    (new,) = RefAMBackend(project_id="1", label_config=VIDEO_CONFIG, runtime=runtime).predict([task], context=context)
    assert set(old) == set(new) == {"error"}
    assert "no object fits" in old["error"]
    assert old == new


@pytest.mark.parametrize(
    ("task", "typed", "reason"),
    [
        (_task(), "nothing", "no object fits the words 'nothing'"),
        (_task(), "the ring; boom", "failed unexpectedly"),
        (_task("missing.mp4"), "the ring", "missing.mp4"),
        ({"id": 1, "data": {}}, "the ring", "must be a video's address"),
        (_task(), "x" * 501, "an expression must have at most 500 characters"),
        (_task(), "-the bus", "nothing to remove is called 'the bus'"),
        (_task(), "\ufffd star", "no text in UTF-8"),
    ],
)
def test_words_in_vain_have_no_answer_and_their_reason_is_among_the_jobs(
    task: dict[str, Any], typed: str, reason: str, client: TestClient
) -> None:
    assert _predict(client, task, context={"result": [_text_region(typed)]}) == []
    (job,) = client.get("/jobs").json()["jobs"]
    assert (job["task_id"], job["state"], job["urgency"]) == (1, "failed", "interactive")
    assert job["title"].startswith(typed[:190])
    assert reason in job["error"]
    _predict(client, task, context={"result": [_text_region(typed)]})
    assert len(client.get("/jobs").json()["jobs"]) == 1, "the same once more is listed once"
    retried = client.post(f"/jobs/{job['id']}/retry", headers={"X-Refam": "1"})
    assert retried.status_code == (409 if job["refused"] else 200)


@pytest.mark.parametrize(
    "typed", ["the ring (not found: a; b (c): d)", "the ring (not finished: 3 s left)", "  the  ring\t", "The RING!"]
)
def test_no_answer_rewrites_what_was_typed(typed: str, client: TestClient) -> None:
    for task in (_task(), _task("missing.mp4")):
        for answer in _predict(client, task, context={"result": [_text_region(typed)]}):
            assert {region["type"] for region in answer["result"]} == {"videorectangle"}


def test_an_interactive_answer_replaces_the_drafted_region(client: TestClient, runtime: TruthRuntime) -> None:
    context = {"result": [{"type": "textarea", "from_name": "say", "value": {"text": ["old", "the ring"]}}]}
    draft = {"id": 9, "result": [{"id": "mine", "type": "videorectangle", "from_name": "box", "value": {}}]}
    (result,) = _predict(client, {**_task(), "drafts": [draft]}, context=context)
    assert result["result"][0]["id"] == "mine"
    assert runtime.truth.asked[-1][1][0].words == "the ring"


@pytest.mark.parametrize("xml", [None, "", "<View/>", "<View", 'x<!DOCTYPE a [<!ENTITY b "c">]>'])
def test_an_unusable_config_fails_each_task_with_a_reason(xml: str | None, client: TestClient) -> None:
    results = _predict(client, _task(), _task(), xml=xml)
    assert len(results) == 2
    assert all(set(result) == {"error"} and "label config" in result["error"] for result in results)


def test_a_request_without_tasks_has_no_results(client: TestClient) -> None:
    assert _predict(client) == []


@pytest.mark.parametrize(
    "body", [b"", b"{", b"[]", b'{"tasks": 3}', b'{"tasks": [1]}', b'{"tasks": [], "label_config": 7}']
)
def test_malformed_bodies_are_refused(body: bytes, client: TestClient) -> None:
    answer = client.post("/predict", content=body, headers={"Content-Type": "application/json"})
    assert answer.status_code == 422
    assert isinstance(answer.json()["error"], str)


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (b"[" * 100_000, "nested too deeply"),
        (b'{"tasks": ' + b'{"a":' * 100_000, "nested too deeply"),
        (b'{"tasks": [], "project": ' + b"9" * 5000 + b"}", "a number with too many digits"),
        (b'{"tasks": "\xff"}', "no UTF-8 text"),
    ],
)
def test_a_body_that_cannot_be_read_is_refused_with_the_reason(body: bytes, reason: str, client: TestClient) -> None:
    answer = client.post("/predict", content=body, headers={"Content-Type": "application/json"})
    assert answer.status_code == 400
    assert reason in answer.json()["error"]


@pytest.mark.parametrize("path", ["/predict", "/webhook"])
@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (b"", "the body is empty: a JSON object is expected, sent as application/json"),
        (b"{", "the body is no JSON (Expecting property name enclosed in double quotes at character 1)"),
        (b"video=a.mp4", "the body is no JSON (Expecting value at character 0): a JSON object is expected"),
    ],
)
def test_a_body_that_is_no_json_is_said(path: str, body: bytes, reason: str, client: TestClient) -> None:
    answer = client.post(path, content=body, headers={"Content-Type": "application/json"})
    assert answer.status_code == 422
    assert answer.json()["error"].startswith(reason)


def test_health_setup_versions_and_ready_load_nothing(client: TestClient, runtime: TruthRuntime) -> None:
    assert client.get("/health").json()["status"] == client.get("/").json()["status"] == "UP"
    # Its body, which holds a token, is not read, whatever it is; Label Studio 1.23 sends the first.
    bodies = [
        b'{"project": "1.1", "schema": "<View/>", "hostname": "h", "access_token": "x"}',
        b"",
        b"{",
        b"[5]",
        b"{}",
    ]
    answers = [client.post("/setup", content=body) for body in bodies]
    assert [answer.status_code for answer in answers] == [200] * len(bodies)
    assert all(answer.json() == {"model_version": runtime.model_version} for answer in answers)
    assert client.get("/versions").json() == {"versions": [runtime.model_version]}
    ready = client.get("/ready")
    assert ready.status_code == 200
    assert ready.json()["backbone"] == {"name": "small", "device": "auto", "state": "loads at first use"}
    assert any("LABEL_STUDIO_API_KEY" in problem for problem in ready.json()["problems"])
    assert "small" in runtime.model_version
    assert "grabcut" in runtime.model_version


def test_unknown_paths_and_methods_answer_in_json(client: TestClient) -> None:
    assert client.get("/nowhere").json() == {"error": "Not Found"}
    assert client.get("/predict").status_code == 405


def test_ready_reports_a_failed_load(settings: Settings) -> None:
    from backend.runtime import Runtime

    def no_model() -> Any:
        raise ValueError("no such directory")

    runtime = Runtime(settings, segmenter=no_model)
    client = TestClient(create_app(settings, runtime))
    (result,) = _predict(client, _task())
    assert set(result) == {"error"}
    ready = client.get("/ready")
    assert ready.status_code == 503
    assert any("no such directory" in problem for problem in ready.json()["problems"])


def test_no_secret_and_no_body_is_ever_logged(
    settings: Settings, runtime: TruthRuntime, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    client = TestClient(create_app(settings, runtime))
    with caplog.at_level(logging.DEBUG, logger="refam"):
        client.post("/setup?token=s3cret", json={"access_token": "s3cret", "hostname": "h"})
        client.post("/webhook", json={"action": "PROJECT_UPDATED", "project": {"token": "s3cret"}})
        client.post("/predict", json={"tasks": "s3cret"}, headers={"Authorization": "Token s3cret"})
    text = caplog.text + "".join(capfd.readouterr())
    assert "POST /setup 200" in text
    assert "webhook PROJECT_UPDATED" in text
    assert "s3cret" not in text


def test_a_webhook_is_answered_while_a_prediction_runs(
    settings: Settings, runtime: TruthRuntime, monkeypatch: pytest.MonkeyPatch
) -> None:
    client = TestClient(create_app(settings, runtime))
    started_job, released = threading.Event(), threading.Event()
    run = runtime.truth.run

    def held(*args: Any, **kwargs: Any) -> Any:
        started_job.set()
        assert released.wait(20)
        return run(*args, **kwargs)

    monkeypatch.setattr(runtime.truth, "run", held)
    slow = threading.Thread(target=_predict, args=(client, _task()))
    slow.start()
    assert started_job.wait(10)
    started = time.monotonic()
    assert client.post("/webhook", json={"action": "ANNOTATION_CREATED"}).status_code == 201
    assert client.post("/setup", json={}).status_code == 200
    assert client.get("/health").status_code == 200
    assert time.monotonic() - started < 15
    assert slow.is_alive()
    released.set()
    slow.join(10)
    assert not slow.is_alive()


def test_one_prediction_at_a_time(settings: Settings, runtime: TruthRuntime, monkeypatch: pytest.MonkeyPatch) -> None:
    at_once, most = 0, 0
    run = runtime.truth.run

    def counted(*args: Any, **kwargs: Any) -> Any:
        nonlocal at_once, most
        at_once += 1
        most = max(most, at_once)
        time.sleep(0.02)
        at_once -= 1
        return run(*args, **kwargs)

    monkeypatch.setattr(runtime.truth, "run", counted)
    client = TestClient(create_app(settings, runtime))
    tasks = [_task(identity=i, prompt=f"star {i}") for i in range(4)]
    threads = [threading.Thread(target=_predict, args=(client, task)) for task in tasks]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert most == 1


def test_basic_auth_protects_all_but_health(root: Path, tmp_path: Path) -> None:
    settings = load_settings(basic_auth_user="anna", basic_auth_pass="pässword:1", cache_dir=tmp_path)
    client = TestClient(create_app(settings, TruthRuntime(settings)))
    assert client.get("/health").status_code == 200
    for path in ("/", "/ready", "/versions", "/health/", "/webhook", "/nowhere"):
        refused = client.get(path)
        assert refused.status_code == 401, path
        assert refused.headers["connection"] == "close", "its body was not read"
        assert refused.headers["WWW-Authenticate"].startswith("Basic")
    assert client.post("/webhook", json={"action": "x"}).status_code == 401
    for wrong in ("Basic !!!", "Basic YW5uYTp4", "Bearer x", "Basic"):
        assert client.get("/ready", headers={"Authorization": wrong}).status_code == 401
    import base64

    right = "Basic " + base64.b64encode("anna:pässword:1".encode()).decode()
    assert client.post("/webhook", json={"action": "x"}, headers={"Authorization": right}).status_code == 201


def test_large_bodies_are_refused_with_or_without_a_declared_length(root: Path, tmp_path: Path) -> None:
    settings = load_settings(max_body_mb=0.001, cache_dir=tmp_path)
    with BackgroundServer(settings.model_copy(update={"port": _free_port()}), TruthRuntime(settings)) as server:
        import httpx

        with httpx.Client(trust_env=False) as http:
            said = http.post(server.url + "/predict", content=b"x" * 2000)
            unsaid = http.post(server.url + "/predict", content=(b"x" * 100 for _ in range(20)))
            small = http.post(server.url + "/webhook", json={"action": "x"})
    for answer in (said, unsaid):
        assert answer.status_code == 413
        assert answer.headers["connection"] == "close", "its body was not read"
        assert "REFAM_MAX_BODY_MB" in answer.json()["error"]
    assert small.status_code == 201


def _free_port() -> int:
    from backend.demo.local_studio import free_port

    return free_port()


# --- the class under label-studio-ml's own servers -----------------------------------------------


def test_the_constructor_takes_the_arguments_of_either_line(runtime: TruthRuntime) -> None:
    old = RefAMBackend(
        label_config=VIDEO_CONFIG, train_output={"a": 1}, hostname="h", access_token="t", runtime=runtime
    )
    assert old.label_config == VIDEO_CONFIG
    assert RefAMBackend(VIDEO_CONFIG, runtime=runtime).label_config == VIDEO_CONFIG
    assert RefAMBackend(project_id="1", label_config=VIDEO_CONFIG, runtime=runtime).label_config == VIDEO_CONFIG


def test_setup_sets_the_version_for_the_2x_line(runtime: TruthRuntime, monkeypatch: pytest.MonkeyPatch) -> None:
    kept: dict[str, str] = {}
    monkeypatch.setattr(RefAMBackend, "set", lambda self, key, value: kept.update({key: value}), raising=False)
    RefAMBackend(label_config=VIDEO_CONFIG, runtime=runtime).setup()  # which 2.x calls in its constructor
    assert kept == {"model_version": runtime.model_version}


def test_fit_is_called_by_either_lines_server(runtime: TruthRuntime) -> None:
    backend = RefAMBackend(label_config=VIDEO_CONFIG, runtime=runtime)
    data = {
        "annotation": {"id": 1, "result": []},
        "project": {"id": 2, "label_config": VIDEO_CONFIG},
        "task": {"data": {}},
    }
    taken = {"status": "taken in"}
    assert backend.fit("ANNOTATION_CREATED", data, job_id="1") == taken
    assert backend.process_event("ANNOTATION_CREATED", data, "1", {"workdir": "x"}) == taken  # 1.0.9
    assert backend.process_event("ANNOTATION_CREATED", data=data, job_id="1", additional_params={}) == taken  # 2.x
    runtime.close()


def test_label_studio_mls_own_flask_server_serves_the_class(
    runtime: TruthRuntime, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from label_studio_ml.api import init_app

    monkeypatch.setattr("backend.runtime._process_runtime", runtime)
    flask = init_app(RefAMBackend, model_dir=str(tmp_path)).test_client()
    setup = flask.post("/setup", json={"project": "1.1", "schema": VIDEO_CONFIG, "hostname": "h", "access_token": "t"})
    assert setup.status_code == 200
    body = {
        "tasks": [_task()],
        "project": "1.1",
        "label_config": VIDEO_CONFIG,
        "params": {"login": None, "context": None},
    }
    (result,) = flask.post("/predict", json=body).get_json()["results"]
    assert result["result"][0]["from_name"] == "box"
