"""Which preset a name, a hub repository or a directory gets, and the sizes that presets tell."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import diffusers
import pytest
import torch
import transformers

from refam.backbones import PRESETS, BackboneError, Preset, preset_for
from refam.backbones.loading import BACKBONES
from refam.backbones.presets import known_pipeline_classes


def test_every_known_class_has_a_preset_and_a_backbone() -> None:
    assert set(known_pipeline_classes()) == set(BACKBONES)


def test_an_unknown_class_is_refused_with_a_list_of_known_ones(tmp_path: Path) -> None:
    (tmp_path / "model_index.json").write_text('{"_class_name": "KandinskyPipeline"}')
    with pytest.raises(BackboneError, match=r"is a KandinskyPipeline, whose .*; known are ChromaPipeline, .*WanPipe"):
        preset_for(str(tmp_path))


@pytest.mark.parametrize("text", ["{", "[]", "{}", '{"_class_name": 5}', "[" * 100_000])
def test_a_broken_model_index_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "model_index.json").write_text(text)
    with pytest.raises(BackboneError, match=r"model_index\.json is broken"):
        preset_for(str(tmp_path))


def test_a_revision_is_pinned_with_an_at_sign() -> None:
    assert preset_for("mochi@" + "e" * 40) == replace(PRESETS["mochi"], revision="e" * 40)
    assert preset_for("owner/name@v1.0").revision == "v1.0"
    for wrong in ("tiny@main", "mochi@"):
        with pytest.raises(BackboneError, match="only a hub repository has revisions"):
            preset_for(wrong)


FULL_SIZE: dict[str, Callable[[], torch.nn.Module]] = {
    "flux-dev": lambda: diffusers.FluxTransformer2DModel(guidance_embeds=True),
    "flux2-dev": diffusers.Flux2Transformer2DModel,
    "flux2-klein-4b": lambda: diffusers.Flux2Transformer2DModel(
        num_layers=5, num_single_layers=20, num_attention_heads=24, joint_attention_dim=7680, guidance_embeds=False
    ),
    "chroma": diffusers.ChromaTransformer2DModel,
    "sd3.5-large": lambda: diffusers.SD3Transformer2DModel(
        sample_size=128, num_layers=38, num_attention_heads=38, joint_attention_dim=4096, caption_projection_dim=2432,
        out_channels=16, pos_embed_max_size=192, qk_norm="rms_norm",
    ),
    "qwen-image": diffusers.QwenImageTransformer2DModel,
    "mochi": diffusers.MochiTransformer3DModel,
    "cogvideox-2b": diffusers.CogVideoXTransformer3DModel,
    "hunyuan-video": diffusers.HunyuanVideoTransformer3DModel,
    "wan-14b": diffusers.WanTransformer3DModel,
    "ltx-video": diffusers.LTXVideoTransformer3DModel,
    "prx-512": diffusers.PRXTransformer2DModel,
    "pixart-sigma": lambda: diffusers.PixArtTransformer2DModel(caption_channels=4096, use_additional_conditions=False),
    "sana-0.6b": lambda: diffusers.SanaTransformer2DModel(
        num_attention_heads=36, num_layers=28, num_cross_attention_heads=16, cross_attention_head_dim=72,
        cross_attention_dim=1152,
    ),
    "sana-1.6b": diffusers.SanaTransformer2DModel,
    "lumina-image-2": lambda: diffusers.Lumina2Transformer2DModel(cap_feat_dim=2304),
    "z-image-turbo": diffusers.ZImageTransformer2DModel,
    "skyreels-1.3b": lambda: diffusers.SkyReelsV2Transformer3DModel(
        num_attention_heads=12, ffn_dim=8960, num_layers=30, inject_sample_info=True
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", FULL_SIZE)
def test_sizes_are_the_parameter_counts_of_the_full_configurations(name: str) -> None:
    with torch.device("meta"):
        count = sum(p.numel() for p in FULL_SIZE[name]().parameters()) / 1e9
    billion_parameters = PRESETS[name].billion_parameters
    assert billion_parameters is not None
    assert billion_parameters[0] == pytest.approx(count, rel=0.01)


def test_the_largest_text_encoder_is_counted_right() -> None:
    config = transformers.T5Config(
        d_model=4096, d_ff=10240, num_layers=24, num_heads=64, d_kv=64, feed_forward_proj="gated-gelu"
    )
    with torch.device("meta"):
        count = sum(p.numel() for p in transformers.T5EncoderModel(config).parameters()) / 1e9
    billion_parameters = PRESETS["chroma"].billion_parameters
    assert billion_parameters is not None
    assert billion_parameters[1] == pytest.approx(count + 0.08, rel=0.01)


def test_gemmas_and_their_autoencoders_are_counted_right() -> None:
    with torch.device("meta"):
        gemma = sum(p.numel() for p in transformers.Gemma2Model(transformers.Gemma2Config()).parameters()) / 1e9
    billion_parameters = PRESETS["prx-512"].billion_parameters
    assert billion_parameters is not None
    assert billion_parameters[1] == pytest.approx(gemma + 0.08, rel=0.01)


@pytest.mark.parametrize(
    "wrong", [{"noise": 0.0}, {"noise": 1.0}, {"draws": 0}, {"short_side_px": 0}, {"text_length": 0}]
)
def test_invalid_presets_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=next(iter(wrong))):
        Preset(**{"name": "x", "source": "x", "noise": 0.5, "short_side_px": 64, "text_length": 24, **wrong})
