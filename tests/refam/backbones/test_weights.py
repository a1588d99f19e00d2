"""Weights that are in the hub's cache, in part or not at all; nothing is downloaded unless that is asked for."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from refam.backbones import BackboneError, LoadOptions, load_backbone, preset_for
from refam.backbones.weights import directory_size, find_pipeline_directory


def cache(tmp_path: Path, source: str, directory: Path, revision: str) -> Path:
    """A hub cache as huggingface_hub lays it out, with this repository at this commit."""
    repo = tmp_path / f"models--{source.replace('/', '--')}"
    (repo / "refs").mkdir(parents=True)
    (repo / "refs" / "main").write_text(revision)
    return Path(shutil.copytree(directory, repo / "snapshots" / revision))


def test_weights_in_the_hub_cache_are_found_and_loaded_without_network(
    saved: Callable[[str], Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    commit = "a" * 40
    snapshot = cache(tmp_path, "genmo/mochi-1-preview", saved("Mochi"), commit)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr("huggingface_hub.file_download.HF_HUB_CACHE", str(tmp_path), raising=False)
    found = find_pipeline_directory("genmo/mochi-1-preview")
    assert found is not None
    assert found.resolve() == snapshot.resolve()
    assert find_pipeline_directory("genmo/mochi-1-preview", commit) is not None
    assert find_pipeline_directory("genmo/mochi-1-preview", "b" * 40) is None, "another revision is not here"
    assert directory_size(found) > 10_000
    assert load_backbone(preset_for("mochi"), device="cpu").preset.name == "mochi"
    with pytest.raises(BackboneError, match=f"at revision {'b' * 40}"):
        load_backbone(replace(preset_for("mochi"), revision="b" * 40), device="cpu")


def test_an_incomplete_download_is_reported_and_resumed(
    saved: Callable[[str], Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    snapshot = cache(tmp_path, "genmo/mochi-1-preview", saved("Mochi"), "a" * 40)
    shutil.rmtree(snapshot / "vae")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(BackboneError, match=r"complete: vae/ missing; fetch it again with: refam models pull mochi"):
        load_backbone(preset_for("mochi"), device="cpu")
    monkeypatch.setattr("refam.backbones.loading.download_pipeline", lambda *_: saved("Mochi"))
    assert load_backbone(preset_for("mochi"), device="cpu", loading=LoadOptions(download=True)).preset.name == "mochi"


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("flux-dev", r"not on this machine: .*FLUX\.1-dev, about 34 GB\. Licence: FLUX\.1-dev, non-commercial\. "
                     r"Fetch them after its licence was accepted .*: refam models pull flux-dev"),
        ("wan-1.3b", r"about 14 GB\. Licence: Apache-2\.0\. Fetch them with: refam models pull wan-1\.3b"),
    ],
)  # fmt: skip
def test_missing_weights_are_reported_with_size_licence_and_command(
    name: str, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr("diffusers.DiffusionPipeline.download", lambda *_, **__: pytest.fail("it was not asked for"))
    with pytest.raises(BackboneError, match=message):
        load_backbone(preset_for(name), device="cpu")


def test_a_failed_download_reports_the_hubs_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(*_: Any, **__: Any) -> None:
        raise OSError("401 Client Error: access to this model is restricted\nlong trace")

    monkeypatch.setattr("diffusers.DiffusionPipeline.download", refused)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
    with pytest.raises(BackboneError, match=r"owner/name could not be downloaded: 401 Client Error: .* restricted$"):
        load_backbone(preset_for("owner/name"), device="cpu", loading=LoadOptions(download=True))


@pytest.mark.parametrize(
    ("cause", "offline", "said"),
    [
        (
            ConnectionError("[Errno -2] Name or service not known"),
            False,
            r"huggingface\.co: \[Errno -2\] Name .*known$",
        ),
        (ConnectionError("Cannot reach https://huggingface.co/api\nmore"), False, r"Cannot reach https://.*/api$"),
        (ConnectionError("whatever"), True, "HF_HUB_OFFLINE is set, which forbids it: unset it$"),
        (None, True, "HF_HUB_OFFLINE is set, which forbids it: unset it$"),
    ],
)
def test_an_unreachable_hub_is_named_not_what_the_cache_lacks(
    cause: Exception | None, offline: bool, said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: Any, **__: Any) -> None:
        raise OSError("not cached (outgoing traffic has been disabled)") from cause

    monkeypatch.setattr("diffusers.DiffusionPipeline.download", fail)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", offline)
    with pytest.raises(BackboneError, match=f"^owner/name could not be downloaded: {said}"):
        load_backbone(preset_for("owner/name"), device="cpu", loading=LoadOptions(download=True))
