"""`refam feedback`: annotations that the backend received are compared first, if it has not done so yet."""

from __future__ import annotations

import json
import os
from pathlib import Path
from types import SimpleNamespace

import pytest
from typer.testing import CliRunner

from backend.cli.main import app
from backend.feedback.next_tasks import WaitingTask
from backend.feedback.store import CorrectionStore, SubmittedAnnotation

BOX = {"frame": 1, "enabled": True, "rotation": 0, "x": 10, "y": 10, "width": 20, "height": 20}
REGION = {"id": "r", "type": "videorectangle", "value": {"sequence": [BOX], "labels": ["Car"]}}


@pytest.fixture
def store():
    store = CorrectionStore(Path(os.environ["REFAM_DATA_DIR"]))
    store.receive(SubmittedAnnotation(5, 1, 3, 7, "a.mp4", 25.0, (REGION,)))
    return store


def run_feedback(monkeypatch, get_prediction, *options, code=0):
    client = SimpleNamespace(predictions=SimpleNamespace(get=get_prediction))
    monkeypatch.setattr("backend.labelstudio.client.label_studio_client", lambda settings: client)
    result = CliRunner().invoke(app, ["feedback", "--project", "1", *options])
    assert result.exit_code == code, result.output
    return " ".join(result.output.split())


def test_what_waits_is_compared_first(store, monkeypatch):
    output = run_feedback(monkeypatch, lambda id: SimpleNamespace(id=id, result=[REGION], model_version="m"))
    assert "all 1 1 0 0 0 0 1.00" in output, "one region, kept"
    assert store.pending() == []


def test_the_name_of_a_model_is_whole_in_a_file_or_a_pipe(store, monkeypatch):
    model = "refam-0.3.0/small@6a8c48d4+123456/sam2-tiny/memory/dis-flow/best"
    output = run_feedback(monkeypatch, lambda id: SimpleNamespace(id=id, result=[REGION], model_version=model))
    assert f"{model} 1 1 0 0 0 0 1.00 0.0" in output


def test_what_cannot_be_compared_yet_is_counted(store, monkeypatch):
    def refuse(id):
        raise ConnectionError("no route")

    output = run_feedback(monkeypatch, refuse)
    assert "1 annotation(s) wait to be compared: Label Studio cannot be asked at present" in output
    assert "no corrections are known" in output
    assert len(store.pending()) == 1


def test_a_task_that_cannot_be_used_costs_only_itself(store, monkeypatch, tmp_path):
    moved = {**REGION, "value": {**REGION["value"], "sequence": [{**BOX, "x": 30}]}}
    malformed = {**REGION, "value": {**REGION["value"], "sequence": [{**BOX, "x": "left"}]}}
    store.receive(SubmittedAnnotation(6, 1, 4, 7, "gone.mp4", 25.0, (moved,)))
    store.receive(SubmittedAnnotation(7, 1, 9, 7, "a.mp4", 25.0, (malformed,)))

    def predicted(id):
        return SimpleNamespace(id=id, result=[REGION], model_version="m")

    page = tmp_path / "feedback.html"
    output = run_feedback(monkeypatch, predicted, "--out", str(page), code=3)
    named = output.partition("2 tasks done; left out:")[2]
    assert "task 9: annotation 7 cannot be compared" in named
    assert "task 4: its corrections have no picture" in named
    assert "gone.mp4" in named
    assert page.is_file()


@pytest.mark.parametrize("count", [0, 1])
def test_what_is_next_is_json_for_a_machine(count, monkeypatch):
    waiting = [WaitingTask(3, "/data/a.mp4", "the dog", (("Dog", 0.25),))][:count]
    monkeypatch.setattr("backend.feedback.project.read_waiting_tasks", lambda settings, project: waiting)
    result = CliRunner().invoke(app, ["next", "--project", "1", "--json"], catch_exceptions=False)
    expected = [
        {"task": 3, "video": "/data/a.mp4", "words": "the dog", "needs_a_person": 0.75, "strokes_expected": 0.75}
    ]
    assert json.loads(result.stdout) == expected[:count]
