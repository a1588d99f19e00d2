"""Small random pipelines of every family, of classes from diffusers and transformers; no weights, no network."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from diffusers import (
    AutoencoderDC,
    AutoencoderKL,
    AutoencoderKLCogVideoX,
    AutoencoderKLFlux2,
    AutoencoderKLHunyuanVideo,
    AutoencoderKLLTXVideo,
    AutoencoderKLMochi,
    AutoencoderKLQwenImage,
    AutoencoderKLWan,
    ChromaPipeline,
    ChromaTransformer2DModel,
    CogVideoXDDIMScheduler,
    CogVideoXPipeline,
    CogVideoXTransformer3DModel,
    DPMSolverMultistepScheduler,
    FlowMatchEulerDiscreteScheduler,
    Flux2KleinPipeline,
    Flux2Pipeline,
    Flux2Transformer2DModel,
    FluxPipeline,
    FluxTransformer2DModel,
    HunyuanVideoPipeline,
    HunyuanVideoTransformer3DModel,
    LTXPipeline,
    LTXVideoTransformer3DModel,
    Lumina2Pipeline,
    Lumina2Transformer2DModel,
    MochiPipeline,
    MochiTransformer3DModel,
    PixArtSigmaPipeline,
    PixArtTransformer2DModel,
    PRXPipeline,
    PRXTransformer2DModel,
    QwenImagePipeline,
    QwenImageTransformer2DModel,
    SanaPipeline,
    SanaTransformer2DModel,
    SD3Transformer2DModel,
    SkyReelsV2DiffusionForcingPipeline,
    SkyReelsV2Pipeline,
    SkyReelsV2Transformer3DModel,
    StableDiffusion3Pipeline,
    UniPCMultistepScheduler,
    WanPipeline,
    WanTransformer3DModel,
    ZImagePipeline,
    ZImageTransformer2DModel,
)
from diffusers.pipelines.flux2.system_messages import SYSTEM_MESSAGE
from diffusers.pipelines.hunyuan_video.pipeline_hunyuan_video import DEFAULT_PROMPT_TEMPLATE
from tokenizers import Tokenizer, decoders, pre_tokenizers, processors, trainers
from tokenizers.models import BPE
from transformers import (
    CLIPTextConfig,
    CLIPTextModel,
    CLIPTextModelWithProjection,
    Gemma2Config,
    Gemma2Model,
    LlamaConfig,
    LlamaModel,
    Mistral3Config,
    Mistral3ForConditionalGeneration,
    PreTrainedTokenizerFast,
    Qwen2_5_VLConfig,
    Qwen2_5_VLForConditionalGeneration,
    Qwen2TokenizerFast,
    Qwen3Config,
    Qwen3ForCausalLM,
    Qwen3Model,
    T5Config,
    T5EncoderModel,
    UMT5Config,
    UMT5EncoderModel,
)
from transformers.models.t5gemma import T5GemmaConfig, T5GemmaModuleConfig
from transformers.models.t5gemma.modeling_t5gemma import T5GemmaEncoder

from refam.tiny import model
from refam.tiny.language import VOCABULARY

WIDTH = 16  # of text embeddings
QWEN_TEMPLATE = (
    "<|im_start|>system\nDescribe the image by detailing the color, shape, size, texture, quantity, text, spatial "
    "relationships of the objects and background:<|im_end|>\n<|im_start|>user\n{}<|im_end|>\n<|im_start|>assistant\n"
)
CHAT_TEMPLATE = (
    "{% for m in messages %}<|im_start|>{{ m['role'] }}\n{{ m['content'] }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
MISTRAL_TEMPLATE = (
    "{{ bos_token }}{% for m in messages %}[{{ m['role'] }}]"
    "{% for c in m['content'] %}{{ c['text'] }}{% endfor %}[/{{ m['role'] }}]{% endfor %}"
)


def byte_pairs(special: list[str], *texts: str) -> Tokenizer:
    """Byte-level BPE, as Qwen and Llama have it, trained on these texts so that their words are one token each."""
    tokenizer = Tokenizer(BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=900,
        min_frequency=1,
        special_tokens=special,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator([" ".join(VOCABULARY)] * 3 + list(texts) * 5, trainer)
    return tokenizer


def t5(cls: Any = T5EncoderModel, config: Any = T5Config) -> tuple[Any, Any]:
    tokenizer = model.build_tokenizer()
    encoder = cls(
        config(
            vocab_size=len(tokenizer), d_model=WIDTH, d_kv=4, num_heads=4, d_ff=24, num_layers=1, dropout_rate=0.0,
            relative_attention_num_buckets=8, is_encoder_decoder=False, use_cache=False,
        )
    )  # fmt: skip
    return tokenizer, encoder


def clip(cls: Any = CLIPTextModel) -> tuple[Any, Any]:
    tokenizer, old = model.build_clip()
    config = CLIPTextConfig(**{**old.config.to_dict(), "hidden_size": 8, "intermediate_size": 8, "projection_dim": 8,
                               "num_hidden_layers": 2})  # fmt: skip
    return tokenizer, cls(config)


def qwen_tokenizer() -> Qwen2TokenizerFast:
    special = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
    tokenizer = byte_pairs(special, QWEN_TEMPLATE)
    made = Qwen2TokenizerFast(tokenizer_object=tokenizer, pad_token="<|endoftext|>", eos_token="<|im_end|>")
    made.chat_template = CHAT_TEMPLATE
    return made


def gemma_tokenizer(*texts: str) -> PreTrainedTokenizerFast:
    """As Gemma's: a token before the text, none after it, padding on the left."""
    tokenizer = byte_pairs(["<pad>", "<eos>", "<bos>"], *texts)
    tokenizer.post_processor = processors.TemplateProcessing("<bos> $A", special_tokens=[("<bos>", 2)])
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, bos_token="<bos>", eos_token="<eos>", pad_token="<pad>", padding_side="left"
    )


def image_vae(**kwargs: Any) -> AutoencoderKL:
    return AutoencoderKL(
        down_block_types=("DownEncoderBlock2D",) * 2, up_block_types=("UpDecoderBlock2D",) * 2,
        block_out_channels=(4, 4), layers_per_block=1, latent_channels=4, norm_num_groups=2, sample_size=32,
        scaling_factor=0.7, shift_factor=0.1, use_quant_conv=False, use_post_quant_conv=False, **kwargs,
    )  # fmt: skip


def flow(**kwargs: Any) -> FlowMatchEulerDiscreteScheduler:
    return FlowMatchEulerDiscreteScheduler(**{"shift": 1.0, **kwargs})


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


def randomise(pipeline: Any) -> Any:
    """Weights whose attention is far from uniform: in a fresh model it nearly is, and any mistake would hide in it."""
    for transformer in (pipeline.transformer, getattr(pipeline, "transformer_2", None)):
        for name, parameter in transformer.named_parameters() if transformer is not None else ():
            if parameter.ndim == 2:
                torch.nn.init.normal_(parameter, std=0.3 if "att" in name else 0.1)
    return pipeline


IMAGES: dict[str, Callable[[], Any]] = {
    "FLUX.1": flux,
    "FLUX.2": flux2,
    "FLUX.2 Klein": flux2_klein,
    "Chroma": chroma,
    "SD3": sd3,
    "SD3 without T5": lambda: sd3(with_t5=False),
    "Qwen-Image": qwen_image,
    "PRX": prx,
    "PixArt-Sigma": pixart_sigma,
    "Sana": sana,
    "Lumina-Image-2.0": lumina2,
    "Z-Image": z_image,
}
CLIPS: dict[str, Callable[[], Any]] = {
    "Mochi": mochi,
    "CogVideoX": cogvideox,
    "CogVideoX 1.5": lambda: cogvideox(version="1.5"),
    "CogVideoX 2b": lambda: cogvideox(version="2b"),
    "HunyuanVideo": hunyuan_video,
    "Wan": wan,
    "Wan 2.2 A14B": lambda: wan(kind="2.2 A14B"),
    "Wan 2.2 5B": lambda: wan(kind="2.2 5B"),
    "SkyReels-V2": skyreels_v2,
    "SkyReels-V2 DF": lambda: skyreels_v2(diffusion_forcing=True),
    "LTX": ltx,
}
ALL = {**IMAGES, **CLIPS}
# Room for the longest prompt and its template.
TEXT_LENGTH = {
    "FLUX.2": 96,
    "FLUX.2 Klein": 64,
    "Qwen-Image": 64,
    "HunyuanVideo": 40,
    "Lumina-Image-2.0": 64,
    "Z-Image": 64,
}


def random_frames(count: int, seed: int = 0) -> list[np.ndarray]:
    rng = np.random.default_rng(seed)
    return [rng.integers(0, 255, (48, 72, 3), dtype=np.uint8) for _ in range(count)]
