from __future__ import annotations

import pytest

from backend.cli.doctor import examine_service
from tests.backend.fake_studio import TOKEN


def _found(monkeypatch, **environment):
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    return {finding.part: finding for finding in examine_service()}


def test_nothing_is_set(monkeypatch):
    found = _found(monkeypatch)
    assert {part: f.state for part, f in found.items()} == {
        "settings": "ok",
        "codecs": "ok",
        "door": "ok",
        "disk": "ok",
        "queue": "ok",
        "studio": "note",
        "token": "note",
    }
    assert "SQLite, 0 waiting" in found["queue"].text


@pytest.mark.parametrize(
    ("environment", "part", "state", "says"),
    [
        ({"REFAM_PORT": "many"}, "settings", "wrong", "REFAM_PORT"),
        ({"REFAM_DEADLIN_S": "5"}, "settings", "note", "REFAM_DEADLIN_S"),
        ({"REFAM_QUEUE": "redis://127.0.0.1:9/0"}, "queue", "wrong", "REFAM_QUEUE"),
        ({"REFAM_HOST": "0.0.0.0"}, "door", "note", "REFAM_BASIC_AUTH_USER"),
        ({"REFAM_WORK": "false"}, "queue", "note", "refam work"),
        ({"LABEL_STUDIO_URL": "http://127.0.0.1:9"}, "studio", "wrong", "is LABEL_STUDIO_URL its address"),
    ],
)
def test_what_is_wrong_is_said_with_its_mend(environment, part, state, says, monkeypatch):
    found = _found(monkeypatch, **environment)[part]
    assert (found.state, says in found.text) == (state, True), found


def test_a_disk_that_is_nearly_full(monkeypatch):
    import shutil
    from types import SimpleNamespace

    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=1e9))
    found = _found(monkeypatch)["disk"]
    assert found.state == "note"
    assert "REFAM_CACHE_MB" in found.text


def test_a_folder_that_cannot_be_written(monkeypatch):
    import os

    monkeypatch.setattr(os, "access", lambda *_: False)  # tests may run as root, who may write everywhere
    found = _found(monkeypatch)["disk"]
    assert found.state == "wrong"
    assert "REFAM_CACHE_DIR" in found.text
    assert "REFAM_DATA_DIR" in found.text


def test_a_codec_that_is_missing(monkeypatch):
    import av

    monkeypatch.setattr(av, "codecs_available", {"h264", "hevc", "vp9", "mpeg4"})
    found = _found(monkeypatch)["codecs"]
    assert (found.state, found.text.startswith("AV1 cannot be read")) == ("wrong", True)


@pytest.mark.parametrize(("status", "state"), [(200, "ok"), (401, "wrong")])
def test_the_token_is_tried_and_never_told(status, state, fake_studio, monkeypatch):
    fake_studio.status = status
    url = f"http://127.0.0.1:{fake_studio.server_port}"
    found = _found(monkeypatch, LABEL_STUDIO_URL=url, LABEL_STUDIO_API_KEY=TOKEN)
    assert found["token"].state == state, found
    assert not any(TOKEN in f.text for f in found.values())


@pytest.mark.parametrize(
    ("banned", "host", "status", "state", "says"),
    [
        (("169.254.",), "127.0.0.1", 200, "ok", "on this machine, 10.0.0.0/8, 172.16.0.0/12, 192.168.0.0/16"),
        ((), "127.0.0.1", 200, "note", "USER_ADDITIONAL_BANNED_SUBNETS=169.254.0.0/16 closes that"),
        (("10.", "169.254."), "127.0.0.1", 200, "note", "does not call models on 10.0.0.0/8: if"),
        (("127.", "10.", "172.", "192.", "169."), "127.0.0.1", 200, "wrong", "USE_DEFAULT_BANNED_SUBNETS=false"),
        (("127.", "10.", "172.", "192.", "169."), "0.0.0.0", 200, "note", "USE_DEFAULT_BANNED_SUBNETS=false"),
        ((), "127.0.0.1", 401, "note", "must be allowed to connect models"),
    ],
)
def test_the_networks_on_which_label_studio_calls_models_are_asked(
    banned,
    host,
    status,
    state,
    says,
    fake_studio,
    monkeypatch,
):
    fake_studio.banned, fake_studio.status = banned, status
    url = f"http://127.0.0.1:{fake_studio.server_port}"
    found = _found(monkeypatch, LABEL_STUDIO_URL=url, LABEL_STUDIO_API_KEY=TOKEN, REFAM_HOST=host)["networks"]
    assert (found.state, says in found.text) == (state, True), found
    assert not fake_studio.stored, "asking must not make anything"
