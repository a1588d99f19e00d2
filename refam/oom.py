"""What to give up, and in which order, when the GPU's memory runs out. Whatever is given up is said."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TypeVar

import cv2
import numpy as np
import torch
from numpy.typing import NDArray

from refam.backbones import Backbone, BackboneError

log = logging.getLogger("refam.oom")
_T = TypeVar("_T")
_SMALLER = 0.75  # of the short side
_LEAST_TOKENS = 12  # along the short side: below that, a map says hardly more than left or right


class OutOfMemoryGuard:
    """Runs work on a backbone and makes room when it does not fit: first what costs time only, then detail.

    batch: samples in one forward pass. asked_px: the short side before frames were made smaller, else None. notes:
    what was given up, as sentences; they hold until the process ends, since what did not fit once will not fit again.
    """

    def __init__(self, backbone: Backbone, *, batch: int) -> None:
        self.backbone = backbone
        self.batch = batch
        self.asked_px: int | None = None
        self.notes: list[str] = []

    def run(self, work: Callable[[], _T]) -> _T:
        """The work's result. `work` is called again after room was made. Raises BackboneError when none is left."""
        while True:
            try:
                return work()
            except torch.cuda.OutOfMemoryError as error:
                said = " ".join(str(error).split())[:160]
            # After the handler: its traceback holds the tensors of the failed pass.
            if torch.cuda.is_available():
                torch.cuda.empty_cache()
            note = self._give_way()
            if note is None:
                raise BackboneError(
                    f"{self.backbone.name} does not fit into the memory of {self.backbone.device} even at "
                    f"{self.backbone.preset.short_side_px} pixels ({said}); take a smaller backbone, or quantise it"
                )
            log.warning("out of memory on %s: %s", self.backbone.device, note)
            self.notes.append(note)

    def _give_way(self) -> str | None:
        least = self.backbone.preset.draws
        if not self.backbone.is_clip and self.batch > least:
            self.batch = max(least, self.batch // 2)
            return f"the GPU's memory was full: {self.batch} samples are read at a time now"
        if self.backbone.offload():
            return "the GPU's memory was full: parts of the model wait in main memory now, which is slower"
        preset = self.backbone.preset
        smaller = int(preset.short_side_px * _SMALLER)
        if smaller < _LEAST_TOKENS * self.backbone.pixels_per_token:
            return None
        self.asked_px = self.asked_px or preset.short_side_px
        self.backbone.preset = replace(preset, short_side_px=smaller)
        return (
            f"the GPU's memory was full: frames are read at {smaller} pixels' short side instead of {self.asked_px}, "
            "so that heatmaps are coarser"
        )


class FrameLatents:
    """Frames, encoded once for each size that they are read at."""

    def __init__(self, backbone: Backbone, frames: Sequence[NDArray[np.uint8]]) -> None:
        self._backbone, self._frames = backbone, frames
        self._made: tuple[int, torch.Tensor] | None = None
        self.size = (frames[0].shape[1], frames[0].shape[0])

    def at_this_size(self) -> torch.Tensor:
        """FrameLatents at the size that the backbone's preset says now."""
        side = self._backbone.preset.short_side_px
        if self._made is None or self._made[0] != side:
            self._made = None
            self._made = (side, self._backbone.encode_frames(self._frames))
        return self._made[1]


def resized(maps: NDArray[np.float32], size: tuple[int, int]) -> NDArray[np.float32]:
    """(..., h, w) -> (..., *size reversed), between cells by linear interpolation; size is (w, h)."""
    flat = [cv2.resize(m, size, interpolation=cv2.INTER_LINEAR) for m in maps.reshape(-1, *maps.shape[-2:])]
    return np.stack(flat).reshape(*maps.shape[:-2], size[1], size[0])
