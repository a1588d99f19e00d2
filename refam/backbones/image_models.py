"""Stable Diffusion 3 / 3.5 and Qwen-Image."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from typing_extensions import override

from refam.backbones.base import Backbone, TextCondition
from refam.backbones.tokenizers import PromptTokenizer


class SD3Backbone(Backbone):
    """A StableDiffusion3Pipeline: text last; CLIP's tokens, then T5's. T5's are read; CLIP's where there is no T5."""

    @override
    def _pixels_per_token(self) -> int:
        return self.pipeline.vae_scale_factor * self.pipeline.patch_size

    @override
    def _tokenizer(self) -> Any:
        return self.pipeline.tokenizer_3 if self._has_t5 else self.pipeline.tokenizer

    @property
    def _has_t5(self) -> bool:
        return self.pipeline.tokenizer_3 is not None

    @property
    @override
    def max_tokens(self) -> int:
        return self.preset.text_length if self._has_t5 else self.pipeline.tokenizer_max_length

    @override
    def _first(self, prompt: str) -> int:
        return self.pipeline.tokenizer_max_length if self._has_t5 else 0

    @override
    def grid(self, latents: torch.Tensor) -> tuple[int, int, int]:
        patch = self.pipeline.patch_size
        return 1, latents.shape[2] // patch, latents.shape[3] // patch

    @override
    def _encode(self, prompts: list[str]) -> dict[str, torch.Tensor | None]:
        words, _, pooled, _ = self.pipeline.encode_prompt(
            prompt=prompts,
            prompt_2=None,
            prompt_3=None,
            device=self.device,
            do_classifier_free_guidance=False,
            max_sequence_length=self.preset.text_length,
        )
        dtype = self.transformer.dtype
        return {"encoder_hidden_states": words.to(dtype), "pooled_projections": pooled.to(dtype)}

    @override
    def _latents(self, frames: NDArray[np.uint8]) -> torch.Tensor:
        vae = self.pipeline.vae
        latents = vae.encode(self._pixels(frames)).latent_dist.mode()
        return (latents - (vae.config.shift_factor or 0.0)) * vae.config.scaling_factor

    @override
    def _inputs(self, latents: torch.Tensor, noise: torch.Tensor, text: TextCondition) -> dict[str, Any]:
        return {
            "hidden_states": self._noised(latents, noise),
            "timestep": self._timestep(len(latents)),
            **text.inputs,
        }


class QwenImageBackbone(Backbone):
    """A QwenImagePipeline: text first, from a chat template whose head the pipeline cuts off."""

    @override
    def _pixels_per_token(self) -> int:
        return self.pipeline.vae_scale_factor * 2

    @override
    def _tokenizer(self) -> PromptTokenizer:
        tokenizer = PromptTokenizer(self.pipeline.tokenizer, self.pipeline.prompt_template_encode.format)
        self._head = tokenizer.first_behind(self.pipeline.prompt_template_encode_start_idx)
        return tokenizer

    @override
    def _first(self, prompt: str) -> int:
        return self._head

    @override
    def grid(self, latents: torch.Tensor) -> tuple[int, int, int]:
        return 1, latents.shape[2] // 2, latents.shape[3] // 2

    @override
    def _encode(self, prompts: list[str]) -> dict[str, torch.Tensor | None]:
        words, mask = self.pipeline.encode_prompt(
            prompt=prompts, device=self.device, max_sequence_length=self.preset.text_length
        )
        return {"encoder_hidden_states": words.to(self.transformer.dtype), "encoder_hidden_states_mask": mask}

    @override
    def _latents(self, frames: NDArray[np.uint8]) -> torch.Tensor:
        vae = self.pipeline.vae
        latents = vae.encode(self._pixels(frames)[:, :, None]).latent_dist.mode()
        return standardise(latents, vae.config.latents_mean, vae.config.latents_std)[:, :, 0]

    @override
    def _inputs(self, latents: torch.Tensor, noise: torch.Tensor, text: TextCondition) -> dict[str, Any]:
        b, c, h, w = latents.shape
        guidance = None
        if self.transformer.config.guidance_embeds:
            guidance = torch.full((b,), self.preset.guidance, device=self.device, dtype=torch.float32)
        return {
            "hidden_states": self.pipeline._pack_latents(self._noised(latents, noise), b, c, h, w),
            "timestep": self._timestep(b).to(self.transformer.dtype) / 1000,
            "img_shapes": [[(1, h // 2, w // 2)]] * b,
            "guidance": guidance,
            **text.inputs,
        }


def standardise(latents: torch.Tensor, mean: list[float], std: list[float]) -> torch.Tensor:
    """(B, C, F, h, w) -> mean 0 and deviation 1 in each channel, by the figures of the autoencoder's configuration."""
    shape = (1, -1, 1, 1, 1)
    return (latents - torch.tensor(mean).view(shape).to(latents)) / torch.tensor(std).view(shape).to(latents)
