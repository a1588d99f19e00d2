"""Video models: Mochi, CogVideoX, HunyuanVideo, Wan, SkyReels-V2 and LTX-Video. One pass grounds all frames of a clip.

Sources: Mochi (github.com/genmoai/mochi), CogVideoX (arXiv 2408.06072), HunyuanVideo (arXiv 2412.03603), Wan (arXiv
2503.20314), SkyReels-V2 (arXiv 2504.13074), LTX-Video (arXiv 2501.00103).
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from typing import Any, ClassVar

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from typing_extensions import override

from refam.backbones.base import Backbone, TextCondition
from refam.backbones.image_models import standardise_latents
from refam.backbones.tokenizers import PromptTokenizer
from refam.backbones.weights import BackboneError


class VideoBackbone(Backbone):
    """Grounds frames together, as one clip.

    A causal video autoencoder encodes the first frame by itself, and every further `stride` frames into one latent
    frame. The frames to ground are usually far apart in time, so that a latent frame of several would blend them. With
    `preset.repeat_frames`, each frame after the first is repeated `stride` times and gets a latent frame of its own.
    """

    is_video: ClassVar[bool] = True

    @property
    @abstractmethod
    def stride(self) -> int:
        """How many frames one latent frame holds."""

    @property
    def _spatial_patch(self) -> int:
        patch = self.transformer.config.patch_size
        return patch if isinstance(patch, int) else patch[-1]

    @property
    def _temporal_patch(self) -> int:
        return 1

    def latent_frames(self, count: int) -> list[int]:
        """Return, for each of `count` frames, the index of the latent frame that holds it."""
        return [i if self.preset.repeat_frames else -(-i // self.stride) for i in range(count)]

    def token_frames(self, count: int) -> list[int]:
        """Return, for each of `count` frames, its index along the time axis of the token grid."""
        pads = self._padding(self.latent_frames(count)[-1] + 1)
        return [(pads + i) // self._temporal_patch for i in self.latent_frames(count)]

    def _padding(self, latent_frames: int) -> int:
        """How many latent frames to put before the first, so that tokens are whole in time."""
        return -latent_frames % self._temporal_patch

    @torch.inference_mode()
    @override
    def encode_frames(self, frames: Sequence[NDArray[np.uint8]]) -> torch.Tensor:
        """Encode frames into latents.

        Args:
            frames: (H, W, 3) uint8 RGB, all of one size. The last is repeated to fill a latent frame.

        Returns:
            (1, C, f, h, w).
        """
        height, width = frames[0].shape[:2]
        size = self.size_for(width, height)
        small = [cv2.resize(f, size, interpolation=cv2.INTER_AREA) for f in frames]
        if self.preset.repeat_frames:
            small = small[:1] + [f for f in small[1:] for _ in range(self.stride)]
        small += small[-1:] * (-(len(small) - 1) % self.stride)
        latents = self._latents(np.stack(small))
        pads = self._padding(latents.shape[2])
        return torch.cat([latents[:, :, :1]] * pads + [latents], 2)

    @override
    def grid(self, latents: torch.Tensor) -> tuple[int, int, int]:
        _, _, f, h, w = latents.shape
        return f // self._temporal_patch, h // self._spatial_patch, w // self._spatial_patch

    def _clip_pixels(self, frames: NDArray[np.uint8]) -> torch.Tensor:
        """(F, H, W, 3) uint8 -> (1, 3, F, H, W) in [-1, 1]."""
        return self._pixels(frames).transpose(0, 1)[None]


_FRAME_RATE = 25  # the default of LTXPipeline
_SKYREELS_FPS_ID = 1  # SkyReels-V2's number for 24 frames per second, the default; 16 have the number 0


class MochiBackbone(VideoBackbone):
    """A MochiPipeline: text last, without its padding; the schedule counts from noise (0) to picture (1000)."""

    @property
    @override
    def stride(self) -> int:
        return self.pipeline.vae_temporal_scale_factor

    @override
    def _pixels_per_token(self) -> int:
        return self.pipeline.vae_spatial_scale_factor * self._spatial_patch

    @override
    def _encode(self, prompts: list[str]) -> dict[str, torch.Tensor | None]:
        embeds, mask, *_ = self.pipeline.encode_prompt(
            prompt=prompts,
            device=self.device,
            do_classifier_free_guidance=False,
            max_sequence_length=self.preset.text_length,
        )
        if bool(
            (mask[:, 1:] & ~mask[:, :-1]).any()
        ):  # its attention drops pads, so that what follows one would move up
            raise BackboneError(
                f"the tokenizer of {self.preset.source} pads on the left, and Mochi's pads on the right"
            )
        return {"encoder_hidden_states": embeds.to(self.transformer.dtype), "encoder_attention_mask": mask}

    @override
    def _latents(self, frames: NDArray[np.uint8]) -> torch.Tensor:
        vae = self.pipeline.vae
        latents = vae.encode(self._clip_pixels(frames)).latent_dist.mode()
        if vae.config.latents_mean is None or vae.config.latents_std is None:
            return latents * vae.config.scaling_factor
        return standardise_latents(latents, vae.config.latents_mean, vae.config.latents_std) * vae.config.scaling_factor

    @override
    def _inputs(self, latents: torch.Tensor, noise: torch.Tensor, text: TextCondition) -> dict[str, Any]:
        dtype = self.transformer.dtype
        return {
            "hidden_states": self._noised(latents, noise),
            "timestep": self._timestep(len(latents)).to(dtype),
            **text.inputs,
        }


class CogVideoXBackbone(VideoBackbone):
    """A CogVideoXPipeline: text first; a variance-preserving schedule of whole timesteps."""

    @property
    @override
    def stride(self) -> int:
        return self.pipeline.vae_scale_factor_temporal

    @property
    @override
    def _temporal_patch(self) -> int:
        return self.transformer.config.patch_size_t or 1

    @override
    def _pixels_per_token(self) -> int:
        return self.pipeline.vae_scale_factor_spatial * self._spatial_patch

    @override
    def _encode(self, prompts: list[str]) -> dict[str, torch.Tensor | None]:
        embeds, _ = self.pipeline.encode_prompt(
            prompt=prompts,
            device=self.device,
            do_classifier_free_guidance=False,
            max_sequence_length=self.preset.text_length,
        )
        return {"encoder_hidden_states": embeds.to(self.transformer.dtype)}

    @override
    def _latents(self, frames: NDArray[np.uint8]) -> torch.Tensor:
        latents = self.pipeline.vae.encode(self._clip_pixels(frames)).latent_dist.mode()
        return self.pipeline.vae_scaling_factor_image * latents

    @override
    def _inputs(self, latents: torch.Tensor, noise: torch.Tensor, text: TextCondition) -> dict[str, Any]:
        b, _, f, h, w = latents.shape
        timestep = torch.full((b,), self._variance_preserving_timestep(), dtype=torch.int64, device=self.device)
        noised = self.pipeline.scheduler.add_noise(latents, noise, timestep).to(self.transformer.dtype)
        rotary = None
        if self.transformer.config.use_rotary_positional_embeddings:
            pixels = self.pipeline.vae_scale_factor_spatial
            rotary = self.pipeline._prepare_rotary_positional_embeddings(h * pixels, w * pixels, f, self.device)
        return {
            "hidden_states": noised.transpose(1, 2).contiguous(),
            "timestep": timestep,
            "image_rotary_emb": rotary,
            **text.inputs,
        }


class HunyuanVideoBackbone(VideoBackbone):
    """A HunyuanVideoPipeline: text last, from a chat template whose start the pipeline crops; pooled CLIP text."""

    @property
    @override
    def stride(self) -> int:
        return self.pipeline.vae_scale_factor_temporal

    @property
    @override
    def _temporal_patch(self) -> int:
        return self.transformer.config.patch_size_t

    @override
    def _pixels_per_token(self) -> int:
        return self.pipeline.vae_scale_factor_spatial * self._spatial_patch

    @override
    def _tokenizer(self) -> PromptTokenizer:
        from diffusers.pipelines.hunyuan_video.pipeline_hunyuan_video import DEFAULT_PROMPT_TEMPLATE

        tokenizer = PromptTokenizer(self.pipeline.tokenizer, DEFAULT_PROMPT_TEMPLATE["template"].format)
        self._start = tokenizer.start_after_crop(DEFAULT_PROMPT_TEMPLATE["crop_start"])
        return tokenizer

    @override
    def _prompt_start(self, prompt: str) -> int:
        return self._start

    @override
    def _encode(self, prompts: list[str]) -> dict[str, torch.Tensor | None]:
        embeds, pooled, mask = self.pipeline.encode_prompt(
            prompt=prompts, device=self.device, max_sequence_length=self.preset.text_length
        )
        dtype = self.transformer.dtype
        return {
            "encoder_hidden_states": embeds.to(dtype),
            "pooled_projections": pooled.to(dtype),
            "encoder_attention_mask": mask.to(dtype),
        }

    @override
    def _latents(self, frames: NDArray[np.uint8]) -> torch.Tensor:
        vae = self.pipeline.vae
        return vae.encode(self._clip_pixels(frames)).latent_dist.mode() * vae.config.scaling_factor

    @override
    def _inputs(self, latents: torch.Tensor, noise: torch.Tensor, text: TextCondition) -> dict[str, Any]:
        b, dtype = len(latents), self.transformer.dtype
        return {
            "hidden_states": self._noised(latents, noise),
            "timestep": self._timestep(b).to(dtype),  # as from the second step on; the first is pure noise
            "guidance": torch.full((b,), self.preset.guidance, dtype=dtype, device=self.device) * 1000.0,
            **text.inputs,
        }


class WanBackbone(VideoBackbone):
    """A WanPipeline: text by cross-attention. Of Wan 2.2's two transformers, the noise level selects one."""

    @property
    @override
    def transformer(self) -> Any:
        boundary = self.pipeline.config.get("boundary_ratio")
        if (
            boundary is None
            or self._scheduler_timestep() >= boundary * self.pipeline.scheduler.config.num_train_timesteps
        ):
            return self.pipeline.transformer
        return self.pipeline.transformer_2

    @property
    @override
    def stride(self) -> int:
        return self.pipeline.vae_scale_factor_temporal

    @override
    def _pixels_per_token(self) -> int:
        return self.pipeline.vae_scale_factor_spatial * self._spatial_patch

    @override
    def _encode(self, prompts: list[str]) -> dict[str, torch.Tensor | None]:
        embeds, _ = self.pipeline.encode_prompt(
            prompt=prompts,
            device=self.device,
            do_classifier_free_guidance=False,
            max_sequence_length=self.preset.text_length,
        )
        return {"encoder_hidden_states": embeds.to(self.transformer.dtype)}

    @override
    def _latents(self, frames: NDArray[np.uint8]) -> torch.Tensor:
        vae = self.pipeline.vae
        latents = vae.encode(self._clip_pixels(frames)).latent_dist.mode()
        return standardise_latents(latents, vae.config.latents_mean, vae.config.latents_std)

    @override
    def _inputs(self, latents: torch.Tensor, noise: torch.Tensor, text: TextCondition) -> dict[str, Any]:
        b, timestep = len(latents), self._scheduler_timestep()
        if self.pipeline.config.get("expand_timesteps"):  # Wan 2.2 5B: one for each token
            tokens = torch.ones(latents.shape[2:], dtype=torch.float32, device=self.device)[:, ::2, ::2]
            expanded = (tokens * timestep).flatten().expand(b, -1)
        else:
            expanded = timestep.expand(b)
        return {"hidden_states": self._noised(latents, noise), "timestep": expanded, **text.inputs}


class SkyReelsV2Backbone(WanBackbone):
    """A SkyReelsV2Pipeline, Wan's under another name, or a SkyReelsV2DiffusionForcingPipeline."""

    @override
    def _encode(self, prompts: list[str]) -> dict[str, torch.Tensor | None]:
        # As `encode_prompt`, whose cleaning needs the package ftfy: prompts are clean here.
        tokens = self.pipeline.tokenizer(
            prompts, padding="max_length", max_length=self.preset.text_length, truncation=True, return_tensors="pt"
        ).to(self.device)
        mask = tokens["attention_mask"]
        embeds = self.pipeline.text_encoder(tokens["input_ids"], mask).last_hidden_state
        embeds = embeds.masked_fill(mask[:, :, None] == 0, 0)
        return {"encoder_hidden_states": embeds.to(self.transformer.dtype)}

    @override
    def _inputs(self, latents: torch.Tensor, noise: torch.Tensor, text: TextCondition) -> dict[str, Any]:
        inputs = super()._inputs(latents, noise, text)
        if "DiffusionForcing" not in type(self.pipeline).__name__:
            return inputs
        # Each latent frame has a timestep of its own: here the same. One rate stands for all samples, since diffusers
        # 0.42 cannot add those of several.
        timestep = self._scheduler_timestep().expand(len(latents), latents.shape[2])
        return {**inputs, "timestep": timestep, "enable_diffusion_forcing": True, "fps": [_SKYREELS_FPS_ID]}


class LTXBackbone(VideoBackbone):
    """An LTXPipeline: text by cross-attention with its padding masked; latents packed into tokens."""

    @property
    @override
    def stride(self) -> int:
        return self.pipeline.vae_temporal_compression_ratio

    @property
    @override
    def _temporal_patch(self) -> int:
        return self.pipeline.transformer_temporal_patch_size

    @override
    def _pixels_per_token(self) -> int:
        return self.pipeline.vae_spatial_compression_ratio * self._spatial_patch

    @override
    def _encode(self, prompts: list[str]) -> dict[str, torch.Tensor | None]:
        embeds, mask, *_ = self.pipeline.encode_prompt(
            prompt=prompts,
            device=self.device,
            do_classifier_free_guidance=False,
            max_sequence_length=self.preset.text_length,
        )
        return {"encoder_hidden_states": embeds.to(self.transformer.dtype), "encoder_attention_mask": mask}

    @override
    def _latents(self, frames: NDArray[np.uint8]) -> torch.Tensor:
        vae = self.pipeline.vae
        latents = vae.encode(self._clip_pixels(frames)).latent_dist.mode()
        return self.pipeline._normalize_latents(latents, vae.latents_mean, vae.latents_std, vae.config.scaling_factor)

    @override
    def _inputs(self, latents: torch.Tensor, noise: torch.Tensor, text: TextCondition) -> dict[str, Any]:
        _, _, f, h, w = latents.shape
        pixels, frames = self.pipeline.vae_spatial_compression_ratio, self.pipeline.vae_temporal_compression_ratio
        return {
            "hidden_states": self.pipeline._pack_latents(
                self._noised(latents, noise), self._spatial_patch, self._temporal_patch
            ),
            "timestep": self._timestep(len(latents)),
            "num_frames": f,
            "height": h,
            "width": w,
            "rope_interpolation_scale": (frames / _FRAME_RATE, pixels, pixels),
            **text.inputs,
        }
