"""The small model for photographs that ships: FLUX's transformer on the features of an image classifier."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from typing_extensions import override

from refam.attention import TextAttention
from refam.attention_sinks import SinkStats
from refam.backbones.base import TextCondition
from refam.backbones.image_models import FluxBackbone
from refam.backbones.presets import Preset
from refam.backbones.weights import BackboneError
from refam.head_weights import PeakWeights
from refam.photos import VOCABULARY_NAME
from refam.photos.positions import INTERLEAVED, scaled_image_ids
from refam.photos.rewording import make_rewording
from refam.photos.vocabulary import load_vocabulary
from refam.photos.words import model_words
from refam.text.rewording import Rewording


class PhotoBackbone(FluxBackbone):
    """A PhotoFluxPipeline.

    It was trained on grids of 10 x 10 tokens, taken from finer ones. A frame's grid is finer; it is read as several
    coarse ones, each with every n-th token, side by side in one forward pass: each is like those of training, and
    together they cost less than the fine grid would. On 121 objects of COCO pictures of 560x416 pixels, block 0 read as
    one sequence puts the peak on the object in .69 of the cases; as nine coarse grids in .70, and all blocks in .65
    instead of .58. Positions are relative to the picture.
    """

    grid_multiple = INTERLEAVED

    def __init__(self, pipeline: Any, preset: Preset, device: torch.device) -> None:
        """Wrap a pipeline; see `Backbone`. Raises BackboneError if the vocabulary is not that of its tokenizer."""
        super().__init__(pipeline, preset, device)
        file = Path(pipeline.name_or_path) / VOCABULARY_NAME
        vocabulary, tokens = load_vocabulary(file), self.tokenizer.get_vocab()
        lacking = [word for word in model_words(vocabulary) if f"▁{word}" not in tokens]
        if lacking:
            raise BackboneError(
                f"{file} is of another model: the tokenizer lacks {len(lacking)} of its words, {lacking[0]!r} among "
                "them; fetch the directory again"
            )
        self._reword = make_rewording(vocabulary)

    @override
    def reword(self, expression: str) -> Rewording:
        return self._reword(expression)

    @override
    def read_attention(
        self,
        latents: torch.Tensor,
        text: TextCondition,
        noise: torch.Tensor,
        *,
        n_text: int,
        head_weights: PeakWeights | None = None,
        features: bool = False,
        **options: Any,
    ) -> TextAttention:
        _, height, width = self.grid(latents)
        count = INTERLEAVED**2
        rows = {k: v if v is None else v.repeat_interleave(count, 0) for k, v in text.inputs.items()}
        texts = TextCondition(rows, tuple(start for start in text.starts for _ in range(count)))
        parts = super().read_attention(
            _split(latents),
            texts,
            _split(noise),
            n_text=n_text,
            head_weights=None if head_weights is None else head_weights.split_pictures(count),
            features=features,
            **options,
        )
        stats = parts.sink_stats
        if stats is not None:  # every part is one more sample of the same picture
            mean, variation = (v.unflatten(1, (-1, count)).mean(2) for v in (stats.mean, stats.variation))
            stats = SinkStats(stats.blocks, mean, variation)
        by_block = {block: _merge(maps, height, width) for block, maps in parts.by_block.items()}
        kept = None if parts.features is None else _merge(parts.features, height, width)
        mean = _merge(parts.mean, height, width)
        return replace(parts, mean=mean, by_block=by_block, sink_stats=stats, features=kept)

    @override
    def _inputs(self, latents: torch.Tensor, noise: torch.Tensor, text: TextCondition) -> dict[str, Any]:
        ids = scaled_image_ids(*self.grid(latents)[1:]).to(self.device, self.transformer.dtype)
        return {**super()._inputs(latents, noise, text), "img_ids": ids}


def _split(latents: torch.Tensor) -> torch.Tensor:
    """(B, C, 2h, 2w) -> (B * n * n, C, 2h / n, 2w / n): every n-th token of 2x2 latents, n = INTERLEAVED."""
    n = INTERLEAVED
    b, c, height, width = latents.shape
    tokens = latents.reshape(b, c, height // (2 * n), n, 2, width // (2 * n), n, 2)
    return tokens.permute(0, 3, 6, 1, 2, 4, 5, 7).reshape(b * n * n, c, height // n, width // n)


def _merge(maps: torch.Tensor, height: int, width: int) -> torch.Tensor:
    """(B * n * n, h * w / n / n, T) -> (B, h * w, T), the inverse of `_split` for tokens."""
    n = INTERLEAVED
    parts = maps.reshape(-1, n, n, height // n, width // n, maps.shape[-1])
    return parts.permute(0, 3, 1, 4, 2, 5).reshape(-1, height * width, maps.shape[-1])
