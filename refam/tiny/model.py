"""The components of the small FLUX, all of classes from diffusers and transformers, as FluxPipeline needs them.

A picture of (H, W) pixels becomes latents (8, H/2, W/2), which FLUX packs 2x2 into H/4 * W/4 tokens of 32 channels.
"""

from __future__ import annotations

import copy
import json
import tempfile
from collections.abc import Sequence
from pathlib import Path

import torch
from diffusers import AutoencoderKL, FlowMatchEulerDiscreteScheduler, FluxPipeline, FluxTransformer2DModel
from tokenizers import Tokenizer, decoders, normalizers, pre_tokenizers, processors
from tokenizers.models import Unigram
from torch import nn
from transformers import (
    CLIPTextConfig,
    CLIPTextModel,
    CLIPTokenizer,
    T5Config,
    T5EncoderModel,
    T5TokenizerFast,
)

from refam.tiny.language import TEXT_LENGTH, VOCABULARY

LATENT_CHANNELS = 8
TOKEN_CHANNELS = 4 * LATENT_CHANNELS
PIXELS_PER_TOKEN = 4
TEXT_WIDTH = 128
POOLED_WIDTH = 16


def build_tokenizer(vocabulary: Sequence[str] = VOCABULARY, *, text_length: int = TEXT_LENGTH) -> T5TokenizerFast:
    """Build a word-level tokenizer in T5's form (SentencePiece unigram, "▁" marks the start of a word).

    Args:
        vocabulary: All words in lower case; others are <unk>.
        text_length: Tokens of a text, the end token included.
    """
    special = [("<pad>", 0.0), ("</s>", 0.0), ("<unk>", -20.0)]
    # Words also without the mark, for after a hyphen or a full stop, except short ones, which occur inside others.
    inner = [w for w in vocabulary if len(w) > 3 or not w.isalpha()]
    words = [("▁", -3.0), *(("▁" + w, -1.0) for w in vocabulary), *((w, -1.0) for w in inner)]
    tokenizer = Tokenizer(Unigram(special + words, unk_id=2))
    tokenizer.normalizer = normalizers.Sequence([normalizers.NFKC(), normalizers.Lowercase()])
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    tokenizer.decoder = decoders.Metaspace()
    tokenizer.post_processor = processors.TemplateProcessing(single="$A </s>", special_tokens=[("</s>", 1)])
    return T5TokenizerFast(
        tokenizer_object=tokenizer,
        model_max_length=text_length,
        extra_ids=0,
        pad_token="<pad>",  # noqa: S106
        eos_token="</s>",  # noqa: S106
        unk_token="<unk>",  # noqa: S106
    )


def build_text_encoder(vocab_size: int, *, text_length: int = TEXT_LENGTH) -> T5EncoderModel:
    """Build a T5 encoder of two layers, which is trained together with the transformer."""
    return T5EncoderModel(
        T5Config(
            vocab_size=vocab_size,
            d_model=TEXT_WIDTH,
            d_kv=32,
            num_heads=TEXT_WIDTH // 32,
            d_ff=2 * TEXT_WIDTH,
            num_layers=2,
            relative_attention_num_buckets=16,
            relative_attention_max_distance=text_length,
            dropout_rate=0.0,
            feed_forward_proj="gated-gelu",
            is_encoder_decoder=False,
            use_cache=False,
        )
    )


def build_vae() -> AutoencoderKL:
    """Build an autoencoder that halves the picture once; the receptive field of a latent is about 37 pixels."""
    return AutoencoderKL(
        down_block_types=("DownEncoderBlock2D",) * 2,
        up_block_types=("UpDecoderBlock2D",) * 2,
        block_out_channels=(32, 96),
        layers_per_block=1,
        latent_channels=LATENT_CHANNELS,
        norm_num_groups=8,
        sample_size=64,
        scaling_factor=1.0,
        shift_factor=0.0,
        force_upcast=False,
        use_quant_conv=True,
        use_post_quant_conv=True,
        mid_block_add_attention=False,
    )


def build_transformer(
    *, double: int = 2, single: int = 2, in_channels: int = TOKEN_CHANNELS, heads: int = 6
) -> FluxTransformer2DModel:
    """Build a FLUX transformer with few blocks, initialised as DiTs are (Xavier, adaLN-zero)."""
    model = FluxTransformer2DModel(
        patch_size=1,
        in_channels=in_channels,
        num_layers=double,
        num_single_layers=single,
        attention_head_dim=32,
        num_attention_heads=heads,
        joint_attention_dim=TEXT_WIDTH,
        pooled_projection_dim=POOLED_WIDTH,
        guidance_embeds=False,
        axes_dims_rope=(8, 12, 12),
    )
    for module in model.modules():
        if isinstance(module, nn.Linear):
            nn.init.xavier_uniform_(module.weight)
            if module.bias is not None:
                nn.init.zeros_(module.bias)
    for name, module in model.named_modules():
        if isinstance(module, nn.Linear) and name.endswith("linear") and "norm" in name:
            nn.init.zeros_(module.weight)
    nn.init.zeros_(model.proj_out.weight)
    return model


def build_clip() -> tuple[CLIPTokenizer, CLIPTextModel]:
    """Build the CLIP that FluxPipeline requires. Its final layer norm is zero, so that its pooled output is always 0.

    Words then reach the transformer through attention alone, which is where grounding reads them.
    """
    characters = [chr(c) for c in (*range(33, 127), *range(161, 173), *range(174, 256), *range(256, 324))]
    pieces = [*characters, *(c + "</w>" for c in characters), "<|startoftext|>", "<|endoftext|>"]
    with tempfile.TemporaryDirectory() as folder:
        vocab, merges = Path(folder, "vocab.json"), Path(folder, "merges.txt")
        vocab.write_text(json.dumps({p: i for i, p in enumerate(pieces)}), encoding="utf-8")
        merges.write_text("#version: 0.2\n", encoding="utf-8")
        tokenizer = CLIPTokenizer(str(vocab), str(merges), model_max_length=77)
    encoder = CLIPTextModel(
        CLIPTextConfig(
            vocab_size=len(pieces),
            hidden_size=POOLED_WIDTH,
            intermediate_size=POOLED_WIDTH,
            num_hidden_layers=1,
            num_attention_heads=1,
            max_position_embeddings=77,
            bos_token_id=len(pieces) - 2,
            eos_token_id=len(pieces) - 1,
            pad_token_id=len(pieces) - 1,
        )
    )
    for parameter in (encoder.get_parameter(n) for n, _ in encoder.named_parameters() if "final_layer_norm" in n):
        nn.init.zeros_(parameter)
    return tokenizer, encoder


def assemble(
    vae: nn.Module,
    transformer: FluxTransformer2DModel,
    text_encoder: T5EncoderModel,
    tokenizer: T5TokenizerFast,
    *,
    kind: type[FluxPipeline] = FluxPipeline,
    shift: float = 3.0,
) -> FluxPipeline:
    """Assemble an ordinary FluxPipeline, or one of a kind that has another encoder; shift: of the scheduler."""
    clip_tokenizer, clip = build_clip()
    return kind(
        scheduler=FlowMatchEulerDiscreteScheduler(shift=shift),
        vae=vae,
        text_encoder=clip,
        tokenizer=clip_tokenizer,
        text_encoder_2=text_encoder,
        tokenizer_2=tokenizer,
        transformer=transformer,
    )


def pack(latents: torch.Tensor) -> torch.Tensor:
    """Pack latents (B, C, h, w) into tokens (B, h/2 * w/2, 4 C), as FLUX does."""
    b, c, h, w = latents.shape
    return FluxPipeline._pack_latents(latents, b, c, h, w)


def save(pipeline: FluxPipeline, directory: Path) -> None:
    """Save a half-precision copy of the pipeline; its components, which may still be in training, do not change."""
    components = {name: copy.deepcopy(c) for name, c in pipeline.components.items() if c is not None}
    for component in components.values():
        if isinstance(component, nn.Module):
            component.to(torch.float16)
    type(pipeline)(**components).save_pretrained(directory, safe_serialization=True)
