"""From scores at single positions to a score of the whole picture: close to the highest, but with gradients for all.

How close is what decides where the peak lies. Near the mean, a noun's score may be spread over everything that comes
with it (a person's over grass and sky). README.md has what it is worth.
"""

from __future__ import annotations

import math

import torch

SHARPNESS = 8.0


def pool_over_positions(scores: torch.Tensor) -> torch.Tensor:
    """Return (B, ...) of log-odds (B, N, ...) at N positions: their log-sum-exp at `SHARPNESS`, less log N."""
    return (torch.logsumexp(scores * SHARPNESS, 1) - math.log(scores.shape[1])) / SHARPNESS
