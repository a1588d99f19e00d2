"""The model for photographs as a pipeline: FLUX's transformer and text encoders on another encoder."""

from __future__ import annotations

from diffusers import FlowMatchEulerDiscreteScheduler, FluxPipeline, FluxTransformer2DModel
from transformers import CLIPTextModel, CLIPTokenizer, T5EncoderModel, T5TokenizerFast

from refam.photos.encoder import PhotoEncoder


class PhotoFluxPipeline(FluxPipeline):
    """A FluxPipeline whose `vae` is a PhotoEncoder. It is read, never called: nothing decodes latents to pictures."""

    def __init__(
        self,
        scheduler: FlowMatchEulerDiscreteScheduler,
        vae: PhotoEncoder,
        text_encoder: CLIPTextModel,
        tokenizer: CLIPTokenizer,
        text_encoder_2: T5EncoderModel,
        tokenizer_2: T5TokenizerFast,
        transformer: FluxTransformer2DModel,
        image_encoder: None = None,
        feature_extractor: None = None,
    ) -> None:
        super().__init__(scheduler, vae, text_encoder, tokenizer, text_encoder_2, tokenizer_2, transformer)
