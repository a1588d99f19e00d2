"""The chosen segmenter and tracker, as reported by `refam models`, `refam doctor`, /ready and the model version."""

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


def run_command(*command: str) -> str:
    result = runner.invoke(app, list(command), env={"COLUMNS": "300"})
    return " ".join((result.output + result.stderr).split())


def write_weights(name: str = "sam2-tiny", *files: str) -> Path:
    """Write placeholder weight files into the data folder of the test; return their folder."""
    folder = weight_settings().models_dir / name
    folder.mkdir(parents=True)
    for file in files or (ENCODER, DECODER):
        (folder / file).write_text('{"model_type": "sam2_video"}')
    return folder


def test_grabcut_is_used_without_weights() -> None:
    runtime = Runtime(load_settings())
    assert runtime.model_version.endswith("/grabcut/dis-flow")
    segmenter = runtime.ready()["segmenter"]
    assert (segmenter["name"], segmenter["tracker"]) == ("grabcut", "flow")
    assert "refam models pull sam2-tiny" in segmenter["why"]
    assert "segmenter GrabCut, which needs no weights (no SAM2 is on this machine" in run_command("doctor")
    assert "Unless REFAM_SAM2 names another: grabcut/dis-flow, no SAM2" in run_command("models")


def test_pulled_weights_are_used_unless_grabcut_is_set(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("onnxruntime", reason="it comes with the extra onnx")
    write_weights()
    runtime = Runtime(load_settings())
    assert runtime.model_version.endswith("/sam2-tiny/memory")
    assert runtime.ready()["segmenter"]["why"] == "the best that is on this machine"
    doctor = run_command("doctor")
    assert "SAM2 from sam2-tiny" in doctor
    assert "in onnxruntime" in doctor
    assert "memory follows the masks" in doctor
    assert "for onnxruntime" in run_command("models")
    monkeypatch.setenv("REFAM_TRACKER", "flow")
    assert Runtime(load_settings()).model_version.endswith("/sam2-tiny/dis-flow")
    monkeypatch.setenv("REFAM_SAM2", "grabcut")
    assert Runtime(load_settings()).model_version.endswith("/grabcut/dis-flow")
    assert runtime.model_version.endswith("/sam2-tiny/memory"), "a runtime keeps its models"


def test_a_tracker_that_needs_missing_weights_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REFAM_TRACKER", "sam2-video")
    assert "wrong segmenter GrabCut (no SAM2 is on this machine" in run_command("doctor")
    with pytest.raises(SegmenterError, match="'sam2-video' needs SAM2"):
        Runtime(load_settings()).pipeline()
    write_weights("sam2-tiny", "config.json", "model.safetensors")
    assert "sam2-video follows the masks" in run_command("doctor")
    assert Runtime(load_settings()).model_version.endswith("/sam2-tiny/sam2-video")
    monkeypatch.setenv("REFAM_TRACKER", "kalman")
    with pytest.raises(SettingsError, match="REFAM_TRACKER: input should be 'auto', 'memory', 'sam2-video' or 'flow'"):
        weight_settings()


def test_named_weights_that_are_missing_are_an_error(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("REFAM_SAM2", "sam2.1-large")
    assert "wrong segmenter sam2.1-large is not on this machine: refam models pull sam2.1-large" in run_command(
        "doctor"
    )
    with pytest.raises(SegmenterError, match=r"refam models pull sam2\.1-large"):
        Runtime(load_settings()).pipeline()


def test_pull_downloads_once_into_the_data_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    pulls: list[Any] = []

    def fake_pull(weights: Sam2Weights, models: Path, *, report: Any) -> Path:
        pulls.append((weights.name, models))
        report("fetching it, 184 MB. Licence: X.")
        return write_weights()

    monkeypatch.setattr("refam.segmenters.sam2_weights.pull_weights", fake_pull)
    first = run_command("models", "pull", "sam2-tiny")
    assert "fetching it, 184 MB. Licence: X." in first
    assert "models/sam2-tiny" in first
    assert "draws masks from now on" in first
    run_command("models", "pull", "sam2-tiny")
    assert pulls == [("sam2-tiny", weight_settings().models_dir)]


def test_a_failed_pull_prints_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: Any, **__: Any) -> Path:
        raise SegmenterError("the hub said no")

    monkeypatch.setattr("refam.segmenters.sam2_weights.pull_weights", fail)
    result = runner.invoke(app, ["models", "pull", "sam2-tiny"])
    assert result.exit_code == 1
    assert result.stderr.strip() == "refam: the hub said no"
