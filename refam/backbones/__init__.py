"""Diffusion pipelines as backbones, whose attention is read.

`presets` lists those that are known, `loading` loads one, `base` is what all share, and `image_models`,
`compact_models` and `video_models` hold the families. The small model that ships and full-size models use the same
code. `word_reader` reads words without loading any.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from refam.backbones.base import Backbone, TextCondition
    from refam.backbones.image_models import FluxBackbone
    from refam.backbones.loading import LoadOptions, load_backbone, pick_device
    from refam.backbones.presets import PRESETS, Preset, preset_for
    from refam.backbones.video_models import VideoBackbone
    from refam.backbones.weights import BackboneError

__all__ = [
    "PRESETS",
    "Backbone",
    "BackboneError",
    "FluxBackbone",
    "LoadOptions",
    "Preset",
    "TextCondition",
    "VideoBackbone",
    "load_backbone",
    "pick_device",
    "preset_for",
]

_MODULE_OF = {
    "Backbone": "base",
    "TextCondition": "base",
    "FluxBackbone": "image_models",
    "LoadOptions": "loading",
    "load_backbone": "loading",
    "pick_device": "loading",
    "PRESETS": "presets",
    "Preset": "presets",
    "preset_for": "presets",
    "VideoBackbone": "video_models",
    "BackboneError": "weights",
}


def __getattr__(name: str) -> Any:
    """Import the public names at first use: presets and tokenizers are read without torch."""
    if name not in _MODULE_OF:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_MODULE_OF[name]}"), name)


def __dir__() -> list[str]:
    return sorted(__all__)
