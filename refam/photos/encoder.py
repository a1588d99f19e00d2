"""Pictures -> latents, in the place where FLUX has an AutoencoderKL: EfficientNet-Lite and one linear layer.

There is no decoder: the transformer is read, never sampled from.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from diffusers import ModelMixin
from diffusers.configuration_utils import ConfigMixin, register_to_config
from torch import nn

from refam.photos.efficientnet import EfficientNetLite

PACKED = 4
"""Latent positions that FLUX packs into one token, 2 x 2."""


@dataclass(frozen=True)
class _Point:
    """A distribution without variance, with the one method that the backbones use."""

    mean: torch.Tensor

    def mode(self) -> torch.Tensor:
        return self.mean


@dataclass(frozen=True)
class EncoderOutput:
    """What `encode` returns, as AutoencoderKL does."""

    latent_dist: _Point


class PhotoEncoder(ModelMixin, ConfigMixin):
    """Encode pictures into latents of 1/8 of their size; each 2 x 2 of them are one position of the features.

    Args:
        variant: One of `refam.photos.efficientnet.VARIANTS`.
        latent_channels: Channels of a latent; a token has four times as many.
        block_out_channels: Its length tells diffusers the scale, as AutoencoderKL's does: 2 ** (4 - 1).
        scaling_factor: Always 1; the projection is fitted so that latents have mean 0 and variance 1.
        shift_factor: Always 0.
    """

    @register_to_config
    def __init__(
        self,
        variant: str = "lite0",
        latent_channels: int = 24,
        block_out_channels: tuple[int, ...] = (0, 0, 0, 0),
        scaling_factor: float = 1.0,
        shift_factor: float = 0.0,
    ) -> None:
        super().__init__()
        self.features = EfficientNetLite(variant, classifier=False)
        self.projection = nn.Linear(sum(self.features.channels), PACKED * latent_channels)

    def encode(self, pixels: torch.Tensor) -> EncoderOutput:
        """Encode pictures.

        Args:
            pixels: (B, 3, H, W) RGB in [-1, 1]; H and W are multiples of 16.

        Returns:
            The distribution of the latents (B, latent_channels, H / 8, W / 8), which has no variance.
        """
        features = self.features(pixels)
        tokens = self.projection(features.permute(0, 2, 3, 1))
        return EncoderOutput(_Point(F.pixel_shuffle(tokens.permute(0, 3, 1, 2), 2)))
