"""The linear layer from the encoder's features to latents: directions that tell nouns apart, and what those leave.

The first directions are trained, through noise, to say which nouns a picture has (log-sum-exp over positions, binary
cross-entropy; no place is given); the rest are the principal components of what the first do not span.
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

_SHARPNESS = 2.0
_NOISE = 0.3
_BATCH = 48
_SAMPLE = 800  # pictures on which means, deviations and principal components are measured


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
    steps: int = 900,
    learnt_share: float = 0.67,
    rng: np.random.Generator,
    log: Callable[[str], None] = print,
) -> Projection:
    """Fit the projection and the probe.

    Args:
        data: The pictures.
        latents: How many numbers a token has.
        steps: Steps of training.
        learnt_share: Which share of the latents is trained on nouns.
        rng: Source of randomness.
        log: Called with a line now and then.
    """
    sample = np.sort(rng.choice(len(data.maps[0]), min(_SAMPLE, len(data.maps[0])), replace=False))
    features = torch.from_numpy(data.maps[0][sample].astype(np.float32)).flatten(0, 2)
    mean, deviation = features.mean(0), features.std(0).clamp_min(1e-6)
    features = (features - mean) / deviation
    rank = round(latents * learnt_share)
    directions = nn.Parameter(torch.randn(features.shape[1], rank) * 0.03)
    readout = nn.Linear(rank, data.present.shape[1])
    nn.init.normal_(readout.weight, std=0.1)
    nn.init.constant_(readout.bias, -3)
    optimiser = torch.optim.AdamW([directions, *readout.parameters()], 2e-3, weight_decay=1e-3)
    rarity, average = rarity_of(data.present), 0.0
    for step in range(steps):
        for group in optimiser.param_groups:
            group["lr"] = 2e-3 * min(1, (step + 1) / 50) * (0.05 + 0.95 * 0.5 * (1 + math.cos(math.pi * step / steps)))
        rows = data.sample_rows(rng, _BATCH, rarity)
        latent = ((data.tokens(rows, rng, 10) - mean) / deviation) @ directions
        latent = latent / latent.pow(2).mean((0, 1, 2), keepdim=True).sqrt()
        scores = readout(latent + _NOISE * torch.randn_like(latent)).flatten(1, 2)
        pooled = (torch.logsumexp(scores * _SHARPNESS, 1) - math.log(scores.shape[1])) / _SHARPNESS
        truth, weight = torch.from_numpy(data.present[rows]).float(), torch.from_numpy(data.weight[rows])
        loss = (F.binary_cross_entropy_with_logits(pooled, truth, reduction="none") * weight).sum() / weight.sum()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        average = loss.item() if step == 0 else 0.98 * average + 0.02 * loss.item()
        if step % 100 == 0 or step == steps - 1:
            log(f"projection {step + 1}/{steps}: word loss {average:.4f}")
    with torch.no_grad():
        spanned, _ = torch.linalg.qr(directions)
        rest = features[:: max(1, len(features) // 40_000)]
        rest = rest - (rest @ spanned) @ spanned.T
        _, _, components = torch.pca_lowrank(rest, q=latents - rank, center=True)
        columns = torch.cat([directions.detach(), components], 1)  # (C, latents) of standardised features
        projected = features @ columns
        weight = (columns / projected.std(0) / deviation[:, None]).T
        bias = -(projected.mean(0) / projected.std(0)) - weight @ mean
        # The readout was trained on directions of root mean square 1; the first latents are the same, standardised.
        learnt = projected[:, :rank]
        size = learnt.pow(2).mean(0).sqrt()
        probe = torch.zeros(len(readout.weight), latents)
        probe[:, :rank] = readout.weight * (learnt.std(0) / size)
        probe_bias = readout.bias + readout.weight @ (learnt.mean(0) / size)
    return Projection(weight.contiguous(), bias.contiguous(), probe, probe_bias)


@torch.no_grad()
def project(maps: NDArray[np.float16], projection: Projection, file: NDArray[np.float16]) -> NDArray[np.float16]:
    """Write the latents of (N, h, w, C) features into an array (N, h, w, latents) and return it."""
    for first in range(0, len(maps), 64):
        some = torch.from_numpy(maps[first : first + 64].astype(np.float32))
        file[first : first + 64] = (some @ projection.weight.T + projection.bias).half().numpy()
    return file
