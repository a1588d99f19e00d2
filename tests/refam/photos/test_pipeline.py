"""The pipeline on small random weights: saved, loaded as a backbone, and read."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from diffusers import FluxPipeline

from refam.backbones import load_backbone, preset_for
from refam.backbones.photo_model import PhotoBackbone
from refam.grounder import Grounder
from refam.photos import TEXT_LENGTH
from refam.photos.attention_loss import RecordAttention
from refam.photos.encoder import PhotoEncoder
from refam.photos.pipeline import PhotoFluxPipeline
from refam.photos.positions import scaled_image_ids
from refam.photos.vocabulary import save_vocabulary
from refam.photos.words import model_words
from refam.tiny.diffusion import TextToLatents
from refam.tiny.model import assemble, build_text_encoder, build_tokenizer, build_transformer, save
from tests.refam.photos.small_data import small_vocabulary


@pytest.fixture(scope="module")
def directory(tmp_path_factory):
    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp("photos") / "model"
    tokenizer = build_tokenizer(model_words(small_vocabulary()), text_length=TEXT_LENGTH)
    transformer = build_transformer(double=1, single=1, in_channels=16, heads=2)
    text_encoder = build_text_encoder(len(tokenizer), text_length=TEXT_LENGTH)
    encoder = PhotoEncoder(latent_channels=4).eval()
    save(assemble(encoder, transformer, text_encoder, tokenizer, kind=PhotoFluxPipeline, shift=1.0), folder)
    save_vocabulary(small_vocabulary(), folder / "vocabulary.json.gz")
    return folder


@pytest.fixture(scope="module")
def backbone(directory):
    return load_backbone(preset_for(str(directory)), device="cpu")


@pytest.fixture(scope="module")
def frame():
    return np.random.default_rng(0).integers(0, 255, (96, 160, 3)).astype(np.uint8)


def test_a_directory_is_loaded_as_what_it_is(backbone):
    assert isinstance(backbone, PhotoBackbone)
    assert backbone.pixels_per_token == 16
    assert backbone.size_for(854, 480) == (848, 480)


def test_a_token_is_one_position_of_the_projected_features():
    encoder = PhotoEncoder(latent_channels=4).eval()
    pixels = torch.rand(2, 3, 48, 80) * 2 - 1
    with torch.inference_mode():
        latents = encoder.encode(pixels).latent_dist.mode()
        tokens = encoder.projection(encoder.features(pixels).permute(0, 2, 3, 1)).flatten(1, 2)
    assert latents.shape == (2, 4, 6, 10)
    assert torch.equal(FluxPipeline._pack_latents(latents, 2, 4, 6, 10), tokens)


def test_the_backbone_reads_what_training_saw(backbone, frame):
    """The attention that grounding reads is the one that the word loss was on."""
    latents = backbone.encode_frames([frame])
    noise = torch.randn(latents.shape, generator=torch.Generator().manual_seed(1))
    read = backbone.read_attention(latents, backbone.encode_text(["the dog"]), noise, n_text=3)
    pipeline = backbone.pipeline
    net = TextToLatents(pipeline.transformer, pipeline.text_encoder_2).eval()
    ids = pipeline.tokenizer_2(["the dog"], padding="max_length", max_length=TEXT_LENGTH, return_tensors="pt").input_ids
    level = backbone.preset.noise
    _, height, width = backbone.grid(latents)
    noised = FluxPipeline._pack_latents((1 - level) * latents + level * noise, *latents.shape)
    with torch.inference_mode(), RecordAttention(TEXT_LENGTH) as recorded:
        net(noised, ids, torch.tensor([level]), scaled_image_ids(height, width))
    assert torch.allclose(read.mean, torch.stack(recorded.maps).mean(0)[..., :3], atol=1e-5)


def test_every_picture_spans_the_same_positions():
    ids = scaled_image_ids(3, 5).view(3, 5, 3)
    assert ids[0, 0].tolist() == [0, 0, 0]
    assert ids[2, 4].tolist() == pytest.approx([0, 20 / 3, 8])
    assert torch.equal(scaled_image_ids(10, 10).view(10, 10, 3)[4, 7], torch.tensor([0.0, 4.0, 7.0]))


def test_words_are_read_as_nouns_that_the_model_knows_and_that_is_said(backbone, frame):
    grounder = Grounder(backbone)
    parsed = grounder.parse("the terrier")
    assert parsed.text == "the terrier"
    assert '"terrier" is read as "dog"' in parsed.note
    terrier, dog = grounder.ground([frame], ["the terrier", "the dog"])
    assert np.array_equal(terrier[0].grid, dog[0].grid)
    assert grounder.unknown_words("the xyzzy dog") == ["xyzzy"]
