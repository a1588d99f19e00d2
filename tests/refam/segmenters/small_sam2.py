"""Image and video models of SAM2, EdgeTAM and SAM3, real classes, few random parameters. No weights are needed."""

from __future__ import annotations

import numpy as np
import torch
from transformers import (
    EdgeTamConfig,
    EdgeTamModel,
    EdgeTamVideoConfig,
    EdgeTamVideoModel,
    Sam2Config,
    Sam2Model,
    Sam2VideoConfig,
    Sam2VideoModel,
    Sam3TrackerConfig,
    Sam3TrackerModel,
    Sam3TrackerVideoConfig,
    Sam3TrackerVideoModel,
)

from refam.segmenters.model_types import MODEL_TYPES
from refam.segmenters.sam2 import preprocess

SIDE = 128
KINDS = ("sam2", "edgetam", "sam3")


def image_part(side=SIDE):
    """The configuration of what looks at one image."""
    hiera = {
        "model_type": "sam2_hiera_det_model",
        "hidden_size": 8,
        "image_size": [side, side],
        "blocks_per_stage": [1, 1, 2, 1],
        "embed_dim_per_stage": [8, 16, 32, 64],
        "num_attention_heads_per_stage": [1, 1, 2, 2],
        "window_size_per_stage": [4, 2, 4, 2],
        "global_attention_blocks": [3],
    }
    return {
        "vision_config": {
            "model_type": "sam2_vision_model",
            "backbone_config": hiera,
            "backbone_channel_list": [64, 32, 16, 8],
            "backbone_feature_sizes": [[side // 4] * 2, [side // 8] * 2, [side // 16] * 2],
            "fpn_hidden_size": 128,
        },
        "prompt_encoder_config": {"hidden_size": 128, "image_size": side, "mask_input_channels": 8},
        "mask_decoder_config": {
            "hidden_size": 128,
            "mlp_dim": 64,
            "num_attention_heads": 2,
            "iou_head_hidden_dim": 32,
        },
    }


def sam3_vision(side=SIDE, *, levels=4, patch=16):
    """The configuration of SAM3's image encoder. The published one has four levels, of which the last is unread."""
    grid = side // patch
    vit = {
        "model_type": "sam3_vit_model",
        "hidden_size": 32,
        "intermediate_size": 64,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "image_size": side,
        "patch_size": patch,
        "window_size": 4,
        "global_attn_indexes": [1],
        "pretrain_image_size": side // 2,
    }
    return {
        "model_type": "sam3_vision_model",
        "backbone_config": vit,
        "fpn_hidden_size": 128,
        "backbone_feature_sizes": [[4 * grid] * 2, [2 * grid] * 2, [grid] * 2],
        "scale_factors": [4.0, 2.0, 1.0, 0.5][:levels],
    }


def sam3_tracker_part(side=SIDE, *, levels=4):
    """The configuration of what looks at one image, in SAM3's tracker."""
    part = image_part(side)
    part["vision_config"] = sam3_vision(side, levels=levels)
    part["prompt_encoder_config"]["patch_size"] = 16
    return part


def pixels_of(model, image):
    """The model's input for an image."""
    return preprocess(image, side=SIDE, normalisation=MODEL_TYPES[model.config.model_type].normalisation)


def randomise(model, *, bias_std=0.0):
    """Draw all weights anew: as they are initialised, hardly anything depends on anything."""
    with torch.no_grad():
        for name, p in model.named_parameters():
            if p.ndim > 1 or "embed" in name or "positional" in name:
                p.normal_(0, 2 / max(1, p[0].numel()) ** 0.5)
            elif bias_std and "bias" in name:
                p.normal_(0, bias_std)
            if "fpn_layers" in name and "proj1.weight" in name:  # SAM3 amplifies in several layers, one after the other
                p.div_(16)
            if "pred_obj_score_head.proj_out.bias" in name:
                p.fill_(50)  # or it would see nothing anywhere
    return model.eval()


def small_image_model(kind="sam2", *, seed=0):
    """A `Sam2Model`, an `EdgeTamModel` or a `Sam3TrackerModel`."""
    torch.manual_seed(seed)
    if kind == "sam3":
        return randomise(Sam3TrackerModel(Sam3TrackerConfig(**sam3_tracker_part(levels=3))), bias_std=0.1)
    model, config = (Sam2Model, Sam2Config) if kind == "sam2" else (EdgeTamModel, EdgeTamConfig)
    return randomise(model(config(**image_part())), bias_std=0.1)


def small_video_model(kind="sam2", *, seed=0, **more):
    """Its memory is short, so that few frames go beyond it: 4 frames of features, 6 of pointers."""
    common = {
        **image_part(),
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
    torch.manual_seed(seed + (kind == "sam3"))  # of SAM3 one whose masks do not hang on rounding
    if kind == "sam3":
        model = Sam3TrackerVideoModel(
            Sam3TrackerVideoConfig(**common | sam3_tracker_part(), memory_attention_feed_forward_hidden_size=64)
        )
    elif kind == "sam2":
        model = Sam2VideoModel(Sam2VideoConfig(**common, memory_attention_feed_forward_hidden_size=64))
    else:
        latents = {"perceiver_resampler_num_latents": 16, "perceiver_resampler_num_latents_2d": 16}
        own = {"memory_attention_mlp_hidden_size": 64, "memory_attention_rope_k_sizes": [4, 4], **latents}
        model = EdgeTamVideoModel(EdgeTamVideoConfig(**common, **own))
    return randomise(model)


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
