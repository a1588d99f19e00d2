"""Choosing among settings so that it does not get worse on what was not seen: cross-validation over videos."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from video import metrics

FOLDS = 5


@dataclass(frozen=True)
class CrossValidated:
    """index: the setting to use, 0 (what is in use) unless another is better on what it was not chosen by.

    best: the setting that is best on everything. gain: of choosing, over setting 0, on the examples that were held out.
    """

    index: int
    best: int
    gain: metrics.Estimate


def folds_of(groups: Sequence[Hashable], *, folds: int = FOLDS) -> NDArray[np.int64]:
    """(n,) fold of each example; all examples of a group are in one. Fewer groups than folds: one fold per group."""
    sizes: dict[Hashable, int] = {}
    for group in groups:
        sizes[group] = sizes.get(group, 0) + 1
    load, fold = [0] * min(folds, len(sizes)), {}
    for group, size in sorted(sizes.items(), key=lambda item: (-item[1], repr(item[0]))):
        fold[group] = int(np.argmin(load))
        load[fold[group]] += size
    return np.array([fold[group] for group in groups], np.int64)


def choose(worth: NDArray[np.float64], groups: Sequence[Hashable]) -> CrossValidated:
    """worth: (settings, examples), larger is better; setting 0 is in use. groups: the video of each example.

    In each fold the setting is chosen by all other folds and judged on that one. Another setting than 0 is taken only
    where that gains, and the gain's 95 % interval does not reach below zero. Raises ValueError for a single video.
    """
    if worth.ndim != 2 or worth.shape[1] != len(groups):
        raise ValueError(f"worth must be (settings, {len(groups)}), got {worth.shape}")
    fold = folds_of(groups)
    if fold.max(initial=0) < 1:
        raise ValueError("examples of at least two videos are needed: what is chosen by one is judged by another")
    gains = np.zeros(len(groups))
    for k in range(int(fold.max()) + 1):
        held_out = fold == k
        chosen = int(worth[:, ~held_out].mean(1).argmax())
        gains[held_out] = worth[chosen, held_out] - worth[0, held_out]
    gain = metrics.mean(gains)
    best = int(worth.mean(1).argmax())
    pays = gain.value > 0 and gain.low >= 0
    return CrossValidated(best if pays else 0, best, gain)
