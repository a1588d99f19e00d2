"""Statistics of sinks against a plain softmax; planted sinks are found and suppressed, and others left alone."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from diffusers import HunyuanVideoTransformer3DModel, MochiTransformer3DModel
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.overrides import TorchFunctionMode

from refam.attention import read_attention
from refam.attention_layouts import attention_modules
from refam.attention_sinks import (
    SinkOptions,
    SinkStats,
    compute_sink_stats,
    find_sinks,
    find_sinks_by_block,
    suppress_sinks,
)
from refam.backbones import FluxBackbone
from refam.grounder import Grounder, GroundingOptions
from refam.grounding import suppress_content_sinks
from refam.text.tokens import TokenRole
from tests.refam.small_transformers import LAYOUTS, B, T, flux


class Recorder(TorchFunctionMode):
    """Every softmax with this many keys, averaged over heads, in float64."""

    def __init__(self, n_keys: tuple[int, ...]) -> None:
        super().__init__()
        self.n_keys = n_keys
        self.seen: list[torch.Tensor] = []

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func is F.scaled_dot_product_attention:
            call = {**dict(zip(("query", "key", "value", "attn_mask"), args, strict=False)), **(kwargs or {})}
            q, k, mask = call["query"].double(), call["key"].double(), call.get("attn_mask")
            if k.shape[2] in self.n_keys:
                scores = q @ k.transpose(-1, -2) * q.shape[-1] ** -0.5
                if mask is not None:
                    scores = scores.masked_fill(~mask, float("-inf"))
                self.seen.append(torch.softmax(scores, -1).mean(1))
        return func(*args, **(kwargs or {}))


def randomise_weights(model: torch.nn.Module) -> torch.nn.Module:
    """A fresh model attends nearly evenly: any bug would hide in it."""
    for parameter in model.parameters():
        if parameter.ndim == 2:
            torch.nn.init.normal_(parameter, std=0.3)
    return model.eval()


def moments(p: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(queries, T) -> mean and coefficient of variation."""
    return p.mean(0), p.std(0) / p.mean(0)


@pytest.mark.parametrize("name", LAYOUTS)
def test_mean_and_variation_equal_those_of_the_whole_softmax(name: str) -> None:
    torch.manual_seed(0)
    make, text = LAYOUTS[name]
    model, inputs, n_image = make()
    randomise_weights(model)
    naive = Recorder((T if text == "cross" else T + n_image,))
    with torch.no_grad(), naive:
        model(**inputs)
    reading, _ = read_attention(model, inputs, sink_stats=True)
    stats = reading.sink_stats
    assert stats is not None
    assert stats.blocks == tuple(range(len(naive.seen)))
    assert stats.mean.shape == stats.variation.shape == (len(naive.seen), B, T)
    columns = slice(n_image, None) if text == "last" else slice(T)
    for block, whole in enumerate(naive.seen):
        for sample in range(B):
            mean, variation = moments(whole[sample, :, columns].numpy())
            np.testing.assert_allclose(stats.mean[block, sample], mean, rtol=1e-4)
            np.testing.assert_allclose(stats.variation[block, sample], variation, rtol=1e-4)
    torch.testing.assert_close(reading.mean, read_attention(model, inputs)[0].mean, rtol=0, atol=0)


@pytest.mark.parametrize("name", LAYOUTS)
def test_only_text_tokens_that_are_read_count_as_queries(name: str) -> None:
    torch.manual_seed(0)
    make, text = LAYOUTS[name]
    model, inputs, n_image = make()
    randomise_weights(model)
    naive = Recorder((T if text == "cross" else T + n_image,))
    with torch.no_grad(), naive:
        model(**inputs)
    stats = read_attention(model, inputs, blocks=[1], first_text=2, n_text=3, sink_stats=True)[0].sink_stats
    assert stats is not None
    assert stats.blocks == (1,)
    base = n_image if text == "last" else 0
    own = list(range(base + 2, base + 5))
    image = {"first": range(T, T + n_image), "last": range(n_image), "cross": range(n_image)}[text]
    queries = [*image, *own] if text != "cross" else list(image)
    mean, variation = moments(naive.seen[1][0][queries][:, own].numpy())
    np.testing.assert_allclose(stats.mean[0, 0], mean, rtol=1e-4)
    np.testing.assert_allclose(stats.variation[0, 0], variation, rtol=1e-4)


def test_no_statistics_are_gathered_unless_asked_for() -> None:
    torch.manual_seed(0)
    model, inputs, _ = LAYOUTS["text first (FLUX)"][0]()
    assert read_attention(model.eval(), inputs)[0].sink_stats is None


def test_masked_padding_is_neither_query_nor_key() -> None:
    torch.manual_seed(0)
    model = HunyuanVideoTransformer3DModel(
        in_channels=4, out_channels=4, num_attention_heads=2, attention_head_dim=10, num_layers=1,
        num_single_layers=1, num_refiner_layers=1, patch_size=2, patch_size_t=1, guidance_embeds=False,
        text_embed_dim=12, pooled_projection_dim=5, rope_axes_dim=(2, 4, 4),
    )  # fmt: skip
    randomise_weights(model)
    keep = torch.ones(B, T)
    keep[0, 4:] = 0
    inputs = {
        "hidden_states": torch.randn(B, 4, 1, 8, 12),
        "timestep": torch.full((B,), 500),
        "encoder_hidden_states": torch.randn(B, T, 12),
        "encoder_attention_mask": keep,
        "pooled_projections": torch.randn(B, 5),
        "return_dict": False,
    }
    naive = Recorder((24 + T,))
    with torch.no_grad(), naive:
        model(**inputs)
    stats = read_attention(model, inputs, sink_stats=True)[0].sink_stats
    assert stats is not None
    for sample, real in ((0, 4), (1, T)):
        for block, whole in enumerate(naive.seen):
            mean, variation = moments(whole[sample, : 24 + real, 24 : 24 + real].numpy())
            np.testing.assert_allclose(stats.mean[block, sample, :real], mean, rtol=1e-4)
            np.testing.assert_allclose(stats.variation[block, sample, :real], variation, rtol=1e-4)
    assert not stats.mean[:, 0, 4:].any()
    assert not stats.variation[:, 0, 4:].any()


def test_dropped_padding_is_neither_query_nor_key() -> None:
    torch.manual_seed(0)
    model = MochiTransformer3DModel(
        num_attention_heads=2, attention_head_dim=8, num_layers=2, pooled_projection_dim=16, in_channels=4,
        text_embed_dim=16, time_embed_dim=4, patch_size=2,
    )  # fmt: skip
    randomise_weights(model)
    keep = torch.ones(B, T)
    keep[0, 4:] = 0
    inputs = {
        "hidden_states": torch.randn(B, 4, 1, 8, 12),
        "encoder_hidden_states": torch.randn(B, T, 16),
        "timestep": torch.full((B,), 500),
        "encoder_attention_mask": keep.bool(),
        "return_dict": False,
    }
    naive = Recorder((24 + 4, 24 + T))
    with torch.no_grad(), naive:
        model(**inputs)
    stats = read_attention(model, inputs, sink_stats=True)[0].sink_stats
    assert stats is not None
    assert len(naive.seen) == 2 * B, "Mochi attends one sample at a time"
    for call, whole in enumerate(naive.seen):
        block, sample = divmod(call, B)
        real = (4, T)[sample]
        mean, _ = moments(whole[0, : 24 + real, 24:].numpy())
        np.testing.assert_allclose(stats.mean[block, sample, :real], mean, rtol=1e-4)
        assert not stats.mean[block, sample, real:].any()


def test_mean_and_variation_of_small_matrices() -> None:
    even = torch.full((1, 6, 1), 0.4)
    spotty = torch.tensor([0.6, 0, 0, 0, 0, 0.0])[None, :, None]
    image = torch.cat([even, spotty], 2)
    text = torch.tensor([[[0.4, 0.0], [0.4, 0.0]]])
    mean, variation = compute_sink_stats(image, text)
    np.testing.assert_allclose(mean, [[0.4, 0.6 / 8]], rtol=1e-6)
    np.testing.assert_allclose(variation, [[0.0, np.std([0.6] + [0] * 7) / (0.6 / 8)]], atol=1e-6)


def test_stats_of_other_shapes_are_refused() -> None:
    with pytest.raises(ValueError, match="of 2 blocks"):
        SinkStats((0, 1), torch.zeros(1, 1, 3), torch.zeros(1, 1, 3))


def test_slice_text_starts_at_each_samples_own_start() -> None:
    mean = torch.arange(10.0).reshape(1, 2, 5)
    cut = SinkStats((3,), mean, mean).slice_text([0, 2], 3)
    assert cut.mean.tolist() == [[[0, 1, 2], [7, 8, 9]]]


GRID = (3, 5)


def softmax(logits: np.ndarray) -> np.ndarray:
    """(keys, h, w) over keys."""
    e = np.exp(logits - logits.max(0))
    return e / e.sum(0)


def plant_sink(seed: int, sink: int, boost: float) -> tuple[np.ndarray, np.ndarray]:
    """(6, h, w) text maps without and with a constant added to one logit, among 26 keys.

    The boosted token's odds are made to average what the median of the others' does, so that the truth is ordinary.
    """
    rng = np.random.default_rng(seed)
    logits = rng.normal(size=(26, *GRID))
    p = softmax(logits)
    rest = np.delete(p / (1 - p[sink]), sink, 0)[:5]
    typical = np.median(rest.mean((1, 2)))
    logits[sink] += np.log(typical / (p[sink] / (1 - p[sink])).mean())
    truth = softmax(logits)[:6]
    logits[sink] += boost
    return truth.astype(np.float32), softmax(logits)[:6].astype(np.float32)


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 10_000), sink=st.integers(0, 5), boost=st.floats(0.5, 8))
def test_suppression_removes_a_planted_sink_exactly(seed: int, sink: int, boost: float) -> None:
    truth, maps = plant_sink(seed, sink, boost)
    others = [t for t in range(6) if t != sink]
    np.testing.assert_allclose(suppress_sinks(maps, [sink], others), truth, rtol=2e-3, atol=1e-6)


def test_two_sinks_are_suppressed_at_once() -> None:
    rng = np.random.default_rng(0)
    truth = softmax(np.concatenate([np.zeros((3, *GRID)), rng.normal(size=(20, *GRID))]))  # three tokens alike
    logits = np.log(truth)
    logits[0] += 3
    logits[1] += 5
    maps = softmax(logits)[:4].astype(np.float32)
    # Both end as the third is: at the mean of its odds against what is no sink.
    out = suppress_sinks(maps, [0, 1], [2])
    np.testing.assert_allclose(out[0], truth[0], rtol=1e-3)
    np.testing.assert_allclose(out[1], truth[1], rtol=1e-3)
    np.testing.assert_allclose(out[2:], truth[2:4], rtol=1e-3)


def test_maps_without_sinks_are_returned_and_invalid_arguments_refused() -> None:
    maps = softmax(np.random.default_rng(0).normal(size=(4, *GRID))).astype(np.float32)
    assert suppress_sinks(maps, [], [1]) is maps
    with pytest.raises(ValueError, match="no ordinary one"):
        suppress_sinks(maps, [0, 1, 2, 3], [])
    with pytest.raises(ValueError, match="more than its share"):
        SinkOptions(times_median=0.5)


def test_suppressing_a_token_that_has_all_attention_stays_finite() -> None:
    maps = np.zeros((3, *GRID), np.float32)
    maps[0] = 1
    assert np.isfinite(suppress_sinks(maps, [0], [1])).all()


@pytest.mark.parametrize(
    ("name", "share", "variation", "expected"),
    [
        ("much and even", 0.4, 0.1, True),
        ("much, but in some places", 0.4, 1.5, False),
        ("even, but little", 0.02, 0.1, False),
        ("at both limits", 0.08, 0.5, True),
    ],
)
def test_what_makes_a_sink(name: str, share: float, variation: float, expected: bool) -> None:
    shares, variations = np.full((1, 6), 0.01), np.full((1, 6), 0.8)
    shares[0, 3], variations[0, 3] = share, variation
    assert find_sinks_by_block(shares, variations).tolist() == [[False, False, False, expected, False, False]], name
    assert find_sinks(shares, variations) == ((3,) if expected else ())


def test_a_sink_must_hold_in_a_quarter_of_the_blocks() -> None:
    shares, variations = np.full((8, 5), 0.01), np.full((8, 5), 0.1)
    shares[6:, 1] = 0.5  # deep blocks alone
    shares[7, 2] = 0.5
    assert find_sinks(shares, variations) == (1,)
    assert find_sinks(shares, variations, SinkOptions(min_blocks=0.1)) == (1, 2)


def test_masked_padding_is_no_sink_and_not_in_the_median() -> None:
    shares, variations = np.zeros((1, 20)), np.zeros((1, 20))
    shares[0, :4] = (0.01, 0.01, 0.012, 0.3)
    assert find_sinks(shares, variations) == (3,)


@pytest.mark.parametrize("sink", [0, 2, 6])
def test_a_sink_planted_in_a_model_is_found_in_its_blocks_alone(sink: int) -> None:
    torch.manual_seed(0)
    model, inputs, n_image = flux()
    for parameter in model.parameters():
        if parameter.ndim == 2:
            torch.nn.init.normal_(parameter, std=0.12)
    model.eval()
    bias = torch.zeros(1, 1, 1, 7 + n_image)
    bias[..., sink] = 6.0

    def plant(_: object, args: object, kwargs: dict) -> tuple[object, dict]:
        return args, {**kwargs, "attention_mask": bias}

    clean = read_attention(model, inputs, sink_stats=True)[0].sink_stats
    for module in attention_modules(model)[2:]:  # deep blocks alone
        module.register_forward_pre_hook(plant, with_kwargs=True)
    stats = read_attention(model, inputs, sink_stats=True)[0].sink_stats
    assert clean is not None
    assert stats is not None
    for sample in range(2):
        assert find_sinks(clean.mean[:, sample].numpy(), clean.variation[:, sample].numpy()) == ()
        found = find_sinks_by_block(stats.mean[:, sample].numpy(), stats.variation[:, sample].numpy())
        assert found.any(1).tolist() == [False, False, True, True]
        assert np.flatnonzero(found.any(0)).tolist() == [sink]
        assert find_sinks(stats.mean[:, sample].numpy(), stats.variation[:, sample].numpy()) == (sink,)


# --- in grounding ----------------------------------------------------------------------------------------------------


@pytest.fixture(name="red_as_a_sink")
def _red_as_a_sink(random_backbone: FluxBackbone) -> Iterator[tuple[Grounder, int]]:
    """A grounder whose model gives the word "red" a constant of 8 in every block, by the mask its attention takes."""
    grounder = Grounder(random_backbone)
    tokens = grounder.parse("the red star").tokens
    red = [t.word for t in tokens].index("red")

    def plant(_: object, args: object, kwargs: dict) -> tuple[object, dict]:
        bias = torch.zeros(1, 1, 1, 24 + 64)
        bias[..., red] = 8.0
        return args, {**kwargs, "attention_mask": bias}

    hooks = [
        m.register_forward_pre_hook(plant, with_kwargs=True) for m in attention_modules(random_backbone.transformer)
    ]
    yield grounder, red
    for hook in hooks:
        hook.remove()


def test_a_sink_on_a_content_word_is_found_and_suppressed(red_as_a_sink: tuple[Grounder, int]) -> None:
    grounder, red = red_as_a_sink
    frame = np.random.default_rng(0).integers(0, 255, (64, 64, 3), dtype=np.uint8)
    ((maps,),) = grounder.read_token_maps([frame], ["the red star"])
    assert maps.sinks == (red,)
    star = [t.word for t in maps.expression.tokens].index("star")
    treated = suppress_content_sinks(maps, maps.expression)
    assert maps.maps[red].mean() > 20 * maps.maps[star].mean()
    assert treated.maps[red].mean() == pytest.approx(treated.maps[star].mean(), rel=0.1)
    on, off = (
        grounder.compute_heatmap(maps, frame, options=GroundingOptions(sinks=s)).heatmap.grid for s in (True, False)
    )
    assert np.abs(on - off).max() > 0.05


def test_sinks_are_not_detected_when_switched_off(red_as_a_sink: tuple[Grounder, int]) -> None:
    grounder, _ = red_as_a_sink
    frame = np.random.default_rng(0).integers(0, 255, (64, 64, 3), dtype=np.uint8)
    off = GroundingOptions(sinks=False)
    ((maps,),) = grounder.read_token_maps([frame], ["the red star"], options=off)
    assert maps.sinks is None
    grounder.compute_heatmap(maps, frame, options=off)
    with pytest.raises(ValueError, match="read without looking for sinks"):
        grounder.compute_heatmap(maps, frame)


def test_sinks_outside_the_content_words_change_nothing(random_backbone: FluxBackbone) -> None:
    grounder = Grounder(random_backbone)
    frame = np.random.default_rng(0).integers(0, 255, (64, 64, 3), dtype=np.uint8)
    ((maps,),) = grounder.read_token_maps([frame], ["the red star"])
    assert maps.sinks == ()
    magnet = dataclasses.replace(maps, sinks=tuple(maps.expression.positions(TokenRole.MAGNET, TokenRole.STOP)))
    assert suppress_content_sinks(magnet, maps.expression) is magnet
