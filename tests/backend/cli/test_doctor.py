"""`refam doctor`: its findings about settings, codecs, disk, queue and Label Studio."""

from __future__ import annotations

import json

import pytest
from typer.testing import CliRunner

from backend.cli.doctor import examine_service
from backend.cli.main import app
from refam.version import __version__
from tests.backend.fake_studio import TOKEN


def _examine(monkeypatch, **environment):
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    return {finding.part: finding for finding in examine_service()}


def test_findings_with_default_settings(monkeypatch):
    findings = _examine(monkeypatch)
    assert {part: f.state for part, f in findings.items()} == {
        "settings": "ok",
        "codecs": "ok",
        "door": "ok",
        "disk": "ok",
        "queue": "ok",
        "studio": "note",
        "token": "note",
    }
    assert "SQLite, 0 waiting" in findings["queue"].text


@pytest.mark.parametrize(
    ("environment", "part", "state", "message"),
    [
        ({"REFAM_PORT": "many"}, "settings", "wrong", "REFAM_PORT"),
        ({"REFAM_DEADLIN_S": "5"}, "settings", "note", "REFAM_DEADLIN_S"),
        ({"REFAM_QUEUE": "redis://127.0.0.1:9/0"}, "queue", "wrong", "REFAM_QUEUE"),
        ({"REFAM_HOST": "0.0.0.0"}, "door", "note", "REFAM_BASIC_AUTH_USER"),
        ({"REFAM_WORK": "false"}, "queue", "note", "refam work"),
        ({"LABEL_STUDIO_URL": "http://127.0.0.1:9"}, "studio", "wrong", "is LABEL_STUDIO_URL its address"),
    ],
)
def test_a_problem_is_reported_with_its_remedy(environment, part, state, message, monkeypatch):
    finding = _examine(monkeypatch, **environment)[part]
    assert (finding.state, message in finding.text) == (state, True), finding


def test_a_nearly_full_disk_is_noted(monkeypatch):
    import shutil
    from types import SimpleNamespace

    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=1e9))
    finding = _examine(monkeypatch)["disk"]
    assert finding.state == "note"
    assert "REFAM_CACHE_MB" in finding.text


def test_a_read_only_folder_is_wrong(monkeypatch):
    import os

    monkeypatch.setattr(os, "access", lambda *_: False)  # tests may run as root, who may write everywhere
    finding = _examine(monkeypatch)["disk"]
    assert finding.state == "wrong"
    assert "REFAM_CACHE_DIR" in finding.text
    assert "REFAM_DATA_DIR" in finding.text


def test_a_missing_codec_is_wrong(monkeypatch):
    import av

    monkeypatch.setattr(av, "codecs_available", {"h264", "hevc", "vp9", "mpeg4"})
    finding = _examine(monkeypatch)["codecs"]
    assert (finding.state, finding.text.startswith("AV1 cannot be read")) == ("wrong", True)


@pytest.mark.parametrize(("status", "state"), [(200, "ok"), (401, "wrong")])
def test_the_token_is_checked_and_never_printed(status, state, fake_studio, monkeypatch):
    fake_studio.status = status
    url = f"http://127.0.0.1:{fake_studio.server_port}"
    findings = _examine(monkeypatch, LABEL_STUDIO_URL=url, LABEL_STUDIO_API_KEY=TOKEN)
    assert findings["token"].state == state, findings
    assert not any(TOKEN in f.text for f in findings.values())


@pytest.mark.parametrize(
    ("banned", "host", "status", "state", "message"),
    [
        (("169.254.",), "127.0.0.1", 200, "ok", "on this machine, 10.0.0.0/8, 172.16.0.0/12, 192.168.0.0/16"),
        ((), "127.0.0.1", 200, "note", "USER_ADDITIONAL_BANNED_SUBNETS=169.254.0.0/16 closes that"),
        (("10.", "169.254."), "127.0.0.1", 200, "note", "does not call models on 10.0.0.0/8: if"),
        (("127.", "10.", "172.", "192.", "169."), "127.0.0.1", 200, "wrong", "USE_DEFAULT_BANNED_SUBNETS=false"),
        (("127.", "10.", "172.", "192.", "169."), "0.0.0.0", 200, "note", "USE_DEFAULT_BANNED_SUBNETS=false"),
        ((), "127.0.0.1", 401, "note", "must be allowed to connect models"),
    ],
)
def test_networks_that_label_studio_may_call_are_reported(
    banned,
    host,
    status,
    state,
    message,
    fake_studio,
    monkeypatch,
):
    fake_studio.banned, fake_studio.status = banned, status
    url = f"http://127.0.0.1:{fake_studio.server_port}"
    finding = _examine(monkeypatch, LABEL_STUDIO_URL=url, LABEL_STUDIO_API_KEY=TOKEN, REFAM_HOST=host)["networks"]
    assert (finding.state, message in finding.text) == (state, True), finding
    assert not fake_studio.stored, "the check must not store anything"


@pytest.mark.parametrize(("device", "code"), [("cpu", 0), ("cudda", 1)])
def test_the_report_is_json_for_a_machine(device, code):
    arguments = ["doctor", "--backbone", "tiny", "--device", device]
    printed = CliRunner().invoke(app, [*arguments, "--json"])
    report = json.loads(printed.stdout)
    assert report["version"] == __version__
    states = {finding["part"]: finding["state"] for finding in report["findings"]}
    assert (states["device"] == "wrong") == bool(code)
    assert printed.exit_code == code == CliRunner().invoke(app, arguments).exit_code
    assert {"python", "decoder", "segmenter", "queue"} <= states.keys()
