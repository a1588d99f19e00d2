"""Image models that fit a laptop: PRX, PixArt-Sigma, Sana, Lumina-Image-2.0 and Z-Image.

Sources: PRX (huggingface.co/docs/diffusers/api/pipelines/prx), PixArt-Sigma (arXiv 2403.04692), Sana (arXiv
2410.10629), Lumina-Image-2.0 (arXiv 2503.21758), Z-Image (arXiv 2511.22699).
"""

from __future__ import annotations

import inspect
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from typing_extensions import override

from refam.backbones.base import Backbone, TextCondition
from refam.backbones.image_models import TemplateBackbone
from refam.backbones.tokenizers import PromptTokenizer
from refam.backbones.weights import BackboneError


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

    def _encode_with_mask(self, prompts: list[str], **options: Any) -> dict[str, torch.Tensor | None]:
        """Encode text with the pipeline's own `encode_prompt`; the transformer is given which of it is padding."""
        embeds, mask, *_ = self.pipeline.encode_prompt(
            prompt=prompts,
            do_classifier_free_guidance=False,
            device=self.device,
            max_sequence_length=self.preset.text_length,
            **options,
        )
        return {"encoder_hidden_states": embeds.to(self.transformer.dtype), "encoder_attention_mask": mask}


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


class PixArtSigmaBackbone(TemplateBackbone, _PatchBackbone):
    """A PixArtSigmaPipeline: text by cross-attention with its padding masked; a variance-preserving schedule."""

    @override
    def _tokenizer(self) -> PromptTokenizer:
        return PromptTokenizer(self.pipeline.tokenizer, lower=True)

    @override
    def _encode(self, prompts: list[str]) -> dict[str, torch.Tensor | None]:
        return self._encode_with_mask(prompts, clean_caption=False)  # cleaning would take out magnets

    @override
    def _inputs(self, latents: torch.Tensor, noise: torch.Tensor, text: TextCondition) -> dict[str, Any]:
        timestep = self._variance_preserving_timestep()
        signal = self.pipeline.scheduler.alphas_cumprod[timestep].to(latents)
        noised = signal.sqrt() * latents + (1 - signal).sqrt() * noise
        return {
            "hidden_states": noised.to(self.transformer.dtype),
            "timestep": torch.full((len(latents),), timestep, dtype=torch.int64, device=self.device),
            "added_cond_kwargs": {"resolution": None, "aspect_ratio": None},
            **text.inputs,
        }


class SanaBackbone(TemplateBackbone, _PatchBackbone):
    """A SanaPipeline: text by cross-attention with its padding masked, after an instruction that the pipeline crops.

    Self-attention is linear, without a softmax: it is not read.
    """

    @override
    def _tokenizer(self) -> PromptTokenizer:
        self.pipeline.tokenizer.padding_side = "right"  # as the pipeline sets it
        # The default of its call, with which the model was trained.
        call = inspect.signature(type(self.pipeline).__call__).parameters
        self._instruction: list[str] = call["complex_human_instruction"].default
        before = "\n".join(self._instruction)
        self._cropped = len(self.pipeline.tokenizer.encode(before)) - 2
        return PromptTokenizer(self.pipeline.tokenizer, lambda prompt: before + prompt, lower=True)

    @property
    @override
    def max_tokens(self) -> int:
        return self.preset.text_length - self._prompt_start("a")

    @override
    def _prompt_start(self, prompt: str) -> int:
        # The pipeline keeps the first token, and crops so many that the last of the instruction is the next.
        start = self.tokenizer.prompt_start(prompt) - self._cropped
        if start < 1:
            raise BackboneError(
                f"the tokenizer of {self.preset.source} makes one token of the end of Sana's instruction and the "
                f"prompt {prompt!r}, of which the pipeline cuts off a part: it is not the tokenizer of this model"
            )
        return start

    @override
    def _encode(self, prompts: list[str]) -> dict[str, torch.Tensor | None]:
        return self._encode_with_mask(prompts, complex_human_instruction=self._instruction)

    @override
    def _inputs(self, latents: torch.Tensor, noise: torch.Tensor, text: TextCondition) -> dict[str, Any]:
        timestep = self._scheduler_timestep().expand(len(latents))
        return {
            "hidden_states": self._noised(latents, noise),
            "timestep": timestep * self.transformer.config.timestep_scale,
            **text.inputs,
        }


class Lumina2Backbone(TemplateBackbone, _PatchBackbone):
    """A Lumina2Pipeline: text first, after a system prompt; time counts from noise (0) to picture (1)."""

    @override
    def _tokenizer(self) -> PromptTokenizer:
        before = f"{self.pipeline.system_prompt} <Prompt Start> "
        return PromptTokenizer(self.pipeline.tokenizer, lambda prompt: before + prompt)

    @override
    def _encode(self, prompts: list[str]) -> dict[str, torch.Tensor | None]:
        return self._encode_with_mask(prompts)

    @override
    def _inputs(self, latents: torch.Tensor, noise: torch.Tensor, text: TextCondition) -> dict[str, Any]:
        return {
            "hidden_states": self._noised(latents, noise),
            "timestep": 1 - self._timestep(len(latents)) / 1000,
            **text.inputs,
        }


class ZImageBackbone(TemplateBackbone, _PatchBackbone):
    """A ZImagePipeline: text last, from a chat model; each sample has its own number of text tokens."""

    @property
    @override
    def _patch(self) -> int:
        return self.transformer.config.all_patch_size[0]

    @override
    def _tokenizer(self) -> PromptTokenizer:
        chat = self.pipeline.tokenizer

        def render(prompt: str) -> str:
            return chat.apply_chat_template(
                [{"role": "user", "content": prompt}], tokenize=False, add_generation_prompt=True, enable_thinking=True
            )

        return PromptTokenizer(chat.tokenizer, render)

    @override
    def _prompt_start(self, prompt: str) -> int:
        return self.tokenizer.prompt_start(prompt)  # the pipeline takes padding out, on whichever side

    @override
    def _encode(self, prompts: list[str]) -> dict[str, torch.Tensor | None]:
        embeds, _ = self.pipeline.encode_prompt(
            prompt=prompts,
            device=self.device,
            do_classifier_free_guidance=False,
            max_sequence_length=self.preset.text_length,
        )
        counts = torch.tensor([len(sample) for sample in embeds], device=self.device)
        padded = torch.nn.utils.rnn.pad_sequence(embeds, batch_first=True)
        return {"text": padded, "mask": torch.arange(padded.shape[1], device=self.device) < counts[:, None]}

    @override
    def _inputs(self, latents: torch.Tensor, noise: torch.Tensor, text: TextCondition) -> dict[str, Any]:
        embeds, mask = text.inputs["text"], text.inputs["mask"]
        assert embeds is not None
        assert mask is not None
        return {
            "x": list(self._noised(latents, noise)[:, :, None].unbind()),
            "t": (1000 - self._timestep(len(latents))) / 1000,
            "cap_feats": [sample[real] for sample, real in zip(embeds, mask, strict=True)],
        }
