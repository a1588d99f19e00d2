"""Weights in fewer bits, where there is a GPU for it."""

from __future__ import annotations

import importlib.util
from typing import Any

import torch

from refam.backbones.errors import BackboneError

QUANTISATIONS = {"bnb-4bit": "bitsandbytes", "bnb-8bit": "bitsandbytes", "int8": "torchao"}
_PARTS = ("transformer", "transformer_2", "text_encoder", "text_encoder_2", "text_encoder_3")


def quantisation(name: str | None, device: torch.device) -> Any:
    """A PipelineQuantizationConfig for the transformers and text encoders, or None where none is asked for.

    Raises BackboneError for a name that is not known, without CUDA, and where the package is not installed.
    """
    if name is None:
        return None
    if name not in QUANTISATIONS:
        raise BackboneError(f"there is no quantisation {name!r}; known are {', '.join(QUANTISATIONS)}")
    if device.type != "cuda":
        raise BackboneError(f"quantisation {name!r} needs a CUDA device, and the device is {device.type}; leave it out")
    package = QUANTISATIONS[name]
    if importlib.util.find_spec(package) is None:
        raise BackboneError(f"quantisation {name!r} needs the package {package}: pip install {package}")
    from diffusers.quantizers import PipelineQuantizationConfig

    ours, theirs = _configs(name)
    return PipelineQuantizationConfig(quant_mapping={p: theirs if p.startswith("text") else ours for p in _PARTS})


def _configs(name: str) -> tuple[Any, Any]:
    """diffusers' configuration and transformers' of the same."""
    import diffusers
    import transformers

    if name == "int8":
        from torchao.quantization import Int8WeightOnlyConfig

        return diffusers.TorchAoConfig(Int8WeightOnlyConfig()), transformers.TorchAoConfig(Int8WeightOnlyConfig())
    options: dict[str, Any] = {"load_in_8bit": True}
    if name == "bnb-4bit":
        options = {
            "load_in_4bit": True,
            "bnb_4bit_quant_type": "nf4",
            "bnb_4bit_compute_dtype": torch.bfloat16,
        }
    return diffusers.BitsAndBytesConfig(**options), transformers.BitsAndBytesConfig(**options)
