"""Fused attention's log-sum-exp and slices of the softmax, against a plain softmax in float64."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from refam import attention_kernels as kernels
from refam.attention import read_attention
from refam.attention_kernels import attend, mean_probabilities
from tests.refam.small_transformers import flux

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
    out, lse = attend(q, k, v, mask=mask, scale=scale)
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
def test_any_shape_type_and_mask(
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
def test_devices_without_a_fused_kernel_count_in_chunks(chunk: int, kind: str, additive: bool, seed: int) -> None:
    torch.manual_seed(seed)
    q, k = torch.randn(2, 3, 10, 8), torch.randn(2, 3, 7, 8)
    mask = make_mask(kind, additive, 2, 3, 10, 7, torch.float32)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(kernels, "_CHUNK", chunk)
        added = None if mask is None else kernels._additive(mask, torch.float32)
        got = kernels._logsumexp(q, k, added, 0.3)
    torch.testing.assert_close(got.double(), truth(q, k, mask, 0.3).logsumexp(-1), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_probabilities_of_half_precision_are_counted_in_float32(dtype: torch.dtype) -> None:
    """Against the softmax of the very same half-precision numbers; a product in half precision is 4 % off."""
    torch.manual_seed(0)
    q, k = (3 * torch.randn(1, 2, n, 64) for n in (40, 90))
    q, k = q.to(dtype), k.to(dtype)
    scores = truth(q, k, None, 0.125)
    got = mean_probabilities(q, k, scores.logsumexp(-1).float(), scale=0.125)
    torch.testing.assert_close(got.double(), scores.softmax(-1).mean(1), atol=1e-6, rtol=1e-4)


@pytest.mark.parametrize("how", ["fewer key heads", "causal"])
def test_attention_that_is_not_understood_is_refused(how: str) -> None:
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
    """Every kernel that `attend` calls on CUDA: flash (half types, no mask), efficient (float32, or a mask)."""
    torch.manual_seed(0)
    b, h, s, n = sizes
    q, k, v = (torch.randn(b, h, m, 64).to("cuda", dtype) for m in (s, n, n))
    mask = make_mask(kind, additive, b, h, s, n, dtype)
    check(q, k, v, None if mask is None else mask.cuda(), None)
