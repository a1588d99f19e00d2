"""Diffusion pipelines as backbones.

`presets` says which are known, `loading` loads one, `base` is what all share, and each other module holds a group of
families. The model that ships and full-size models go through the same code.
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
