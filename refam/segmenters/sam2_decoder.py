"""SAM2's mask decoder for several prompts on one image, in little more than half the time of transformers' own forward.

The weights are those of a `Sam2MaskDecoder` or `EdgeTamMaskDecoder`, and so are the results, up to rounding. An image
has thousands of cells, a prompt about ten tokens, and nearly all time goes into what is computed for each cell:

- Attention between tokens and cells projects the tokens into the space of the cells: q.(Wk x) is (Wk'q).x, and the
  weighted sum of all Wv x is Wv times the weighted sum of x. transformers projects the cells instead.
- What depends on the image alone is broadcast over the prompts and not repeated.
- Prompts of different kinds have different numbers of tokens. The shorter ones are padded, and padding gets no
  attention, so that one call takes them all. (transformers' own padding is attended to, which changes the masks.)
- Of the four masks only the three for ambiguous prompts are computed.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F

from refam.segmenters.feature_cache import Levels

_N_HEAD_TOKENS = 2  # the tokens of the object score and of the IoU prediction come before those of the masks


@dataclass(frozen=True, eq=False)
class EmbeddedPrompt:
    """What SAM2's prompt encoder makes of one prompt.

    Args:
        sparse: (t, c): a token for each point and for each corner of the box.
        dense: (1, c, h, w): what is added to the image's coarsest level; h and w may be 1.
    """

    sparse: torch.Tensor
    dense: torch.Tensor


@torch.inference_mode()
def decode_masks(
    decoder: Any, levels: Levels, positions: torch.Tensor, prompts: Sequence[EmbeddedPrompt]
) -> tuple[torch.Tensor, torch.Tensor]:
    """Decode three masks for each of n prompts, as the decoder itself does with `multimask_output`.

    Args:
        decoder: A `Sam2MaskDecoder` or `EdgeTamMaskDecoder`.
        levels: The feature pyramid of the image, on the decoder's device.
        positions: (1, c, h, w), the positional encoding of the coarsest level.
        prompts: At least one.

    Returns:
        (n, 3, 4h, 4w) logits and (n, 3) IoU predictions.
    """
    heads = torch.cat([decoder.obj_score_token.weight, decoder.iou_token.weight, decoder.mask_tokens.weight])
    tokens, padding = _pad([torch.cat([heads, prompt.sparse]) for prompt in prompts])
    image = _cells(levels[-1])
    cells = torch.cat([image + _cells(prompt.dense) for prompt in prompts])
    tokens, cells = _two_way(decoder.transformer, tokens, padding, cells, _cells(positions))
    pixels = _upscale(decoder, cells, levels)
    masks = range(1, decoder.num_mask_tokens)  # the first is for unambiguous prompts
    filters = torch.stack([decoder.output_hypernetworks_mlps[i](tokens[:, _N_HEAD_TOKENS + i]) for i in masks], dim=1)
    logits = (filters @ pixels.flatten(2)).unflatten(2, pixels.shape[-2:])
    return logits, decoder.iou_prediction_head(tokens[:, 1])[:, 1:]


def _two_way(
    transformer: Any, first: torch.Tensor, padding: torch.Tensor, cells: torch.Tensor, positions: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """Run the two-way transformer: tokens attend to tokens, tokens to cells, and cells to tokens.

    Args:
        transformer: A `Sam2TwoWayTransformer`.
        first: (n, t, c) tokens, which are also their own positional encoding.
        padding: (n, t): 0 for a token, minus infinity for padding.
        cells: (n, l, c); overwritten.
        positions: (1, l, c).

    Returns:
        The tokens and the cells after all layers.
    """
    tokens = first
    for i, layer in enumerate(transformer.layers):
        if i == 0:  # the tokens are nothing but positions yet
            tokens = _attend(layer.self_attn, tokens, tokens, padding)
        else:
            tokens = tokens + _attend(layer.self_attn, tokens + first, tokens, padding)
        tokens = layer.layer_norm1(tokens)
        located = cells + positions
        tokens = layer.layer_norm2(
            tokens + _read_cells(layer.cross_attn_token_to_image, tokens + first, located, cells)
        )
        tokens = layer.layer_norm3(tokens + layer.mlp(tokens))
        _write_cells(layer.cross_attn_image_to_token, cells, located, tokens + first, tokens, padding)
        cells = layer.layer_norm4(cells)
    read = _read_cells(transformer.final_attn_token_to_image, tokens + first, cells + positions, cells)
    return transformer.layer_norm_final_attn(tokens + read), cells


def _attend(attention: Any, located: torch.Tensor, tokens: torch.Tensor, padding: torch.Tensor) -> torch.Tensor:
    """Return what tokens read from each other, (n, t, c). located: the tokens with their positions."""
    n = attention.num_attention_heads
    query, key = _heads(attention.q_proj(located), n), _heads(attention.k_proj(located), n)
    value = _heads(attention.v_proj(tokens), n)
    out = F.scaled_dot_product_attention(query, key, value, attn_mask=padding[:, None, None], scale=attention.scaling)
    return attention.o_proj(out.transpose(1, 2).flatten(2))


def _read_cells(attention: Any, query: torch.Tensor, located: torch.Tensor, cells: torch.Tensor) -> torch.Tensor:
    """Return what tokens read from the cells, (n, t, c).

    Args:
        attention: A `Sam2Attention` whose keys are `located` and whose values are `cells`.
        query: (n, t, c).
        located: (n, l, c): the cells with their positions.
        cells: (n, l, c).
    """
    n_heads = attention.num_attention_heads
    tokens = _heads(attention.q_proj(query), n_heads) * attention.scaling
    # The keys' bias adds the same to all cells, which the softmax takes away again.
    in_cell_space = (tokens @ _by_head(attention.k_proj.weight, n_heads)).flatten(1, 2)
    weights = torch.softmax(in_cell_space @ located.transpose(1, 2), dim=-1)
    means = (weights @ cells).unflatten(1, (n_heads, -1))
    values = means @ _by_head(attention.v_proj.weight, n_heads).transpose(1, 2)
    return attention.o_proj(values.transpose(1, 2).flatten(2) + attention.v_proj.bias)


def _write_cells(
    attention: Any,
    cells: torch.Tensor,
    located: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    padding: torch.Tensor,
) -> None:
    """Add to the cells what they read from the tokens, in place.

    Args:
        attention: A `Sam2Attention` whose queries are `located`.
        cells: (n, l, c); overwritten.
        located: (n, l, c): the cells with their positions.
        key: (n, t, c).
        value: (n, t, c).
        padding: (n, t).
    """
    n_heads, n_tokens = attention.num_attention_heads, key.shape[1]
    keys = _heads(attention.k_proj(key), n_heads) * attention.scaling
    in_cell_space = (keys @ _by_head(attention.q_proj.weight, n_heads)).flatten(1, 2)
    bias = keys @ attention.q_proj.bias.view(n_heads, -1, 1) + padding[:, None, :, None]
    scores = torch.baddbmm(bias.view(len(cells), 1, -1), located, in_cell_space.transpose(1, 2))
    weights = torch.softmax(scores.unflatten(2, (n_heads, n_tokens)), dim=-1).flatten(2)
    out_by_head = attention.o_proj.weight.unflatten(1, (n_heads, -1)).permute(1, 2, 0)
    # The weights of each head add up to 1, so that each head brings in its part of the bias.
    values = _heads(attention.v_proj(value), n_heads) @ out_by_head + attention.o_proj.bias / n_heads
    cells.baddbmm_(weights, values.flatten(1, 2))


def _upscale(decoder: Any, cells: torch.Tensor, levels: Levels) -> torch.Tensor:
    """Return the cells as maps that are four times finer, (n, c / 8, 4h, 4w), with the image's finer levels added."""
    maps = cells.transpose(1, 2).unflatten(2, levels[-1].shape[-2:])
    maps = decoder.upscale_conv1(maps).add_(levels[1])
    maps = decoder.activation(decoder.upscale_layer_norm(maps))
    return decoder.activation(decoder.upscale_conv2(maps).add_(levels[0]))


def _pad(sequences: Sequence[torch.Tensor]) -> tuple[torch.Tensor, torch.Tensor]:
    """Return n sequences of tokens in one tensor, (n, t, c), and (n, t): 0 for a token, minus infinity for padding."""
    tokens = torch.nn.utils.rnn.pad_sequence(list(sequences), batch_first=True)
    padding = tokens.new_zeros(tokens.shape[:2])
    for row, sequence in zip(padding, sequences, strict=True):
        row[len(sequence) :] = -torch.inf
    return tokens, padding


def _cells(maps: torch.Tensor) -> torch.Tensor:
    """Return maps, (n, c, h, w), as rows of cells, (n, h * w, c)."""
    return maps.flatten(2).transpose(1, 2).contiguous()


def _heads(x: torch.Tensor, n_heads: int) -> torch.Tensor:
    """Split the channels of (n, t, c) between heads: (n, heads, t, c / heads)."""
    return x.unflatten(2, (n_heads, -1)).transpose(1, 2)


def _by_head(weight: torch.Tensor, n_heads: int) -> torch.Tensor:
    """Split a projection's (out, in) weight between heads: (heads, out / heads, in)."""
    return weight.unflatten(0, (n_heads, -1))
