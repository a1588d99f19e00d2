"""A small random FluxPipeline, written to a directory and read back as a real one would be."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from refam.backbones import Backbone, FluxBackbone, LoadOptions, Preset, load_backbone, preset_for
from refam.tiny import model
from tests.refam.backbones import pipelines


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


@pytest.fixture(scope="session")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    made: dict[str, Path] = {}

    def of(name: str) -> Path:
        if name not in made:
            torch.manual_seed(0)
            made[name] = tmp_path_factory.mktemp("pipeline")
            pipelines.randomise(pipelines.ALL[name]()).save_pretrained(made[name])
        return made[name]

    return of


@pytest.fixture(scope="session")
def loaded(saved: Callable[[str], Path]) -> Callable[..., Backbone]:
    made: dict[tuple[str, str], Backbone] = {}

    def of(name: str, dtype: str = "float32") -> Backbone:
        if (name, dtype) not in made:
            length = pipelines.TEXT_LENGTH.get(name, 24)
            side = 64 if name in ("LTX", "Sana") else 48 if name in pipelines.CLIPS else 16
            preset = replace(preset_for(str(saved(name))), short_side_px=side, text_length=length)
            made[name, dtype] = load_backbone(preset, device="cpu", loading=LoadOptions(dtype=dtype))
        return made[name, dtype]

    return of
