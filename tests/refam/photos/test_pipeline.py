"""The pipeline on small random weights: saved, loaded as a backbone, and read."""

from __future__ import annotations

import shutil

import numpy as np
import pytest
import torch
from diffusers import FluxPipeline

from refam.backbones import load_backbone, preset_for
from refam.backbones.photo_model import PhotoBackbone
from refam.backbones.weights import BackboneError
from refam.grounder import Grounder
from refam.head_weights import PeakWeights
from refam.photos import TEXT_LENGTH
from refam.photos.attention_loss import RecordAttention
from refam.photos.encoder import PhotoEncoder
from refam.photos.pipeline import PhotoFluxPipeline
from refam.photos.positions import INTERLEAVED, scaled_image_ids
from refam.photos.vocabulary import Noun, Vocabulary, save_vocabulary
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
    assert backbone.size_for(854, 480) == (1024, 576)


def test_a_token_is_one_position_of_the_projected_features():
    encoder = PhotoEncoder(latent_channels=4).eval()
    pixels = torch.rand(2, 3, 48, 80) * 2 - 1
    with torch.inference_mode():
        latents = encoder.encode(pixels).latent_dist.mode()
        tokens = encoder.projection(encoder.features(pixels).permute(0, 2, 3, 1)).flatten(1, 2)
    assert latents.shape == (2, 4, 6, 10)
    assert torch.equal(FluxPipeline._pack_latents(latents, 2, 4, 6, 10), tokens)


def test_the_backbone_reads_what_training_saw(backbone, frame):
    """The attention that grounding reads is the one that the word loss was on: of every n-th token, for each offset."""
    latents = backbone.encode_frames([frame, frame[::-1]])
    noise = torch.randn(latents.shape, generator=torch.Generator().manual_seed(1))
    text = backbone.encode_text(["the dog"]).expand(2)
    read = backbone.read_attention(latents, text, noise, n_text=3, keep_blocks=True, sink_stats=True)
    pipeline = backbone.pipeline
    net = TextToLatents(pipeline.transformer, pipeline.text_encoder_2).eval()
    ids = pipeline.tokenizer_2(["the dog"], padding="max_length", max_length=TEXT_LENGTH, return_tensors="pt").input_ids
    level, n = backbone.preset.noise, INTERLEAVED
    _, height, width = backbone.grid(latents)
    noised = FluxPipeline._pack_latents((1 - level) * latents + level * noise, *latents.shape)
    tokens = noised.unflatten(1, (height, width))
    expected = torch.zeros(2, height, width, 3)
    for y, x in np.ndindex(n, n):
        part = tokens[:, y::n, x::n].flatten(1, 2)
        with torch.inference_mode(), RecordAttention(TEXT_LENGTH) as recorded:
            net(part, ids.expand(2, -1), torch.full((2,), level), scaled_image_ids(height // n, width // n))
        maps = torch.stack([recorded.maps[block] for block in backbone.preset.blocks]).mean(0)[..., :3]
        expected[:, y::n, x::n] = maps.unflatten(1, (height // n, width // n))
    assert torch.allclose(read.mean, expected.flatten(1, 2), atol=1e-5)
    assert torch.allclose(torch.stack(list(read.by_block.values())).mean(0), read.mean, atol=1e-6)
    assert read.sink_stats.mean.shape == (len(backbone.preset.blocks), 2, 3)


def test_the_parts_of_a_picture_share_the_weights_of_their_heads(backbone, frame):
    """The maps are those of training, their heads weighed by the highest peak among all parts of the picture."""
    latents = backbone.encode_frames([frame, frame[::-1]])
    noise = torch.randn(latents.shape, generator=torch.Generator().manual_seed(1))
    text = backbone.encode_text(["the dog"]).expand(2)
    seen, peaks = [], PeakWeights.weigh

    def weigh(self, probabilities, *, first=0):
        weights = peaks(self, probabilities, first=first)
        seen.append((probabilities[..., 1].amax(-1).unflatten(0, (2, -1)).amax(1), weights.unflatten(0, (2, -1))))
        return weights

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(PeakWeights, "weigh", weigh)
        read = backbone.read_attention(
            latents, text, noise, n_text=3, head_weights=PeakWeights(((1,), (1,))), features=True
        )
    assert len(seen) == 2 * len(backbone.preset.blocks)  # two heads, one at a time
    for of_picture, weights in seen:
        assert weights.shape == (2, INTERLEAVED**2, 1)
        assert torch.equal(weights, of_picture[:, None].expand_as(weights))
    _, height, width = backbone.grid(latents)
    assert read.features.shape[:2] == read.mean.shape[:2] == (2, height * width)


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


def test_a_vocabulary_that_is_missing_or_of_another_model_is_refused(directory, tmp_path):
    copied = shutil.copytree(directory, tmp_path / "model")
    file = copied / "vocabulary.json.gz"
    vocabulary = small_vocabulary()
    zebu = Noun("zebu", "animals", (), ())
    save_vocabulary(Vocabulary({**vocabulary.nouns, "zebu": zebu}, vocabulary.read_as), file)
    with pytest.raises(BackboneError, match="is of another model: the tokenizer lacks 1 of its words, 'zebu'"):
        load_backbone(preset_for(str(copied)), device="cpu")
    file.unlink()
    with pytest.raises(BackboneError, match=r"is not complete: vocabulary\.json\.gz missing"):
        load_backbone(preset_for(str(copied)), device="cpu")
