"""SAM2's image part in torch: `transformers.Sam2Model`, or `EdgeTamModel`, behind `Sam2Engine`."""

from __future__ import annotations

from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import numpy as np
import torch

from refam.quiet import quiet_libraries
from refam.segmenters.sam2 import Levels, mask_logits
from refam.segmenters.sam2_weights import SegmenterError, first_line
from video.types import Prompt

# The model types whose image part is read, and the class that reads it. A video checkpoint holds the image part too.
_CLASSES = {
    "sam2": "Sam2Model",
    "sam2_video": "Sam2Model",
    "edgetam": "EdgeTamModel",
    "edgetam_video": "EdgeTamModel",
}


class TorchEngine:
    """`Sam2Engine` on any torch device. One thread at a time."""

    def __init__(self, model: Any, *, device: str = "cpu") -> None:
        self._device = device
        self._model = model.to(device=device, dtype=torch.float32).eval()
        self.side_px = int(model.config.prompt_encoder_config.image_size)
        # An image takes seconds on a CPU: whoever follows a mask through a video should ask for every fifth frame.
        self.refit_every = 5 if device == "cpu" else 1

    @classmethod
    def load(cls, name_or_dir: str, *, device: str = "auto") -> TorchEngine:
        """From a directory or a hub id. Raises SegmenterError when there is no SAM2 model there."""
        with quiet_libraries():
            import transformers

        try:
            config = transformers.AutoConfig.from_pretrained(name_or_dir)
            if config.model_type not in _CLASSES:
                raise SegmenterError(f"{name_or_dir} holds a {config.model_type!r} model, not SAM2")
            with quiet_libraries():
                kind = getattr(transformers, _CLASSES[config.model_type])
                model = kind.from_pretrained(name_or_dir, dtype=torch.float32)
        except SegmenterError:
            raise
        except (OSError, ValueError, ImportError) as error:  # ImportError: EdgeTAM's backbone needs timm
            where = "this directory" if Path(name_or_dir).is_dir() else "this directory or hub id"
            raise SegmenterError(f"no SAM2 model at {name_or_dir} ({where}): {first_line(error)}") from error
        if device == "auto":
            device = "cuda" if torch.cuda.is_available() else "cpu"
        return cls(model, device=device)

    @torch.inference_mode()
    def encode(self, pixels: torch.Tensor) -> Levels:
        """See `Sam2Engine.encode`."""
        with short_floats(self._device):
            levels = self._model.get_image_embeddings(pixels.to(self._device))
        return [level.float() for level in levels]

    @torch.inference_mode()
    def decode(self, levels: Levels, question: Prompt) -> list[tuple[torch.Tensor, float]]:
        """See `Sam2Engine.decode`."""
        inputs: dict[str, Any] = {}
        if len(question.points):
            points = torch.as_tensor(np.asarray(question.points, np.float32), device=self._device)
            inputs["input_points"] = points[None, None] * self.side_px
            labels = torch.as_tensor(np.asarray(question.labels, np.int32), device=self._device)
            inputs["input_labels"] = labels[None, None]
        if question.box is not None:
            inputs["input_boxes"] = torch.tensor([[question.box]], device=self._device) * self.side_px
        if question.prior is not None:
            height, width = self._model.prompt_encoder.mask_input_size
            inputs["input_masks"] = mask_logits(question.prior, (width, height)).to(self._device)
        levels = [level.to(self._device) for level in levels]
        out = self._model(image_embeddings=levels, multimask_output=True, **inputs)
        masks, guesses = out.pred_masks[0, 0].float().cpu(), out.iou_scores[0, 0].float().cpu()
        return [(mask, float(guess)) for mask, guess in zip(masks, guesses, strict=True)]


def short_floats(device: str) -> AbstractContextManager[Any]:
    """bfloat16 for the encoder where the device computes in it: half the time, the same masks (see the tests)."""
    kind = device.split(":")[0]
    able = torch.cuda.is_bf16_supported() if kind == "cuda" else torch.cpu.get_capabilities().get("avx512_bf16", False)
    return torch.autocast(kind, dtype=torch.bfloat16, enabled=bool(able))
