"""What is known of each class of transformer: where its text-image attention is, and where text stands in it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import torch


@dataclass(frozen=True)
class Family:
    """How to read one class of transformer.

    modules: a pattern of the attention modules' names, in the order they run. text: where text keys are: "first" or
    "last" in a joint sequence, or "cross": every key is text.
    """

    modules: str
    text: Literal["first", "last", "cross"]


_DOUBLE_AND_SINGLE = r"(single_)?transformer_blocks\.\d+\.attn"

# Patterns leave out what sees one kind of token only: token refiners, SD3.5's image-only `attn2`, LTX's and Wan's
# self-attention `attn1`.
FAMILIES: Mapping[str, Family] = {
    "FluxTransformer2DModel": Family(_DOUBLE_AND_SINGLE, "first"),
    "Flux2Transformer2DModel": Family(_DOUBLE_AND_SINGLE, "first"),
    "ChromaTransformer2DModel": Family(_DOUBLE_AND_SINGLE, "first"),
    "SD3Transformer2DModel": Family(r"transformer_blocks\.\d+\.attn", "last"),
    "QwenImageTransformer2DModel": Family(r"transformer_blocks\.\d+\.attn", "first"),
    "MochiTransformer3DModel": Family(r"transformer_blocks\.\d+\.attn1", "last"),
    "CogVideoXTransformer3DModel": Family(r"transformer_blocks\.\d+\.attn1", "first"),
    "HunyuanVideoTransformer3DModel": Family(_DOUBLE_AND_SINGLE, "last"),
    "WanTransformer3DModel": Family(r"blocks\.\d+\.attn2", "cross"),
    "LTXVideoTransformer3DModel": Family(r"transformer_blocks\.\d+\.attn2", "cross"),
}


def family_of(transformer: torch.nn.Module) -> Family:
    """The entry for this transformer's class. Raises ValueError, naming those that are known."""
    name = type(transformer).__name__
    if name not in FAMILIES:
        raise ValueError(f"attention of {name} cannot be read; known transformers: {', '.join(sorted(FAMILIES))}")
    return FAMILIES[name]


def attention_modules(transformer: torch.nn.Module) -> list[torch.nn.Module]:
    """The text-image attention modules in the order they run. Raises ValueError for a class that is not known."""
    pattern = family_of(transformer).modules
    return [m for n, m in transformer.named_modules() if re.fullmatch(pattern, n)]
