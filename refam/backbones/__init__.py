"""Diffusion pipelines as backbones, whose attention is read.

`presets` lists those that are known, `loading` loads one, `base` is what all share, and `image_models` and
`video_models` hold the families. The small model that ships and full-size models use the same code.
"""

from __future__ import annotations

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
