"""Small random text encoders, VAEs and schedulers, of which the families' pipelines are made."""

from __future__ import annotations

from typing import Any

from diffusers import (
    AutoencoderKL,
    FlowMatchEulerDiscreteScheduler,
)
from tokenizers import Tokenizer, decoders, pre_tokenizers, processors, trainers
from tokenizers.models import BPE
from transformers import (
    CLIPTextConfig,
    CLIPTextModel,
    PreTrainedTokenizerFast,
    Qwen2TokenizerFast,
    T5Config,
    T5EncoderModel,
)

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
