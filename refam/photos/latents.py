"""The linear layer from the encoder's features to latents: the directions that tell nouns apart.

A linear probe is trained to say which nouns a picture has (the highest score of its positions, softly; binary
cross-entropy; no place is given). The latents are the principal components of what it says at single positions.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import nn

from refam.photos.pooling import pool_over_positions

_RATE = 2e-3
_BATCH = 48
_LEAST_DEVIATION = 1e-6
_SAMPLE = 800  # pictures on which means, deviations and principal components are measured
_SCORES = 32_000  # positions of which principal components are computed


@dataclass(frozen=True, eq=False)
class NounData:
    """Pictures with what is known of them.

    Attributes:
        maps: Arrays (N_i, h_i, w_i, C), one for each set of pictures.
        present: (N, V) bool over all sets.
        weight: (N, V) float32.
    """

    maps: tuple[NDArray[np.float16], ...]
    present: NDArray[np.bool_]
    weight: NDArray[np.float32]

    def sample_rows(self, rng: np.random.Generator, count: int, rarity: NDArray[np.floating]) -> NDArray[np.int64]:
        """Return indices of pictures of one set, chosen with the given relative frequency.

        A set is chosen by the positions that it has, so that many small pictures do not crowd out larger ones.
        """
        ends = np.cumsum([len(m) for m in self.maps])
        positions = np.array([m.shape[0] * m.shape[1] * m.shape[2] for m in self.maps], np.float64)
        k = int(rng.choice(len(self.maps), p=positions / positions.sum()))
        first = ends[k] - len(self.maps[k])
        share = rarity[first : ends[k]]
        return first + rng.choice(len(share), count, p=share / share.sum())

    def tokens(self, rows: NDArray[np.int64], rng: np.random.Generator, grid: int) -> torch.Tensor:
        """Return (B, grid, grid, C) float32 of pictures of one set, thinned out to that grid at a random offset."""
        ends = np.cumsum([len(m) for m in self.maps])
        k = int(np.searchsorted(ends, rows[0], side="right"))
        array = self.maps[k]
        step = max(1, array.shape[1] // grid)
        y, x = rng.integers(0, step, 2)
        local = rows - (ends[k] - len(array))
        tokens = np.stack([array[i, y::step, x::step] for i in local]).astype(np.float32)
        flipped = rng.random(len(tokens)) < 0.5  # no text of training says left or right
        tokens[flipped] = tokens[flipped, :, ::-1]
        return torch.from_numpy(tokens)

    def sample_positions(self, rng: np.random.Generator) -> torch.Tensor:
        """Return (P, C) float32, all positions of some pictures of the first set."""
        maps = self.maps[0]
        sample = np.sort(rng.choice(len(maps), min(_SAMPLE, len(maps)), replace=False))
        return torch.from_numpy(maps[sample].astype(np.float32)).flatten(0, 2)

    def word_loss(self, scores: torch.Tensor, rows: NDArray[np.int64]) -> torch.Tensor:
        """Return the binary cross-entropy of what scores at single positions say of whole pictures.

        Args:
            scores: (B, N, V) log-odds of each noun at each of N positions. The picture's are between their mean and
                their highest (log-sum-exp).
            rows: (B,) which pictures these are.
        """
        pooled = pool_over_positions(scores)
        truth, weight = torch.from_numpy(self.present[rows]).float(), torch.from_numpy(self.weight[rows])
        return (F.binary_cross_entropy_with_logits(pooled, truth, reduction="none") * weight).sum() / weight.sum()


def rarity_of(present: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Return (N,) how often each picture is to be drawn: more often, the rarer what it shows.

    By the fourth root of the number of pictures: with the square root, pictures of one rare thing each crowd out those
    of people.
    """
    counts = np.maximum(present.sum(0), 1)
    return np.maximum(present @ counts**-0.25, 0.1)


@dataclass(frozen=True, eq=False)
class Projection:
    """Linear maps of features to latents of mean 0 and variance 1, and of latents to nouns (the linear probe).

    Attributes:
        weight: (latents, C); latents are `features @ weight.T + bias`.
        bias: (latents,).
        probe_weight: (V, latents); the log-odds of each noun at a token are `latents @ probe_weight.T + probe_bias`.
        probe_bias: (V,).
    """

    weight: torch.Tensor
    bias: torch.Tensor
    probe_weight: torch.Tensor
    probe_bias: torch.Tensor

    def save(self, file: Path) -> None:
        """Write all of it to a file."""
        torch.save(vars(self), file)

    @classmethod
    def load(cls, file: Path) -> Projection:
        """Read what `save` wrote."""
        return cls(**torch.load(file, weights_only=True))

    def noun_log_odds(self, latents: torch.Tensor, columns: torch.Tensor) -> torch.Tensor:
        """Return (R, N): for each of R rows of latents (R, N, latents) its noun's log-odds at every token."""
        return (latents * self.probe_weight[columns, None]).sum(-1) + self.probe_bias[columns, None]


def fit_projection(
    data: NounData,
    *,
    latents: int,
    steps: int = 1500,
    rng: np.random.Generator,
    log: Callable[[str], None] = print,
) -> Projection:
    """Fit the probe on all features, then keep the directions that matter most to what it says.

    Trained through so few directions from the start, the probe is clearly worse (README.md). Where there are fewer
    nouns than latents, the other latents are the principal components of what the first leave.

    Args:
        data: The pictures.
        latents: How many numbers a token has; at most the number of features.
        steps: Steps of training.
        rng: Source of randomness.
        log: Called with a line now and then.
    """
    features = data.sample_positions(rng)
    mean, deviation = features.mean(0), features.std(0).clamp_min(_LEAST_DEVIATION)
    features = (features - mean) / deviation
    probe = _fit_probe(data, mean, deviation, steps, rng, log)
    with torch.no_grad():
        some = features[:: max(1, len(features) // _SCORES)]
        scores = probe(some)
        centre = scores.mean(0)
        _, _, components = torch.linalg.svd(scores - centre, full_matrices=False)
        said = components[:latents]  # (at most `latents`, V)
        columns = probe.weight.T @ said.T
        if columns.shape[1] < latents:  # of few nouns
            spanned, _ = torch.linalg.qr(columns)
            _, _, rest = torch.pca_lowrank(some - (some @ spanned) @ spanned.T, q=latents - columns.shape[1])
            columns = torch.cat([columns, rest], 1)  # (C, latents)
        projected = features @ columns
        size, middle = projected.std(0).clamp_min(_LEAST_DEVIATION), projected.mean(0)
        weight = (columns / size / deviation[:, None]).T
        bias = -middle / size - weight @ mean
        # What the probe says, by its components: its bias is theirs at the mean of the features.
        n = len(said)
        probe_weight = torch.zeros(len(centre), latents)
        probe_weight[:, :n] = said.T * size[:n]
        probe_bias = centre + (middle[:n] - some.mean(0) @ columns[:, :n]) @ said
    return Projection(weight.contiguous(), bias, probe_weight, probe_bias)


def _fit_probe(
    data: NounData,
    mean: torch.Tensor,
    deviation: torch.Tensor,
    steps: int,
    rng: np.random.Generator,
    log: Callable[[str], None],
) -> nn.Linear:
    probe = nn.Linear(len(mean), data.present.shape[1])
    nn.init.normal_(probe.weight, std=0.01)
    nn.init.constant_(probe.bias, -3)
    optimiser = torch.optim.AdamW(probe.parameters(), _RATE, weight_decay=1e-3)
    rarity, average = rarity_of(data.present), 0.0
    for step in range(steps):
        progress = step / steps
        rate = _RATE * min(1, (step + 1) / 50) * (0.05 + 0.95 * 0.5 * (1 + math.cos(math.pi * progress)))
        optimiser.param_groups[0]["lr"] = rate
        rows = data.sample_rows(rng, _BATCH, rarity)
        loss = data.word_loss(probe(((data.tokens(rows, rng, 10) - mean) / deviation).flatten(1, 2)), rows)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        average = loss.item() if step == 0 else 0.98 * average + 0.02 * loss.item()
        if step % 100 == 0 or step == steps - 1:
            log(f"projection {step + 1}/{steps}: word loss {average:.4f}")
    return probe.requires_grad_(False)


@torch.no_grad()
def project(maps: NDArray[np.float16], projection: Projection, file: NDArray[np.float16]) -> NDArray[np.float16]:
    """Write the latents of (N, h, w, C) features into an array (N, h, w, latents) and return it."""
    for first in range(0, len(maps), 64):
        some = torch.from_numpy(maps[first : first + 64].astype(np.float32))
        file[first : first + 64] = (some @ projection.weight.T + projection.bias).half().numpy()
    return file
