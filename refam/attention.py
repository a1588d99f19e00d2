"""One tap for every diffusion transformer: how much each image token attends to each text token.

Every diffusers attention ends in `torch.nn.functional.scaled_dot_product_attention`. A TorchFunctionMode meets that one
call, sees q and k as they are used (after norms and rotary embedding) and reads the text columns of the softmax. No
processor is replaced, nothing stays patched, and the model's output is the same to the bit.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
import torch.nn.functional as F
from torch.overrides import TorchFunctionMode

from refam.attention_families import Family, attention_modules, family_of
from refam.attention_kernels import attend, mean_probabilities
from refam.attention_statistics import SinkStats, share_and_variation

_SDPA = F.scaled_dot_product_attention


@dataclass(frozen=True, eq=False)
class TextAttention:
    """mean: (B, N, T) float32, image token -> text token, averaged over heads and over the blocks that were read.

    by_block: the same for each block read, where it was asked for. sink_stats: how evenly all queries, text and image,
    attend to each text token, where it was asked for.
    """

    mean: torch.Tensor
    by_block: dict[int, torch.Tensor]
    sink_stats: SinkStats | None = None

    def columns(self, first: Sequence[int], count: int) -> TextAttention:
        """`count` text tokens of each sample, from its own `first` on."""

        def cut(maps: torch.Tensor) -> torch.Tensor:
            return torch.stack([row[:, start : start + count] for row, start in zip(maps, first, strict=True)])

        stats = None if self.sink_stats is None else self.sink_stats.columns(first, count)
        return TextAttention(cut(self.mean), {k: cut(v) for k, v in self.by_block.items()}, stats)


class _StopForward(Exception):  # noqa: N818 - control flow, not an error
    """Raised inside the last wanted attention: what comes after it is never looked at."""


@dataclass
class _Reader(TorchFunctionMode):
    """State of one forward pass."""

    family: Family
    batch: int
    n_text: int  # text tokens in the model's input
    columns: slice  # of which these are read
    last: int
    early_exit: bool
    keep_blocks: bool
    sinks: bool
    block: int | None = None
    n_image: int = 0
    total: torch.Tensor | None = None
    count: int = 0
    samples: list[torch.Tensor] = field(default_factory=list)  # of a block that attends one sample at a time
    text_samples: list[torch.Tensor] = field(default_factory=list)  # the same of text queries
    by_block: dict[int, torch.Tensor] = field(default_factory=dict)
    stats: dict[int, tuple[torch.Tensor, torch.Tensor]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        super().__init__()

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func is not _SDPA:
            return func(*args, **kwargs) if kwargs else func(*args)
        names = ("query", "key", "value", "attn_mask", "dropout_p", "is_causal")
        call = {**dict(zip(names, args, strict=False)), **(kwargs or {})}
        return self._read(call)

    def _read(self, call: dict[str, Any]) -> torch.Tensor:
        q, k, mask = call["query"], call["key"], call.get("attn_mask")
        if call.get("is_causal") or k.shape[1] != q.shape[1]:
            raise ValueError("causal or grouped-query attention is not read: no supported family uses it")
        scale = call.get("scale") or q.shape[-1] ** -0.5
        out, lse = attend(q, k, call["value"], mask=mask, scale=scale)
        rows, columns = self._slices(q.shape[2])
        probabilities = self._gather(self.samples, _slice(q, k, lse, mask, scale, rows, columns))
        from_text = None
        if self.sinks and self.family.text != "cross":
            from_text = self._gather(self.text_samples, _slice(q, k, lse, mask, scale, columns, columns), square=True)
        if probabilities is None:
            return out
        index = self.block or 0
        if self.sinks:
            self.stats[index] = share_and_variation(probabilities, from_text)
        if self.keep_blocks:
            self.by_block[index] = probabilities.clone()
        self.total = probabilities if self.total is None else self.total.add_(probabilities)
        self.count += 1
        if self.early_exit and self.block == self.last:
            raise _StopForward
        return out

    def _gather(
        self, samples: list[torch.Tensor], probabilities: torch.Tensor, *, square: bool = False
    ) -> torch.Tensor | None:
        """The whole batch's; None until all samples were seen.

        Mochi makes one call for each sample, without its pads: those are zeros here, since nothing attends to them.
        """
        pads = self.columns.stop - self.columns.start - probabilities.shape[2]
        if pads:
            probabilities = F.pad(probabilities, (0, pads, 0, pads if square else 0))
        if probabilities.shape[0] == self.batch:
            return probabilities
        samples.append(probabilities)
        if len(samples) < self.batch:
            return None
        whole = torch.cat(samples)
        samples.clear()
        return whole

    def _slices(self, n_queries: int) -> tuple[slice, slice]:
        if self.family.text == "cross":
            return slice(None), self.columns
        if self.family.text == "first":
            return slice(n_queries - self.n_image, None), self.columns
        return slice(0, self.n_image), slice(self.n_image + self.columns.start, self.n_image + self.columns.stop)

    def sink_stats(self) -> SinkStats | None:
        """What was gathered, in the order of blocks."""
        if not self.stats:
            return None
        share, variation = (torch.stack([self.stats[b][i] for b in sorted(self.stats)]) for i in (0, 1))
        return SinkStats(tuple(sorted(self.stats)), share, variation)

    def enter(self, index: int) -> Callable[..., None]:
        def hook(module: Any, args: Any, kwargs: Any) -> None:
            hidden = kwargs["hidden_states"] if "hidden_states" in kwargs else args[0]
            text = kwargs.get("encoder_hidden_states", args[1] if len(args) > 1 else None)
            joint_already = text is None and self.family.text != "cross"  # FLUX's single blocks get one sequence
            self.n_image = hidden.shape[1] - (self.n_text if joint_already else 0)
            self.block = index
            self.__enter__()  # while this module runs, and no longer: every torch call goes through a mode

        return hook

    def leave(self, *_: Any) -> None:
        if self.block is not None:
            self.__exit__(None, None, None)
        self.block = None


def _slice(
    q: torch.Tensor,
    k: torch.Tensor,
    lse: torch.Tensor,
    mask: torch.Tensor | None,
    scale: float,
    rows: slice,
    columns: slice,
) -> torch.Tensor:
    """The softmax from the query rows to the key columns, averaged over heads: (B, rows, columns)."""
    if mask is not None:
        mask = mask[None] if mask.ndim == 3 else mask[None, None] if mask.ndim == 2 else mask
        mask = mask[..., columns] if mask.shape[2] == 1 else mask[..., rows, columns]
    return mean_probabilities(q[:, :, rows], k[:, :, columns], lse[:, :, rows], scale=scale, mask=mask)


def read_attention(
    transformer: torch.nn.Module,
    inputs: Mapping[str, Any],
    *,
    blocks: Sequence[int] | None = None,
    n_text: int | None = None,
    first_text: int = 0,
    early_exit: bool = True,
    keep_blocks: bool = False,
    sinks: bool = False,
) -> tuple[TextAttention, Any]:
    """ONE forward pass, and what its attention says.

    inputs: the transformer's keyword arguments (`encoder_hidden_states` (B, T, D) among them). blocks: which attention
    modules to read, counted from 0 in the order they run (None: all). n_text: read so many text tokens only (padding is
    seldom wanted), from first_text on. early_exit: stop after the last block read; the output is then None.
    sinks: gather `sink_stats`, with a few text rows more of the softmax.
    Raises ValueError for blocks or text tokens that the transformer does not have.
    """
    modules = attention_modules(transformer)
    wanted = sorted(range(len(modules)) if blocks is None else blocks)
    if not wanted or wanted[0] < 0 or wanted[-1] >= len(modules):
        raise ValueError(f"blocks {list(wanted)} are not in 0..{len(modules) - 1}, the blocks of this transformer")
    batch, length = inputs["encoder_hidden_states"].shape[:2]
    stop = length if n_text is None else min(first_text + n_text, length)
    if not 0 <= first_text < stop:
        raise ValueError(f"text tokens {first_text} to {stop} cannot be read: the text has {length} tokens")
    reader = _Reader(
        family=family_of(transformer),
        batch=batch,
        n_text=length,
        columns=slice(first_text, stop),
        last=wanted[-1],
        early_exit=early_exit,
        keep_blocks=keep_blocks,
        sinks=sinks,
    )
    hooks = []
    for index in wanted:
        hooks.append(modules[index].register_forward_pre_hook(reader.enter(index), with_kwargs=True))
        hooks.append(modules[index].register_forward_hook(reader.leave, always_call=True))
    output = None
    try:
        with torch.no_grad():
            output = transformer(**inputs)
    except _StopForward:
        pass
    finally:
        for hook in hooks:
            hook.remove()
    if reader.total is None:
        raise RuntimeError(
            "no attention was seen: this transformer's attention backend does not call scaled_dot_product_attention; "
            'use transformer.set_attention_backend("native")'
        )
    return TextAttention(reader.total / reader.count, reader.by_block, reader.sink_stats()), output
