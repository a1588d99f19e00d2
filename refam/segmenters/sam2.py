"""SAM2's image predictor (Ravi et al. 2024) as a `Segmenter`, whichever `Sam2Engine` computes it; SAM3's is the same.

The preprocessing is done here, because `Sam2Processor` needs torchvision. It is the same: a plain resize to a square
(the aspect is not kept), the model's own normalisation, and coordinates scaled to that square.
"""

from __future__ import annotations

from collections import OrderedDict
from itertools import chain
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray

from refam.segmenters.concepts import ConceptDetector
from refam.segmenters.feature_cache import FeatureCache, Levels, image_key, weights_id
from refam.segmenters.model_types import IMAGENET, Normalisation
from refam.segmenters.prompts import expand_prompt, rank_mask, score_mask
from refam.segmenters.sam2_engines import OnnxEngine, Sam2Engine, ScoredLogits, TorchEngine
from refam.segmenters.sam2_weights import ENCODER
from video.masks import drop_specks, iou
from video.types import Candidate, Prompt

_DUPLICATE_IOU = 0.97  # from it on two masks are one candidate
# A tracker that goes back looks at two or three frames, then at the one before them again; and the candidates for some
# words are followed over all frames that were grounded, of which there are 8 unless asked otherwise.
_RECENT_IMAGES = 9


class Sam2Segmenter:
    """A `Segmenter` and `FeatureSource` over SAM2's image part. One thread at a time.

    The features of the last images are held in memory, 17 MB each; those of all images, 8.4 MB each, only with a cache.

    Args:
        engine: What computes SAM2.
        name: What the model version calls it.
        features: Where features are cached on disk.

    Attributes:
        engine: What computes SAM2.
        concepts: What finds noun phrases, where the model has that: SAM3's detector.
    """

    def __init__(self, engine: Sam2Engine, *, name: str, features: FeatureCache | None = None) -> None:
        self.name = name
        self.is_fast = engine.is_fast
        self.engine = engine
        self.concepts: ConceptDetector | None = None
        self._feature_cache = features
        self._recent: OrderedDict[str, Levels] = OrderedDict()  # by image, the oldest first

    @classmethod
    def load(
        cls,
        name_or_dir: str,
        *,
        device: str = "auto",
        cache: Path | None = None,
        cache_mb: float = 2000,
        local_files_only: bool = False,
    ) -> Sam2Segmenter:
        """Load SAM2.

        Args:
            name_or_dir: A directory (for transformers or onnxruntime), or a name on the hub.
            device: "auto", or a torch device.
            cache: A directory for features; see `open_feature_cache`.
            cache_mb: What it may hold.
            local_files_only: Send no request to the hub.

        Raises:
            SegmenterError: If there is no SAM2 model there.
        """
        folder = Path(name_or_dir).expanduser()
        if (folder / ENCODER).is_file():
            engine: Sam2Engine = OnnxEngine.load(folder)
        else:
            engine = TorchEngine.load(name_or_dir, device=device, local_files_only=local_files_only)
        return cls(engine, name=folder.name or name_or_dir, features=open_feature_cache(name_or_dir, cache, cache_mb))

    def segment(self, image: NDArray[np.uint8], prompt: Prompt, *, frame: int = 0) -> list[Candidate]:
        """Outline an object in an image.

        Args:
            image: (H, W, 3) uint8 RGB.
            prompt: Points, a box, a heatmap or a mask; refam.segmenters.prompts says what SAM2 is asked with.
            frame: What `Candidate.frame` says.

        Returns:
            Candidates, the one that is meant first (`rank_mask`). A score is the model's IoU prediction times the
            agreement with the prompt.

        Raises:
            ValueError: For anything but an RGB image.
        """
        if image.ndim != 3 or image.shape[2] != 3 or image.dtype != np.uint8:
            raise ValueError(f"image must be (H, W, 3) uint8 RGB, got {image.shape} {image.dtype}")
        levels = self._embed(image)
        ranked: list[tuple[float, Candidate]] = []
        for logits, predicted_iou in chain.from_iterable(self._decode(levels, expand_prompt(prompt))):
            mask = resize_logits(logits, (image.shape[1], image.shape[0])) > 0
            if mask.any():
                mask = drop_specks(mask, kept=prompt.points[prompt.labels == 1])
                score = score_mask(logits, mask, predicted_iou, prompt)
                ranked.append((rank_mask(score, mask, prompt), Candidate(frame=frame, mask=mask, score=score)))
        return _drop_duplicates([c for rank, c in sorted(ranked, key=lambda pair: -pair[0]) if rank > 0])

    def _decode(self, levels: Levels, prompts: list[Prompt]) -> list[list[ScoredLogits]]:
        """Decode prompts: three masks for points, which may mean a part, an object or a group; one for others."""
        return [
            masks if prompt.box is None and prompt.prior is None else [max(masks, key=lambda mask: mask[1])]
            for prompt, masks in zip(prompts, self.engine.decode(levels, prompts), strict=True)
        ]

    def features(self, image: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Return the coarsest level of the feature pyramid, (h, w, 256): 64 x 64 for a 1024-pixel model.

        SAM2's own video memory attends to these features. The constant in them that stands for "no memory" does no
        harm, because features are compared after subtracting their mean.
        """
        return np.asarray(self._embed(image)[-1][0].permute(1, 2, 0).float().cpu().numpy(), np.float32)

    def _embed(self, image: NDArray[np.uint8]) -> Levels:
        key = image_key(image.shape, np.ascontiguousarray(image).tobytes())
        if key not in self._recent:
            cached = self._feature_cache.load(key) if self._feature_cache else None
            self._recent[key] = cached or self._encode(image, key)
            if len(self._recent) > _RECENT_IMAGES:
                self._recent.popitem(last=False)
        self._recent.move_to_end(key)
        return self._recent[key]

    def _encode(self, image: NDArray[np.uint8], key: str) -> Levels:
        pixels = preprocess(image, side=self.engine.side_px, normalisation=self.engine.normalisation)
        levels = self.engine.encode(pixels)
        if self._feature_cache:
            self._feature_cache.save(key, levels)
            levels = [level.half().float() for level in levels]  # as they will be loaded, so that masks stay the same
        return levels


def open_feature_cache(name_or_dir: str, cache: Path | None, max_mb: float) -> FeatureCache | None:
    """Return the cache for the features of some weights; None without a directory or without room.

    Args:
        name_or_dir: The weights.
        cache: The directory, shared by all models.
        max_mb: What it may hold, of all models together.
    """
    if cache is None or max_mb <= 0:
        return None
    return FeatureCache(cache, model=weights_id(name_or_dir), max_bytes=int(max_mb * 1e6))


def preprocess(image: NDArray[np.uint8], *, side: int, normalisation: Normalisation = IMAGENET) -> torch.Tensor:
    """Return an image, (H, W, 3) uint8 RGB, as a model's input, (1, 3, side, side) float32.

    The same as Sam2ImageProcessor and Sam3ImageProcessor: antialiased bilinear resizing, then standardisation.
    """
    pixels = torch.from_numpy(np.ascontiguousarray(image)).permute(2, 0, 1)[None]
    # On bytes, rounding after each axis, as the processor's torchvision and the training's Pillow do.
    unit = F.interpolate(pixels, (side, side), mode="bilinear", antialias=True, align_corners=False).float() / 255
    mean, std = (torch.tensor(v).view(1, 3, 1, 1) for v in normalisation)
    return (unit - mean) / std


def resize_logits(logits: torch.Tensor, size: tuple[int, int]) -> NDArray[np.float32]:
    """Return (h, w) logits at another (width, height), bilinear, as the processor does before its threshold at 0."""
    out = F.interpolate(logits[None, None], (size[1], size[0]), mode="bilinear", align_corners=False)[0, 0]
    return np.asarray(out.numpy(), np.float32)


def _drop_duplicates(candidates: list[Candidate]) -> list[Candidate]:
    """Return the candidates without those that are nearly the same as an earlier one."""
    kept: list[Candidate] = []
    for candidate in candidates:
        if not any(iou(candidate.mask, other.mask) > _DUPLICATE_IOU for other in kept):
            kept.append(candidate)
    return kept
