"""The word loss against its formula, written out, and the recorded attention against torch's own."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F

from refam.photos.attention_loss import RecordAttention, WordLoss


def test_the_recorded_attention_is_the_joint_softmax_and_the_output_stays():
    generator = torch.Generator().manual_seed(0)
    query, key, value = (torch.randn(2, 3, 9, 4, generator=generator) for _ in range(3))
    with RecordAttention(n_text=4) as recorded:
        output = F.scaled_dot_product_attention(query, key, value)
    assert torch.allclose(output, F.scaled_dot_product_attention(query, key, value), atol=1e-6)
    joint = torch.softmax(query @ key.mT / 2, -1)
    assert torch.allclose(recorded.maps[0], joint[:, :, 4:, :4].mean(1), atol=1e-6)


def test_attention_within_the_text_encoder_is_not_recorded():
    text = torch.randn(1, 2, 4, 8)
    with RecordAttention(n_text=4) as recorded:
        F.scaled_dot_product_attention(text, text, text)
    assert recorded.maps == []


def test_the_loss_is_its_formula():
    attention = torch.tensor([[[0.01, 0.2], [0.02, 0.1], [0.03, 0.05]]])  # (1, 3 image tokens, 2 words)
    loss = WordLoss(1)
    given = loss([attention], torch.tensor([0]), torch.tensor([1]), torch.tensor([1.0]), torch.tensor([0.5]))
    log_odds = [math.log(p / (1 - p)) + 3.5 for p in (0.2, 0.1, 0.05)]
    pooled = math.log(sum(math.exp(2 * x) for x in log_odds) / 3) / 2
    assert given.item() == pytest.approx(0.5 * math.log(1 + math.exp(-pooled)), rel=1e-5)


@pytest.mark.parametrize("present", [0.0, 1.0])
def test_training_moves_the_attention_the_right_way(present):
    attention = torch.full((1, 5, 1), 0.05, requires_grad=True)
    one = torch.ones(1)
    WordLoss(1)([attention], torch.tensor([0]), torch.tensor([0]), one * present, one).backward()
    assert bool((attention.grad < 0).all()) == bool(present)  # a smaller loss with more attention, if it is there
