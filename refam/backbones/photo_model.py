"""The small model for photographs that ships: FLUX's transformer on the features of an image classifier."""

from __future__ import annotations

from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from typing_extensions import override

from refam.backbones.base import TextCondition
from refam.backbones.image_models import FluxBackbone
from refam.photos.positions import scaled_image_ids
from refam.photos.rewording import open_rewording
from refam.text.rewording import Reword, Rewording


class PhotoBackbone(FluxBackbone):
    """A PhotoFluxPipeline. Positions are relative to the picture, since it was trained on a grid of 10 x 10 tokens."""

    @cached_property
    def _reword(self) -> Reword:
        return open_rewording(Path(self.pipeline.name_or_path))

    @override
    def reword(self, expression: str) -> Rewording:
        return self._reword(expression)

    @override
    def _inputs(self, latents: torch.Tensor, noise: torch.Tensor, text: TextCondition) -> dict[str, Any]:
        ids = scaled_image_ids(*self.grid(latents)[1:]).to(self.device, self.transformer.dtype)
        return {**super()._inputs(latents, noise, text), "img_ids": ids}
