"""Fused attention that also says its log-sum-exp, so that any slice of the softmax costs one small product.

    p[i, j] = exp(q_i . k_j * scale + mask_ij - lse_i)      with lse_i = logsumexp over ALL keys

is exactly the joint softmax, for as few keys j as are wanted; the full (queries x keys) matrix never exists.
Shapes: q (B, H, S, D), k and v (B, H, K, D), mask broadcastable to (B, H, S, K), lse (B, H, S) float32.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F

_CHUNK = 1024  # queries at a time, where no kernel gives the log-sum-exp
_HEADS_BYTES = 64 * 2**20  # of float32 queries and scores at a time, on a GPU


def _additive(mask: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
    if mask.dtype != torch.bool:
        return mask
    return torch.zeros(mask.shape, dtype=dtype, device=mask.device).masked_fill_(~mask, float("-inf"))


def attend(
    q: torch.Tensor,
    k: torch.Tensor,
    v: torch.Tensor,
    *,
    mask: torch.Tensor | None = None,
    scale: float | None = None,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Attention's output (B, H, S, D) and log-sum-exp, by the kernel that torch would use for this device and dtype."""
    scale = q.shape[-1] ** -0.5 if scale is None else scale
    additive = None if mask is None else _additive(mask, q.dtype)
    if q.device.type == "cpu":
        return torch.ops.aten._scaled_dot_product_flash_attention_for_cpu(
            q, k, v, 0.0, False, attn_mask=additive, scale=scale
        )
    if q.device.type == "cuda":
        if additive is None and q.dtype in (torch.float16, torch.bfloat16):
            out = torch.ops.aten._scaled_dot_product_flash_attention(q, k, v, 0.0, False, False, scale=scale)
            return out[0], out[1]
        if additive is not None:
            additive = additive.expand(*q.shape[:3], k.shape[2])
        out = torch.ops.aten._scaled_dot_product_efficient_attention(q, k, v, additive, True, 0.0, False, scale=scale)
        return out[0], out[1][..., : q.shape[2]]  # this kernel pads its log-sum-exp to a multiple of 32
    return F.scaled_dot_product_attention(q, k, v, attn_mask=mask, scale=scale), _logsumexp(q, k, additive, scale)


def _logsumexp(q: torch.Tensor, k: torch.Tensor, additive: torch.Tensor | None, scale: float) -> torch.Tensor:
    parts = []
    for start in range(0, q.shape[2], _CHUNK):
        scores = q[:, :, start : start + _CHUNK].float() @ k.float().transpose(-1, -2) * scale
        if additive is not None:
            scores = scores + additive.expand(*scores.shape[:2], q.shape[2], -1)[:, :, start : start + _CHUNK]
        parts.append(scores.logsumexp(-1))
    return torch.cat(parts, 2)


def mean_probabilities(
    q: torch.Tensor,
    k: torch.Tensor,
    lse: torch.Tensor,
    *,
    scale: float,
    mask: torch.Tensor | None = None,
    heads_at_once: int | None = None,
) -> torch.Tensor:
    """The softmax between the given queries and keys, averaged over heads: (B, S, K) float32.

    mask: (1 or B, 1 or H, 1 or S, 1 or K), boolean (False: not attended) or additive. A few heads at a time, so that
    (heads x queries x keys) never exists (None: one on the CPU, on a GPU what 64 MiB hold, since there so small a
    product takes as long as starting its kernels); in float32, since bf16 scores are off by 4 %.
    """
    b, heads, s, d = q.shape
    total = torch.zeros(b, s, k.shape[2], dtype=torch.float32, device=q.device)
    if heads_at_once is None:
        heads_at_once = 1 if q.device.type == "cpu" else max(1, _HEADS_BYTES // (4 * b * s * (d + k.shape[2])))
    for start in range(0, heads, heads_at_once):
        some = slice(start, start + heads_at_once)
        less = -lse[:, some, :, None].float()
        if mask is not None:
            less = less + _additive(mask if mask.shape[1] == 1 else mask[:, some], torch.float32)
        keys = (k[:, some].float() * scale).transpose(-1, -2)
        scores = torch.baddbmm(less.flatten(0, 1), q[:, some].float().flatten(0, 1), keys.flatten(0, 1))
        total.add_(scores.exp_().unflatten(0, (b, -1)).sum(1) if heads_at_once > 1 else scores.exp_())
    return total.div_(heads)
