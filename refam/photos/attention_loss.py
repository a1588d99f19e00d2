"""The losses on the attention itself: of image tokens to a noun. No place is given.

The word loss: whether the picture has the noun must follow from its attention. For every noun of the text and every
block: log-sum-exp over the image tokens of the log-odds of the joint attention (softmax over text and image, mean over
heads), with a learnt scale and offset, and binary cross-entropy with "the picture has it".

The map loss: at every token these log-odds follow the linear probe's (`refam.photos.latents`), which was itself fitted
to say which nouns a picture has.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn
from torch.overrides import TorchFunctionMode

from refam.photos.pooling import pool_over_positions

_EXPECTED_LOG_ODDS = -3.5  # of one text token among some hundred tokens
_LEAST = 1e-7
_MORE_PRESENT = 2.0  # added to the weight of nouns that are there, since they are few and say more of where


class RecordAttention(TorchFunctionMode):
    """While it is active, keep what image tokens give to text tokens, with gradients.

    Attributes:
        maps: One (B, N, T) for each block, the mean over heads of the joint softmax.
    """

    def __init__(self, n_text: int) -> None:
        super().__init__()
        self.maps: list[torch.Tensor] = []
        self._n_text = n_text

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Replace the fused attention by a softmax that can be kept; text comes first in FLUX's sequence."""
        kwargs = kwargs or {}
        if func is not F.scaled_dot_product_attention:
            return func(*args, **kwargs)
        call = dict(zip(("query", "key", "value"), args, strict=False)) | kwargs
        query, key, value = call["query"], call["key"], call["value"]
        if query.shape[-2] <= self._n_text:  # the text encoder's own
            return func(*args, **kwargs)
        weights = (query @ key.transpose(-1, -2) / math.sqrt(query.shape[-1])).softmax(-1)
        self.maps.append(weights[:, :, self._n_text :, : self._n_text].mean(1))
        return weights @ value


@dataclass(frozen=True, eq=False)
class AskedNouns:
    """Of R nouns in the texts of a batch, what is known of them.

    Attributes:
        pictures: (R,) which picture of the batch each noun is asked of.
        positions: (R,) the noun's position in the text.
        present: (R,) 1 if the picture has it, else 0.
        weight: (R,) how far that is to be trusted.
        probe: (R, N) the linear probe's log-odds of the noun at each image token; the probe was trained on labels too.
    """

    pictures: torch.Tensor
    positions: torch.Tensor
    present: torch.Tensor
    weight: torch.Tensor
    probe: torch.Tensor


class WordLoss(nn.Module):
    """Both losses over all blocks, with a scale and an offset for each."""

    def __init__(self, n_blocks: int) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.ones(n_blocks))
        self.offset = nn.Parameter(torch.zeros(n_blocks))

    def forward(self, maps: list[torch.Tensor], asked: AskedNouns) -> tuple[torch.Tensor, torch.Tensor]:
        """Return the word loss and the map loss, each the mean over nouns and blocks.

        Args:
            maps: (B, N, T) for each block, of `RecordAttention`.
            asked: What is known of the nouns of the texts.
        """
        # Where a noun is known to be absent it is at no token, whatever the probe says.
        expected = asked.probe.sigmoid() * asked.present[:, None]
        word, by_token = [], []
        for block, attention in enumerate(maps):
            given = attention[asked.pictures, :, asked.positions].clamp(_LEAST, 1 - 1e-6)
            log_odds = torch.log(given) - torch.log1p(-given) - _EXPECTED_LOG_ODDS
            scores = log_odds * self.scale[block] + self.offset[block]
            pooled = pool_over_positions(scores)
            said = F.binary_cross_entropy_with_logits(pooled, asked.present, reduction="none")
            word.append((said * asked.weight).mean())
            placed = F.binary_cross_entropy_with_logits(scores, expected, reduction="none").mean(1)
            by_token.append((placed * asked.weight * (1 + _MORE_PRESENT * asked.present)).mean())
        return torch.stack(word).mean(), torch.stack(by_token).mean()
