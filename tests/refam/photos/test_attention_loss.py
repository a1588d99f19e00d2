"""The word loss against its formula, written out, and the recorded attention against torch's own."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F

from refam.photos.attention_loss import AskedNouns, RecordAttention, WordLoss


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


def asked(*, position: int, present: float, weight: float, probe: list[float]) -> AskedNouns:
    one = torch.ones(1)
    return AskedNouns(torch.tensor([0]), torch.tensor([position]), one * present, one * weight, torch.tensor([probe]))


def test_the_losses_are_their_formulas():
    attention = torch.tensor([[[0.01, 0.2], [0.02, 0.1], [0.03, 0.05]]])  # (1, 3 image tokens, 2 words)
    probe = [2.0, 0.0, -3.0]
    word, by_token = WordLoss(1)([attention], asked(position=1, present=1.0, weight=0.5, probe=probe))
    log_odds = [math.log(p / (1 - p)) + 3.5 for p in (0.2, 0.1, 0.05)]
    pooled = math.log(sum(math.exp(8 * x) for x in log_odds) / 3) / 8
    assert word.item() == pytest.approx(0.5 * math.log(1 + math.exp(-pooled)), rel=1e-5)
    expected = [1 / (1 + math.exp(-x)) for x in probe]
    cross = [math.log(1 + math.exp(x)) - y * x for x, y in zip(log_odds, expected, strict=True)]
    assert by_token.item() == pytest.approx(0.5 * 3 * sum(cross) / 3, rel=1e-5)  # three times the weight of absent ones


def test_an_absent_noun_is_at_no_token_whatever_the_probe_says():
    attention = torch.full((1, 2, 1), 0.05)
    given = [asked(position=0, present=0.0, weight=1.0, probe=[p, p]) for p in (-5.0, 5.0)]
    assert len({WordLoss(1)([attention], a)[1].item() for a in given}) == 1


@pytest.mark.parametrize("present", [0.0, 1.0])
def test_training_moves_the_attention_the_right_way(present):
    attention = torch.full((1, 5, 1), 0.05, requires_grad=True)
    word, by_token = WordLoss(1)([attention], asked(position=0, present=present, weight=1.0, probe=[4.0] * 5))
    for loss in (word, by_token):
        (gradient,) = torch.autograd.grad(loss, attention, retain_graph=True)
        assert bool((gradient < 0).all()) == bool(present)  # a smaller loss with more attention, if it is there
