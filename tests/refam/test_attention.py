"""The tap against a naive softmax, on small random transformers of each layout that it reads."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch.overrides import TorchFunctionMode

from refam.attention import read_attention
from refam.attention_families import attention_modules
from refam.attention_kernels import attend, mean_probabilities
from tests.refam.small_transformers import LAYOUTS, B, T, flux


class Naive(TorchFunctionMode):
    """The slow truth: keeps the whole softmax of every attention call that sees the text."""

    def __init__(self, n_keys: int) -> None:
        super().__init__()
        self.n_keys = n_keys
        self.seen: list[torch.Tensor] = []

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func is F.scaled_dot_product_attention:
            call = {**dict(zip(("query", "key", "value"), args, strict=False)), **(kwargs or {})}
            q, k = call["query"].double(), call["key"].double()
            if k.shape[2] == self.n_keys:
                self.seen.append(torch.softmax(q @ k.transpose(-1, -2) * q.shape[-1] ** -0.5, -1).float())
        return func(*args, **(kwargs or {}))


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
    naive = Naive(T if text == "cross" else T + n_image)
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


def test_early_exit_reads_the_same_and_stops_there(layout: tuple[Any, dict[str, Any], int, str]) -> None:
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


def test_nothing_stays_behind(layout: tuple[Any, dict[str, Any], int, str]) -> None:
    model, inputs, _, _ = layout
    read_attention(model, inputs)
    assert all(not m._forward_pre_hooks and not m._forward_hooks for m in attention_modules(model))


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
    out, lse = attend(q, k, v, mask=mask)
    loose = 2e-2 if q.dtype != torch.float32 else 1e-5
    torch.testing.assert_close(lse.double(), scores.logsumexp(-1), atol=loose, rtol=loose)
    torch.testing.assert_close(out.double(), scores.softmax(-1) @ v.double(), atol=loose, rtol=loose)
    mean = mean_probabilities(q, k, lse, scale=q.shape[-1] ** -0.5, mask=mask)
    torch.testing.assert_close(mean.double(), scores.softmax(-1).mean(1), atol=loose, rtol=loose)
