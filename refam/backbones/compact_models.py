"""Image models that fit a laptop: PRX.

Sources: PRX (huggingface.co/docs/diffusers/api/pipelines/prx).
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from typing_extensions import override

from refam.backbones.base import Backbone, TextCondition
from refam.backbones.image_models import TemplateBackbone
from refam.backbones.tokenizers import PromptTokenizer


class _PatchBackbone(Backbone):
    """The transformer cuts latents into patches itself."""

    @property
    def _patch(self) -> int:
        return self.transformer.config.patch_size

    @override
    def _pixels_per_token(self) -> int:
        return self.pipeline.vae_scale_factor * self._patch

    @override
    def grid(self, latents: torch.Tensor) -> tuple[int, int, int]:
        return 1, latents.shape[2] // self._patch, latents.shape[3] // self._patch

    @override
    def _latents(self, frames: NDArray[np.uint8]) -> torch.Tensor:
        vae = self.pipeline.vae
        encoded = vae.encode(self._pixels(frames))
        latents = encoded.latent if hasattr(encoded, "latent") else encoded.latent_dist.mode()  # AutoencoderDC
        return (latents - (vae.config.get("shift_factor") or 0.0)) * vae.config.scaling_factor


class PRXBackbone(TemplateBackbone, _PatchBackbone):
    """A PRXPipeline: text first, as keys only; the same text in every block."""

    @override
    def _tokenizer(self) -> PromptTokenizer:
        return PromptTokenizer(self.pipeline.tokenizer, lower=True)

    @override
    def _encode(self, prompts: list[str]) -> dict[str, torch.Tensor | None]:
        # As `encode_prompt`, without its cleaning, which would take out magnets (" . ") and words ("free download").
        tokens = self.pipeline.tokenizer(
            [prompt.lower() for prompt in prompts],
            padding="max_length",
            max_length=self.preset.text_length,
            truncation=True,
            return_tensors="pt",
        ).to(self.device)
        mask = tokens["attention_mask"].bool()
        embeds = self.pipeline.text_encoder(input_ids=tokens["input_ids"], attention_mask=mask)["last_hidden_state"]
        return {"encoder_hidden_states": embeds.to(self.transformer.dtype), "attention_mask": mask}

    @override
    def _inputs(self, latents: torch.Tensor, noise: torch.Tensor, text: TextCondition) -> dict[str, Any]:
        return {
            "hidden_states": self._noised(latents, noise),
            "timestep": self._timestep(1) / 1000,  # one for the whole batch
            **text.inputs,
        }
