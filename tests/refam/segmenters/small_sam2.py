"""SAM2's and EdgeTAM's video models, real classes, a million random parameters. No weights are needed."""

from __future__ import annotations

import numpy as np
import torch
from transformers import EdgeTamVideoConfig, EdgeTamVideoModel, Sam2VideoConfig, Sam2VideoModel

SIDE = 128
KINDS = ("sam2", "edgetam")


def small_video_model(kind="sam2", *, seed=0, **more):
    """Its memory is short, so that few frames go beyond it: 4 frames of features, 6 of pointers."""
    hiera = {
        "model_type": "sam2_hiera_det_model",
        "hidden_size": 8,
        "image_size": [SIDE, SIDE],
        "blocks_per_stage": [1, 1, 2, 1],
        "embed_dim_per_stage": [8, 16, 32, 64],
        "num_attention_heads_per_stage": [1, 1, 2, 2],
        "window_size_per_stage": [4, 2, 4, 2],
        "global_attention_blocks": [3],
    }
    common = {
        "vision_config": {
            "model_type": "sam2_vision_model",
            "backbone_config": hiera,
            "backbone_channel_list": [64, 32, 16, 8],
            "backbone_feature_sizes": [[32, 32], [16, 16], [8, 8]],
            "fpn_hidden_size": 128,
        },
        "prompt_encoder_config": {"hidden_size": 128, "image_size": SIDE, "mask_input_channels": 8},
        "mask_decoder_config": {
            "hidden_size": 128,
            "mlp_dim": 64,
            "num_attention_heads": 2,
            "iou_head_hidden_dim": 32,
        },
        "image_size": SIDE,
        "num_maskmem": 4,
        "max_object_pointers_in_encoder": 6,
        "memory_attention_hidden_size": 128,
        "memory_attention_num_layers": 1,
        "memory_attention_rope_feat_sizes": [8, 8],
        "memory_encoder_hidden_size": 128,
        "mask_downsampler_embed_dim": 128,
        "memory_fuser_embed_dim": 128,
        "memory_fuser_intermediate_dim": 64,
    } | more
    torch.manual_seed(seed)
    if kind == "sam2":
        model = Sam2VideoModel(Sam2VideoConfig(**common, memory_attention_feed_forward_hidden_size=64))
    else:
        latents = {"perceiver_resampler_num_latents": 16, "perceiver_resampler_num_latents_2d": 16}
        own = {"memory_attention_mlp_hidden_size": 64, "memory_attention_rope_k_sizes": [4, 4], **latents}
        model = EdgeTamVideoModel(EdgeTamVideoConfig(**common, **own))
    with torch.no_grad():  # as it is initialised, hardly anything depends on anything
        for name, p in model.named_parameters():
            if p.ndim > 1 or "embed" in name or "positional" in name:
                p.normal_(0, 2 / max(1, p[0].numel()) ** 0.5)
        model.mask_decoder.pred_obj_score_head.proj_out.bias.fill_(50)  # and it would see nothing anywhere
    return model.eval()


def small_clip(n, *, size=(80, 60), seed=0):
    """(n, h, w, 3) uint8: blurred noise that drifts, no two frames alike."""
    w, h = size
    rng = np.random.default_rng(seed)
    broad = rng.integers(0, 256, (h // 10, (w + n) // 10 + 1, 3)).repeat(10, 0).repeat(10, 1)
    frames = np.stack([broad[:h, i : i + w] for i in range(n)])
    return np.clip(frames + rng.integers(-20, 20, frames.shape), 0, 255).astype(np.uint8)


def small_mask(size=(80, 60), *, left=20):
    mask = np.zeros((size[1], size[0]), bool)
    mask[15:40, left : left + 30] = True
    return mask
