"""`refam models`, and the settings for loading weights, from the environment to the loader."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from backend.cli.main import app
from backend.runtime import Runtime
from backend.settings import SettingsError, load_settings, weight_settings
from refam.backbones import PRESETS
from refam.segmenters.sam2_weights import SAM2_WEIGHTS

runner = CliRunner()


def test_the_list_has_size_licence_and_download_state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    partial = tmp_path / "models--Lightricks--LTX-Video"
    (partial / "refs").mkdir(parents=True)
    (partial / "refs" / "main").write_text("c" * 40)
    snapshot = partial / "snapshots" / ("c" * 40)
    (snapshot / "vae").mkdir(parents=True)
    (snapshot / "model_index.json").write_text(
        '{"_class_name": "LTXPipeline", "vae": ["diffusers", "AutoencoderKLLTXVideo"]}'
    )
    (snapshot / "vae" / "config.json").write_text("{}")
    output = runner.invoke(app, ["models"], env={"COLUMNS": "200"}, catch_exceptions=False).output
    lines = {line.split()[0]: line for line in output.splitlines() if line.split()}
    assert set(PRESETS) <= set(lines)
    assert re.search(r"frames +34 GB +24 GB +- +FLUX\.1-dev, non-commercial \(to accept .*\) +no", lines["flux-dev"])
    assert re.search(r"clips +30 GB +20 GB +- +Apache-2\.0 +no", lines["mochi"])
    assert re.search(r"frames +8 GB +5 GB +[\d.]+ +Apache-2\.0; text encoder: Gemma Terms of Use +no", lines["prx-512"])
    assert re.search(r"MB, not complete", lines["ltx-video"])
    assert "This machine (" in output
    assert "FLUX [dev] Non-Commercial" in lines["flux2-dev"], "brackets in a licence are not read as markup"


@pytest.mark.parametrize("columns", ["80", "60"])
def test_the_tables_are_whole_on_a_narrow_terminal(columns: str) -> None:
    terminal = {"COLUMNS": columns, "TTY_COMPATIBLE": "1", "TERM": "xterm"}
    output = runner.invoke(app, ["models"], env=terminal, catch_exceptions=False).output
    assert "…" not in output
    assert max(map(len, output.split("\nUnless REFAM_SAM2")[0].split("\nSizes are")[0].splitlines())) <= int(columns)
    for name in [*PRESETS, *SAM2_WEIGHTS]:
        assert re.search(rf"^{re.escape(name)} ", output, re.MULTILINE), name
    assert "898 MB" in output
    assert columns == "60" or "facebook/sam2.1-hiera-large " in output


def test_no_cell_breaks_in_a_file_or_a_pipe() -> None:
    lines = runner.invoke(app, ["models"], env={"COLUMNS": "60"}, catch_exceptions=False).output.splitlines()
    table = lines[: lines.index("")]
    assert [line.split()[0] for line in table] == ["backbone", *PRESETS]
    assert [preset.licence in line for preset, line in zip(PRESETS.values(), table[1:], strict=True)].count(False) == 0


def test_the_list_is_json_for_a_machine() -> None:
    found = json.loads(runner.invoke(app, ["models", "--json"], catch_exceptions=False).stdout)
    backbones = {model["name"]: model for model in found["backbones"]}
    assert set(backbones) == set(PRESETS)
    assert backbones["tiny"]["bytes_here"] > 1_000_000
    assert backbones["tiny"]["complete"] is True
    assert (backbones["flux-dev"]["weights_bytes"], backbones["flux-dev"]["gated"]) == (pytest.approx(34e9, 0.02), True)
    assert backbones["prx-512"]["seconds_per_frame"] > 0
    assert backbones["flux-dev"]["seconds_per_frame"] is None
    assert found["recommended_backbone"]["free_bytes"] > 0
    assert {"sam2-tiny", "grabcut"} <= {model["name"] for model in found["segmenters"]}
    assert found["segmenter_in_use"]["why"]


def test_pull_prints_and_downloads_the_named_weights(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("REFAM_OFFLINE")
    downloads: list[Any] = []

    def fake_download(source: str, revision: str | None = None) -> Path:
        downloads.append((source, revision))
        return tmp_path

    monkeypatch.setattr("refam.backbones.weights.download_pipeline", fake_download)
    result = runner.invoke(app, ["models", "pull", "wan-1.3b"], catch_exceptions=False)
    assert downloads == [("Wan-AI/Wan2.1-T2V-1.3B-Diffusers", None)]
    assert "about 14 GB. Licence: Apache-2.0." in result.stderr
    runner.invoke(app, ["models", "pull", "owner/name@" + "d" * 40], catch_exceptions=False)
    assert downloads[1:] == [("owner/name", "d" * 40)]
    local = runner.invoke(app, ["models", "pull", "tiny"], catch_exceptions=False)
    assert "is a folder on this machine already" in local.output
    assert len(downloads) == 2


@pytest.mark.parametrize("command", [["doctor"], ["models", "pull"]])
def test_an_unknown_backbone_is_an_error(command: list[str]) -> None:
    argument = ["--backbone", "no-such"] if command == ["doctor"] else ["no-such"]
    result = runner.invoke(app, [*command, *argument])
    assert result.exit_code == 1
    printed = " ".join((result.output + result.stderr).split())
    assert "there is no backbone 'no-such': give one of small (the default), tiny" in printed


def test_pull_of_an_unknown_name_lists_segmenters_and_backbones() -> None:
    result = runner.invoke(app, ["models", "pull", "sam9"])
    assert result.exit_code == 1
    listed = result.stderr.partition("there is no segmenter 'sam9': give one of ")[2]
    assert listed.startswith("sam2.1-large, sam2.1-tiny, sam2-tiny; and there is no backbone 'sam9': give one of ")
    assert "flux-schnell" in listed


@pytest.mark.parametrize("command", [["pull", "sam3"], ["pull", "facebook/sam3"], []])
def test_how_to_get_sam3_is_said(command: list[str]) -> None:
    result = runner.invoke(app, ["models", *command])
    assert result.exit_code == (1 if command else 0)
    said = " ".join((result.output + result.stderr).split())
    assert "accept Meta's SAM License at https://huggingface.co/facebook/sam3; then `hf auth login`" in said


def test_doctor_names_the_command_that_downloads_missing_weights(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    result = runner.invoke(app, ["doctor", "--backbone", "qwen-image"])
    assert result.exit_code == 1
    assert "not on this machine; `refam models pull Qwen/Qwen-Image`" in result.output


def test_weight_loading_is_configured_by_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("REFAM_OFFLINE")
    for name, value in {"DTYPE": "float16", "OFFLOAD": "1", "QUANTISE": "int8", "FREE_TEXT": "1"}.items():
        monkeypatch.setenv(f"REFAM_{name}", value)
    loading = weight_settings().loading()
    assert (loading.dtype, loading.offload, loading.quantise, loading.free_text) == ("float16", True, "int8", True)
    assert not loading.download
    assert weight_settings(download=True).loading().download
    load_calls: list[Any] = []
    monkeypatch.setattr(
        "refam.grounder_loading.load_grounder", lambda name, **more: load_calls.append((name, more["loading"]))
    )
    Runtime(load_settings(backbone="mochi")).grounder()
    assert load_calls == [("mochi", loading)]
    monkeypatch.setenv("REFAM_QUANTISE", "2-bit")
    with pytest.raises(SettingsError, match=r"REFAM_QUANTISE: input should be 'bnb-4bit', 'bnb-8bit' or 'int8'"):
        weight_settings()
