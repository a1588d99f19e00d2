"""Video transformers: one forward pass grounds all latent frames of a clip."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from typing import ClassVar

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from typing_extensions import override

from refam.backbones.base import Backbone


class ClipBackbone(Backbone):
    """Grounds the frames that it is handed as one clip.

    A causal video autoencoder makes its first latent frame of the first frame alone, and each further one of the next
    `stride` frames. Frames given are as a rule far apart in time, so that one latent of several would blend them:
    with preset.hold_frames each frame after the first is shown `stride` times and has a latent frame of its own.
    """

    is_clip: ClassVar[bool] = True

    @property
    @abstractmethod
    def stride(self) -> int:
        """Frames in one latent frame."""

    @property
    def _spatial_patch(self) -> int:
        patch = self.transformer.config.patch_size
        return patch if isinstance(patch, int) else patch[-1]

    @property
    def _temporal_patch(self) -> int:
        return 1

    def latent_frames(self, count: int) -> list[int]:
        """For each of `count` frames, the latent frame that holds it."""
        return [i if self.preset.hold_frames else -(-i // self.stride) for i in range(count)]

    def token_frames(self, count: int) -> list[int]:
        """For each of `count` frames, its row in the token grid's time."""
        pads = self._padding(self.latent_frames(count)[-1] + 1)
        return [(pads + i) // self._temporal_patch for i in self.latent_frames(count)]

    def _padding(self, latent_frames: int) -> int:
        """Latent frames before the first that make whole tokens in time."""
        return -latent_frames % self._temporal_patch

    @torch.inference_mode()
    @override
    def encode_frames(self, frames: Sequence[NDArray[np.uint8]]) -> torch.Tensor:
        """Frames (H, W, 3) uint8 RGB of one size -> latents (1, C, f, h, w); the last is held to fill a latent."""
        height, width = frames[0].shape[:2]
        size = self.size_for(width, height)
        small = [cv2.resize(f, size, interpolation=cv2.INTER_AREA) for f in frames]
        if self.preset.hold_frames:
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
