"""Out of GPU memory: what to give up, and in which order. Whatever is given up is reported."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import TypeVar

import cv2
import numpy as np
import torch
from numpy.typing import NDArray

from refam.backbones import Backbone, BackboneError

log = logging.getLogger("refam.oom")
_T = TypeVar("_T")
_SHRINK = 0.75  # of the short side, each time
_MIN_TOKENS = 12  # along the short side: with fewer, a map says hardly more than left or right


class OutOfMemoryGuard:
    """Runs work on a backbone and frees memory when it does not fit: first what costs time only, then detail.

    Attributes:
        backbone: Whose preset and placement are changed.
        batch: Samples in one forward pass.
        requested_px: The short side before frames were made smaller; None if they were not.
        warnings: What was given up, as sentences. It stays given up until the process ends, since what did not fit once
            will not fit again.
    """

    def __init__(self, backbone: Backbone, *, batch: int) -> None:
        self.backbone = backbone
        self.batch = batch
        self.requested_px: int | None = None
        self.warnings: list[str] = []

    def run(self, work: Callable[[], _T]) -> _T:
        """Call `work`, again after each time that memory was freed, and return its result.

        Raises:
            BackboneError: If nothing is left to give up.
        """
        while True:
            try:
                return work()
            except torch.cuda.OutOfMemoryError as error:
                message = " ".join(str(error).split())[:160]
            # Outside the handler, whose traceback holds the tensors of the failed pass.
            if torch.cuda.is_available():
                torch.cuda.empty_cache()
            warning = self._give_something_up()
            if warning is None:
                raise BackboneError(
                    f"{self.backbone.name} does not fit into the memory of {self.backbone.device} even at "
                    f"{self.backbone.preset.short_side_px} pixels ({message}); take a smaller backbone, or quantise it"
                )
            log.warning("out of memory on %s: %s", self.backbone.device, warning)
            self.warnings.append(warning)

    def _give_something_up(self) -> str | None:
        min_batch = self.backbone.preset.draws
        if not self.backbone.is_video and self.batch > min_batch:
            self.batch = max(min_batch, self.batch // 2)
            return f"the GPU's memory was full: {self.batch} samples are read at a time now"
        if self.backbone.offload():
            return "the GPU's memory was full: parts of the model wait in main memory now, which is slower"
        preset = self.backbone.preset
        smaller_px = int(preset.short_side_px * _SHRINK)
        if smaller_px < _MIN_TOKENS * self.backbone.pixels_per_token:
            return None
        self.requested_px = self.requested_px or preset.short_side_px
        self.backbone.preset = replace(preset, short_side_px=smaller_px)
        return (
            f"the GPU's memory was full: frames are read at {smaller_px} pixels' short side instead of "
            f"{self.requested_px}, so that heatmaps are coarser"
        )


class FrameLatents:
    """Frames, encoded once for each size that they are read at.

    Attributes:
        size: (w, h) of the frames in pixels.
    """

    def __init__(self, backbone: Backbone, frames: Sequence[NDArray[np.uint8]]) -> None:
        self._backbone, self._frames = backbone, frames
        self._encoded: tuple[int, torch.Tensor] | None = None  # short side in pixels, latents
        self.size = (frames[0].shape[1], frames[0].shape[0])

    def encode(self) -> torch.Tensor:
        """Return the latents at the size that the backbone's preset has now."""
        short_side_px = self._backbone.preset.short_side_px
        if self._encoded is None or self._encoded[0] != short_side_px:
            self._encoded = None
            self._encoded = (short_side_px, self._backbone.encode_frames(self._frames))
        return self._encoded[1]

    def encode_each(self) -> Iterator[torch.Tensor]:
        """Yield the latents of each frame by itself, for a video backbone: a clip of one frame."""
        return (self._backbone.encode_frames([frame]) for frame in self._frames)


def resize_maps(maps: NDArray[np.float32], size: tuple[int, int]) -> NDArray[np.float32]:
    """Resize maps (..., h, w) to `size`, which is (w, h), by linear interpolation."""
    resize_maps = [cv2.resize(m, size, interpolation=cv2.INTER_LINEAR) for m in maps.reshape(-1, *maps.shape[-2:])]
    return np.stack(resize_maps).reshape(*maps.shape[:-2], size[1], size[0])
