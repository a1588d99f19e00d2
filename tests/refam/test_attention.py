"""The attention tap against a plain softmax, on small random transformers of each layout; and its kernels."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from refam import attention as kernels
from refam.attention import attend_with_lse, mean_probabilities, read_attention
from refam.attention_layouts import attention_modules
from tests.refam.naive_attention import NaiveAttention
from tests.refam.small_transformers import LAYOUTS, B, T, flux


@pytest.fixture(params=LAYOUTS, name="layout")
def _layout(request: pytest.FixtureRequest) -> tuple[Any, dict[str, Any], int, str]:
    torch.manual_seed(0)
    make: Callable[[], tuple[Any, dict[str, Any], int]]
    make, text = LAYOUTS[request.param]
    model, inputs, n_image = make()
    for parameter in model.parameters():  # a fresh model's attention is nearly uniform: any bug would hide in it
        if parameter.ndim == 2:
            torch.nn.init.normal_(parameter, std=0.3)
    return model.eval(), inputs, n_image, text


def test_maps_equal_a_naive_softmax_and_the_output_is_untouched(layout: tuple[Any, dict[str, Any], int, str]) -> None:
    model, inputs, n_image, text = layout
    naive = NaiveAttention(T if text == "cross" else T + n_image)
    with torch.no_grad():
        plain = model(**inputs)[0]
        with naive:
            model(**inputs)
    reading, output = read_attention(model, inputs, early_exit=False, keep_blocks=True)
    assert torch.equal(output[0], plain), "the tap changed the model's output"
    n_text = slice(T) if text in ("first", "cross") else slice(n_image, None)
    rows = slice(T, None) if text == "first" else slice(n_image)
    truth = [p[:, :, rows if text != "cross" else slice(None), n_text].mean(1) for p in naive.seen]
    assert len(truth) == len(attention_modules(model)) == len(reading.by_block)
    for block, expected in enumerate(truth):
        torch.testing.assert_close(reading.by_block[block], expected, atol=2e-6, rtol=1e-4)
    torch.testing.assert_close(reading.mean, torch.stack(truth).mean(0), atol=2e-6, rtol=1e-4)
    assert reading.mean.shape == (B, n_image, T)
    assert reading.mean.std() > 1e-3, "the maps are flat, so that this test would not see a wrong token order"


def test_early_exit_gives_the_same_maps_and_skips_later_blocks(layout: tuple[Any, dict[str, Any], int, str]) -> None:
    model, inputs, _, _ = layout
    whole, _ = read_attention(model, inputs, blocks=[0, 1], early_exit=False)
    ran: list[int] = []
    modules = attention_modules(model)
    handles = [m.register_forward_pre_hook(lambda *_, i=i: ran.append(i)) for i, m in enumerate(modules)]
    early, output = read_attention(model, inputs, blocks=[0, 1])
    for handle in handles:
        handle.remove()
    assert output is None
    assert ran == [0, 1], "blocks after the last one that is read must not run"
    assert torch.equal(early.mean, whole.mean)


def test_reading_fewer_text_tokens_is_a_slice(layout: tuple[Any, dict[str, Any], int, str]) -> None:
    model, inputs, _, _ = layout
    whole, _ = read_attention(model, inputs)
    part, _ = read_attention(model, inputs, n_text=3)
    torch.testing.assert_close(part.mean, whole.mean[:, :, :3])


def test_samples_and_tokens_are_kept_and_what_a_text_lacks_is_zero() -> None:
    model, inputs, n_image = flux()
    reading, _ = read_attention(model, inputs, blocks=[0, 1], sink_stats=True, keep_blocks=True, features_of=1)
    second = reading.take_samples(slice(1, 2)).slice_text([T - 2], 3)
    assert second.features is not None
    assert reading.features is not None
    assert second.sink_stats is not None
    assert reading.sink_stats is not None
    for maps, whole in ((second.mean, reading.mean), (second.by_block[1], reading.by_block[1])):
        assert maps.shape == (1, n_image, 3)
        assert torch.equal(maps[0, :, :2], whole[1, :, T - 2 :])
        assert not maps[..., 2].any()
    assert torch.equal(second.sink_stats.mean[:, 0, :2], reading.sink_stats.mean[:, 1, T - 2 :])
    assert not second.sink_stats.variation[..., 2].any()
    assert torch.equal(second.features[0], reading.features[1])


def test_features_of_a_block_that_is_not_read_are_refused() -> None:
    model, inputs, _ = flux()
    with pytest.raises(ValueError, match=r"features of block 2 cannot be kept: blocks \[0, 1\] are read"):
        read_attention(model, inputs, blocks=[0, 1], features_of=2)


def test_all_hooks_are_removed(layout: tuple[Any, dict[str, Any], int, str]) -> None:
    model, inputs, _, _ = layout
    read_attention(model, inputs)
    assert all(not m._forward_pre_hooks and not m._forward_hooks for m in attention_modules(model))


@pytest.mark.parametrize("error", [KeyboardInterrupt, RuntimeError])
@pytest.mark.parametrize("at_end", [False, True])
def test_an_interrupt_inside_a_block_leaves_no_mode_behind(
    layout: tuple[Any, dict[str, Any], int, str], error: type[BaseException], at_end: bool
) -> None:
    """A KeyboardInterrupt skips even those forward hooks that torch always calls."""
    model, inputs, _, _ = layout
    before, _ = read_attention(model, inputs, keep_blocks=True)
    module = attention_modules(model)[1]
    processor = module.processor

    def interrupted(*args: Any, **kwargs: Any) -> None:
        if at_end:
            processor(*args, **kwargs)
        raise error

    module.processor = interrupted
    with pytest.raises(error):
        read_attention(model, inputs)
    assert torch._C._len_torch_function_stack() == 0, "the tap outlived the pass that was interrupted"
    assert all(not m._forward_pre_hooks and not m._forward_hooks for m in attention_modules(model))
    module.processor = processor
    after, _ = read_attention(model, inputs, keep_blocks=True)
    assert torch.equal(after.mean, before.mean)
    assert all(torch.equal(after.by_block[b], before.by_block[b]) for b in before.by_block)


def test_unknown_transformers_and_blocks_are_refused() -> None:
    with pytest.raises(ValueError, match="Linear cannot be read"):
        read_attention(torch.nn.Linear(2, 2), {})
    model, inputs, _ = flux()
    with pytest.raises(ValueError, match=r"\[7\] are not in 0\.\.3"):
        read_attention(model, inputs, blocks=[7])


@pytest.mark.parametrize("mask_kind", ["none", "bool", "additive"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_fused_kernels_log_sum_exp(mask_kind: str, dtype: torch.dtype) -> None:
    torch.manual_seed(0)
    q, k, v = (torch.randn(2, 3, n, 16).to(dtype) for n in (33, 50, 50))
    keep = torch.rand(2, 1, 1, 50) > 0.3
    mask = {"none": None, "bool": keep, "additive": torch.zeros(keep.shape, dtype=dtype).masked_fill(~keep, -1e4)}[
        mask_kind
    ]
    _check_kernel(q, k, v, mask, keep if mask_kind != "none" else None)


@pytest.mark.needs_cuda
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
def test_cuda_kernels_log_sum_exp(dtype: torch.dtype) -> None:
    torch.manual_seed(0)
    q, k, v = (torch.randn(2, 3, n, 64, device="cuda").to(dtype) for n in (33, 50, 50))
    _check_kernel(q, k, v, None, None)


def _check_kernel(
    q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, mask: torch.Tensor | None, keep: torch.Tensor | None
) -> None:
    scores = q.double() @ k.double().transpose(-1, -2) * q.shape[-1] ** -0.5
    if keep is not None:
        scores = scores.masked_fill(~keep.to(q.device), float("-inf"))
    out, lse = attend_with_lse(q, k, v, mask=mask)
    loose = 2e-2 if q.dtype != torch.float32 else 1e-5
    torch.testing.assert_close(lse.double(), scores.logsumexp(-1), atol=loose, rtol=loose)
    torch.testing.assert_close(out.double(), scores.softmax(-1) @ v.double(), atol=loose, rtol=loose)
    mean = mean_probabilities(q, k, lse, scale=q.shape[-1] ** -0.5, mask=mask)
    torch.testing.assert_close(mean.double(), scores.softmax(-1).mean(1), atol=loose, rtol=loose)


cuda = pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
LOOSE = {torch.float32: 2e-5, torch.float16: 4e-3, torch.bfloat16: 3e-2}
MASKS = ("none", "keys", "per head", "per query", "full")


def make_mask(kind: str, additive: bool, b: int, h: int, s: int, k: int, dtype: torch.dtype) -> torch.Tensor | None:
    """Some keys are closed; the first never is, since a query with no key has no softmax."""
    shape = {"keys": (b, 1, 1, k), "per head": (1, h, 1, k), "per query": (1, 1, s, k), "full": (b, h, s, k)}.get(kind)
    if shape is None:
        return None
    keep = torch.rand(shape) > 0.4
    keep[..., 0] = True
    if not additive:
        return keep
    return torch.randn(shape).masked_fill(~keep, float("-inf")).to(dtype)


def truth(q: Any, k: Any, mask: torch.Tensor | None, scale: float) -> torch.Tensor:
    scores = q.double() @ k.double().transpose(-1, -2) * scale
    if mask is None:
        return scores
    return scores.masked_fill(~mask, float("-inf")) if mask.dtype == torch.bool else scores + mask.double()


def check(
    q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, mask: torch.Tensor | None, heads_at_once: int | None
) -> None:
    scale, loose = 0.7 * q.shape[-1] ** -0.5, LOOSE[q.dtype]
    before = [t.clone() for t in (q, k, v)]
    scores = truth(q, k, mask, scale)
    out, lse = attend_with_lse(q, k, v, mask=mask, scale=scale)
    same = {"atol": loose, "rtol": loose}
    torch.testing.assert_close(lse.double(), scores.logsumexp(-1), **same)
    torch.testing.assert_close(out.double(), scores.softmax(-1) @ v.double(), **same)
    kept = lse.clone()
    rows, columns = slice(q.shape[2] // 3, None), slice(0, k.shape[2] // 2 + 1)
    if mask is not None:
        mask = mask[..., columns] if mask.shape[2] == 1 else mask[..., rows, columns]
    got = mean_probabilities(
        q[:, :, rows], k[:, :, columns], lse[:, :, rows], scale=scale, mask=mask, heads_at_once=heads_at_once
    )
    assert got.dtype == torch.float32
    torch.testing.assert_close(got.double(), scores.softmax(-1)[:, :, rows, columns].mean(1), **same)
    assert all(torch.equal(a, b) for a, b in zip([*before, kept], [q, k, v, lse], strict=True)), "inputs were changed"


@settings(max_examples=80, deadline=None)
@given(
    sizes=st.tuples(*(st.integers(1, n) for n in (2, 4, 9, 12))),
    width=st.sampled_from([4, 8, 20]),
    dtype=st.sampled_from(list(LOOSE)),
    kind=st.sampled_from(MASKS),
    additive=st.booleans(),
    transposed=st.booleans(),
    heads_at_once=st.sampled_from([None, 1, 2, 3, 9]),
    seed=st.integers(0, 999),
)
def test_kernels_equal_a_plain_softmax_for_any_shape_dtype_and_mask(
    sizes: tuple[int, int, int, int],
    width: int,
    dtype: torch.dtype,
    kind: str,
    additive: bool,
    transposed: bool,
    heads_at_once: int | None,
    seed: int,
) -> None:
    torch.manual_seed(seed)
    b, h, s, n = sizes
    q, k, v = (torch.randn(b, h, m, width).to(dtype) for m in (s, n, n))
    if transposed:  # as diffusers lays them out
        q, k, v = (t.transpose(1, 2).contiguous().transpose(1, 2) for t in (q, k, v))
    check(q, k, v, make_mask(kind, additive, b, h, s, n, dtype), heads_at_once)


@settings(max_examples=40, deadline=None)
@given(chunk=st.integers(1, 12), kind=st.sampled_from(MASKS), additive=st.booleans(), seed=st.integers(0, 99))
def test_devices_without_a_fused_kernel_compute_the_log_sum_exp_in_chunks(
    chunk: int, kind: str, additive: bool, seed: int
) -> None:
    torch.manual_seed(seed)
    q, k = torch.randn(2, 3, 10, 8), torch.randn(2, 3, 7, 8)
    mask = make_mask(kind, additive, 2, 3, 10, 7, torch.float32)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(kernels, "_CHUNK", chunk)
        added = None if mask is None else kernels._to_additive(mask, torch.float32)
        got = kernels._logsumexp(q, k, added, 0.3)
    torch.testing.assert_close(got.double(), truth(q, k, mask, 0.3).logsumexp(-1), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_probabilities_of_half_precision_inputs_are_computed_in_float32(dtype: torch.dtype) -> None:
    """Against the softmax of the very same half-precision numbers; a product in half precision is 4 % off."""
    torch.manual_seed(0)
    q, k = (3 * torch.randn(1, 2, n, 64) for n in (40, 90))
    q, k = q.to(dtype), k.to(dtype)
    scores = truth(q, k, None, 0.125)
    got = mean_probabilities(q, k, scores.logsumexp(-1).float(), scale=0.125)
    torch.testing.assert_close(got.double(), scores.softmax(-1).mean(1), atol=1e-6, rtol=1e-4)


@pytest.mark.parametrize("how", ["fewer key heads", "causal"])
def test_causal_and_grouped_query_attention_is_refused(how: str) -> None:
    torch.manual_seed(0)
    model, inputs, _ = flux()

    def processor(attn: Any, hidden_states: torch.Tensor, *_: Any, **__: Any) -> None:
        q = hidden_states[:, None].expand(-1, 4, -1, -1)
        if how == "causal":
            F.scaled_dot_product_attention(q, q, q, is_causal=True)
        F.scaled_dot_product_attention(q, q[:, :2], q[:, :2], enable_gqa=True)

    model.transformer_blocks[0].attn.processor = processor
    with pytest.raises(ValueError, match="causal or grouped-query"):
        read_attention(model.eval(), inputs)
    assert torch._C._len_torch_function_stack() == 0, "the tap outlived the pass that failed"


@cuda
@pytest.mark.needs_cuda
@pytest.mark.parametrize("dtype", list(LOOSE))
@pytest.mark.parametrize("kind", MASKS)
@pytest.mark.parametrize("additive", [False, True])
@pytest.mark.parametrize("sizes", [(2, 3, 33, 50), (1, 24, 1536, 1536), (1, 2, 4608, 4608)])
def test_cuda_kernels(dtype: torch.dtype, kind: str, additive: bool, sizes: tuple[int, int, int, int]) -> None:
    """Every kernel of `attend_with_lse` on CUDA: flash (half types, no mask), efficient (float32, or a mask)."""
    torch.manual_seed(0)
    b, h, s, n = sizes
    q, k, v = (torch.randn(b, h, m, 64).to("cuda", dtype) for m in (s, n, n))
    mask = make_mask(kind, additive, b, h, s, n, dtype)
    check(q, k, v, None if mask is None else mask.cuda(), None)
