"""Image models: FLUX.1, FLUX.2, Chroma, Stable Diffusion 3 and 3.5, and Qwen-Image.

All have a joint sequence of text and image tokens. Sources: FLUX (github.com/black-forest-labs/flux), Stable Diffusion
3 (arXiv 2403.03206), Qwen-Image (arXiv 2508.02324).
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from typing_extensions import override

from refam.backbones.base import Backbone, TextCondition
from refam.backbones.tokenizers import PromptTokenizer


class _PackedBackbone(Backbone):
    """Text first; latents of an AutoencoderKL, packed 2x2 into tokens."""

    @override
    def _pixels_per_token(self) -> int:
        return self.pipeline.vae_scale_factor * 2

    @override
    def grid(self, latents: torch.Tensor) -> tuple[int, int, int]:
        return 1, latents.shape[2] // 2, latents.shape[3] // 2

    @override
    def _latents(self, frames: NDArray[np.uint8]) -> torch.Tensor:
        vae = self.pipeline.vae
        latents = vae.encode(self._pixels(frames)).latent_dist.mode()
        return (latents - (vae.config.shift_factor or 0.0)) * vae.config.scaling_factor

    def _image_inputs(self, latents: torch.Tensor, noise: torch.Tensor, text: TextCondition) -> dict[str, Any]:
        b, c, h, w = latents.shape
        dtype = self.transformer.dtype
        embeds = text.inputs["encoder_hidden_states"]
        return {
            "hidden_states": self.pipeline._pack_latents(self._noised(latents, noise), b, c, h, w),
            "timestep": self._timestep(b).to(dtype) / 1000,
            "img_ids": self.pipeline._prepare_latent_image_ids(b, h // 2, w // 2, self.device, dtype),
            "txt_ids": torch.zeros(embeds.shape[1], 3, device=self.device, dtype=dtype),  # type: ignore[union-attr]
        }


class FluxBackbone(_PackedBackbone):
    """A FluxPipeline: FLUX.1, and the small model that ships."""

    @override
    def _tokenizer(self) -> Any:
        return self.pipeline.tokenizer_2

    @override
    def _encode(self, prompts: list[str]) -> dict[str, torch.Tensor | None]:
        embeds, pooled, _ = self.pipeline.encode_prompt(
            prompt=prompts, prompt_2=None, device=self.device, max_sequence_length=self.preset.text_length
        )
        dtype = self.transformer.dtype
        return {"encoder_hidden_states": embeds.to(dtype), "pooled_projections": pooled.to(dtype)}

    @override
    def _inputs(self, latents: torch.Tensor, noise: torch.Tensor, text: TextCondition) -> dict[str, Any]:
        guidance = None
        if self.transformer.config.guidance_embeds:
            guidance = torch.full((len(latents),), self.preset.guidance, device=self.device, dtype=torch.float32)
        return {**self._image_inputs(latents, noise, text), **text.inputs, "guidance": guidance}


class ChromaBackbone(_PackedBackbone):
    """A ChromaPipeline: no pooled text and no guidance; padding after the first pad token is masked."""

    @override
    def _encode(self, prompts: list[str]) -> dict[str, torch.Tensor | None]:
        embeds, _, mask, *_ = self.pipeline.encode_prompt(
            prompt=prompts,
            device=self.device,
            do_classifier_free_guidance=False,
            max_sequence_length=self.preset.text_length,
        )
        return {"encoder_hidden_states": embeds.to(self.transformer.dtype), "attention_mask": mask}

    @override
    def _inputs(self, latents: torch.Tensor, noise: torch.Tensor, text: TextCondition) -> dict[str, Any]:
        inputs = {**self._image_inputs(latents, noise, text), **text.inputs}
        inputs["attention_mask"] = self.pipeline._prepare_attention_mask(
            batch_size=len(latents),
            sequence_length=inputs["hidden_states"].shape[1],
            dtype=inputs["hidden_states"].dtype,
            attention_mask=text.inputs["attention_mask"],
        )
        return inputs


class TemplateBackbone(Backbone):
    """The tokenizer is a PromptTokenizer, and the pipeline pads prompt and template to `preset.text_length`."""

    tokenizer: PromptTokenizer

    @property
    @override
    def max_tokens(self) -> int:
        return self.preset.text_length - self.tokenizer.sequence_length("a") + len(self.tokenizer("a")["input_ids"])

    @override
    def _prompt_start(self, prompt: str) -> int:
        inner = self.tokenizer.tokenizer
        pads = self.preset.text_length - self.tokenizer.sequence_length(prompt) if inner.padding_side == "left" else 0
        return pads + self.tokenizer.prompt_start(prompt)


class Flux2Backbone(TemplateBackbone):
    """A Flux2Pipeline or a Flux2KleinPipeline: text first, from a chat model; Flux2Pipeline adds a system message."""

    @override
    def _pixels_per_token(self) -> int:
        return self.pipeline.vae_scale_factor * 2

    @override
    def _tokenizer(self) -> PromptTokenizer:
        chat = self.pipeline.tokenizer
        if hasattr(self.pipeline, "system_message"):
            from diffusers.pipelines.flux2.pipeline_flux2 import format_input

            def render(prompt: str) -> str:
                messages = format_input(prompts=[prompt], system_message=self.pipeline.system_message)
                return chat.apply_chat_template(messages[0], add_generation_prompt=False, tokenize=False)

            return PromptTokenizer(chat.tokenizer, render, add_special_tokens=not chat.template_adds_bos(render("a")))

        def render_klein(prompt: str) -> str:
            return chat.apply_chat_template(
                [{"role": "user", "content": prompt}], tokenize=False, add_generation_prompt=True, enable_thinking=False
            )

        return PromptTokenizer(chat.tokenizer, render_klein)

    @override
    def _encode(self, prompts: list[str]) -> dict[str, torch.Tensor | None]:
        embeds, ids = self.pipeline.encode_prompt(
            prompt=prompts, device=self.device, max_sequence_length=self.preset.text_length
        )
        return {"encoder_hidden_states": embeds.to(self.transformer.dtype), "txt_ids": ids}

    @override
    def grid(self, latents: torch.Tensor) -> tuple[int, int, int]:
        return 1, latents.shape[2], latents.shape[3]

    @override
    def _latents(self, frames: NDArray[np.uint8]) -> torch.Tensor:
        return self.pipeline._encode_vae_image(self._pixels(frames), None)

    @override
    def _inputs(self, latents: torch.Tensor, noise: torch.Tensor, text: TextCondition) -> dict[str, Any]:
        dtype = self.transformer.dtype
        guidance = None
        if hasattr(self.pipeline, "system_message"):  # Klein takes none
            guidance = torch.full((len(latents),), self.preset.guidance, device=self.device, dtype=torch.float32)
        noised = self._noised(latents, noise)
        return {
            "hidden_states": self.pipeline._pack_latents(noised),
            "timestep": self._timestep(len(latents)).to(dtype) / 1000,
            "img_ids": self.pipeline._prepare_latent_ids(noised).to(self.device),
            "guidance": guidance,
            **text.inputs,
        }


class SD3Backbone(Backbone):
    """A StableDiffusion3Pipeline: text last, CLIP's tokens before T5's. T5's are read, or CLIP's if there is no T5."""

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
    def _prompt_start(self, prompt: str) -> int:
        return self.pipeline.tokenizer_max_length if self._has_t5 else 0

    @override
    def grid(self, latents: torch.Tensor) -> tuple[int, int, int]:
        patch = self.pipeline.patch_size
        return 1, latents.shape[2] // patch, latents.shape[3] // patch

    @override
    def _encode(self, prompts: list[str]) -> dict[str, torch.Tensor | None]:
        embeds, _, pooled, _ = self.pipeline.encode_prompt(
            prompt=prompts,
            prompt_2=None,
            prompt_3=None,
            device=self.device,
            do_classifier_free_guidance=False,
            max_sequence_length=self.preset.text_length,
        )
        dtype = self.transformer.dtype
        return {"encoder_hidden_states": embeds.to(dtype), "pooled_projections": pooled.to(dtype)}

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
    """A QwenImagePipeline: text first, from a chat template whose start the pipeline crops."""

    @override
    def _pixels_per_token(self) -> int:
        return self.pipeline.vae_scale_factor * 2

    @override
    def _tokenizer(self) -> PromptTokenizer:
        tokenizer = PromptTokenizer(self.pipeline.tokenizer, self.pipeline.prompt_template_encode.format)
        self._start = tokenizer.start_after_crop(self.pipeline.prompt_template_encode_start_idx)
        return tokenizer

    @override
    def _prompt_start(self, prompt: str) -> int:
        return self._start

    @override
    def grid(self, latents: torch.Tensor) -> tuple[int, int, int]:
        return 1, latents.shape[2] // 2, latents.shape[3] // 2

    @override
    def _encode(self, prompts: list[str]) -> dict[str, torch.Tensor | None]:
        embeds, mask = self.pipeline.encode_prompt(
            prompt=prompts, device=self.device, max_sequence_length=self.preset.text_length
        )
        return {"encoder_hidden_states": embeds.to(self.transformer.dtype), "encoder_hidden_states_mask": mask}

    @override
    def _latents(self, frames: NDArray[np.uint8]) -> torch.Tensor:
        vae = self.pipeline.vae
        latents = vae.encode(self._pixels(frames)[:, :, None]).latent_dist.mode()
        return standardise_latents(latents, vae.config.latents_mean, vae.config.latents_std)[:, :, 0]

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


def standardise_latents(latents: torch.Tensor, mean: list[float], std: list[float]) -> torch.Tensor:
    """Standardise latents to mean 0 and standard deviation 1 in each channel.

    Args:
        latents: (B, C, F, h, w).
        mean: (C,) from the autoencoder's configuration.
        std: (C,) from the autoencoder's configuration.
    """
    shape = (1, -1, 1, 1, 1)
    return (latents - torch.tensor(mean).view(shape).to(latents)) / torch.tensor(std).view(shape).to(latents)
