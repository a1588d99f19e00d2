"""Which segmenter and tracker are used is said by every way in: the list, the doctor, /ready, the model version."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from backend.cli.main import app
from backend.runtime import Runtime
from backend.settings import SettingsError, load_settings, weight_settings
from refam.segmenters.sam2_weights import DECODER, ENCODER, Sam2Weights, SegmenterError

runner = CliRunner()


def printed(*command: str) -> str:
    done = runner.invoke(app, list(command), env={"COLUMNS": "300"})
    return " ".join((done.output + done.stderr).split())


def put(name: str = "sam2-tiny", *files: str) -> Path:
    """Files that look like pulled weights, in the test's own data folder."""
    folder = weight_settings().models_dir / name
    folder.mkdir(parents=True)
    for file in files or (ENCODER, DECODER):
        (folder / file).write_text('{"model_type": "sam2_video"}')
    return folder


def test_nothing_was_pulled() -> None:
    runtime = Runtime(load_settings())
    assert runtime.model_version.endswith("/grabcut/dis-flow")
    said = runtime.ready()["segmenter"]
    assert (said["name"], said["tracker"]) == ("grabcut", "flow")
    assert "refam models pull sam2-tiny" in said["why"]
    assert "segmenter GrabCut, which needs no weights (no SAM2 is on this machine" in printed("doctor")
    assert "Unless REFAM_SAM2 names another: grabcut/dis-flow, no SAM2" in printed("models")


def test_what_was_pulled_is_used_and_grabcut_when_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("onnxruntime", reason="it comes with the extra onnx")
    put()
    runtime = Runtime(load_settings())
    assert runtime.model_version.endswith("/sam2-tiny/memory")
    assert runtime.ready()["segmenter"]["why"] == "the best that is on this machine"
    doctor = printed("doctor")
    assert "SAM2 from sam2-tiny" in doctor
    assert "in onnxruntime" in doctor
    assert "memory follows the masks" in doctor
    assert "for onnxruntime" in printed("models")
    monkeypatch.setenv("REFAM_TRACKER", "flow")
    assert Runtime(load_settings()).model_version.endswith("/sam2-tiny/dis-flow")
    monkeypatch.setenv("REFAM_SAM2", "grabcut")
    assert Runtime(load_settings()).model_version.endswith("/grabcut/dis-flow")
    assert runtime.model_version.endswith("/sam2-tiny/memory"), "what serves does not change under way"


def test_a_tracker_that_cannot_be(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REFAM_TRACKER", "sam2-video")
    assert "wrong segmenter GrabCut (no SAM2 is on this machine" in printed("doctor")
    with pytest.raises(SegmenterError, match="'sam2-video' needs SAM2"):
        Runtime(load_settings()).pipeline()
    put("sam2-tiny", "config.json", "model.safetensors")
    assert "sam2-video follows the masks" in printed("doctor")
    assert Runtime(load_settings()).model_version.endswith("/sam2-tiny/sam2-video")
    monkeypatch.setenv("REFAM_TRACKER", "kalman")
    with pytest.raises(SettingsError, match="REFAM_TRACKER: input should be 'auto', 'memory', 'sam2-video' or 'flow'"):
        weight_settings()


def test_weights_that_are_named_and_not_here(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("REFAM_SAM2", "sam2.1-large")
    assert "wrong segmenter sam2.1-large is not on this machine: refam models pull sam2.1-large" in printed("doctor")
    with pytest.raises(SegmenterError, match=r"refam models pull sam2\.1-large"):
        Runtime(load_settings()).pipeline()


def test_pull_fetches_once_into_the_data_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[Any] = []

    def fetched(weights: Sam2Weights, models: Path, *, report: Any) -> Path:
        asked.append((weights.name, models))
        report("fetching it, 184 MB. Licence: X.")
        return put()

    monkeypatch.setattr("refam.segmenters.sam2_weights.pull_weights", fetched)
    first = printed("models", "pull", "sam2-tiny")
    assert "fetching it, 184 MB. Licence: X." in first
    assert "models/sam2-tiny" in first
    assert "draws masks from now on" in first
    printed("models", "pull", "sam2-tiny")
    assert asked == [("sam2-tiny", weight_settings().models_dir)]


def test_a_pull_that_fails_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    def failed(*_: Any, **__: Any) -> Path:
        raise SegmenterError("the hub said no")

    monkeypatch.setattr("refam.segmenters.sam2_weights.pull_weights", failed)
    done = runner.invoke(app, ["models", "pull", "sam2-tiny"])
    assert done.exit_code == 1
    assert done.stderr.strip() == "refam: the hub said no"
