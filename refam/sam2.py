"""SAM2's image predictor (Ravi et al. 2024) behind the `Segmenter` protocol, over `transformers.Sam2Model`.

The preprocessing is done here, not by `Sam2Processor`: that one needs torchvision. It does the same: a plain
resize to a square (the aspect is not kept), ImageNet's mean and standard deviation, coordinates scaled to
that square.
"""

from __future__ import annotations

import hashlib
import os
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray

from refam.grabcut import is_sharp
from refam.quiet import quiet_libraries
from video.masks import Mask, box_of, components, deepest_point, iou, pad_box, resize_map
from video.types import Candidate, Prompt

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
_LOGIT = 8.0  # of a mask given as a prompt: the size of the logits that the model itself gives back


class SegmenterError(ValueError):
    """A segmenter that cannot be loaded, in a sentence for people."""


class Sam2Segmenter:
    """A `Segmenter` and `FeatureSource` over SAM2's image part. One thread at a time.

    Keeps the embedding of the last image only; with `cache` (a directory) those of all images that it saw, by their
    content, 8.4 MB each.
    """

    def __init__(self, model: Any, *, name: str, device: str = "cpu", cache: Path | None = None) -> None:
        self.name = name
        self._cache = cache
        if cache is not None:
            cache.mkdir(parents=True, exist_ok=True)
        self._device = device
        self._model = model.to(device=device, dtype=torch.float32).eval()
        self._side = int(model.config.prompt_encoder_config.image_size)
        # An image takes seconds on a CPU: whoever follows a mask through a video should ask for every fifth frame.
        self.refit_every = 5 if device == "cpu" else 1
        self._cached: tuple[str, list[torch.Tensor]] | None = None

    @classmethod
    def load(cls, name_or_dir: str, *, device: str = "auto", cache: Path | None = None) -> Sam2Segmenter:
        """From a directory or a hub id. Raises SegmenterError when there is no SAM2 model there."""
        with quiet_libraries():
            from transformers import AutoConfig, Sam2Model

        try:
            config = AutoConfig.from_pretrained(name_or_dir)
            if config.model_type not in ("sam2", "sam2_video"):
                raise SegmenterError(f"{name_or_dir} holds a {config.model_type!r} model, not SAM2")
            with quiet_libraries():
                model = Sam2Model.from_pretrained(name_or_dir, dtype=torch.float32)
        except SegmenterError:
            raise
        except (OSError, ValueError) as error:
            where = "this directory" if Path(name_or_dir).is_dir() else "this directory or hub id"
            reason = str(error).splitlines()[0]
            raise SegmenterError(f"no SAM2 model at {name_or_dir} ({where}): {reason}") from error
        if device == "auto":
            device = "cuda" if torch.cuda.is_available() else "cpu"
        return cls(model, name=Path(name_or_dir).name or name_or_dir, device=device, cache=cache)

    def segment(self, image: NDArray[np.uint8], prompt: Prompt, *, frame: int = 0) -> list[Candidate]:
        """image: (H, W, 3) uint8 RGB. Candidates, best first.

        A score is the model's own guess of its IoU times the agreement with the prior (if there is one).
        """
        if image.ndim != 3 or image.shape[2] != 3 or image.dtype != np.uint8:
            raise ValueError(f"image must be (H, W, 3) uint8 RGB, got {image.shape} {image.dtype}")
        embeddings = self._embed(image)
        found: list[Candidate] = []
        for question in _questions(prompt):
            for logits, guess in self._ask(embeddings, question):
                mask = resize_logits(logits, (image.shape[1], image.shape[0])) > 0
                if not mask.any() or any(iou(mask, other.mask) > 0.97 for other in found):
                    continue
                fit = 1.0 if prompt.prior is None else soft_overlap(prompt.prior, mask)
                found.append(
                    Candidate(frame=frame, mask=mask, score=float(np.clip(guess * fit * _hits(mask, prompt), 0, 1)))
                )
        return sorted((c for c in found if c.score > 0), key=lambda c: -c.score)

    def features(self, image: NDArray[np.uint8]) -> NDArray[np.float32]:
        """See `FeatureSource`: the coarsest level of the feature pyramid, (64, 64, 256) of a 1024-pixel model.

        These are the features that SAM2's own video memory attends to. The constant that stands for "no memory" in
        them does no harm: who compares features takes their mean away.
        """
        return np.asarray(self._embed(image)[-1][0].permute(1, 2, 0).float().cpu().numpy(), np.float32)

    def _embed(self, image: NDArray[np.uint8]) -> list[torch.Tensor]:
        content = np.ascontiguousarray(image).tobytes() + bytes(str(image.shape), "ascii")
        key = hashlib.blake2b(content, digest_size=16).hexdigest()
        if self._cached is None or self._cached[0] != key:
            self._cached = (key, self._recall(key) or self._encode(image, key))
        return self._cached[1]

    def _recall(self, key: str) -> list[torch.Tensor] | None:
        """From the directory of embeddings; None when this image was not seen yet."""
        path = None if self._cache is None else self._cache / f"{key}.pt"
        if path is None or not path.is_file():
            return None
        return [level.to(self._device, torch.float32) for level in torch.load(path, weights_only=True)]

    @torch.inference_mode()
    def _encode(self, image: NDArray[np.uint8], key: str) -> list[torch.Tensor]:
        with _short_floats(self._device):
            levels = self._model.get_image_embeddings(preprocess(image, side=self._side).to(self._device))
        levels = [level.float() for level in levels]
        if self._cache is not None:
            half = self._cache / f"{key}.{os.getpid()}.half"
            torch.save([level.half().cpu() for level in levels], half)
            half.rename(self._cache / f"{key}.pt")  # at once, so that nobody reads half a file
        return levels

    @torch.inference_mode()
    def _ask(self, embeddings: list[torch.Tensor], question: Prompt) -> list[tuple[torch.Tensor, float]]:
        inputs: dict[str, Any] = {}
        if len(question.points):
            points = torch.as_tensor(np.asarray(question.points, np.float32), device=self._device)
            inputs["input_points"] = points[None, None] * self._side
            labels = torch.as_tensor(np.asarray(question.labels, np.int32), device=self._device)
            inputs["input_labels"] = labels[None, None]
        if question.box is not None:
            inputs["input_boxes"] = torch.tensor([[question.box]], device=self._device) * self._side
        if question.prior is not None:
            side = self._model.prompt_encoder.mask_input_size
            logits = (resize_map(question.prior, (side[1], side[0])) * 2 - 1) * _LOGIT
            inputs["input_masks"] = torch.from_numpy(logits)[None, None].to(self._device)
        # One click may mean a part, an object or a group: three answers. A box or a mask leaves no such doubt.
        several = question.box is None and question.prior is None
        out = self._model(image_embeddings=embeddings, multimask_output=several, **inputs)
        masks, guesses = out.pred_masks[0, 0].float().cpu(), out.iou_scores[0, 0].float().cpu()
        return [(mask, float(guess)) for mask, guess in zip(masks, guesses, strict=True)]


def _short_floats(device: str) -> AbstractContextManager[Any]:
    """bfloat16 for the encoder where the device computes in it: half the time, the same masks (see the tests)."""
    kind = device.split(":")[0]
    able = torch.cuda.is_bf16_supported() if kind == "cuda" else torch.cpu.get_capabilities().get("avx512_bf16", False)
    return torch.autocast(kind, dtype=torch.bfloat16, enabled=bool(able))


def preprocess(image: NDArray[np.uint8], *, side: int) -> torch.Tensor:
    """(H, W, 3) uint8 RGB -> (1, 3, side, side) float32, as Sam2ImageProcessor: antialiased bilinear, standardised."""
    pixels = torch.from_numpy(np.ascontiguousarray(image)).permute(2, 0, 1)[None]
    # On bytes, rounding after each axis, as the processor's torchvision and the training's Pillow do.
    unit = F.interpolate(pixels, (side, side), mode="bilinear", antialias=True, align_corners=False).float() / 255
    mean, std = (torch.tensor(v).view(1, 3, 1, 1) for v in (MEAN, STD))
    return (unit - mean) / std


def resize_logits(logits: torch.Tensor, size: tuple[int, int]) -> NDArray[np.float32]:
    """(h, w) logits at another (width, height), bilinear, as the processor does before its threshold at 0."""
    out = F.interpolate(logits[None, None], (size[1], size[0]), mode="bilinear", align_corners=False)[0, 0]
    return np.asarray(out.numpy(), np.float32)


def soft_overlap(prior: NDArray[np.float32], mask: Mask) -> float:
    """In [0, 1]: Dice coefficient of a soft prior and a mask, on the prior's grid."""
    h, w = prior.shape
    share = resize_map(mask, (w, h))
    total = float(prior.sum() + share.sum())
    return 0.0 if total <= 0 else float(2 * np.minimum(prior, share).sum() / total)


def _hits(mask: Mask, prompt: Prompt) -> float:
    """The share of the given points that the mask has on the right side; 1 without points."""
    if not len(prompt.points):
        return 1.0
    h, w = mask.shape
    right = [
        mask[min(int(y * h), h - 1), min(int(x * w), w - 1)] == bool(label)
        for (x, y), label in zip(prompt.points, prompt.labels, strict=True)
    ]
    return float(np.mean(right))


def _questions(prompt: Prompt) -> list[Prompt]:
    """The prompt as what SAM2 understands. It was trained on clicks, boxes and its own masks, never on heatmaps."""
    if prompt.prior is None or prompt.prior.max() <= 0:
        return [] if prompt.prior is not None and not len(prompt.points) and prompt.box is None else [_bare(prompt)]
    prior = np.asarray(prompt.prior, np.float32)
    if is_sharp(prior) or (len(prompt.points) and prompt.box is None):  # clicks in a belief about this very object
        return _about_mask(prompt, prior)
    if len(prompt.points) or prompt.box is not None:
        return [_bare(prompt)]
    peak = np.unravel_index(int(prior.argmax()), prior.shape)
    clicks = [(float(peak[1] + 0.5) / prior.shape[1], float(peak[0] + 0.5) / prior.shape[0])]
    parts = [p for p in components(prior >= 0.5) if p[peak]]
    questions = []
    for part in parts:
        box, middle = box_of(part), deepest_point(part)
        if box is not None and middle is not None:
            clicks.append(middle)
            questions.append(Prompt(points=np.array([middle]), labels=np.ones(1, np.int64), box=pad_box(box, 0.05)))
    return [Prompt(points=np.array([c]), labels=np.ones(1, np.int64)) for c in clicks] + questions


def _about_mask(prompt: Prompt, prior: NDArray[np.float32]) -> list[Prompt]:
    """A mask to be refined: as box and click, with the mask itself as a dense prompt, and without the box."""
    mask = prior >= 0.5
    box, middle = prompt.box or box_of(mask), deepest_point(mask)
    if box is None or middle is None:
        return []
    points, labels = prompt.points, prompt.labels
    if not len(points):
        points, labels = np.array([middle]), np.ones(1, np.int64)
    return [
        Prompt(points=points, labels=labels, box=box),
        Prompt(points=points, labels=labels, box=box, prior=prior),
        Prompt(points=points, labels=labels, prior=prior),
    ]


def _bare(prompt: Prompt) -> Prompt:
    return Prompt(points=prompt.points, labels=prompt.labels, box=prompt.box)
