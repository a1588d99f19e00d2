"""A picture's score against its formula and its limits."""

from __future__ import annotations

import math

import pytest
import torch

from refam.photos.pooling import SHARPNESS, pool_over_positions


@pytest.mark.parametrize(
    ("scores", "pooled"),
    [
        ([0.7], 0.7),
        ([-2.0, -2.0, -2.0], -2.0),
        ([30.0, 0.0, 0.0, 0.0], 30 - math.log(4) / SHARPNESS),
        ([0.1, 0.2], math.log((math.exp(SHARPNESS * 0.1) + math.exp(SHARPNESS * 0.2)) / 2) / SHARPNESS),
    ],
    ids=["one", "all the same", "one far above", "near each other"],
)
def test_the_score_is_the_soft_maximum_of_its_positions(scores, pooled):
    given = torch.tensor(scores, dtype=torch.float64)[None, :, None].expand(2, -1, 3)
    assert pool_over_positions(given) == pytest.approx(torch.full((2, 3), pooled, dtype=torch.float64))


def test_the_highest_position_gets_most_of_the_gradient():
    scores = torch.tensor([[0.0, 0.5, 1.0]], requires_grad=True)
    (gradient,) = torch.autograd.grad(pool_over_positions(scores).sum(), scores)
    assert gradient.sum() == pytest.approx(1)
    assert gradient[0, 2] > 0.95
    assert (gradient > 0).all()
