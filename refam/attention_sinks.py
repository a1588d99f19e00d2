"""Global attention sinks (GAS), and how the background's attention is divided.

A sink is a token to which all text and image tokens attend, much and nearly alike: it says nothing of any place
(RefAM, arXiv 2509.22650, section on global attention sinks; absent in early blocks, there in deep ones). On a stop word
it goes with the stop word's map. On a word that is meant it drowns the other words' maps, so its attention is taken
away (suppressed) or given to the magnets (redirected).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from refam.attention_statistics import SinkStats
from refam.text.expression import Expression, Role

_LEAST = 1e-12  # keeps logarithms and quotients of attention finite


@dataclass(frozen=True)
class SinkOptions:
    """When a token is a sink.

    times_median: its share of attention is at least so many times the median over the text tokens; of 2204 ordinary
    tokens of the small model none that was so even had more than 5 times. max_variation: standard deviation over mean
    of its attention over all queries, at most; a word seen in a tenth of the picture with three times the attention
    there has 0.5.
    min_blocks: share of the blocks read in which it is one. The paper's emerge in blocks 20 to 47 of 48: a sink of half
    of those is one of 0.29 of all.
    """

    times_median: float = 8.0
    max_variation: float = 0.5
    min_blocks: float = 0.25

    def __post_init__(self) -> None:
        if self.times_median <= 1 or self.max_variation <= 0 or not 0 < self.min_blocks <= 1:
            raise ValueError(f"a sink takes more than its share, nearly evenly, in some blocks; got {self}")


def sinks_by_block(
    share: NDArray[np.floating], variation: NDArray[np.floating], options: SinkOptions | None = None
) -> NDArray[np.bool_]:
    """(n_blocks, T) share and variation of one sample, as in SinkStats -> (n_blocks, T) bool."""
    options = options or SinkOptions()
    if share.ndim != 2 or share.shape != variation.shape:
        raise ValueError(f"share and variation must be (n_blocks, T), got {share.shape} and {variation.shape}")
    real = share > 0  # masked padding has none
    median = np.array([np.median(row[some]) if some.any() else np.inf for row, some in zip(share, real, strict=True)])
    much = share >= options.times_median * median[:, None]
    return np.asarray(real & much & (variation <= options.max_variation))


def find_sinks(
    share: NDArray[np.floating], variation: NDArray[np.floating], options: SinkOptions | None = None
) -> tuple[int, ...]:
    """Positions of the tokens that are sinks in enough of the blocks; arguments as for `sinks_by_block`."""
    options = options or SinkOptions()
    found = sinks_by_block(share, variation, options).mean(0)
    return tuple(int(t) for t in np.flatnonzero(found >= options.min_blocks))


def sinks_of(
    stats: Sequence[SinkStats | None], samples: Sequence[int], options: SinkOptions | None = None
) -> tuple[int, ...] | None:
    """Positions of the sinks in these samples (draws of noise of one frame) of every forward pass, all averaged.

    None where nothing was gathered.
    """
    gathered = [s for s in stats if s is not None]
    if not gathered:
        return None
    share = torch.cat([s.share[:, list(samples)] for s in gathered], 1).mean(1)
    variation = torch.cat([s.variation[:, list(samples)] for s in gathered], 1).mean(1)
    return find_sinks(share.cpu().numpy(), variation.cpu().numpy(), options)


def suppress(maps: NDArray[np.float32], sinks: Sequence[int], like: Sequence[int]) -> NDArray[np.float32]:
    """Token maps (T, h, w) as they would be if the sinks drew no more attention than the tokens `like`.

    maps: probabilities. A sink's logit is lowered by a constant, so that the mean of its odds becomes the median of
    theirs, and what it held goes back to all other keys, text and image, in proportion. For one head this is exactly
    the softmax without the surplus; for the mean of several heads and blocks it is an approximation.
    """
    if not sinks:
        return maps
    held, rest = _divided(maps, sinks)
    odds = _tamed(held, rest, sinks, like)
    total = 1 + odds.sum(0)
    out = rest / total
    out[list(sinks)] = odds / total
    return out.astype(np.float32)


def redirect(
    maps: NDArray[np.float32], sinks: Sequence[int], like: Sequence[int], magnets: Sequence[int]
) -> NDArray[np.float32]:
    """Token maps (T, h, w) with the sinks' surplus on the magnets, in equal parts; all other maps stay.

    The surplus is what a sink holds beyond what `suppress` would leave it, so that each place gives the text as much
    attention as before. Raises ValueError without magnets.
    """
    if not sinks:
        return maps
    takers = [m for m in magnets if m not in sinks]
    if not takers:
        raise ValueError(
            "attention can be redirected onto magnets only, and there are none: append magnets or suppress"
        )
    held, rest = _divided(maps, sinks)
    odds = _tamed(held, rest, sinks, like)
    kept = np.minimum(odds / (1 + odds.sum(0)), held)
    out = maps.astype(np.float64)
    out[list(sinks)] = kept
    out[takers] += (held - kept).sum(0) / len(takers)
    return out.astype(np.float32)


def _divided(maps: NDArray[np.float32], sinks: Sequence[int]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """What sinks hold (S, h, w), and all maps (T, h, w) with the softmax taken over the other keys alone."""
    held = maps[list(sinks)].astype(np.float64)
    left = np.maximum(1 - held.sum(0), _LEAST)
    return held, maps / left


def _tamed(
    held: NDArray[np.float64], rest: NDArray[np.float64], sinks: Sequence[int], like: Sequence[int]
) -> NDArray[np.float64]:
    """(S, h, w): each sink's odds against all keys that are none, brought down to the mean of ordinary tokens."""
    others = [t for t in (like or range(len(rest))) if t not in sinks] or [
        t for t in range(len(rest)) if t not in sinks
    ]
    if not others:
        raise ValueError("every token is said to be a sink; there is no ordinary one to compare with")
    typical = float(np.median(rest[others].mean((1, 2))))
    odds = held / np.maximum(1 - held.sum(0), _LEAST)
    return np.asarray(odds * np.minimum(1, typical / np.maximum(odds.mean((1, 2), keepdims=True), _LEAST)))


@dataclass(frozen=True)
class BackgroundSplit:
    """Where attention from outside the object goes, in shares of what goes to text.

    words: on words that are looked for (leak). magnets, stops, rest: on those tokens; the four make 1. clusters: how
    many magnets and stop words share it, as a number of equals (exp of the entropy). largest: of these, the largest's
    part. attention: mean share of a background place's whole attention that is on text.
    """

    words: float
    magnets: float
    stops: float
    rest: float
    clusters: float
    largest: float
    attention: float


def background_split(
    maps: NDArray[np.float32], expression: Expression, background: NDArray[np.bool_]
) -> BackgroundSplit:
    """Token maps (T, h, w) of the expression's tokens, and which places (h, w) are background.

    Source: RefAM's attention redistribution, where appended stop words take the background's attention off the words.
    """
    if maps.shape != (len(expression.tokens), *background.shape):
        raise ValueError(f"maps {maps.shape} are not of {len(expression.tokens)} tokens on a grid {background.shape}")
    if not background.any():
        raise ValueError("no place is background: the mask of the object covers the whole frame")
    given = maps[:, background].mean(1, dtype=np.float64)
    total = max(float(given.sum()), _LEAST)
    magnets, stops = (given[expression.positions(role)] for role in (Role.MAGNET, Role.STOP))
    idle = np.concatenate([magnets, stops])
    parts = idle[idle > 0] / max(float(idle.sum()), _LEAST)
    words = float(sum(given[positions].sum() for positions in expression.content_words())) / total
    on_magnets, on_stops = float(magnets.sum()) / total, float(stops.sum()) / total
    return BackgroundSplit(
        words=words,
        magnets=on_magnets,
        stops=on_stops,
        rest=1 - words - on_magnets - on_stops,
        clusters=float(np.exp(-(parts * np.log(parts)).sum())) if parts.size else 0.0,
        largest=float(parts.max()) if parts.size else 0.0,
        attention=float(given.sum()),
    )
