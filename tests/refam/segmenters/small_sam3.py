"""SAM3 as one model, in the layout of facebook/sam3: real classes, few random parameters, a tokenizer of letters."""

from __future__ import annotations

import string

import torch
from transformers import CLIPTokenizer, Sam3VideoConfig, Sam3VideoModel

from tests.refam.segmenters.small_sam2 import SIDE, randomise, sam3_tracker_part, sam3_vision

_BLOCK = {"hidden_size": 128, "num_layers": 1, "num_attention_heads": 2, "intermediate_size": 64}


def small_sam3(*, seed=0):
    """A `Sam3VideoModel`: a detector with 12 queries, and a tracker with a short memory."""
    detector = {
        "vision_config": sam3_vision(),
        "text_config": {
            "vocab_size": len(_vocabulary()),
            "bos_token_id": _vocabulary()["<|startoftext|>"],
            "eos_token_id": _vocabulary()["<|endoftext|>"],
            "hidden_size": 32,
            "intermediate_size": 64,
            "projection_dim": 32,
            "num_hidden_layers": 1,
            "num_attention_heads": 2,
            "max_position_embeddings": 32,
        },
        "geometry_encoder_config": _BLOCK,
        "detr_encoder_config": _BLOCK,
        "detr_decoder_config": {**_BLOCK, "num_queries": 12},
        "mask_decoder_config": {"hidden_size": 128, "num_attention_heads": 2},
    }
    tracker = {
        **sam3_tracker_part(),
        "image_size": SIDE,
        "num_maskmem": 4,
        "max_object_pointers_in_encoder": 6,
        "memory_attention_hidden_size": 128,
        "memory_attention_num_layers": 1,
        "memory_attention_feed_forward_hidden_size": 64,
        "memory_encoder_hidden_size": 128,
        "mask_downsampler_embed_dim": 128,
        "memory_fuser_embed_dim": 128,
        "memory_fuser_intermediate_dim": 64,
    }
    torch.manual_seed(seed)
    config = Sam3VideoConfig(detector_config=detector, tracker_config=tracker, low_res_mask_size=SIDE // 4)
    model = Sam3VideoModel(config)
    randomise(model.tracker_model)
    for part in (model.detector_model, model.tracker_neck):
        randomise(part)
    return model.eval()


def small_tokenizer():
    """CLIP's tokenizer without merges: a token for each letter."""
    return CLIPTokenizer(vocab=_vocabulary(), merges=[])


def save_small_sam3(folder, *, seed=0):
    """Save model and tokenizer as facebook/sam3 has them; returns the model."""
    model = small_sam3(seed=seed)
    model.save_pretrained(folder)
    small_tokenizer().save_pretrained(folder)
    return model


def _vocabulary():
    pieces = [letter + end for letter in string.ascii_lowercase for end in ("", "</w>")]
    return {piece: i for i, piece in enumerate([*pieces, "<|startoftext|>", "<|endoftext|>"])}
