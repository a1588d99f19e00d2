"""Reading text-to-image attention: one tap for every diffusion transformer.

Every attention in diffusers ends in `torch.nn.functional.scaled_dot_product_attention`. A TorchFunctionMode intercepts
that one call, receives query and key as they are used (after norms and rotary embedding), and computes the columns of
the softmax that belong to text tokens. No attention processor is replaced, nothing stays patched, and the output of the
model is unchanged to the bit.

The fused kernels return their log-sum-exp, so that any part of the softmax costs one small product:

    p[i, j] = exp(q_i . k_j * scale + mask_ij - lse_i)      with lse_i = logsumexp over ALL keys

is exactly the joint softmax, for as few keys j as are wanted. The full (queries x keys) matrix never exists.

Dimensions: B samples, H heads, S queries, K keys, D channels of a head; N image tokens, T text tokens.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from torch.overrides import TorchFunctionMode, _get_current_function_mode_stack

from refam.attention_layouts import AttentionLayout, TokenSpans, attention_layout, attention_modules
from refam.attention_sinks import SinkStats, compute_sink_stats
from refam.head_weights import PeakWeights

_SDPA = F.scaled_dot_product_attention
_CHUNK = 1024  # queries at a time, on devices whose kernels do not return the log-sum-exp
_TINY = 1e-30  # keeps quotients finite where nothing attends to what is looked for
_HEADS_BYTES = 64 * 2**20  # of float32 queries and scores at a time, on a GPU


# --- reading one forward pass -----------------------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class TextAttention:
    """How much each image token attends to each text token.

    Attributes:
        mean: (B, N, T) float32 probabilities, averaged over heads and over the blocks that were read.
        by_block: The same of each block, if `keep_blocks` was set.
        sink_stats: How evenly all queries attend to each text token, if `sink_stats` was set.
        features: (B, N, C) what one block gets of the image tokens, if `features_of` was set.
    """

    mean: torch.Tensor
    by_block: dict[int, torch.Tensor]
    sink_stats: SinkStats | None = None
    features: torch.Tensor | None = None

    def take_samples(self, samples: slice) -> TextAttention:
        """Keep some samples of the batch."""
        stats = self.sink_stats
        if stats is not None:
            stats = SinkStats(stats.blocks, stats.mean[:, samples], stats.variation[:, samples])
        features = None if self.features is None else self.features[samples]
        by_block = {k: v[samples] for k, v in self.by_block.items()}
        return TextAttention(self.mean[samples], by_block, stats, features)

    def slice_text(self, starts: Sequence[int], count: int) -> TextAttention:
        """Keep `count` text tokens of each sample, beginning at that sample's own start; zeros where there are none."""

        def cut(maps: torch.Tensor) -> torch.Tensor:
            rows = [row[:, start : start + count] for row, start in zip(maps, starts, strict=True)]
            return torch.stack([F.pad(row, (0, count - row.shape[1])) for row in rows])

        stats = None if self.sink_stats is None else self.sink_stats.slice_text(starts, count)
        by_block = {k: cut(v) for k, v in self.by_block.items()}
        return TextAttention(cut(self.mean), by_block, stats, self.features)


def read_attention(
    transformer: torch.nn.Module,
    inputs: Mapping[str, Any],
    *,
    blocks: Sequence[int] | None = None,
    n_text: int | None = None,
    first_text: int = 0,
    early_exit: bool = True,
    keep_blocks: bool = False,
    sink_stats: bool = False,
    head_weights: PeakWeights | None = None,
    features_of: int | None = None,
) -> tuple[TextAttention, Any]:
    """Run ONE forward pass and read its text-image attention.

    Args:
        transformer: A diffusers transformer of a class in `refam.attention_layouts.LAYOUTS`.
        inputs: Its keyword arguments, among them `encoder_hidden_states` (B, T, D), or Z-Image's `cap_feats`, B tensors
            (T, D).
        blocks: Which attention modules to read, counted from 0 in the order in which they run; None reads all.
        n_text: How many text tokens to read; None reads all, padding included.
        first_text: The first text token to read.
        early_exit: Stop after the last block that is read.
        keep_blocks: Also return the attention of each block by itself.
        sink_stats: Also gather statistics over all queries, for which some text rows of the softmax are computed too.
        head_weights: How to weigh the heads of each block; None averages them. Statistics of sinks stay unweighted.
        features_of: Also return the image tokens that this block gets, which must be one of those that are read.

    Returns:
        The attention, and the output of the transformer, which is None after an early exit.

    Raises:
        ValueError: If the transformer does not have these blocks or text tokens, or if its attention is causal or
            grouped.
        RuntimeError: If its attention backend does not call `scaled_dot_product_attention`.
    """
    modules = attention_modules(transformer)
    wanted = sorted(range(len(modules)) if blocks is None else blocks)
    if not wanted or wanted[0] < 0 or wanted[-1] >= len(modules):
        raise ValueError(f"blocks {list(wanted)} are not in 0..{len(modules) - 1}, the blocks of this transformer")
    texts = inputs["cap_feats"] if "cap_feats" in inputs else inputs["encoder_hidden_states"]
    batch, length = len(texts), max(len(text) for text in texts)
    stop = length if n_text is None else min(first_text + n_text, length)
    if not 0 <= first_text < stop:
        raise ValueError(f"text tokens {first_text} to {stop} cannot be read: the text has {length} tokens")
    if features_of is not None and features_of not in wanted:
        raise ValueError(f"features of block {features_of} cannot be kept: blocks {list(wanted)} are read")
    if head_weights is not None and len(head_weights.tokens) != batch:
        raise ValueError(f"heads are weighed for {len(head_weights.tokens)} samples, but there are {batch}")
    layout = attention_layout(transformer)
    tap = _AttentionTap(
        layout=layout,
        spans=layout.find_spans(inputs) if layout.find_spans is not None else None,
        batch=batch,
        n_text=length,
        columns=slice(first_text, stop),
        last_block=wanted[-1],
        early_exit=early_exit,
        keep_blocks=keep_blocks,
        gather_sink_stats=sink_stats,
        head_weights=head_weights,
        features_of=features_of,
    )
    hooks = []
    for index in wanted:
        hooks.append(modules[index].register_forward_pre_hook(tap.pushing_hook(index), with_kwargs=True))
        hooks.append(modules[index].register_forward_hook(tap.pop, always_call=True))
    output = None
    try:
        with torch.no_grad():
            output = transformer(**inputs)
    except _StopForward:
        pass
    finally:
        tap.pop()  # torch calls the hooks of a module that raised an Exception, but not after a KeyboardInterrupt
        for hook in hooks:
            hook.remove()
    if tap.total is None:
        raise RuntimeError(
            "no attention was seen: this transformer's attention backend does not call scaled_dot_product_attention; "
            'use transformer.set_attention_backend("native")'
        )
    return TextAttention(tap.total / tap.count, tap.by_block, tap.sink_stats(), tap.features), output


class _StopForward(Exception):  # noqa: N818 - control flow, not an error
    """Raised inside the last attention that is read, since the rest of the pass is not needed."""


@dataclass(eq=False)
class _AttentionTap(TorchFunctionMode):
    """Intercepts the attention calls of one forward pass and accumulates what they say.

    The mode is on torch's stack only while a wanted attention module runs, since every torch call goes through a mode.
    """

    layout: AttentionLayout
    spans: list[TokenSpans] | None  # of each sample, where samples differ
    batch: int
    n_text: int  # text tokens in the model's input
    columns: slice  # of these, the ones to read
    last_block: int
    early_exit: bool
    keep_blocks: bool
    gather_sink_stats: bool
    head_weights: PeakWeights | None
    features_of: int | None
    block: int | None = None  # the block that is running
    n_image: int = 0
    features: torch.Tensor | None = None  # (B, N, C)
    total: torch.Tensor | None = None  # (B, N, T), summed over the blocks so far
    count: int = 0
    image_rows: list[torch.Tensor] = field(default_factory=list)  # of a block that attends one sample at a time
    plain_rows: list[torch.Tensor] = field(default_factory=list)  # the same with all heads alike
    text_rows: list[torch.Tensor] = field(default_factory=list)  # the same for text queries
    by_block: dict[int, torch.Tensor] = field(default_factory=dict)
    stats: dict[int, tuple[torch.Tensor, torch.Tensor]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        super().__init__()

    def pushing_hook(self, index: int) -> Callable[..., None]:
        """A forward pre-hook that puts the mode on torch's stack for block `index`."""

        def hook(module: Any, args: Any, kwargs: Any) -> None:
            hidden = kwargs["hidden_states"] if "hidden_states" in kwargs else args[0]
            text = kwargs.get("encoder_hidden_states", args[1] if len(args) > 1 else None)
            joint_already = text is None and self.layout.text != "cross"  # FLUX's single blocks get one sequence
            self.n_image = hidden.shape[1] - (self.n_text if joint_already else 0)  # unless there are `spans`
            self.block = index
            if index == self.features_of:
                self.features = self._image_tokens(hidden, joint=joint_already)
            self.__enter__()

        return hook

    def _image_tokens(self, hidden: torch.Tensor, *, joint: bool) -> torch.Tensor:
        """The image tokens (B, N, C) of what an attention module gets, text beside them or not."""
        if self.spans is not None:
            return torch.stack([row[span.image] for row, span in zip(hidden, self.spans, strict=True)]).float()
        first = self.n_text if joint and self.layout.text == "first" else 0
        return hidden[:, first : first + self.n_image].float()

    def pop(self, *_: Any) -> None:
        """Take the mode off torch's stack if it is there. A forward hook, and the clean-up after any exception."""
        while any(mode is self for mode in _get_current_function_mode_stack()):
            self.__exit__(None, None, None)
        self.block = None

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func is not _SDPA:
            return func(*args, **kwargs) if kwargs else func(*args)
        names = ("query", "key", "value", "attn_mask", "dropout_p", "is_causal")
        return self._attend({**dict(zip(names, args, strict=False)), **(kwargs or {})})

    def _attend(self, call: dict[str, Any]) -> torch.Tensor:
        """Compute the attention that was called, and read it."""
        q, k, mask = call["query"], call["key"], call.get("attn_mask")
        if call.get("is_causal") or k.shape[1] != q.shape[1]:
            raise ValueError("causal or grouped-query attention is not read: no supported family uses it")
        scale = call.get("scale") or q.shape[-1] ** -0.5
        out, lse = attend_with_lse(q, k, call["value"], mask=mask, scale=scale)
        weights = self.head_weights
        probabilities = self._probabilities(q, k, lse, mask, scale, of_text=False, weights=weights)
        image = self._gather_batch(self.image_rows, probabilities)
        text, plain = None, image
        if self.gather_sink_stats and weights is not None:
            probabilities = self._probabilities(q, k, lse, mask, scale, of_text=False)
            plain = self._gather_batch(self.plain_rows, probabilities)
        if self.gather_sink_stats and self.layout.text != "cross" and self.layout.text_queries:
            probabilities = self._probabilities(q, k, lse, mask, scale, of_text=True)
            text = self._gather_batch(self.text_rows, probabilities, square=True)
        if image is not None:
            if self.gather_sink_stats and plain is not None:
                self.stats[self.block or 0] = compute_sink_stats(plain, text)
            self._accumulate(image)
            if self.early_exit and self.block == self.last_block:
                raise _StopForward
        return out

    def _probabilities(
        self,
        q: torch.Tensor,
        k: torch.Tensor,
        lse: torch.Tensor,
        mask: torch.Tensor | None,
        scale: float,
        *,
        of_text: bool,
        weights: PeakWeights | None = None,
    ) -> torch.Tensor:
        """The softmax from the image tokens, or from the text tokens that are read, to the latter."""
        if self.spans is None:
            image, text = self._image_rows_and_text_columns(q.shape[2])
            weigh = None if weights is None else partial(weights.weigh, first=len(self.image_rows))
            return _mean_of_slice(q, k, lse, mask, scale, text if of_text else image, text, weigh)
        width = self.columns.stop - self.columns.start
        samples = []
        for i, span in enumerate(self.spans):
            one = slice(i, i + 1)
            first, stop = (min(span.text.start + n, span.text.stop) for n in (self.columns.start, self.columns.stop))
            text = slice(first, stop)
            rows = text if of_text else span.image
            own_mask = mask if mask is None or mask.shape[0] == 1 else mask[one]
            weigh = None if weights is None else partial(weights.weigh, first=i)
            maps = _mean_of_slice(q[one], k[one], lse[one], own_mask, scale, rows, text, weigh)
            pads = width - maps.shape[2]  # zeros, since nothing attends to the padding of a shorter text
            samples.append(F.pad(maps, (0, pads, 0, pads if of_text else 0)))
        return torch.cat(samples)

    def _accumulate(self, image: torch.Tensor) -> None:
        """Add one block's attention (B, N, T)."""
        if self.keep_blocks:
            self.by_block[self.block or 0] = image.clone()
        self.total = image if self.total is None else self.total.add_(image)
        self.count += 1

    def _gather_batch(
        self, samples: list[torch.Tensor], probabilities: torch.Tensor, *, square: bool = False
    ) -> torch.Tensor | None:
        """The probabilities of the whole batch, or None until every sample has been seen.

        Mochi makes one call for each sample, without its padding. Padded columns are zeros here, since nothing attends
        to them.
        """
        pads = self.columns.stop - self.columns.start - probabilities.shape[2]
        if pads:
            probabilities = F.pad(probabilities, (0, pads, 0, pads if square else 0))
        if probabilities.shape[0] == self.batch:
            return probabilities
        samples.append(probabilities)
        if len(samples) < self.batch:
            return None
        gathered = torch.cat(samples)
        samples.clear()
        return gathered

    def _image_rows_and_text_columns(self, n_queries: int) -> tuple[slice, slice]:
        if self.layout.text == "cross":
            return slice(None), self.columns
        if self.layout.text == "first":
            return slice(n_queries - self.n_image, None), self.columns
        return slice(0, self.n_image), slice(self.n_image + self.columns.start, self.n_image + self.columns.stop)

    def sink_stats(self) -> SinkStats | None:
        """The statistics that were gathered, in the order of the blocks."""
        if not self.stats:
            return None
        mean, variation = (torch.stack([self.stats[b][i] for b in sorted(self.stats)]) for i in (0, 1))
        return SinkStats(tuple(sorted(self.stats)), mean, variation)


def _mean_of_slice(
    q: torch.Tensor,
    k: torch.Tensor,
    lse: torch.Tensor,
    mask: torch.Tensor | None,
    scale: float,
    rows: slice,
    columns: slice,
    weigh: Callable[[torch.Tensor], torch.Tensor] | None = None,
) -> torch.Tensor:
    """The softmax from some query rows to some key columns, averaged over heads: (B, rows, columns)."""
    if mask is not None:
        mask = mask[None] if mask.ndim == 3 else mask[None, None] if mask.ndim == 2 else mask
        mask = mask[..., columns] if mask.shape[2] == 1 else mask[..., rows, columns]
    return mean_probabilities(q[:, :, rows], k[:, :, columns], lse[:, :, rows], scale=scale, mask=mask, weigh=weigh)


# --- fused attention and its log-sum-exp ------------------------------------------------------------------------------


def attend_with_lse(
    q: torch.Tensor,
    k: torch.Tensor,
    v: torch.Tensor,
    *,
    mask: torch.Tensor | None = None,
    scale: float | None = None,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Compute attention with the kernel that torch would use for this device and dtype.

    Args:
        q: (B, H, S, D) queries.
        k: (B, H, K, D) keys.
        v: (B, H, K, D) values.
        mask: Broadcastable to (B, H, S, K); boolean (False: not attended to) or additive.
        scale: Factor of the scores; None is 1 / sqrt(D).

    Returns:
        The output (B, H, S, D), and the log-sum-exp of each query's scores (B, H, S) in float32.
    """
    scale = q.shape[-1] ** -0.5 if scale is None else scale
    additive = None if mask is None else _to_additive(mask, q.dtype)
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


def mean_probabilities(
    q: torch.Tensor,
    k: torch.Tensor,
    lse: torch.Tensor,
    *,
    scale: float,
    mask: torch.Tensor | None = None,
    heads_at_once: int | None = None,
    weigh: Callable[[torch.Tensor], torch.Tensor] | None = None,
) -> torch.Tensor:
    """Compute the softmax between the given queries and keys, averaged over heads.

    A few heads are computed at a time, so that (heads x queries x keys) never exists. The product is in float32, since
    in bfloat16 the scores are off by 4 %.

    Args:
        q: (B, H, S, D) queries.
        k: (B, H, K, D) keys, any part of those that `lse` is of.
        lse: (B, H, S) log-sum-exp of the scores over all keys.
        scale: Factor of the scores.
        mask: (1 or B, 1 or H, 1 or S, 1 or K), boolean (False: not attended to) or additive.
        heads_at_once: None is one on the CPU, and on a GPU as many as fit into 64 MiB, since there such a small product
            takes no longer than launching its kernels.
        weigh: Computes weights (B, H) of some heads from their probabilities (B, H, S, K); None weighs all alike.

    Returns:
        (B, S, K) float32 probabilities.
    """
    b, heads, s, d = q.shape
    total = torch.zeros(b, s, k.shape[2], dtype=torch.float32, device=q.device)
    weight = torch.zeros(b, dtype=torch.float32, device=q.device)
    if heads_at_once is None:
        heads_at_once = 1 if q.device.type == "cpu" else max(1, _HEADS_BYTES // (4 * b * s * (d + k.shape[2])))
    for start in range(0, heads, heads_at_once):
        some = slice(start, start + heads_at_once)
        bias = -lse[:, some, :, None].float()
        if mask is not None:
            bias = bias + _to_additive(mask if mask.shape[1] == 1 else mask[:, some], torch.float32)
        keys = (k[:, some].float() * scale).transpose(-1, -2)
        scores = torch.baddbmm(bias.flatten(0, 1), q[:, some].float().flatten(0, 1), keys.flatten(0, 1))
        if weigh is not None:
            by_head = scores.exp_().unflatten(0, (b, -1))
            weights = weigh(by_head)
            total.add_(torch.einsum("bhsk,bh->bsk", by_head, weights))
            weight = weight + weights.sum(1)
        else:
            total.add_(scores.exp_().unflatten(0, (b, -1)).sum(1) if heads_at_once > 1 else scores.exp_())
    return total.div_(heads) if weigh is None else total.div_(weight.clamp_min(_TINY)[:, None, None])


def _logsumexp(q: torch.Tensor, k: torch.Tensor, additive: torch.Tensor | None, scale: float) -> torch.Tensor:
    chunks = []
    for start in range(0, q.shape[2], _CHUNK):
        scores = q[:, :, start : start + _CHUNK].float() @ k.float().transpose(-1, -2) * scale
        if additive is not None:
            scores = scores + additive.expand(*scores.shape[:2], q.shape[2], -1)[:, :, start : start + _CHUNK]
        chunks.append(scores.logsumexp(-1))
    return torch.cat(chunks, 2)


def _to_additive(mask: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
    if mask.dtype != torch.bool:
        return mask
    return torch.zeros(mask.shape, dtype=dtype, device=mask.device).masked_fill_(~mask, float("-inf"))
