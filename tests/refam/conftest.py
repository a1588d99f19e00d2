"""A small random FluxPipeline, written to a directory and read back as a real one would be."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from refam.backbones import FluxBackbone, Preset, load_backbone
from refam.tiny import model


@pytest.fixture(scope="session")
def random_flux(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.manual_seed(0)
    tokenizer = model.build_tokenizer()
    transformer = model.build_transformer()
    for parameter in transformer.parameters():
        if parameter.ndim == 2:
            torch.nn.init.normal_(parameter, std=0.1)
    pipeline = model.assemble(model.build_vae(), transformer, model.build_text_encoder(len(tokenizer)), tokenizer)
    directory = tmp_path_factory.mktemp("flux")
    model.save(pipeline, directory)
    return directory


@pytest.fixture(scope="session")
def random_backbone(random_flux: Path) -> FluxBackbone:
    preset = Preset("random", str(random_flux), noise=0.5, short_side_px=32, text_length=24)
    return load_backbone(preset, device="cpu")
