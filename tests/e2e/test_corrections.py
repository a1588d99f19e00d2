"""Corrections that a real Label Studio's webhook reports: stored, listed by the commands, and used for sampling."""

from __future__ import annotations

import copy
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from typer.testing import CliRunner

from backend.cli.main import app
from backend.demo.local_studio import LocalStudio, free_port
from backend.feedback.compare import RegionFate
from backend.feedback.store import CorrectionStore, StoredCorrection
from backend.labelstudio.connect import connect
from backend.labelstudio.import_tasks import build_label_config
from backend.service.app import BackgroundServer
from backend.settings import load_settings
from refam.evaluation.synthetic import BLUE, RED, red_star_and_blue_ring
from tests.media import cfr
from tests.studio import settings_beside

pytestmark = pytest.mark.e2e


def _wait(
    load: Callable[[], list[StoredCorrection]], condition: Callable[[list[StoredCorrection]], bool]
) -> list[StoredCorrection]:
    until = time.monotonic() + 30
    while time.monotonic() < until and not condition(load()):
        time.sleep(0.1)
    return load()


def test_submitted_updated_and_deleted_annotations_are_stored(
    studio: LocalStudio, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    frames, _ = red_star_and_blue_ring(24, size=(192, 108))
    video = cfr(tmp_path / "clip.mp4", frames)
    project, (address,) = studio.create_project("corrections", build_label_config(["Object", "Other"]), [video])
    (task,) = studio.import_tasks(project, [{"video": address, "prompt": RED, "fps": 25}])
    values = {
        "label_studio_url": studio.url,
        "label_studio_api_key": studio.login.token,
        "cache_dir": tmp_path / "cache",
        "data_dir": tmp_path / "data",
    }
    with BackgroundServer(load_settings(**values, port=free_port())) as backend:
        store = CorrectionStore(tmp_path / "data")
        studio.connect(project, backend.url)
        studio.retrieve_predictions(project)
        (prediction,) = studio.predictions(task)

        corrected = copy.deepcopy(prediction["result"])
        corrected[0]["value"]["sequence"][0]["x"] += 7.0
        body = {"result": corrected, "parent_prediction": prediction["id"], "lead_time": 3.5}
        began = time.monotonic()
        annotation = studio.api("POST", f"/api/tasks/{task}/annotations/", json=body)
        took_s = time.monotonic() - began
        (row,) = _wait(store.corrections, lambda rows: bool(rows))
        assert (row.task, row.project, row.video) == (task, project, address)
        assert (row.correction.fate, row.correction.strokes, row.correction.words) == (RegionFate.MOVED, 1, RED)
        assert row.model_version == prediction["model_version"]
        assert took_s < 5, "the webhook has a second; Submit must not wait for a comparison"

        corrected[0]["value"]["labels"] = ["Other"]
        studio.api("PATCH", f"/api/annotations/{annotation['id']}/", json={"result": corrected})
        (row,) = _wait(store.corrections, lambda rows: rows[0].correction.relabelled)
        assert (row.correction.label, row.correction.strokes) == ("Other", 2)

        for name, value in {
            "LABEL_STUDIO_URL": studio.url,
            "LABEL_STUDIO_API_KEY": studio.login.token,
            "REFAM_DATA_DIR": str(tmp_path / "data"),
            "REFAM_CACHE_DIR": str(tmp_path / "cache"),
        }.items():
            monkeypatch.setenv(name, value)
        result = CliRunner().invoke(app, ["feedback", "--project", str(project), "--out", str(tmp_path / "page.html")])
        assert result.exit_code == 0, result.output
        assert "the red" in result.output, "words are wrapped on a narrow screen"
        html = (tmp_path / "page.html").read_text()
        assert "data:image/jpeg" in html, "the video was fetched from Label Studio"

        studio.api("DELETE", f"/api/annotations/{annotation['id']}/")
        assert _wait(store.corrections, lambda rows: not rows) == []


def test_uncertainty_sampling_serves_the_least_certain_task_first(
    studio: LocalStudio, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    frames, _ = red_star_and_blue_ring(24, size=(192, 108))
    video = cfr(tmp_path / "clip.mp4", frames)
    project, (address,) = studio.create_project("uncertainty", build_label_config(["Object"]), [video])
    studio.api("PATCH", f"/api/projects/{project}/", json={"sampling": "Uncertainty sampling"})
    words = (RED, "the ring", BLUE, "the star")
    tasks = studio.import_tasks(project, [{"video": address, "prompt": w, "fps": 25} for w in words])
    settings = settings_beside(studio, tmp_path)
    with BackgroundServer(settings) as backend:
        findings = list(connect(settings, project, url=backend.url))
        assert any(f.state == "ok" and "uncertainty sampling goes by" in f.text for f in findings), findings
        studio.retrieve_predictions(project)
        assert studio.wait_for_predictions(tasks, timeout_s=600)
    scores = {task: studio.predictions(task)[0]["score"] for task in tasks}
    assert len(set(scores.values())) == len(tasks)
    monkeypatch.setenv("LABEL_STUDIO_URL", studio.url)
    monkeypatch.setenv("LABEL_STUDIO_API_KEY", studio.login.token)
    monkeypatch.setenv("REFAM_DATA_DIR", str(tmp_path / "data"))
    result = CliRunner().invoke(app, ["next", "--project", str(project)])
    assert result.exit_code == 0, result.output
    listed = [int(line.split()[0]) for line in result.output.splitlines() if line.strip()[:1].isdigit()]
    least_certain = min(tasks, key=lambda task: scores[task])
    assert listed[0] == least_certain
    assert sorted(listed) == sorted(tasks)
    order = []
    for _ in tasks:
        task = studio.api("GET", f"/api/projects/{project}/next")["id"]
        order.append(task)
        studio.api("POST", f"/api/tasks/{task}/annotations/", json={"result": []})
    assert order == sorted(tasks, key=lambda task: scores[task])
    assert "no task that has" in CliRunner().invoke(app, ["next", "--project", str(project)]).output
    assert "no such project" in CliRunner().invoke(app, ["next", "--project", "999999"]).stderr
