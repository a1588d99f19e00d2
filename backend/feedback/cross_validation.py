"""Choose among settings by cross-validation over videos, so that unseen videos do not get worse."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from video import metrics

FOLDS = 5


@dataclass(frozen=True)
class CrossValidated:
    """The outcome of a choice.

    Attributes:
        index: The setting to use: 0, the current one, unless another is better on held-out examples.
        best: The setting that is best on all examples.
        gain: What choosing gains over setting 0 on held-out examples.
    """

    index: int
    best: int
    gain: metrics.Estimate


def assign_folds(groups: Sequence[Hashable], *, folds: int = FOLDS) -> NDArray[np.int64]:
    """Assign examples to folds of similar size, so that all examples of a group share one.

    Args:
        groups: The group of each example.
        folds: Number of folds; fewer groups than that make one fold each.

    Returns:
        (n,) int64: the fold of each example, from 0.
    """
    sizes: dict[Hashable, int] = {}
    for group in groups:
        sizes[group] = sizes.get(group, 0) + 1
    load, fold = [0] * min(folds, len(sizes)), {}
    for group, size in sorted(sizes.items(), key=lambda item: (-item[1], repr(item[0]))):
        fold[group] = int(np.argmin(load))
        load[fold[group]] += size
    return np.array([fold[group] for group in groups], np.int64)


def choose_setting(scores: NDArray[np.float64], groups: Sequence[Hashable]) -> CrossValidated:
    """Choose a setting; in each fold by all other folds, and evaluated on that one.

    Another setting than 0 is chosen only if that gains on held-out examples and the gain's 95 % interval does not reach
    below zero.

    Args:
        scores: (settings, examples), larger is better; setting 0 is the current one.
        groups: The video of each example.

    Raises:
        ValueError: If the shapes differ, or if there is only one video.
    """
    if scores.ndim != 2 or scores.shape[1] != len(groups):
        raise ValueError(f"scores must be (settings, {len(groups)}), got {scores.shape}")
    fold = assign_folds(groups)
    if fold.max(initial=0) < 1:
        raise ValueError("examples of at least two videos are needed: what is chosen by one is judged by another")
    gains = np.zeros(len(groups))
    for k in range(int(fold.max()) + 1):
        held_out = fold == k
        chosen = int(scores[:, ~held_out].mean(1).argmax())
        gains[held_out] = scores[chosen, held_out] - scores[0, held_out]
    gain = metrics.estimate_mean(gains)
    best = int(scores.mean(1).argmax())
    improves = gain.value > 0 and gain.low >= 0
    return CrossValidated(best if improves else 0, best, gain)
