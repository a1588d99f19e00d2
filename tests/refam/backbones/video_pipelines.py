"""Small random pipelines of every family that makes videos, of classes from diffusers and transformers."""

from __future__ import annotations

from typing import Any

from diffusers import (
    AutoencoderKLCogVideoX,
    AutoencoderKLHunyuanVideo,
    AutoencoderKLLTXVideo,
    AutoencoderKLMochi,
    AutoencoderKLWan,
    CogVideoXDDIMScheduler,
    CogVideoXPipeline,
    CogVideoXTransformer3DModel,
    HunyuanVideoPipeline,
    HunyuanVideoTransformer3DModel,
    LTXPipeline,
    LTXVideoTransformer3DModel,
    MochiPipeline,
    MochiTransformer3DModel,
    SkyReelsV2DiffusionForcingPipeline,
    SkyReelsV2Pipeline,
    SkyReelsV2Transformer3DModel,
    UniPCMultistepScheduler,
    WanPipeline,
    WanTransformer3DModel,
)
from diffusers.pipelines.hunyuan_video.pipeline_hunyuan_video import DEFAULT_PROMPT_TEMPLATE
from transformers import (
    LlamaConfig,
    LlamaModel,
    PreTrainedTokenizerFast,
    UMT5Config,
    UMT5EncoderModel,
)

from tests.refam.backbones.pipeline_parts import (
    WIDTH,
    byte_pairs,
    clip,
    flow,
    t5,
)


def mochi() -> Any:
    tokenizer, text_encoder = t5()
    return MochiPipeline(
        flow(invert_sigmas=True),
        AutoencoderKLMochi(
            latent_channels=12, encoder_block_out_channels=(32,) * 4, decoder_block_out_channels=(32,) * 4,
            layers_per_block=(1, 1, 1, 1, 1),
        ),
        text_encoder, tokenizer,
        MochiTransformer3DModel(
            patch_size=2, num_attention_heads=2, attention_head_dim=8, num_layers=3, pooled_projection_dim=16,
            in_channels=12, text_embed_dim=WIDTH, time_embed_dim=4, max_sequence_length=24,
        ),
    )  # fmt: skip


def cogvideox(*, version: str = "1.0") -> Any:
    tokenizer, text_encoder = t5()
    later: dict[str, Any] = {"patch_size_t": 2, "patch_bias": False} if version == "1.5" else {}
    return CogVideoXPipeline(
        tokenizer, text_encoder,
        AutoencoderKLCogVideoX(
            down_block_types=("CogVideoXDownBlock3D",) * 4, up_block_types=("CogVideoXUpBlock3D",) * 4,
            block_out_channels=(8, 8, 8, 8), latent_channels=4, layers_per_block=1, norm_num_groups=2,
            temporal_compression_ratio=4,
        ),
        CogVideoXTransformer3DModel(
            num_attention_heads=2, attention_head_dim=16, in_channels=4, out_channels=4, time_embed_dim=2,
            text_embed_dim=WIDTH, num_layers=3, sample_width=8, sample_height=8, sample_frames=9,
            max_text_seq_length=24, use_rotary_positional_embeddings=version != "2b", **later,
        ),
        CogVideoXDDIMScheduler(prediction_type="v_prediction", rescale_betas_zero_snr=True, timestep_spacing="trailing",
                               snr_shift_scale=1.0),
    )  # fmt: skip


def hunyuan_video() -> Any:
    special = ["<|begin_of_text|>", "<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>", "<pad>"]
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=byte_pairs(special, str(DEFAULT_PROMPT_TEMPLATE["template"])), pad_token="<pad>",
        bos_token="<|begin_of_text|>", eos_token="<|eot_id|>", padding_side="right",
    )  # fmt: skip
    encoder = LlamaModel(
        LlamaConfig(vocab_size=len(tokenizer), hidden_size=WIDTH, intermediate_size=16, num_hidden_layers=3,
                    num_attention_heads=2, num_key_value_heads=1)
    )  # fmt: skip
    tokenizer_2, text_encoder_2 = clip()
    return HunyuanVideoPipeline(
        encoder, tokenizer,
        HunyuanVideoTransformer3DModel(
            in_channels=4, out_channels=4, num_attention_heads=2, attention_head_dim=16, num_layers=1,
            num_single_layers=2, num_refiner_layers=1, patch_size=2, patch_size_t=1, guidance_embeds=True,
            text_embed_dim=WIDTH, pooled_projection_dim=8, rope_axes_dim=(4, 4, 8),
        ),
        AutoencoderKLHunyuanVideo(
            latent_channels=4, down_block_types=("HunyuanVideoDownBlock3D",) * 4,
            up_block_types=("HunyuanVideoUpBlock3D",) * 4, block_out_channels=(8, 8, 8, 8), layers_per_block=1,
            norm_num_groups=4,
        ),
        flow(), text_encoder_2, tokenizer_2,
    )  # fmt: skip


def wan_transformer() -> Any:
    return WanTransformer3DModel(
        patch_size=(1, 2, 2), num_attention_heads=2, attention_head_dim=12, in_channels=16, out_channels=16,
        text_dim=WIDTH, freq_dim=16, ffn_dim=32, num_layers=3, rope_max_seq_len=32,
    )  # fmt: skip


def wan(*, kind: str = "2.1") -> Any:
    tokenizer, text_encoder = t5(UMT5EncoderModel, UMT5Config)
    return WanPipeline(
        tokenizer, text_encoder,
        AutoencoderKLWan(base_dim=4, z_dim=16, dim_mult=[1, 1, 1, 1], num_res_blocks=1),
        UniPCMultistepScheduler(prediction_type="flow_prediction", use_flow_sigmas=True, flow_shift=3.0)
        if kind == "2.1" else flow(),
        wan_transformer(),
        wan_transformer() if kind == "2.2 A14B" else None,
        boundary_ratio=0.6 if kind == "2.2 A14B" else None,
        expand_timesteps=kind == "2.2 5B",
    )  # fmt: skip


def skyreels_v2(*, diffusion_forcing: bool = False) -> Any:
    tokenizer, text_encoder = t5(UMT5EncoderModel, UMT5Config)
    kind = SkyReelsV2DiffusionForcingPipeline if diffusion_forcing else SkyReelsV2Pipeline
    return kind(
        tokenizer=tokenizer, text_encoder=text_encoder,
        transformer=SkyReelsV2Transformer3DModel(
            patch_size=(1, 2, 2), num_attention_heads=2, attention_head_dim=12, in_channels=16, out_channels=16,
            text_dim=WIDTH, freq_dim=16, ffn_dim=32, num_layers=3, rope_max_seq_len=32,
            inject_sample_info=diffusion_forcing,
        ),
        vae=AutoencoderKLWan(base_dim=4, z_dim=16, dim_mult=[1, 1, 1, 1], num_res_blocks=1),
        scheduler=UniPCMultistepScheduler(prediction_type="flow_prediction", use_flow_sigmas=True, flow_shift=8.0),
    )  # fmt: skip


def ltx() -> Any:
    tokenizer, text_encoder = t5()
    return LTXPipeline(
        flow(),
        AutoencoderKLLTXVideo(
            latent_channels=8, block_out_channels=(8, 8, 8, 8), decoder_block_out_channels=(8, 8, 8, 8),
            layers_per_block=(1, 1, 1, 1, 1), decoder_layers_per_block=(1, 1, 1, 1, 1),
            spatio_temporal_scaling=(True,) * 3 + (False,), decoder_spatio_temporal_scaling=(True,) * 3 + (False,),
            decoder_inject_noise=(False,) * 5, upsample_residual=(False,) * 4, upsample_factor=(1,) * 4, patch_size=2,
        ),
        text_encoder, tokenizer,
        LTXVideoTransformer3DModel(
            in_channels=8, out_channels=8, num_attention_heads=2, attention_head_dim=12, cross_attention_dim=24,
            num_layers=3, caption_channels=WIDTH,
        ),
    )  # fmt: skip
