"""Diffusion pipelines as backbones: load, encode text and frames, noise, ONE forward pass with the tap.

A backbone is a diffusers pipeline directory or hub name; a preset adds what grounding needs to know beside it. The
model that ships and full-size FLUX go through the same code.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from numpy.typing import NDArray

from refam.attention import TextAttention, read_attention
from refam.families import attention_modules
from refam.quiet import quiet_libraries
from refam.tiny import DIRECTORY as TINY_DIRECTORY


class BackboneError(ValueError):
    """A backbone cannot be loaded or used; the message says what to do."""


@dataclass(frozen=True)
class Preset:
    """How to ground with one pipeline.

    source: a directory or a hub id. blocks: attention modules to read, in the order they run (None: all).
    noise: sigma in (0, 1), the share of noise in the noised latent. short_side_px: frames are resized to it.
    text_length: positions of the text encoder's sequence. draws: noise samples averaged per frame.
    balanced, smooth_tokens: how token maps are summed, see refam.heatmap.evidence.
    """

    name: str
    source: str
    noise: float
    short_side_px: int
    text_length: int
    blocks: tuple[int, ...] | None = None
    draws: int = 1
    balanced: bool = False
    smooth_tokens: float = 0.0
    dtype: str = "auto"
    licence: str = ""
    revision: str | None = None

    def __post_init__(self) -> None:
        if not 0 < self.noise < 1:
            raise ValueError(f"Preset.noise must be between 0 and 1, got {self.noise}")
        if self.draws < 1:
            raise ValueError(f"Preset.draws must be at least 1, got {self.draws}")


PRESETS: dict[str, Preset] = {
    p.name: p
    for p in (
        Preset(
            "tiny",
            str(TINY_DIRECTORY),
            noise=0.7,
            short_side_px=64,
            text_length=24,
            blocks=(2, 3),
            draws=4,
            balanced=True,
            smooth_tokens=1.5,
            licence="Apache-2.0",
        ),
        Preset(
            "flux-schnell",
            "black-forest-labs/FLUX.1-schnell",
            0.5,
            512,
            256,
            dtype="bfloat16",
            licence="Apache-2.0",
        ),
        Preset(
            "flux-dev",
            "black-forest-labs/FLUX.1-dev",
            0.5,
            512,
            512,
            dtype="bfloat16",
            licence="FLUX.1-dev, non-commercial",
        ),
    )
}


def preset_for(name_or_source: str) -> Preset:
    """A preset by name; else the FLUX settings with this directory or hub id as source."""
    if name_or_source in PRESETS:
        return PRESETS[name_or_source]
    path = Path(name_or_source).expanduser()
    if path.exists():
        if not (path / "model_index.json").is_file():
            raise BackboneError(f"{name_or_source} is not a diffusers pipeline directory: it has no model_index.json")
        return replace(PRESETS["flux-schnell"], name=path.resolve().name, source=str(path), licence="see its directory")
    if name_or_source.startswith((".", "/", "~")) or name_or_source.count("/") != 1:
        known = ", ".join(PRESETS)
        raise BackboneError(
            f"there is no backbone {name_or_source!r}: give one of {known}, a diffusers pipeline directory, "
            "or a hub id (owner/name)"
        )
    return replace(PRESETS["flux-schnell"], name=name_or_source, source=name_or_source, licence="see its model card")


def pick_device(device: str) -> torch.device:
    """ "auto" takes CUDA where there is any."""
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    if device.startswith("cuda") and not torch.cuda.is_available():
        raise BackboneError("device 'cuda' was asked for, but torch sees no CUDA device; use device 'cpu' or 'auto'")
    return torch.device(device)


class FluxBackbone:
    """A FluxPipeline whose transformer's attention is read."""

    def __init__(self, pipeline: Any, preset: Preset, device: torch.device) -> None:
        self.preset = preset
        self.device = device
        self.pipeline = pipeline
        self.tokenizer = pipeline.tokenizer_2
        self.pixels_per_token: int = pipeline.vae_scale_factor * 2
        n_blocks = len(attention_modules(pipeline.transformer))
        if preset.blocks and max(preset.blocks) >= n_blocks:
            raise BackboneError(
                f"preset {preset.name!r} reads block {max(preset.blocks)}, but {preset.source} has {n_blocks}"
            )
        self.name = f"{preset.name}@{_fingerprint(pipeline.transformer)}"

    def size_for(self, width: int, height: int) -> tuple[int, int]:
        """(w, h) pixels that a frame of this size is grounded at: the preset's short side, whole tokens."""
        scale = self.preset.short_side_px / min(width, height)
        step = self.pixels_per_token
        return max(1, round(width * scale / step)) * step, max(1, round(height * scale / step)) * step

    @torch.inference_mode()
    def encode_text(self, prompts: Sequence[str]) -> tuple[torch.Tensor, torch.Tensor]:
        """(B, T, D) word embeddings and (B, P) pooled ones, by the pipeline's own encoders."""
        words, pooled, _ = self.pipeline.encode_prompt(
            prompt=list(prompts),
            prompt_2=None,
            device=self.device,
            max_sequence_length=self.preset.text_length,
        )
        return words, pooled

    @torch.inference_mode()
    def encode_frames(self, frames: Sequence[NDArray[np.uint8]]) -> torch.Tensor:
        """Frames (H, W, 3) uint8 RGB of one size -> latents (B, C, h, w), scaled as the transformer expects them."""
        height, width = frames[0].shape[:2]
        size = self.size_for(width, height)
        small = np.stack([cv2.resize(f, size, interpolation=cv2.INTER_AREA) for f in frames])
        vae = self.pipeline.vae
        pixels = torch.from_numpy(small).permute(0, 3, 1, 2).to(self.device, vae.dtype) / 127.5 - 1
        latents = vae.encode(pixels).latent_dist.mode()
        return (latents - (vae.config.shift_factor or 0.0)) * vae.config.scaling_factor

    def read(
        self,
        latents: torch.Tensor,
        words: torch.Tensor,
        pooled: torch.Tensor,
        noise: torch.Tensor,
        *,
        n_text: int,
        keep_blocks: bool = False,
    ) -> TextAttention:
        """ONE forward pass over noised latents (B, C, h, w) with text (B, T, D); noise has the latents' shape.

        The inputs are those that FluxPipeline gives its transformer at the step with sigma = preset.noise.
        """
        sigma = self.preset.noise
        b, c, h, w = latents.shape
        transformer = self.pipeline.transformer
        noised = ((1 - sigma) * latents + sigma * noise).to(transformer.dtype)
        inputs: dict[str, Any] = {
            "hidden_states": self.pipeline._pack_latents(noised, b, c, h, w),
            "encoder_hidden_states": words.to(transformer.dtype),
            "pooled_projections": pooled.to(transformer.dtype),
            "timestep": torch.full((b,), sigma, device=self.device, dtype=transformer.dtype),
            "img_ids": self.pipeline._prepare_latent_image_ids(b, h // 2, w // 2, self.device, transformer.dtype),
            "txt_ids": torch.zeros(words.shape[1], 3, device=self.device, dtype=transformer.dtype),
            "guidance": None,
            "return_dict": False,
        }
        if transformer.config.guidance_embeds:
            inputs["guidance"] = torch.full((b,), 3.5, device=self.device, dtype=torch.float32)
        with torch.inference_mode():
            reading, _ = read_attention(
                transformer, inputs, blocks=self.preset.blocks, n_text=n_text, keep_blocks=keep_blocks
            )
        return reading


def _fingerprint(module: torch.nn.Module) -> str:
    """Eight hex digits of the weights (a sample of each tensor), so that a model version names what was really used."""
    digest = hashlib.sha256()
    for name, tensor in module.state_dict().items():
        sample = tensor.flatten()[:: max(1, tensor.numel() // 64)].float().cpu().numpy()
        digest.update(f"{name}{tuple(tensor.shape)}".encode())
        digest.update(sample.astype(np.float32).tobytes())
    return digest.hexdigest()[:8]


def load_backbone(preset: Preset, *, device: str = "auto") -> FluxBackbone:
    """Load a FluxPipeline with `from_pretrained`. Raises BackboneError when it is not there or is of another class."""
    where = pick_device(device)
    with quiet_libraries():
        from diffusers import FluxPipeline
    dtype = torch.float32 if preset.dtype == "auto" or where.type == "cpu" else getattr(torch, preset.dtype)
    try:
        with quiet_libraries():
            pipeline = FluxPipeline.from_pretrained(preset.source, dtype=dtype, revision=preset.revision)
            pipeline.transformer.set_attention_backend("native")
    except (OSError, ValueError) as error:
        raise BackboneError(
            f"the weights of {preset.name!r} ({preset.source}) could not be loaded: {str(error).splitlines()[0]} "
            f"Licence: {preset.licence or 'see its model card'}."
        ) from error
    pipeline.set_progress_bar_config(disable=True)
    return FluxBackbone(pipeline.to(where), preset, where)
