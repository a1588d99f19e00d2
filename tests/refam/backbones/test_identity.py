"""The name of a backbone with its weights."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from refam.backbones import load_backbone, preset_for
from refam.backbones.identity import name_with_weights
from refam.photos import PHOTOS_DIRECTORY


@pytest.mark.parametrize(
    "changed",
    [
        "transformer/diffusion_pytorch_model.safetensors",
        "vae/diffusion_pytorch_model.safetensors",
        "text_encoder/model.safetensors",
        "text_encoder_2/model.safetensors",
        "vocabulary.json.gz",
    ],
)
def test_another_file_of_weights_or_words_is_another_name(tmp_path: Path, changed: str) -> None:
    same, other = tmp_path / "same", tmp_path / "other"
    for copy in (same, other):
        shutil.copytree(PHOTOS_DIRECTORY, copy)
    data = bytearray((other / changed).read_bytes())
    data[-100] ^= 1
    (other / changed).write_bytes(data)
    photos = name_with_weights("photos")
    assert photos.startswith("photos@")
    assert name_with_weights(str(same)).split("@")[1] == photos.split("@")[1]
    assert name_with_weights(str(other)).split("@")[1] != photos.split("@")[1]


def test_the_name_with_weights_is_the_loaded_backbones() -> None:
    tiny = name_with_weights("tiny")
    assert load_backbone(preset_for("tiny")).name == tiny
    assert name_with_weights("mochi") == "mochi"  # not on this machine
