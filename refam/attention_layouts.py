"""Where each class of diffusion transformer has its text-image attention, and where the text's tokens stand in it."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import torch


@dataclass(frozen=True)
class AttentionLayout:
    """Where one class of transformer has its text-image attention.

    Attributes:
        modules: A regular expression for the names of the attention modules, in the order in which they run.
        text: Where the text keys are: "first" or "last" in a joint sequence, or "cross" if every key is text.
        text_queries: Whether text tokens attend too; in cross-attention they never do.
        find_spans: Where the tokens of each sample stand, from the transformer's keyword arguments; None if all samples
            have the same number of text tokens, padding included.
    """

    modules: str
    text: Literal["first", "last", "cross"]
    text_queries: bool = True
    find_spans: Callable[[Mapping[str, Any]], list[TokenSpans]] | None = None


@dataclass(frozen=True)
class TokenSpans:
    """Where the tokens of one sample stand in its joint sequence.

    Attributes:
        image: The image tokens, without padding.
        text: The text tokens, without padding.
    """

    image: slice
    text: slice


_PATCH = 2  # latent pixels on a side of an image token, in Lumina-Image-2.0 and Z-Image
_Z_IMAGE_MULTIPLE = 32  # Z-Image pads image and text to whole multiples of it, with tokens that are attended to


def _lumina2_spans(inputs: Mapping[str, Any]) -> list[TokenSpans]:
    """Text, then the image at once, then padding."""
    height, width = inputs["hidden_states"].shape[-2:]
    n_image = (height // _PATCH) * (width // _PATCH)
    counts = inputs["encoder_attention_mask"].sum(1).tolist()
    return [TokenSpans(slice(n, n + n_image), slice(0, n)) for n in counts]


def _z_image_spans(inputs: Mapping[str, Any]) -> list[TokenSpans]:
    """The image, padded; then the text, padded."""
    spans = []
    for image, text in zip(inputs["x"], inputs["cap_feats"], strict=True):
        n_image = (image.shape[-2] // _PATCH) * (image.shape[-1] // _PATCH)
        start = -(-n_image // _Z_IMAGE_MULTIPLE) * _Z_IMAGE_MULTIPLE
        spans.append(TokenSpans(slice(0, n_image), slice(start, start + len(text))))
    return spans


_DOUBLE_AND_SINGLE = r"(single_)?transformer_blocks\.\d+\.attn"

# The patterns leave out attention among tokens of one kind: refiners of text and of the image, SD3.5's image-only
# `attn2`, and the self-attention `attn1` of LTX, PixArt, Sana (linear, without a softmax), SkyReels and Wan.
LAYOUTS: Mapping[str, AttentionLayout] = {
    "FluxTransformer2DModel": AttentionLayout(_DOUBLE_AND_SINGLE, "first"),
    "Flux2Transformer2DModel": AttentionLayout(_DOUBLE_AND_SINGLE, "first"),
    "ChromaTransformer2DModel": AttentionLayout(_DOUBLE_AND_SINGLE, "first"),
    "SD3Transformer2DModel": AttentionLayout(r"transformer_blocks\.\d+\.attn", "last"),
    "QwenImageTransformer2DModel": AttentionLayout(r"transformer_blocks\.\d+\.attn", "first"),
    "MochiTransformer3DModel": AttentionLayout(r"transformer_blocks\.\d+\.attn1", "last"),
    "CogVideoXTransformer3DModel": AttentionLayout(r"transformer_blocks\.\d+\.attn1", "first"),
    "HunyuanVideoTransformer3DModel": AttentionLayout(_DOUBLE_AND_SINGLE, "last"),
    "WanTransformer3DModel": AttentionLayout(r"blocks\.\d+\.attn2", "cross"),
    "LTXVideoTransformer3DModel": AttentionLayout(r"transformer_blocks\.\d+\.attn2", "cross"),
    "PRXTransformer2DModel": AttentionLayout(r"blocks\.\d+\.attention", "first", text_queries=False),
    "PixArtTransformer2DModel": AttentionLayout(r"transformer_blocks\.\d+\.attn2", "cross"),
    "SanaTransformer2DModel": AttentionLayout(r"transformer_blocks\.\d+\.attn2", "cross"),
    "Lumina2Transformer2DModel": AttentionLayout(r"layers\.\d+\.attn", "first", find_spans=_lumina2_spans),
    "ZImageTransformer2DModel": AttentionLayout(r"layers\.\d+\.attention", "last", find_spans=_z_image_spans),
    "SkyReelsV2Transformer3DModel": AttentionLayout(r"blocks\.\d+\.attn2", "cross"),
}


def attention_layout(transformer: torch.nn.Module) -> AttentionLayout:
    """Return the layout of this transformer's class.

    Raises:
        ValueError: If the class is unknown; the message names those that are known.
    """
    name = type(transformer).__name__
    if name not in LAYOUTS:
        raise ValueError(f"attention of {name} cannot be read; known transformers: {', '.join(sorted(LAYOUTS))}")
    return LAYOUTS[name]


def attention_modules(transformer: torch.nn.Module) -> list[torch.nn.Module]:
    """Return the text-image attention modules in the order in which they run.

    Raises:
        ValueError: If the class of the transformer is unknown.
    """
    pattern = attention_layout(transformer).modules
    return [m for n, m in transformer.named_modules() if re.fullmatch(pattern, n)]
