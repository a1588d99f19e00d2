"""Global attention sinks (GAS): statistics to find them by, and their suppression.

A sink is a token to which all text and image tokens attend, much and nearly alike: it says nothing of any place (RefAM,
arXiv 2509.22650, section on global attention sinks; they are absent in early blocks and appear in deep ones). A sink on
a stop word is dropped with the stop word's map. A sink on a content word hides the other words' signal, so that its
attention is suppressed to what the other words have.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray

_EPSILON = 1e-12  # keeps quotients of attention finite


@dataclass(frozen=True, eq=False)
class SinkStats:
    """Statistics of the attention to each text token, in each block that was read.

    Queries are ALL image tokens and, where text attends too, the text tokens that were read, without masked padding.
    Cross-attention and PRX have image queries only.

    Attributes:
        blocks: (n_blocks,) indices of the attention modules, as in `refam.attention.read_attention`.
        mean: (n_blocks, B, T) float32, mean attention over queries and heads: the share of all attention.
        variation: (n_blocks, B, T) float32, coefficient of variation over queries of the attention averaged over heads:
            0 where every query attends alike, and for a masked token, to which nothing attends.

    Raises:
        ValueError: If the shapes do not match.
    """

    blocks: tuple[int, ...]
    mean: torch.Tensor
    variation: torch.Tensor

    def __post_init__(self) -> None:
        if self.mean.ndim != 3 or self.mean.shape != self.variation.shape or len(self.blocks) != len(self.mean):
            raise ValueError(
                f"mean and variation must be (n_blocks, B, T) of {len(self.blocks)} blocks, got "
                f"{tuple(self.mean.shape)} and {tuple(self.variation.shape)}"
            )

    def __repr__(self) -> str:
        n, b, t = self.mean.shape
        return f"SinkStats(blocks {list(self.blocks)}: {n} blocks x {b} samples x {t} text tokens)"

    def slice_text(self, starts: Sequence[int], count: int) -> SinkStats:
        """Keep `count` text tokens of each sample, beginning at that sample's own start; zeros where there are none."""

        def cut(stat: torch.Tensor) -> torch.Tensor:
            rows = [stat[:, b, start : start + count] for b, start in enumerate(starts)]
            return torch.stack([F.pad(row, (0, count - row.shape[1])) for row in rows], 1)

        mean, variation = cut(self.mean), cut(self.variation)
        return SinkStats(self.blocks, mean, variation)


def compute_sink_stats(image: torch.Tensor, text: torch.Tensor | None) -> tuple[torch.Tensor, torch.Tensor]:
    """Compute the mean and the coefficient of variation over queries, of one block.

    Args:
        image: (B, N, T) attention of image queries, averaged over heads.
        text: (B, T, T) the same of text queries, or None. Queries that nothing attends to are padding and do not count.

    Returns:
        Mean and coefficient of variation, (B, T) float32 each.
    """
    count = torch.full((image.shape[0], 1), image.shape[1], dtype=torch.float64, device=image.device)
    total = image.sum(1, dtype=torch.float64)
    if text is not None:
        is_real = (image.amax(1) > 0)[:, :, None]
        text = text.double() * is_real
        count = count + is_real.sum(1)
        total = total + text.sum(1)
    mean = total / count
    # Around the mean, not by the sum of squares: a sink's attention varies little about a large value.
    squares = torch.stack(
        [(sample - m).square().sum(0) for sample, m in zip(image, mean.float(), strict=True)]
    ).double()
    if text is not None:
        squares = squares + ((text - mean[:, None]).square() * is_real).sum(1)
    deviation = (squares / count).sqrt()
    variation = torch.where(mean > 0, deviation / mean.clamp_min(1e-30), torch.zeros_like(mean))
    return mean.float(), variation.float()


@dataclass(frozen=True)
class SinkOptions:
    """When a token is a sink.

    Attributes:
        times_median: Its mean attention is at least this many times the median over the text tokens. Of 2204 ordinary
            tokens of the small model, none as even as a sink had more than 5 times the median.
        max_variation: The largest coefficient of variation of its attention over all queries. A word that covers a
            tenth of the picture, with three times the attention there, has 0.5.
        min_blocks: The share of the blocks read in which it must be a sink. The paper's sinks appear in blocks 20 to 47
            of 48: a sink in half of those is one in 0.29 of all blocks.

    Raises:
        ValueError: If a limit makes no sense.
    """

    times_median: float = 8.0
    max_variation: float = 0.5
    min_blocks: float = 0.25

    def __post_init__(self) -> None:
        if self.times_median <= 1 or self.max_variation <= 0 or not 0 < self.min_blocks <= 1:
            raise ValueError(f"a sink takes more than its share, nearly evenly, in some blocks; got {self}")


def find_sinks_by_block(
    mean: NDArray[np.floating], variation: NDArray[np.floating], options: SinkOptions | None = None
) -> NDArray[np.bool_]:
    """Find the sinks of one sample in each block.

    Args:
        mean: (n_blocks, T), see `SinkStats`.
        variation: (n_blocks, T), see `SinkStats`.
        options: None takes the defaults.

    Returns:
        (n_blocks, T) bool.

    Raises:
        ValueError: If the shapes do not match.
    """
    options = options or SinkOptions()
    if mean.ndim != 2 or mean.shape != variation.shape:
        raise ValueError(f"mean and variation must be (n_blocks, T), got {mean.shape} and {variation.shape}")
    is_real = mean > 0  # nothing attends to masked padding
    median = np.array([np.median(row[real]) if real.any() else np.inf for row, real in zip(mean, is_real, strict=True)])
    is_high = mean >= options.times_median * median[:, None]
    return np.asarray(is_real & is_high & (variation <= options.max_variation))


def find_sinks(
    mean: NDArray[np.floating], variation: NDArray[np.floating], options: SinkOptions | None = None
) -> tuple[int, ...]:
    """Find the tokens of one sample that are sinks in enough blocks.

    Args:
        mean: (n_blocks, T), see `SinkStats`.
        variation: (n_blocks, T), see `SinkStats`.
        options: None takes the defaults; `min_blocks` of them is the share of blocks that is enough.

    Returns:
        The positions of the sinks among the T text tokens, ascending.

    Raises:
        ValueError: If the shapes do not match.
    """
    options = options or SinkOptions()
    share_of_blocks = find_sinks_by_block(mean, variation, options).mean(0)
    return tuple(int(t) for t in np.flatnonzero(share_of_blocks >= options.min_blocks))


def find_sinks_in_samples(
    stats: Sequence[SinkStats | None], samples: Sequence[int], options: SinkOptions | None = None
) -> tuple[int, ...] | None:
    """Find the sinks of one frame from all its noise samples.

    Args:
        stats: Statistics of each forward pass, or None if a pass gathered none.
        samples: Which samples of each pass are of the frame; their statistics are averaged.
        options: None takes the defaults.

    Returns:
        The positions of the sinks, or None if no statistics were gathered.
    """
    gathered = [s for s in stats if s is not None]
    if not gathered:
        return None
    mean = torch.cat([s.mean[:, list(samples)] for s in gathered], 1).mean(1)
    variation = torch.cat([s.variation[:, list(samples)] for s in gathered], 1).mean(1)
    return find_sinks(mean.cpu().numpy(), variation.cpu().numpy(), options)


def suppress_sinks(maps: NDArray[np.float32], sinks: Sequence[int], ordinary: Sequence[int]) -> NDArray[np.float32]:
    """Compute the token maps as they would be if the sinks drew no more attention than ordinary tokens.

    The logit of a sink is lowered by a constant, so that the mean of its odds becomes the median of the ordinary
    tokens'. The attention that it loses goes to all other keys, text and image, in proportion. For one head this is
    exactly the softmax without the surplus; for the mean over heads and blocks it is an approximation.

    Args:
        maps: (T, h, w) attention probabilities.
        sinks: Positions of the sinks.
        ordinary: Positions of the tokens to compare with; if there are none, all that are not sinks.

    Returns:
        (T, h, w) float32; `maps` itself if there are no sinks.

    Raises:
        ValueError: If every token is a sink.
    """
    if not sinks:
        return maps
    sink_maps = maps[list(sinks)].astype(np.float64)
    rest = np.maximum(1 - sink_maps.sum(0), _EPSILON)
    without_sinks = maps / rest  # the softmax over the keys that are no sinks
    compared = [t for t in (ordinary or range(len(maps))) if t not in sinks] or [
        t for t in range(len(maps)) if t not in sinks
    ]
    if not compared:
        raise ValueError("every token is said to be a sink; there is no ordinary one to compare with")
    typical = float(np.median(without_sinks[compared].mean((1, 2))))
    odds = sink_maps / rest
    odds = np.asarray(odds * np.minimum(1, typical / np.maximum(odds.mean((1, 2), keepdims=True), _EPSILON)))
    total = 1 + odds.sum(0)
    out = without_sinks / total
    out[list(sinks)] = odds / total
    return out.astype(np.float32)
