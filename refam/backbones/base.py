"""What every backbone does: encode text and frames, noise them, ONE forward pass with the tap.

A backbone is a diffusers pipeline and a preset. One small class for each family says how that pipeline scales latents
and what it hands its transformer; tests compare that with the pipeline's own call, bit for bit.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Protocol

import cv2
import numpy as np
import torch
from numpy.typing import NDArray

from refam.attention import TextAttention, attention_modules, read_attention
from refam.backbones.identity import named
from refam.backbones.presets import Preset
from refam.backbones.weights import BackboneError

_LONGEST = 8  # times the short side


@dataclass(frozen=True, eq=False)
class TextCondition:
    """Encoded prompts. Nobody but the backbone that made it looks inside.

    inputs: keyword arguments of the transformer, each with one row for each prompt (or None). first: for each prompt,
    where its first token stands in the text that the transformer sees (templates put tokens before it).
    """

    inputs: Mapping[str, torch.Tensor | None]
    first: tuple[int, ...]

    def expand(self, count: int) -> TextCondition:
        """One prompt, for `count` samples; no copy."""
        if len(self.first) != 1:
            raise ValueError(f"only a single prompt can be expanded, this has {len(self.first)}")
        rows = {k: v if v is None else v.expand(count, *v.shape[1:]) for k, v in self.inputs.items()}
        return TextCondition(rows, self.first * count)


class TextEncoders(Protocol):
    """Text encoders that can be let go and brought back, see refam.backbones.loading."""

    def ensure(self) -> None:
        """Bring them back."""

    def free(self) -> None:
        """Let them go."""


class Backbone(ABC):
    """A diffusers pipeline whose transformer's attention is read.

    tokenizer: gives tokens with offsets into the prompt, in the order of the text that the transformer sees.
    pixels_per_token: side of an image token.
    """

    is_clip: ClassVar[bool] = False  # grounds all frames in one pass, as a clip; else each frame by itself
    text_encoders: TextEncoders | None = None  # where they are to be let go between calls

    def __init__(self, pipeline: Any, preset: Preset, device: torch.device) -> None:
        self.preset = preset
        self.device = device
        self.pipeline = pipeline
        self.offloaded = False
        self.tokenizer: Any = self._tokenizer()
        self.pixels_per_token: int = self._pixels_per_token()
        n_blocks = len(attention_modules(self.transformer))
        if preset.blocks and max(preset.blocks) >= n_blocks:
            raise BackboneError(
                f"preset {preset.name!r} reads block {max(preset.blocks)}, but {preset.source} has {n_blocks}"
            )
        self.name = named(preset.name, Path(pipeline.name_or_path))

    # --- what a family says

    def _tokenizer(self) -> Any:
        return self.pipeline.tokenizer

    @abstractmethod
    def _pixels_per_token(self) -> int: ...

    @abstractmethod
    def _encode(self, prompts: list[str]) -> dict[str, torch.Tensor | None]:
        """Keyword arguments of the transformer that carry the text, by the pipeline's own encoders."""

    @abstractmethod
    def _latents(self, frames: NDArray[np.uint8]) -> torch.Tensor:
        """Frames (F, H, W, 3) of whole tokens -> latents, scaled as the transformer expects them."""

    @abstractmethod
    def _inputs(self, latents: torch.Tensor, noise: torch.Tensor, text: TextCondition) -> dict[str, Any]:
        """All keyword arguments of the transformer, as the pipeline gives them at the step of preset.noise."""

    @abstractmethod
    def grid(self, latents: torch.Tensor) -> tuple[int, int, int]:
        """(t, h, w): the image tokens of one sample, in the order of the transformer's sequence."""

    def _first(self, prompt: str) -> int:
        return 0

    # --- what all share

    @property
    def transformer(self) -> Any:
        """The transformer that is read."""
        return self.pipeline.transformer

    @property
    def max_tokens(self) -> int:
        """How many tokens a prompt may have."""
        return self.preset.text_length

    def size_for(self, width: int, height: int) -> tuple[int, int]:
        """(w, h) pixels that a frame of this size is grounded at: the preset's short side, whole tokens.

        Raises BackboneError for a frame so long that it would become very many tokens.
        """
        if max(width, height) > _LONGEST * min(width, height):
            raise BackboneError(
                f"a frame of {width}x{height} pixels cannot be grounded: one side is more than {_LONGEST} times the "
                "other; crop it"
            )
        w, h = self.tokens_for(width, height, short_side_px=self.preset.short_side_px)
        return w * self.pixels_per_token, h * self.pixels_per_token

    def tokens_for(self, width: int, height: int, *, short_side_px: int) -> tuple[int, int]:
        """(w, h) tokens of a frame of this size at that short side."""
        scale, step = short_side_px / min(width, height), self.pixels_per_token
        return max(1, round(width * scale / step)), max(1, round(height * scale / step))

    @torch.inference_mode()
    def encode_text(self, prompts: Sequence[str]) -> TextCondition:
        """The prompts as the transformer takes them."""
        if self.text_encoders is not None:
            self.text_encoders.ensure()
        if self.offloaded:  # else the transformer of the last pass, which ended early, would stay beside the encoders
            self.pipeline.maybe_free_model_hooks()
        return TextCondition(self._encode(list(prompts)), tuple(self._first(p) for p in prompts))

    def texts_done(self) -> None:
        """No more text for now: text encoders are let go, where that was asked for."""
        if self.text_encoders is not None:
            self.text_encoders.free()

    def offload(self) -> bool:
        """Let parts wait in main memory and visit the GPU one at a time. False where there is nothing to gain by it."""
        if self.device.type != "cuda" or self.offloaded:
            return False
        self.pipeline.enable_model_cpu_offload(device=self.device)
        self.offloaded = True
        return True

    @torch.inference_mode()
    def encode_frames(self, frames: Sequence[NDArray[np.uint8]]) -> torch.Tensor:
        """Frames (H, W, 3) uint8 RGB of one size -> latents (F, C, h, w), or (1, C, f, h, w) of a clip."""
        height, width = frames[0].shape[:2]
        size = self.size_for(width, height)
        return self._latents(np.stack([cv2.resize(f, size, interpolation=cv2.INTER_AREA) for f in frames]))

    def read(
        self, latents: torch.Tensor, text: TextCondition, noise: torch.Tensor, *, n_text: int, **options: Any
    ) -> TextAttention:
        """ONE forward pass over noised latents (B, C, h, w), or (B, C, f, h, w) of clips; noise has the same shape.

        text: B prompts. n_text: how many of each prompt's tokens to read. options: of `refam.attention.read_attention`.
        Raises BackboneError when the model's attention is not finite.
        """
        with torch.inference_mode():
            inputs = {**self._inputs(latents, noise, text), "return_dict": False}
            first, last = min(text.first), max(text.first)
            reading, _ = read_attention(
                self.transformer,
                inputs,
                blocks=self.preset.blocks,
                n_text=last - first + n_text,
                first_text=first,
                **options,
            )
        if first != last:
            reading = reading.slice_text([f - first for f in text.first], n_text)
        if not bool(torch.isfinite(reading.mean).all()):
            raise BackboneError(
                f"the attention of {self.name} is not finite (NaN or infinite) in {self.transformer.dtype}: the "
                "weights are broken or do not fit in this type; use bfloat16 or float32, or fetch the weights again"
            )
        return reading

    def _noised(self, latents: torch.Tensor, noise: torch.Tensor) -> torch.Tensor:
        """Rectified flow: the straight line from the picture to the noise."""
        sigma = self.preset.noise
        return ((1 - sigma) * latents + sigma * noise).to(self.transformer.dtype)

    def _timestep(self, count: int) -> torch.Tensor:
        """(count,) float32, counted as the scheduler does: in thousandths, from the other end where it is inverted."""
        config = self.pipeline.scheduler.config
        sigma = torch.tensor(self.preset.noise, dtype=torch.float32, device=self.device)
        if config.get("invert_sigmas", False):
            sigma = 1.0 - sigma
        return (sigma * config.num_train_timesteps).expand(count)

    def _pixels(self, frames: NDArray[np.uint8]) -> torch.Tensor:
        """(F, H, W, 3) uint8 -> (F, 3, H, W) in [-1, 1]."""
        return torch.from_numpy(frames).permute(0, 3, 1, 2).to(self.device, self.pipeline.vae.dtype) / 127.5 - 1
