"""Small random transformers, one for each place where a family puts the text's tokens."""

from __future__ import annotations

from typing import Any

import torch
from diffusers import FluxTransformer2DModel, SD3Transformer2DModel, WanTransformer3DModel

B, T = 2, 7


def flux() -> tuple[Any, dict[str, Any], int]:
    model = FluxTransformer2DModel(
        patch_size=1, in_channels=8, num_layers=2, num_single_layers=2, attention_head_dim=16, num_attention_heads=3,
        joint_attention_dim=12, pooled_projection_dim=5, axes_dims_rope=(4, 6, 6),
    )  # fmt: skip
    ids = torch.cartesian_prod(torch.zeros(1), torch.arange(4.0), torch.arange(6.0))
    inputs = {
        "hidden_states": torch.randn(B, 24, 8),
        "encoder_hidden_states": torch.randn(B, T, 12),
        "pooled_projections": torch.randn(B, 5),
        "timestep": torch.full((B,), 0.5),
        "img_ids": ids,
        "txt_ids": torch.zeros(T, 3),
        "return_dict": False,
    }
    return model, inputs, 24


def sd3() -> tuple[Any, dict[str, Any], int]:
    model = SD3Transformer2DModel(
        sample_size=8, patch_size=2, in_channels=4, num_layers=3, attention_head_dim=8, num_attention_heads=4,
        joint_attention_dim=12, caption_projection_dim=32, pooled_projection_dim=5, pos_embed_max_size=8,
    )  # fmt: skip
    inputs = {
        "hidden_states": torch.randn(B, 4, 8, 12),
        "encoder_hidden_states": torch.randn(B, T, 12),
        "pooled_projections": torch.randn(B, 5),
        "timestep": torch.full((B,), 500.0),
        "return_dict": False,
    }
    return model, inputs, 24


def wan() -> tuple[Any, dict[str, Any], int]:
    model = WanTransformer3DModel(
        patch_size=(1, 2, 2), num_attention_heads=2, attention_head_dim=12, in_channels=4, out_channels=4, text_dim=12,
        freq_dim=16, ffn_dim=32, num_layers=3,
    )  # fmt: skip
    inputs = {
        "hidden_states": torch.randn(B, 4, 2, 8, 6),
        "encoder_hidden_states": torch.randn(B, T, 12),
        "timestep": torch.full((B,), 500),
        "return_dict": False,
    }
    return model, inputs, 24


LAYOUTS = {"text first (FLUX)": (flux, "first"), "text last (SD3)": (sd3, "last"), "cross (Wan)": (wan, "cross")}
