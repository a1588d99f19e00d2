"""Heads are weighed by their peak: known maps, and whole passes against a naive weighted softmax."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from refam.attention import mean_probabilities, read_attention
from refam.head_weights import PeakWeights
from tests.refam.naive_attention import NaiveAttention
from tests.refam.small_transformers import LAYOUTS, B, T

# One sample, two heads, three places, two tokens: the first head is level, the second points at the last place.
LEVEL = [[0.2, 0.5], [0.2, 0.1], [0.2, 0.4]]
PEAKED = [[0.0, 0.9], [0.1, 0.3], [0.6, 0.2]]
HEADS = torch.tensor([[LEVEL, PEAKED]])


def test_a_peaked_head_weighs_more_than_a_level_one() -> None:
    assert PeakWeights(((0,),)).weigh(HEADS).tolist() == [pytest.approx([0.2, 0.6])]
    assert PeakWeights(((1,),)).weigh(HEADS).tolist() == [pytest.approx([0.5, 0.9])]


def test_tokens_are_summed_before_the_peak_is_taken() -> None:
    assert PeakWeights(((0, 1),)).weigh(HEADS).tolist() == [pytest.approx([0.7, 0.9])]


def test_each_sample_has_tokens_of_its_own() -> None:
    both = HEADS.expand(2, -1, -1, -1)
    assert PeakWeights(((0,), (1,))).weigh(both).tolist() == [pytest.approx([0.2, 0.6]), pytest.approx([0.5, 0.9])]
    assert PeakWeights(((0,), (1,))).weigh(HEADS, first=1).tolist() == [pytest.approx([0.5, 0.9])]
    assert PeakWeights(((0,), (0,))).shift([0, 1]) == PeakWeights(((0,), (1,)))


def test_parts_of_one_picture_share_the_highest_peak() -> None:
    parts = torch.cat([HEADS, HEADS.flip(1)])
    weights = PeakWeights(((0,),)).split_pictures(2)
    assert weights == PeakWeights(((0,), (0,)), 2)
    assert weights.weigh(parts).tolist() == [pytest.approx([0.6, 0.6])] * 2


@pytest.mark.parametrize(
    ("tokens", "parts", "message"),
    [
        ((), 1, "must have some"),
        (((),), 1, "must have some"),
        (((0,),) * 3, 2, "not pictures of 2"),
        (((0,),), 0, "of 0"),
    ],
)
def test_weights_that_fit_no_pass_are_refused(tokens: Any, parts: int, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        PeakWeights(tokens, parts)


@pytest.mark.parametrize("heads_at_once", [1, 2, 3, 5])
def test_the_weighted_mean_does_not_depend_on_how_many_heads_are_computed_at_once(heads_at_once: int) -> None:
    torch.manual_seed(0)
    q, k = torch.randn(2, 5, 9, 8), torch.randn(2, 5, 12, 8)
    scores = q @ k.transpose(-1, -2) * 0.5
    p = scores.softmax(-1)[..., :4]
    peaks = torch.stack([p[0, :, :, [1, 3]].sum(-1).amax(-1), p[1, :, :, [0]].sum(-1).amax(-1)])
    expected = (p * peaks[:, :, None, None]).sum(1) / peaks.sum(1)[:, None, None]
    got = mean_probabilities(
        q, k[:, :, :4], scores.logsumexp(-1), scale=0.5, heads_at_once=heads_at_once,
        weigh=PeakWeights(((1, 3), (0,))).weigh,
    )  # fmt: skip
    torch.testing.assert_close(got, expected, atol=1e-6, rtol=1e-5)


@pytest.mark.parametrize("name", LAYOUTS)
def test_whole_passes_equal_a_naive_weighted_softmax(name: str) -> None:
    torch.manual_seed(0)
    make, text = LAYOUTS[name]
    model, inputs, n_image = make()
    for parameter in model.parameters():  # a fresh model's heads are all level
        if parameter.ndim == 2:
            torch.nn.init.normal_(parameter, std=0.3)
    naive = NaiveAttention(T if text == "cross" else T + n_image)
    with torch.no_grad(), naive:
        model.eval()(**inputs)
    tokens = ((1, 2), (4,))
    columns = slice(T) if text in ("first", "cross") else slice(n_image, None)
    rows = slice(T, None) if text == "first" else slice(n_image)
    expected = []
    for p in naive.seen:
        maps = p[:, :, rows if text != "cross" else slice(None), columns]  # (B, H, N, T)
        peaks = torch.stack([maps[b][:, :, list(tokens[b])].sum(-1).amax(-1) for b in range(B)])
        expected.append((maps * peaks[:, :, None, None]).sum(1) / peaks.sum(1)[:, None, None])
    weighted, _ = read_attention(model, inputs, head_weights=PeakWeights(tokens), sink_stats=True, keep_blocks=True)
    plain, _ = read_attention(model, inputs, sink_stats=True, keep_blocks=True)
    for block, truth in enumerate(expected):
        torch.testing.assert_close(weighted.by_block[block], truth, atol=2e-6, rtol=1e-4)
        assert (weighted.by_block[block] - plain.by_block[block]).abs().max() > 1e-4, "all heads have one peak here"
    torch.testing.assert_close(weighted.mean, torch.stack(expected).mean(0), atol=2e-6, rtol=1e-4)
    assert weighted.sink_stats is not None
    assert plain.sink_stats is not None
    assert torch.equal(weighted.sink_stats.mean, plain.sink_stats.mean), "sinks are found in the plain mean"
    assert torch.equal(weighted.sink_stats.variation, plain.sink_stats.variation)


def test_weights_for_another_batch_are_refused() -> None:
    model, inputs, _ = LAYOUTS["cross (Wan)"][0]()
    with pytest.raises(ValueError, match="weighed for 1 samples, but there are 2"):
        read_attention(model, inputs, head_weights=PeakWeights(((0,),)))
