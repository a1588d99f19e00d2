"""Small random pipelines of every family that draws images, of classes from diffusers and transformers."""

from __future__ import annotations

from typing import Any

import torch
from diffusers import (
    AutoencoderDC,
    AutoencoderKLFlux2,
    AutoencoderKLQwenImage,
    ChromaPipeline,
    ChromaTransformer2DModel,
    DPMSolverMultistepScheduler,
    Flux2KleinPipeline,
    Flux2Pipeline,
    Flux2Transformer2DModel,
    FluxPipeline,
    FluxTransformer2DModel,
    Lumina2Pipeline,
    Lumina2Transformer2DModel,
    PixArtSigmaPipeline,
    PixArtTransformer2DModel,
    PRXPipeline,
    PRXTransformer2DModel,
    QwenImagePipeline,
    QwenImageTransformer2DModel,
    SanaPipeline,
    SanaTransformer2DModel,
    SD3Transformer2DModel,
    StableDiffusion3Pipeline,
    ZImagePipeline,
    ZImageTransformer2DModel,
)
from diffusers.pipelines.flux2.system_messages import SYSTEM_MESSAGE
from transformers import (
    CLIPTextModelWithProjection,
    Gemma2Config,
    Gemma2Model,
    Mistral3Config,
    Mistral3ForConditionalGeneration,
    PreTrainedTokenizerFast,
    Qwen2_5_VLConfig,
    Qwen2_5_VLForConditionalGeneration,
    Qwen3Config,
    Qwen3ForCausalLM,
    Qwen3Model,
)
from transformers.models.t5gemma import T5GemmaConfig, T5GemmaModuleConfig
from transformers.models.t5gemma.modeling_t5gemma import T5GemmaEncoder

from tests.refam.backbones.pipeline_parts import (
    MISTRAL_TEMPLATE,
    WIDTH,
    byte_pairs,
    clip,
    flow,
    gemma_tokenizer,
    image_vae,
    qwen_tokenizer,
    t5,
)


def flux() -> Any:
    (tokenizer_2, text_encoder_2), (tokenizer, text_encoder) = t5(), clip()
    return FluxPipeline(
        flow(), image_vae(), text_encoder, tokenizer, text_encoder_2, tokenizer_2,
        FluxTransformer2DModel(
            in_channels=16, num_layers=1, num_single_layers=2, attention_head_dim=16, num_attention_heads=2,
            joint_attention_dim=WIDTH, pooled_projection_dim=8, guidance_embeds=True, axes_dims_rope=(4, 4, 8),
        ),
    )  # fmt: skip


def chroma() -> Any:
    tokenizer, text_encoder = t5()
    return ChromaPipeline(
        flow(), image_vae(), text_encoder, tokenizer,
        ChromaTransformer2DModel(
            in_channels=16, num_layers=1, num_single_layers=2, attention_head_dim=16, num_attention_heads=2,
            joint_attention_dim=WIDTH, axes_dims_rope=(4, 4, 8), approximator_num_channels=8,
            approximator_hidden_dim=16, approximator_layers=1,
        ),
    )  # fmt: skip


def _flux2_parts(guidance: bool) -> tuple[Any, Any]:
    vae = AutoencoderKLFlux2(
        down_block_types=("DownEncoderBlock2D",) * 2, up_block_types=("UpDecoderBlock2D",) * 2,
        block_out_channels=(4, 4), layers_per_block=1, latent_channels=4, norm_num_groups=2, sample_size=32,
        use_quant_conv=False, use_post_quant_conv=False,
    )  # fmt: skip
    vae.bn.running_mean.copy_(torch.linspace(-0.5, 0.5, 16))
    vae.bn.running_var.copy_(torch.linspace(0.5, 2.0, 16))
    transformer = Flux2Transformer2DModel(
        patch_size=1, in_channels=16, num_layers=1, num_single_layers=2, attention_head_dim=16, num_attention_heads=2,
        joint_attention_dim=3 * WIDTH, timestep_guidance_channels=16, axes_dims_rope=(4, 4, 4, 4),
        guidance_embeds=guidance,
    )  # fmt: skip
    return vae, transformer


def flux2() -> Any:
    special = [
        "<s>",
        "</s>",
        "<pad>",
        "[IMG]",
        "[IMG_BREAK]",
        "[IMG_END]",
        "[system]",
        "[/system]",
        "[user]",
        "[/user]",
    ]
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=byte_pairs(special, SYSTEM_MESSAGE), bos_token="<s>", eos_token="</s>", pad_token="<pad>",
        padding_side="left",
    )  # fmt: skip
    tokenizer.chat_template = MISTRAL_TEMPLATE  # a PixtralProcessor's, which cannot be made without torchvision
    text = {"model_type": "mistral", "vocab_size": len(tokenizer), "hidden_size": WIDTH, "intermediate_size": 16,
            "num_hidden_layers": 30, "num_attention_heads": 2, "num_key_value_heads": 1, "head_dim": 8}  # fmt: skip
    vision = {"model_type": "pixtral", "hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 1,
              "intermediate_size": 8, "image_size": 32, "patch_size": 16}  # fmt: skip
    encoder = Mistral3ForConditionalGeneration(Mistral3Config(text_config=text, vision_config=vision))
    vae, transformer = _flux2_parts(True)
    return Flux2Pipeline(flow(), vae, encoder, tokenizer, transformer)


def flux2_klein() -> Any:
    tokenizer = qwen_tokenizer()
    encoder = Qwen3ForCausalLM(
        Qwen3Config(vocab_size=len(tokenizer), hidden_size=WIDTH, intermediate_size=16, num_hidden_layers=27,
                    num_attention_heads=2, num_key_value_heads=1, head_dim=8)
    )  # fmt: skip
    vae, transformer = _flux2_parts(False)
    return Flux2KleinPipeline(flow(), vae, encoder, tokenizer, transformer, is_distilled=True)


def sd3(*, with_t5: bool = True) -> Any:
    one, two = clip(CLIPTextModelWithProjection), clip(CLIPTextModelWithProjection)
    tokenizer_3, text_encoder_3 = t5() if with_t5 else (None, None)
    return StableDiffusion3Pipeline(
        SD3Transformer2DModel(
            sample_size=16, patch_size=2, in_channels=4, out_channels=4, num_layers=3, attention_head_dim=8,
            num_attention_heads=4, joint_attention_dim=WIDTH, caption_projection_dim=32, pooled_projection_dim=16,
            pos_embed_max_size=24, dual_attention_layers=(0,), qk_norm="rms_norm",
        ),
        flow(), image_vae(), one[1], one[0], two[1], two[0], text_encoder_3, tokenizer_3,
    )  # fmt: skip


def qwen_image() -> Any:
    tokenizer = qwen_tokenizer()
    vision = {"depth": 1, "hidden_size": 8, "intermediate_size": 8, "num_heads": 1, "out_hidden_size": WIDTH,
              "fullatt_block_indexes": [0]}  # fmt: skip
    text = {"vocab_size": len(tokenizer), "hidden_size": WIDTH, "intermediate_size": 16, "num_hidden_layers": 2,
            "num_attention_heads": 2, "num_key_value_heads": 1,
            "rope_scaling": {"type": "mrope", "mrope_section": [1, 1, 2]}}  # fmt: skip
    encoder = Qwen2_5_VLForConditionalGeneration(Qwen2_5_VLConfig(text_config=text, vision_config=vision))
    return QwenImagePipeline(
        flow(),
        AutoencoderKLQwenImage(
            base_dim=4, z_dim=4, dim_mult=[1, 1, 1], num_res_blocks=1, temperal_downsample=[False, True],
            latents_mean=[0.1, 0.2, -0.1, 0.0], latents_std=[1.5, 0.5, 1.0, 2.0],
        ),
        encoder, tokenizer,
        QwenImageTransformer2DModel(
            patch_size=2, in_channels=16, out_channels=4, num_layers=3, attention_head_dim=16, num_attention_heads=2,
            joint_attention_dim=WIDTH, axes_dims_rope=(8, 4, 4),
        ),
    )  # fmt: skip


def prx() -> Any:
    tokenizer = gemma_tokenizer()
    config = T5GemmaModuleConfig(
        vocab_size=len(tokenizer), hidden_size=WIDTH, intermediate_size=16, num_hidden_layers=2, num_attention_heads=2,
        num_key_value_heads=1, head_dim=8, query_pre_attn_scalar=8, dropout_rate=0.0,
    )  # fmt: skip
    encoder = T5GemmaEncoder(config)

    def save(folder: Any, **kwargs: Any) -> None:
        """As published: the encoder of a model whose configuration holds a decoder, too."""
        T5GemmaEncoder.save_pretrained(encoder, folder, **kwargs)
        T5GemmaConfig(encoder=config, decoder=config).save_pretrained(folder)

    encoder.save_pretrained = save
    return PRXPipeline(
        PRXTransformer2DModel(
            in_channels=4, patch_size=2, context_in_dim=WIDTH, hidden_size=32, mlp_ratio=2.0, num_heads=2, depth=3,
            axes_dim=[8, 8],
        ),
        flow(), encoder, tokenizer, image_vae(),
    )  # fmt: skip


def pixart_sigma() -> Any:
    tokenizer, text_encoder = t5()
    return PixArtSigmaPipeline(
        tokenizer, text_encoder, image_vae(),
        PixArtTransformer2DModel(
            num_attention_heads=2, attention_head_dim=16, in_channels=4, out_channels=8, num_layers=3,
            cross_attention_dim=32, sample_size=8, caption_channels=WIDTH, use_additional_conditions=False,
        ),
        DPMSolverMultistepScheduler(beta_start=0.0001, beta_end=0.02),
    )  # fmt: skip


def gemma2(*texts: str) -> tuple[Any, Any]:
    tokenizer = gemma_tokenizer(*texts)
    config = Gemma2Config(
        vocab_size=len(tokenizer), hidden_size=WIDTH, intermediate_size=16, num_hidden_layers=2, num_attention_heads=2,
        num_key_value_heads=1, head_dim=8, query_pre_attn_scalar=8,
    )  # fmt: skip
    return tokenizer, Gemma2Model(config)


def sana() -> Any:
    tokenizer, text_encoder = gemma2()
    return SanaPipeline(
        tokenizer, text_encoder,
        AutoencoderDC(
            latent_channels=4, attention_head_dim=2, scaling_factor=0.7, encoder_block_types=("ResBlock",) * 4,
            decoder_block_types=("ResBlock",) * 4, encoder_block_out_channels=(8,) * 4,
            decoder_block_out_channels=(8,) * 4,
            encoder_qkv_multiscales=((),) * 4, decoder_qkv_multiscales=((),) * 4, encoder_layers_per_block=(1,) * 4,
            decoder_layers_per_block=(1,) * 4, decoder_norm_types="rms_norm", decoder_act_fns="silu",
            downsample_block_type="conv", upsample_block_type="interpolate",
        ),
        SanaTransformer2DModel(
            in_channels=4, out_channels=4, num_attention_heads=4, attention_head_dim=8, num_layers=3,
            num_cross_attention_heads=2, cross_attention_head_dim=16, cross_attention_dim=32, caption_channels=WIDTH,
            sample_size=8,
        ),
        DPMSolverMultistepScheduler(prediction_type="flow_prediction", use_flow_sigmas=True, flow_shift=3.0),
    )  # fmt: skip


def lumina2() -> Any:
    tokenizer, text_encoder = gemma2(
        "You are an assistant designed to generate superior images with the superior degree of image-text alignment "
        "based on textual prompts or user prompts. <Prompt Start> "
    )
    return Lumina2Pipeline(
        Lumina2Transformer2DModel(
            sample_size=8, in_channels=4, hidden_size=24, num_layers=3, num_refiner_layers=1, num_attention_heads=2,
            num_kv_heads=1, multiple_of=16, axes_dim_rope=(4, 4, 4), axes_lens=(96, 32, 32), cap_feat_dim=WIDTH,
        ),
        flow(), image_vae(), text_encoder, tokenizer,
    )  # fmt: skip


def z_image() -> Any:
    tokenizer = qwen_tokenizer()
    encoder = Qwen3Model(
        Qwen3Config(vocab_size=len(tokenizer), hidden_size=WIDTH, intermediate_size=16, num_hidden_layers=2,
                    num_attention_heads=2, num_key_value_heads=1, head_dim=8)
    )  # fmt: skip
    transformer = ZImageTransformer2DModel(
        in_channels=4, dim=48, n_layers=3, n_refiner_layers=1, n_heads=2, n_kv_heads=2, cap_feat_dim=WIDTH,
        axes_dims=[8, 8, 8], axes_lens=[128, 32, 32],
    )  # fmt: skip
    return ZImagePipeline(flow(), image_vae(), encoder, tokenizer, transformer)
