"""What every backbone does: encode text and frames, add noise, and read the attention of ONE forward pass.

A backbone is a diffusers pipeline and a preset. One small class for each family of models says how that pipeline scales
latents and what it passes to its transformer; tests compare that with the pipeline's own call, bit for bit.
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

from refam.attention import TextAttention, read_attention
from refam.attention_layouts import attention_modules
from refam.backbones.identity import append_weights_hash
from refam.backbones.presets import Preset
from refam.backbones.weights import BackboneError
from refam.head_weights import PeakWeights
from refam.text.rewording import Rewording

_MAX_ASPECT = 8  # long side / short side


@dataclass(frozen=True, eq=False)
class TextCondition:
    """Encoded prompts, in the form that only the backbone that made them understands.

    Attributes:
        inputs: Keyword arguments of the transformer, each with one row for each prompt, or None.
        starts: For each prompt the position of its first token in the text that the transformer sees, since templates
            put tokens before it.
    """

    inputs: Mapping[str, torch.Tensor | None]
    starts: tuple[int, ...]

    def expand(self, count: int) -> TextCondition:
        """Repeat each prompt for `count` samples, one prompt after the other; a single one without a copy."""

        def repeat(rows: torch.Tensor) -> torch.Tensor:
            return rows.expand(count, *rows.shape[1:]) if len(self.starts) == 1 else rows.repeat_interleave(count, 0)

        rows = {k: v if v is None else repeat(v) for k, v in self.inputs.items()}
        return TextCondition(rows, tuple(start for start in self.starts for _ in range(count)))


class TextEncoders(Protocol):
    """Text encoders that can be unloaded and loaded again, see `refam.backbones.loading`."""

    def load(self) -> None:
        """Load them if they are not loaded."""

    def unload(self) -> None:
        """Free their memory."""


class Backbone(ABC):
    """A diffusers pipeline whose transformer's attention is read.

    Attributes:
        is_video: Whether all frames are grounded in one pass, as a clip; otherwise each frame by itself.
        grid_multiple: Both sides of the grid of image tokens are multiples of it.
        text_encoders: Set if the text encoders are to be unloaded between calls.
        preset: The settings, of which `short_side_px` may change.
        device: Where the pipeline runs.
        pipeline: The diffusers pipeline.
        offloaded: Whether its components wait in main memory.
        tokenizer: Gives tokens with offsets into the prompt, in the order of the text that the transformer sees.
        pixels_per_token: Side of an image token.
        name: The preset's name with a hash of the weights.

    Raises:
        BackboneError: If the preset reads blocks that the transformer does not have.
    """

    is_video: ClassVar[bool] = False
    grid_multiple: ClassVar[int] = 1
    text_encoders: TextEncoders | None = None

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
        self.name = append_weights_hash(preset.name, Path(pipeline.name_or_path))

    # --- what each family defines

    def _tokenizer(self) -> Any:
        return self.pipeline.tokenizer

    @abstractmethod
    def _pixels_per_token(self) -> int: ...

    @abstractmethod
    def _encode(self, prompts: list[str]) -> dict[str, torch.Tensor | None]:
        """The keyword arguments of the transformer that carry the text, from the pipeline's own encoders."""

    @abstractmethod
    def _latents(self, frames: NDArray[np.uint8]) -> torch.Tensor:
        """Frames (F, H, W, 3) of whole tokens -> latents, scaled as the transformer expects them."""

    @abstractmethod
    def _inputs(self, latents: torch.Tensor, noise: torch.Tensor, text: TextCondition) -> dict[str, Any]:
        """All keyword arguments of the transformer, as the pipeline passes them at the step of `preset.noise`."""

    @abstractmethod
    def grid(self, latents: torch.Tensor) -> tuple[int, int, int]:
        """Return (t, h, w), the image tokens of one sample in the order of the transformer's sequence."""

    def _prompt_start(self, prompt: str) -> int:
        return 0

    # --- what all share

    @property
    def transformer(self) -> Any:
        """The transformer whose attention is read."""
        return self.pipeline.transformer

    @property
    def max_tokens(self) -> int:
        """How many tokens a prompt may have."""
        return self.preset.text_length

    def reword(self, expression: str) -> Rewording:
        """Return an expression in words that the text encoder knows; here as it is."""
        return Rewording(expression)

    def size_for(self, width: int, height: int) -> tuple[int, int]:
        """Return the size at which a frame is grounded: the preset's short side, rounded to whole tokens.

        Args:
            width: Width of the frame in pixels.
            height: Height of the frame in pixels.

        Returns:
            (w, h) in pixels.

        Raises:
            BackboneError: If a side is 0, or so much longer than the other that there would be very many tokens.
        """
        if min(width, height) < 1:
            raise BackboneError(f"a frame of {width}x{height} pixels is empty; give one with pixels")
        if max(width, height) > _MAX_ASPECT * min(width, height):
            raise BackboneError(
                f"a frame of {width}x{height} pixels cannot be grounded: one side is more than {_MAX_ASPECT} times the "
                "other; crop it"
            )
        w, h = self.tokens_for(width, height, short_side_px=self.preset.short_side_px)
        return w * self.pixels_per_token, h * self.pixels_per_token

    def tokens_for(self, width: int, height: int, *, short_side_px: int) -> tuple[int, int]:
        """Return (w, h), the tokens of a frame of this size when it is resized to that short side."""
        many = self.grid_multiple
        scale = short_side_px / min(width, height) / (self.pixels_per_token * many)
        return many * max(1, round(width * scale)), many * max(1, round(height * scale))

    @torch.inference_mode()
    def encode_text(self, prompts: Sequence[str]) -> TextCondition:
        """Encode prompts for the transformer, loading the text encoders if they were unloaded."""
        if self.text_encoders is not None:
            self.text_encoders.load()
        if self.offloaded:  # otherwise the transformer of the last pass, which ended early, stays beside the encoders
            self.pipeline.maybe_free_model_hooks()
        return TextCondition(self._encode(list(prompts)), tuple(self._prompt_start(p) for p in prompts))

    def release_text_encoders(self) -> None:
        """Unload the text encoders, if that was asked for, since there is no more text for now."""
        if self.text_encoders is not None:
            self.text_encoders.unload()

    def offload(self) -> bool:
        """Keep components in main memory and move them to the GPU one at a time.

        Returns:
            False if there is nothing to gain: without a GPU, or if it was done before.
        """
        if self.device.type != "cuda" or self.offloaded:
            return False
        self.pipeline.enable_model_cpu_offload(device=self.device)
        self.offloaded = True
        return True

    @torch.inference_mode()
    def encode_frames(self, frames: Sequence[NDArray[np.uint8]]) -> torch.Tensor:
        """Encode frames into latents.

        Args:
            frames: (H, W, 3) uint8 RGB, all of one size.

        Returns:
            (F, C, h, w), or (1, C, f, h, w) for a video backbone.
        """
        height, width = frames[0].shape[:2]
        size = self.size_for(width, height)
        return self._latents(np.stack([cv2.resize(f, size, interpolation=cv2.INTER_AREA) for f in frames]))

    def read_attention(
        self,
        latents: torch.Tensor,
        text: TextCondition,
        noise: torch.Tensor,
        *,
        n_text: int,
        head_weights: PeakWeights | None = None,
        features: bool = False,
        **options: Any,
    ) -> TextAttention:
        """Read the attention of ONE forward pass over noised latents.

        Args:
            latents: (B, C, h, w), or (B, C, f, h, w) for a video backbone.
            text: B prompts.
            noise: Noise of the same shape as the latents.
            n_text: How many tokens of each prompt to read.
            head_weights: How to weigh the heads of each block; positions count from the start of each prompt.
            features: Also return the image tokens that a block gets: the middle one of those that are read.
            **options: Other options of `refam.attention.read_attention`.

        Raises:
            BackboneError: If the attention is not finite.
        """
        with torch.inference_mode():
            inputs = {**self._inputs(latents, noise, text), "return_dict": False}
            first, last = min(text.starts), max(text.starts)
            blocks = sorted(self.preset.blocks or range(len(attention_modules(self.transformer))))
            if head_weights is not None:
                head_weights = head_weights.shift([start - first for start in text.starts])
            attention, _ = read_attention(
                self.transformer,
                inputs,
                blocks=blocks,
                head_weights=head_weights,
                features_of=blocks[len(blocks) // 2] if features else None,
                n_text=last - first + n_text,
                first_text=first,
                **options,
            )
        if first != last:
            attention = attention.slice_text([start - first for start in text.starts], n_text)
        if not bool(torch.isfinite(attention.mean).all()):
            raise BackboneError(
                f"the attention of {self.name} is not finite (NaN or infinite) in {self.transformer.dtype}: the "
                "weights are broken or do not fit in this type; use bfloat16 or float32, or fetch the weights again"
            )
        return attention

    def _noised(self, latents: torch.Tensor, noise: torch.Tensor) -> torch.Tensor:
        """Rectified flow: the straight line from the picture to the noise."""
        sigma = self.preset.noise
        return ((1 - sigma) * latents + sigma * noise).to(self.transformer.dtype)

    def _timestep(self, count: int) -> torch.Tensor:
        """(count,) float32 as the scheduler counts: in thousandths, from the other end if its sigmas are inverted."""
        config = self.pipeline.scheduler.config
        sigma = torch.tensor(self.preset.noise, dtype=torch.float32, device=self.device)
        if config.get("invert_sigmas", False):
            sigma = 1.0 - sigma
        return (sigma * config.num_train_timesteps).expand(count)

    def _scheduler_timestep(self) -> torch.Tensor:
        """The timestep as the pipeline's scheduler counts it: solvers with flow sigmas have whole ones only (int64)."""
        value = self._timestep(1)[0]
        return value if "FlowMatch" in type(self.pipeline.scheduler).__name__ else value.to(torch.int64)

    def _variance_preserving_timestep(self) -> int:
        """The timestep whose noise-to-signal ratio is that of `preset.noise` in rectified flow."""
        signal = self.pipeline.scheduler.alphas_cumprod.double()
        share = (1 - signal).sqrt() / ((1 - signal).sqrt() + signal.sqrt())
        return int((share - self.preset.noise).abs().argmin())

    def _pixels(self, frames: NDArray[np.uint8]) -> torch.Tensor:
        """(F, H, W, 3) uint8 -> (F, 3, H, W) in [-1, 1]."""
        return torch.from_numpy(frames).permute(0, 3, 1, 2).to(self.device, self.pipeline.vae.dtype) / 127.5 - 1
