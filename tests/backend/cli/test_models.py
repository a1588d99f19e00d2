"""`refam models`, and how weights are held, from the environment to the loader."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from backend.cli.main import app
from backend.runtime import Runtime
from backend.settings import SettingsError, load_settings, weight_settings
from refam.backbones import PRESETS

runner = CliRunner()


def test_the_list_says_what_each_weighs_its_licence_and_what_is_here(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
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
    printed = runner.invoke(app, ["models"], env={"COLUMNS": "200"}, catch_exceptions=False).output
    lines = {line.split()[0]: line for line in printed.splitlines() if line.split()}
    assert set(PRESETS) <= set(lines)
    assert re.search(r"frames +34 GB +24 GB +FLUX\.1-dev, non-commercial \(to accept .*\) +no", lines["flux-dev"])
    assert re.search(r"clips +30 GB +20 GB +Apache-2\.0 +no", lines["mochi"])
    assert re.search(r"MB, not complete", lines["ltx-video"])
    assert "FLUX [dev] Non-Commercial" in lines["flux2-dev"], "a licence's brackets are not taken for colours"


def test_pull_says_what_it_fetches_and_fetches_that(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[Any] = []

    def fetched(source: str, revision: str | None = None) -> Path:
        asked.append((source, revision))
        return tmp_path

    monkeypatch.setattr("refam.backbones.weights.download_pipeline", fetched)
    done = runner.invoke(app, ["models", "pull", "wan-1.3b"], catch_exceptions=False)
    assert asked == [("Wan-AI/Wan2.1-T2V-1.3B-Diffusers", None)]
    assert "about 14 GB. Licence: Apache-2.0." in done.stderr
    runner.invoke(app, ["models", "pull", "owner/name@" + "d" * 40], catch_exceptions=False)
    assert asked[1:] == [("owner/name", "d" * 40)]
    again = runner.invoke(app, ["models", "pull", "tiny"], catch_exceptions=False)
    assert "is a folder on this machine already" in again.output
    assert len(asked) == 2


@pytest.mark.parametrize("command", [["doctor"], ["models", "pull"]])
def test_a_name_that_is_no_backbone(command: list[str]) -> None:
    argument = ["--backbone", "no-such"] if command == ["doctor"] else ["no-such"]
    done = runner.invoke(app, [*command, *argument])
    assert done.exit_code == 1
    assert "there is no backbone 'no-such': give one of tiny" in " ".join((done.output + done.stderr).split())


def test_doctor_says_how_to_get_weights_that_are_not_here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    done = runner.invoke(app, ["doctor", "--backbone", "qwen-image"])
    assert done.exit_code == 1
    assert "not on this machine; `refam models pull Qwen/Qwen-Image`" in done.output


def test_how_weights_are_held_comes_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {"DTYPE": "float16", "OFFLOAD": "1", "QUANTISE": "int8", "FREE_TEXT": "1"}.items():
        monkeypatch.setenv(f"REFAM_{name}", value)
    loading = weight_settings().loading()
    assert (loading.dtype, loading.offload, loading.quantise, loading.free_text) == ("float16", True, "int8", True)
    assert not loading.download
    assert weight_settings(download=True).loading().download
    given: list[Any] = []
    monkeypatch.setattr("refam.grounder.load_grounder", lambda name, **more: given.append((name, more["loading"])))
    Runtime(load_settings(backbone="mochi"))._default_grounder()
    assert given == [("mochi", loading)]
    monkeypatch.setenv("REFAM_QUANTISE", "2-bit")
    with pytest.raises(SettingsError, match=r"REFAM_QUANTISE: input should be 'bnb-4bit', 'bnb-8bit' or 'int8'"):
        weight_settings()
