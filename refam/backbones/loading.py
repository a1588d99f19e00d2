"""Loading a pipeline with `from_pretrained` of its real class."""

from __future__ import annotations

import torch

from refam.backbones.base import Backbone
from refam.backbones.errors import BackboneError
from refam.backbones.flux import FluxBackbone
from refam.backbones.presets import Preset
from refam.quiet import quiet_libraries


def pick_device(device: str) -> torch.device:
    """ "auto" takes CUDA where there is any."""
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    if device.startswith("cuda") and not torch.cuda.is_available():
        raise BackboneError("device 'cuda' was asked for, but torch sees no CUDA device; use device 'cpu' or 'auto'")
    return torch.device(device)


def load_backbone(preset: Preset, *, device: str = "auto") -> Backbone:
    """Load a FluxPipeline with `from_pretrained`. Raises BackboneError when it is not there or is of another class."""
    where = pick_device(device)
    with quiet_libraries():
        from diffusers import FluxPipeline
    dtype = torch.float32 if preset.dtype == "auto" or where.type == "cpu" else getattr(torch, preset.dtype)
    try:
        with quiet_libraries():
            pipeline = FluxPipeline.from_pretrained(preset.source, dtype=dtype, revision=preset.revision)
            pipeline.transformer.set_attention_backend("native")
    except (OSError, ValueError) as error:
        raise BackboneError(
            f"the weights of {preset.name!r} ({preset.source}) could not be loaded: {str(error).splitlines()[0]} "
            f"Licence: {preset.licence or 'see its model card'}."
        ) from error
    pipeline.set_progress_bar_config(disable=True)
    return FluxBackbone(pipeline.to(where), preset, where)
