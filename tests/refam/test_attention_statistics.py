"""Statistics over all queries against a naive softmax, for each layout of text and image."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from diffusers import HunyuanVideoTransformer3DModel, MochiTransformer3DModel
from torch.overrides import TorchFunctionMode

from refam.attention import read_attention
from refam.attention_statistics import SinkStats, share_and_variation
from tests.refam.small_transformers import LAYOUTS, B, T


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


def lively(model: torch.nn.Module) -> torch.nn.Module:
    """A fresh model attends nearly evenly: any bug would hide in it."""
    for parameter in model.parameters():
        if parameter.ndim == 2:
            torch.nn.init.normal_(parameter, std=0.3)
    return model.eval()


def moments(p: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(queries, T) -> mean and coefficient of variation."""
    return p.mean(0), p.std(0) / p.mean(0)


@pytest.mark.parametrize("name", LAYOUTS)
def test_share_and_variation_equal_those_of_the_whole_softmax(name: str) -> None:
    torch.manual_seed(0)
    make, text = LAYOUTS[name]
    model, inputs, n_image = make()
    lively(model)
    naive = Recorder((T if text == "cross" else T + n_image,))
    with torch.no_grad(), naive:
        model(**inputs)
    reading, _ = read_attention(model, inputs, sinks=True)
    stats = reading.sink_stats
    assert stats is not None
    assert stats.blocks == tuple(range(len(naive.seen)))
    assert stats.share.shape == stats.variation.shape == (len(naive.seen), B, T)
    columns = slice(n_image, None) if text == "last" else slice(T)
    for block, whole in enumerate(naive.seen):
        for sample in range(B):
            mean, variation = moments(whole[sample, :, columns].numpy())
            np.testing.assert_allclose(stats.share[block, sample], mean, rtol=1e-4)
            np.testing.assert_allclose(stats.variation[block, sample], variation, rtol=1e-4)
    torch.testing.assert_close(reading.mean, read_attention(model, inputs)[0].mean, rtol=0, atol=0)


@pytest.mark.parametrize("name", LAYOUTS)
def test_only_the_text_that_is_read_is_asked(name: str) -> None:
    torch.manual_seed(0)
    make, text = LAYOUTS[name]
    model, inputs, n_image = make()
    lively(model)
    naive = Recorder((T if text == "cross" else T + n_image,))
    with torch.no_grad(), naive:
        model(**inputs)
    stats = read_attention(model, inputs, blocks=[1], first_text=2, n_text=3, sinks=True)[0].sink_stats
    assert stats is not None
    assert stats.blocks == (1,)
    base = n_image if text == "last" else 0
    own = list(range(base + 2, base + 5))
    image = {"first": range(T, T + n_image), "last": range(n_image), "cross": range(n_image)}[text]
    queries = [*image, *own] if text != "cross" else list(image)
    mean, variation = moments(naive.seen[1][0][queries][:, own].numpy())
    np.testing.assert_allclose(stats.share[0, 0], mean, rtol=1e-4)
    np.testing.assert_allclose(stats.variation[0, 0], variation, rtol=1e-4)


def test_without_sinks_nothing_is_gathered() -> None:
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
    lively(model)
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
    stats = read_attention(model, inputs, sinks=True)[0].sink_stats
    assert stats is not None
    for sample, real in ((0, 4), (1, T)):
        for block, whole in enumerate(naive.seen):
            mean, variation = moments(whole[sample, : 24 + real, 24 : 24 + real].numpy())
            np.testing.assert_allclose(stats.share[block, sample, :real], mean, rtol=1e-4)
            np.testing.assert_allclose(stats.variation[block, sample, :real], variation, rtol=1e-4)
    assert not stats.share[:, 0, 4:].any()
    assert not stats.variation[:, 0, 4:].any()


def test_dropped_padding_is_neither_query_nor_key() -> None:
    torch.manual_seed(0)
    model = MochiTransformer3DModel(
        num_attention_heads=2, attention_head_dim=8, num_layers=2, pooled_projection_dim=16, in_channels=4,
        text_embed_dim=16, time_embed_dim=4, patch_size=2,
    )  # fmt: skip
    lively(model)
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
    stats = read_attention(model, inputs, sinks=True)[0].sink_stats
    assert stats is not None
    assert len(naive.seen) == 2 * B, "Mochi attends one sample at a time"
    for call, whole in enumerate(naive.seen):
        block, sample = divmod(call, B)
        real = (4, T)[sample]
        mean, _ = moments(whole[0, : 24 + real, 24:].numpy())
        np.testing.assert_allclose(stats.share[block, sample, :real], mean, rtol=1e-4)
        assert not stats.share[block, sample, real:].any()


def test_known_answers() -> None:
    even = torch.full((1, 6, 1), 0.4)
    spotty = torch.tensor([0.6, 0, 0, 0, 0, 0.0])[None, :, None]
    image = torch.cat([even, spotty], 2)
    text = torch.tensor([[[0.4, 0.0], [0.4, 0.0]]])
    share, variation = share_and_variation(image, text)
    np.testing.assert_allclose(share, [[0.4, 0.6 / 8]], rtol=1e-6)
    np.testing.assert_allclose(variation, [[0.0, np.std([0.6] + [0] * 7) / (0.6 / 8)]], atol=1e-6)


def test_stats_of_other_shapes_are_refused() -> None:
    with pytest.raises(ValueError, match="of 2 blocks"):
        SinkStats((0, 1), torch.zeros(1, 1, 3), torch.zeros(1, 1, 3))


def test_columns_start_where_each_sample_does() -> None:
    share = torch.arange(10.0).reshape(1, 2, 5)
    cut = SinkStats((3,), share, share).columns([0, 2], 3)
    assert cut.share.tolist() == [[[0, 1, 2], [7, 8, 9]]]
