"""Where image tokens stand, for a transformer that was trained on one grid and reads others."""

from __future__ import annotations

import torch

INTERLEAVED = 4
"""Every n-th token of a frame, both ways, is one of the coarse grids that are read: about 10 x 10, as in training."""


def scaled_image_ids(height: int, width: int) -> torch.Tensor:
    """Return position ids (height * width, 3) of tokens, scaled so that every picture spans 10 both ways.

    The model was trained on grids of 10 x 10 tokens; finer grids and other shapes lie between those positions.
    """
    ids = torch.zeros(height, width, 3)
    ids[..., 1] = torch.arange(height)[:, None] * (10.0 / height)
    ids[..., 2] = torch.arange(width)[None] * (10.0 / width)
    return ids.flatten(0, 1)
