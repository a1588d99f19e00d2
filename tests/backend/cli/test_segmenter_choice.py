"""The chosen segmenter and tracker, as reported by `refam models`, `refam doctor`, /ready and the model version."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

import refam
from backend.cli.main import app
from backend.runtime import Runtime
from backend.settings import SettingsError, load_settings, weight_settings
from refam.evaluation.synthetic import red_star_and_blue_ring
from refam.segmenters.sam2_weights import DECODER, ENCODER, Sam2Weights, SegmenterError
from tests.media import cfr
from tests.refam.evaluation.layouts import write_davis

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
    assert segmenter["why"].endswith("fetching it is forbidden (REFAM_OFFLINE or --no-download)")
    assert "segmenter GrabCut, which needs no weights (no SAM2 is on this machine" in run_command("doctor")
    assert "Unless REFAM_SAM2 names another: grabcut/dis-flow, no SAM2" in run_command("models")


def test_models_and_doctor_say_that_weights_will_be_fetched(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REFAM_OFFLINE", "0")
    for command in ("models", "doctor"):
        assert "sam2-tiny is fetched when masks are first needed" in run_command(command)
    assert not weight_settings().models_dir.exists(), "neither fetches them"


@pytest.fixture
def fetches(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The names of what was fetched; nothing can be, so that GrabCut is used."""
    asked: list[str] = []

    def fail(weights: Sam2Weights, models: Path, *, report: Any, **_: Any) -> Path:
        asked.append(weights.name)
        report("fetching it, 184 MB. Licence: X.")
        raise SegmenterError("no route to the hub")

    monkeypatch.setattr("refam.segmenters.sam2_weights.pull_weights", fail)
    monkeypatch.setenv("REFAM_OFFLINE", "0")
    return asked


def test_a_service_tries_once_to_fetch_weights_and_says_why_it_could_not(
    fetches: list[str], caplog: pytest.LogCaptureFixture
) -> None:
    runtime = Runtime(load_settings())
    with caplog.at_level("INFO", logger="refam"):
        runtime.fetch_segmenter()
        for _ in range(3):
            assert runtime.ready()["segmenter"]["why"].startswith("SAM2 could not be fetched: no route to the hub.")
            assert runtime.model_version.endswith("/grabcut/dis-flow")
        runtime.pipeline()
    assert fetches == ["sam2-tiny"]
    assert "fetching it, 184 MB. Licence: X." in caplog.messages
    warnings = [record.getMessage() for record in caplog.records if record.levelname == "WARNING"]
    assert warnings == [f"masks and tracks by grabcut/dis-flow: {runtime.segmenter_choice.why}"]


def test_a_service_uses_what_it_has_fetched(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("onnxruntime", reason="it comes with the extra onnx")
    monkeypatch.setattr("refam.segmenters.sam2_weights.pull_weights", lambda *_, **__: write_weights())
    monkeypatch.setenv("REFAM_OFFLINE", "0")
    runtime = Runtime(load_settings())
    runtime.fetch_segmenter()
    assert runtime.model_version.endswith("/sam2-tiny/memory")


@pytest.mark.parametrize("variable", [("REFAM_OFFLINE", "1"), ("REFAM_SAM2", "grabcut"), ("REFAM_SAM2", "owner/name")])
def test_nothing_is_fetched_if_it_is_forbidden_or_another_is_named(
    fetches: list[str], variable: tuple[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(*variable)
    Runtime(load_settings()).fetch_segmenter()
    assert fetches == []


def _without_progress(stderr: str) -> list[str]:
    """The lines but those of steps that take long, which a busy machine has."""
    return [line for line in stderr.splitlines() if not re.match(r"[\w ]+: (done in|\d+% after) ", line)]


def test_label_goes_on_with_grabcut_when_nothing_can_be_fetched(fetches: list[str], tmp_path: Path) -> None:
    frames, *_ = red_star_and_blue_ring(6, size=(160, 90))
    cfr(tmp_path / "clip.mp4", frames)
    clip, out = str(tmp_path / "clip.mp4"), str(tmp_path / "found")
    command = ["label", clip, "--url", "/clips/", "--box", "0.2,0.2,0.5,0.5@0", "--out", out]
    env = {"COLUMNS": "300"}
    result = runner.invoke(app, command, env=env)
    assert result.exit_code == 0, result.output
    assert fetches == ["sam2-tiny"]
    assert _without_progress(result.stderr) == [
        "fetching it, 184 MB. Licence: X.",
        "masks are drawn by GrabCut instead, for plain scenes only. SAM2 could not be fetched: no route to the hub. "
        "Fetch it later: refam models pull sam2-tiny",
    ]
    assert "masks by         grabcut/dis-flow: SAM2 could not be fetched: no route to the hub." in result.stdout
    again = runner.invoke(app, [*command, "--no-download"], env=env)
    assert again.exit_code == 0, again.output
    assert fetches == ["sam2-tiny"]
    assert _without_progress(again.stderr) == []
    assert "fetching it is forbidden (REFAM_OFFLINE or --no-download)" in again.stdout


def test_a_python_call_fetches_once_and_warns(fetches: list[str], caplog: pytest.LogCaptureFixture) -> None:
    assert refam.load().model_version.endswith("/grabcut/dis-flow")
    assert fetches == ["sam2-tiny"]
    assert "masks are drawn by GrabCut: SAM2 could not be fetched: no route to the hub." in caplog.text
    refam.load(offline=True)
    refam.load(segmenter="grabcut")
    assert fetches == ["sam2-tiny"]


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
    kinds = "'auto', 'memory', 'sam2-video', 'sam3-video' or 'flow'"
    with pytest.raises(SettingsError, match=f"REFAM_TRACKER: input should be {kinds}"):
        weight_settings()


def test_named_weights_that_are_missing_are_an_error(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("REFAM_SAM2", "sam2.1-large")
    assert "wrong segmenter sam2.1-large is not on this machine: refam models pull sam2.1-large" in run_command(
        "doctor"
    )
    with pytest.raises(SegmenterError, match=r"refam models pull sam2\.1-large"):
        Runtime(load_settings()).pipeline()


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ("[]", "has no config.json with the model_type of SAM2, EdgeTAM or SAM3"),
        ('{"model_type": "bert"}', "holds a 'bert' model, not SAM2, EdgeTAM or SAM3's tracker"),
        ('{"model_type": "sam3"}', "holds SAM3's detector alone, which takes no points"),
    ],
)
def test_a_folder_that_draws_no_masks_is_wrong(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, config: str, message: str
) -> None:
    (tmp_path / "model.safetensors").touch()
    (tmp_path / "config.json").write_text(config)
    monkeypatch.setenv("REFAM_SAM2", str(tmp_path))
    assert f"wrong segmenter {tmp_path} {message}" in run_command("doctor")


def test_pull_downloads_once_into_the_data_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    pulls: list[Any] = []

    monkeypatch.delenv("REFAM_OFFLINE")

    def fake_pull(weights: Sam2Weights, models: Path, *, report: Any, progress: Any) -> Path:
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

    monkeypatch.delenv("REFAM_OFFLINE")
    monkeypatch.setattr("refam.segmenters.sam2_weights.pull_weights", fail)
    result = runner.invoke(app, ["models", "pull", "sam2-tiny"])
    assert result.exit_code == 1
    assert result.stderr.strip() == "refam: the hub said no"


@pytest.mark.parametrize("name", ["sam2-tiny", "flux-schnell"])
def test_offline_forbids_a_pull(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REFAM_OFFLINE", "1")
    result = runner.invoke(app, ["models", "pull", name])
    assert result.exit_code == 1
    assert "REFAM_OFFLINE is set, which forbids fetching" in result.stderr


@pytest.mark.parametrize("command", ["davis", "strokes", "absent"])
@pytest.mark.parametrize("named", [[], ["--sam2", "sam2-tiny"]])
def test_evaluations_use_the_weights_that_were_pulled(
    command: str, named: list[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    pulled, loaded = write_weights("sam2-tiny", "config.json", "model.safetensors"), []

    def load(source: str, **_: Any) -> None:
        loaded.append(source)
        raise SegmenterError("these are no weights")

    monkeypatch.setattr("refam.segmenters.sam2.Sam2Segmenter.load", load)
    write_davis(tmp_path)
    arguments = {"davis": [str(tmp_path)], "strokes": [], "absent": ["--pictures", "0", "--clips", "1"]}[command]
    result = runner.invoke(app, ["eval", command, *arguments, "--backbone", "tiny", "--device", "cpu", *named])
    assert result.exit_code == 1, result.output
    assert loaded == [str(pulled)]


def test_offline_and_download_exclude_each_other(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REFAM_DOWNLOAD", "1")
    with pytest.raises(SettingsError, match=r"REFAM_DOWNLOAD \(--download\) and REFAM_OFFLINE \(--no-download\)"):
        weight_settings(offline=True)
