"""The rate limit, and request ids."""

from __future__ import annotations

import base64
import time

import pytest
from fastapi.testclient import TestClient

from backend.service import middleware
from backend.service.app import create_app
from backend.settings import load_settings
from tests.doubles import TruthRuntime


def client_of(tmp_path, *, host="10.0.0.1", app=None, **settings):
    app = app or create_app(*_parts(tmp_path, settings))
    return TestClient(app, client=(host, 1234), raise_server_exceptions=False)


def _parts(tmp_path, settings):
    made = load_settings(cache_dir=tmp_path / "cache", data_dir=tmp_path / "data", **settings)
    return made, TruthRuntime(made)


def auth(password):
    return {"Authorization": "Basic " + base64.b64encode(f"anna:{password}".encode()).decode()}


def test_too_many_requests_are_refused_with_a_wait_for_that_client_only(tmp_path, monkeypatch):
    monkeypatch.setattr(time, "time", lambda: 1000.0)  # else a minute may end in the middle
    one = client_of(tmp_path, rate_per_minute=5)
    other = client_of(tmp_path, app=one.app, host="10.0.0.2")
    answers = [one.get("/versions") for _ in range(7)]
    assert [a.status_code for a in answers] == [200] * 5 + [429] * 2
    assert 1 <= int(answers[-1].headers["Retry-After"]) <= 60
    assert "REFAM_RATE_PER_MINUTE" in answers[-1].json()["error"]
    assert other.get("/versions").status_code == 200
    assert one.get("/health").status_code == 200


def test_the_rate_limit_window_slides(tmp_path, monkeypatch):
    one = client_of(tmp_path, rate_per_minute=3)
    assert [one.get("/versions").status_code for _ in range(4)] == [200, 200, 200, 429]
    now = time.time()
    monkeypatch.setattr(time, "time", lambda: now + 121)
    assert one.get("/versions").status_code == 200


def test_one_password_from_many_addresses_is_one_client(tmp_path, monkeypatch):
    monkeypatch.setattr(time, "time", lambda: 1000.0)  # else a minute may end in the middle
    settings = {"rate_per_minute": 5, "basic_auth_user": "anna", "basic_auth_pass": "right"}
    app = client_of(tmp_path, **settings).app
    found = [
        client_of(tmp_path, app=app, host=f"10.0.0.{i}").get("/versions", headers=auth("right")).status_code
        for i in range(7)
    ]
    assert found == [200] * 5 + [429] * 2


def test_guessing_passwords_blocks_an_address_for_a_while(tmp_path, monkeypatch):
    monkeypatch.setattr(middleware, "_WRONG_PASSWORDS_PER_MINUTE", 4)
    app = client_of(tmp_path, basic_auth_user="anna", basic_auth_pass="right").app
    guesser, other = client_of(tmp_path, app=app), client_of(tmp_path, app=app, host="10.0.0.9")
    for _ in range(10):  # no password is no guess: Label Studio's webhook comes like that until it is told one
        assert guesser.get("/versions").status_code == 401
    assert [guesser.get("/versions", headers=auth(i)).status_code for i in range(5)] == [401] * 4 + [429]
    blocked = guesser.get("/versions", headers=auth("right"))
    assert blocked.status_code == 429
    assert blocked.headers["connection"] == guesser.get("/versions").headers["connection"] == "close"
    assert other.get("/versions", headers=auth("right")).status_code == 200


def test_an_ipv6_network_is_one_client(tmp_path):
    app = client_of(tmp_path, rate_per_minute=2).app
    hosts = ["2001:db8::1", "2001:db8::2", "2001:db8::3", "2001:db8:0:1::1"]
    found = [client_of(tmp_path, app=app, host=host).get("/versions").status_code for host in hosts]
    assert found == [200, 200, 429, 200]


def test_zero_is_no_rate_limit(tmp_path):
    one = client_of(tmp_path, rate_per_minute=0)
    assert {one.get("/versions").status_code for _ in range(20)} == {200}


@pytest.mark.parametrize("sent", ["abc-1.2_X", "a" * 64])
def test_a_well_formed_request_id_is_kept(sent, tmp_path):
    assert client_of(tmp_path).get("/versions", headers={"X-Request-ID": sent}).headers["X-Request-ID"] == sent


@pytest.mark.parametrize("sent", ["", "a b", "a" * 65, 'x"}', None])
def test_any_other_request_id_is_replaced(sent, tmp_path):
    headers = {} if sent is None else {"X-Request-ID": sent}
    given = client_of(tmp_path).get("/versions", headers=headers).headers["X-Request-ID"]
    assert given != sent
    assert len(given) == 8


def test_an_unexpected_error_has_the_request_id(tmp_path, monkeypatch):
    monkeypatch.setattr(TruthRuntime, "ready", lambda _: 1 / 0)
    answer = client_of(tmp_path).get("/ready", headers={"X-Request-ID": "find-me"})
    assert (answer.status_code, answer.headers["X-Request-ID"]) == (500, "find-me")
    assert "find-me" in answer.json()["error"]


def test_a_job_has_the_id_of_its_request(tmp_path):
    from tests.backend.predict_requests import VIDEO_CONFIG

    settings, runtime = _parts(tmp_path, {"page_deadline_s": 0.05})
    client = TestClient(create_app(settings, runtime))
    body = {"tasks": [{"id": 1, "data": {"video": "none.mp4", "prompt": "the star"}}], "label_config": VIDEO_CONFIG}
    client.post("/predict", json=body, headers={"X-Request-ID": "who-asked"})
    (record,) = runtime.queue.records()
    assert record.request == "who-asked"
    runtime.close()
