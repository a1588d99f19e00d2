"""The slow truth about attention: the whole softmax of each call."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch.overrides import TorchFunctionMode


class NaiveAttention(TorchFunctionMode):
    """Keeps the whole softmax of every attention call that sees the text."""

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
