"""SAM2's image predictor (Ravi et al. 2024) behind the `Segmenter` protocol, whatever computes it (`Sam2Engine`).

The preprocessing is done here, not by `Sam2Processor`: that one needs torchvision. It does the same: a plain
resize to a square (the aspect is not kept), ImageNet's mean and standard deviation, coordinates scaled to
that square.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray

from refam.segmenters.feature_cache import FeatureStore, image_key, model_id
from refam.segmenters.prompts import questions, worth
from refam.segmenters.sam2_engines import Levels, OnnxEngine, Sam2Engine, TorchEngine
from refam.segmenters.sam2_weights import ENCODER
from video.masks import iou
from video.types import Candidate, Prompt

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
_SAME = 0.97  # IoU: from it on two masks are one candidate


class Sam2Segmenter:
    """A `Segmenter` and `FeatureSource` over SAM2's image part. One thread at a time.

    Keeps the embedding of the last image only; with `features` those of all images that it saw, 8.4 MB each.
    """

    def __init__(self, engine: Sam2Engine, *, name: str, features: FeatureStore | None = None) -> None:
        self.name = name
        self.refit_every = engine.refit_every
        self._engine = engine
        self._features = features
        self._cached: tuple[str, Levels] | None = None

    @classmethod
    def load(
        cls, name_or_dir: str, *, device: str = "auto", cache: Path | None = None, cache_mb: float = 2000
    ) -> Sam2Segmenter:
        """From a directory (for transformers or onnxruntime) or a hub id. cache: see `store_of`.

        Raises SegmenterError when there is no SAM2 model there.
        """
        folder = Path(name_or_dir).expanduser()
        here = (folder / ENCODER).is_file()
        engine = OnnxEngine.load(folder) if here else TorchEngine.load(name_or_dir, device=device)
        return cls(engine, name=folder.name or name_or_dir, features=store_of(name_or_dir, cache, cache_mb))

    def segment(self, image: NDArray[np.uint8], prompt: Prompt, *, frame: int = 0) -> list[Candidate]:
        """image: (H, W, 3) uint8 RGB. Candidates, best first.

        A score is the model's own guess of its IoU times the agreement with the prior, if there is one; see
        refam.segmenters.prompts for what the model is asked.
        """
        if image.ndim != 3 or image.shape[2] != 3 or image.dtype != np.uint8:
            raise ValueError(f"image must be (H, W, 3) uint8 RGB, got {image.shape} {image.dtype}")
        embeddings = self._embed(image)
        found: list[Candidate] = []
        for question in questions(prompt):
            for logits, guess in self._answers(embeddings, question):
                mask = resize_logits(logits, (image.shape[1], image.shape[0])) > 0
                if mask.any():
                    found.append(Candidate(frame=frame, mask=mask, score=worth(logits, mask, guess, prompt)))
        return _unlike(sorted((c for c in found if c.score > 0), key=lambda c: -c.score))

    def _answers(self, embeddings: Levels, question: Prompt) -> list[tuple[torch.Tensor, float]]:
        """One click may mean a part, an object or a group: three answers. A box or a mask leaves no such doubt."""
        answers = self._engine.decode(embeddings, question)
        several = question.box is None and question.prior is None
        return answers if several else [max(answers, key=lambda answer: answer[1])]

    def features(self, image: NDArray[np.uint8]) -> NDArray[np.float32]:
        """See `FeatureSource`: the coarsest level of the feature pyramid, (64, 64, 256) of a 1024-pixel model.

        These are the features that SAM2's own video memory attends to. The constant that stands for "no memory" in
        them does no harm: who compares features takes their mean away.
        """
        return np.asarray(self._embed(image)[-1][0].permute(1, 2, 0).float().cpu().numpy(), np.float32)

    def _embed(self, image: NDArray[np.uint8]) -> Levels:
        key = image_key(image.shape, np.ascontiguousarray(image).tobytes())
        if self._cached is None or self._cached[0] != key:
            known = self._features.recall(key) if self._features else None
            self._cached = (key, known or self._encode(image, key))
        return self._cached[1]

    def _encode(self, image: NDArray[np.uint8], key: str) -> Levels:
        levels = self._engine.encode(preprocess(image, side=self._engine.side_px))
        if self._features:
            self._features.keep(key, levels)
            levels = [level.half().float() for level in levels]  # as they will be recalled: answers stay the same
        return levels


def store_of(name_or_dir: str, cache: Path | None, most_mb: float) -> FeatureStore | None:
    """Where embeddings by these weights are kept: in the directory `cache`, no more than so many MB of all models."""
    if cache is None or most_mb <= 0:
        return None
    return FeatureStore(cache, model=model_id(name_or_dir), most_bytes=int(most_mb * 1e6))


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


def _unlike(found: list[Candidate]) -> list[Candidate]:
    """The first of those that are nearly the same."""
    kept: list[Candidate] = []
    for candidate in found:
        if not any(iou(candidate.mask, other.mask) > _SAME for other in kept):
            kept.append(candidate)
    return kept
