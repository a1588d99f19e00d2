"""How evenly, and how much, every query attends to each text token: what global attention sinks are told by."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch


@dataclass(frozen=True, eq=False)
class SinkStats:
    """Statistics of the attention to each text token, in each block that was read.

    Queries are ALL image tokens and, where text attends too (joint attention), the text tokens that were read; masked
    padding is none. Cross-attention has image queries only.
    share: (n_blocks, B, T) float32, mean over queries and heads: this token's share of all attention.
    variation: (n_blocks, B, T) float32, standard deviation over queries of the attention averaged over heads, over its
    mean: 0 where every query attends alike (and for a masked token, to which nothing attends).
    blocks: (n_blocks,) which attention modules, as counted by `refam.attention.read_attention`.
    """

    blocks: tuple[int, ...]
    share: torch.Tensor
    variation: torch.Tensor

    def __post_init__(self) -> None:
        if self.share.ndim != 3 or self.share.shape != self.variation.shape or len(self.blocks) != len(self.share):
            raise ValueError(
                f"share and variation must be (n_blocks, B, T) of {len(self.blocks)} blocks, got "
                f"{tuple(self.share.shape)} and {tuple(self.variation.shape)}"
            )

    def __repr__(self) -> str:
        n, b, t = self.share.shape
        return f"SinkStats(blocks {list(self.blocks)}: {n} blocks x {b} samples x {t} text tokens)"

    def columns(self, first: Sequence[int], count: int) -> SinkStats:
        """`count` text tokens of each sample, from its own `first` on."""
        share, variation = (
            torch.stack([part[:, b, start : start + count] for b, start in enumerate(first)], 1)
            for part in (self.share, self.variation)
        )
        return SinkStats(self.blocks, share, variation)


def share_and_variation(image: torch.Tensor, text: torch.Tensor | None) -> tuple[torch.Tensor, torch.Tensor]:
    """Head-averaged attention of image queries (B, N, T) and text queries (B, T, T) -> (B, T) share and variation.

    Text queries that nothing attends to are padding and do not count.
    """
    count = torch.full((image.shape[0], 1), image.shape[1], dtype=torch.float64, device=image.device)
    total = image.sum(1, dtype=torch.float64)
    if text is not None:
        real = (image.amax(1) > 0)[:, :, None]
        text = text.double() * real
        count = count + real.sum(1)
        total = total + text.sum(1)
    mean = total / count
    # Around the mean, not by squares: a sink's attention varies little about a large value.
    squares = torch.stack(
        [(sample - m).square().sum(0) for sample, m in zip(image, mean.float(), strict=True)]
    ).double()
    if text is not None:
        squares = squares + ((text - mean[:, None]).square() * real).sum(1)
    deviation = (squares / count).sqrt()
    variation = torch.where(mean > 0, deviation / mean.clamp_min(1e-30), torch.zeros_like(mean))
    return mean.float(), variation.float()
