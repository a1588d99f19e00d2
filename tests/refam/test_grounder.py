"""Grounding as a whole: the same inputs as diffusers' own pipeline; frames and expressions do not mix."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from refam.backbones import Backbone, BackboneError, FluxBackbone, load_backbone, preset_for
from refam.grounder import Grounder, GroundingError, GroundingOptions
from refam.grounder_loading import load_grounder
from refam.grounding import TokenMaps, average_readings
from refam.reading import Reading
from refam.text.tokens import TokenRole
from refam.tiny import TINY_DIRECTORY, scenes

shipped = pytest.mark.skipif(
    not (TINY_DIRECTORY / "model_index.json").is_file(), reason="the small model is not trained yet"
)


def random_frames(count: int, width: int = 96, height: int = 54) -> list[np.ndarray]:
    rng = np.random.default_rng(0)
    return [rng.integers(0, 255, (height, width, 3), dtype=np.uint8) for _ in range(count)]


def test_the_transformer_gets_exactly_what_fluxpipeline_gives_it(random_backbone: FluxBackbone) -> None:
    backbone, seen = random_backbone, []
    handle = backbone.pipeline.transformer.register_forward_pre_hook(
        lambda _, args, kwargs: seen.append(kwargs), with_kwargs=True
    )
    latents = backbone.encode_frames(random_frames(1, 96, 56))
    noise = torch.randn(latents.shape, generator=torch.Generator().manual_seed(1))
    backbone.read_attention(latents, backbone.encode_text(["the red star . a with to pink"]), noise, n_text=4)
    b, c, h, w = latents.shape
    backbone.pipeline(
        "the red star . a with to pink",
        height=h * 2,
        width=w * 2,
        num_inference_steps=1,
        sigmas=[0.25],  # the scheduler's shift of 3 makes 0.5 of it
        latents=backbone.pipeline._pack_latents(0.5 * latents + 0.5 * noise, b, c, h, w),
        max_sequence_length=24,
        output_type="latent",
    )
    handle.remove()
    ours, theirs = seen
    for name in ("hidden_states", "encoder_hidden_states", "pooled_projections", "timestep", "img_ids", "txt_ids"):
        torch.testing.assert_close(ours[name], theirs[name], rtol=0, atol=1e-7, msg=lambda m, n=name: f"{n}: {m}")
    assert ours["guidance"] is theirs["guidance"] is None


def test_frames_and_expressions_do_not_mix(random_backbone: FluxBackbone) -> None:
    grounder, frames = Grounder(random_backbone), random_frames(3)
    expressions = ["the red star", "a small dotted ring"]
    together = grounder.ground(frames, expressions, indices=[4, 7, 9])
    assert [[m.frame for m in row] for row in together] == [[4, 7, 9]] * 2
    for e, expression in enumerate(expressions):
        for f, index in enumerate((4, 7, 9)):
            alone = grounder.ground([frames[f]], [expression], indices=[index])[0][0]
            np.testing.assert_allclose(alone.grid, together[e][f].grid, atol=1e-4)
    assert together[0][0].grid.shape == (32, 56), "96x54 at 32 pixels' short side is 14x8 tokens, each 4x4 fine cells"


def test_the_seed_decides_the_noise_and_every_frame_has_its_own(random_backbone: FluxBackbone) -> None:
    frame = random_frames(1)[0]
    maps = Grounder(random_backbone).ground([frame, frame], ["the red star"], indices=[0, 1])[0]
    again = Grounder(random_backbone).ground([frame, frame], ["the red star"], indices=[0, 1])[0]
    other = Grounder(random_backbone, GroundingOptions(seed=1)).ground(
        [frame, frame], ["the red star"], indices=[0, 1]
    )[0]
    assert np.array_equal(maps[0].grid, again[0].grid)
    assert not np.array_equal(maps[0].grid, maps[1].grid)
    assert not np.array_equal(maps[0].grid, other[0].grid)


def test_text_is_encoded_once_for_each_expression(random_backbone: FluxBackbone) -> None:
    grounder, calls = Grounder(random_backbone), []
    handle = random_backbone.pipeline.text_encoder_2.register_forward_hook(lambda *_: calls.append(1))
    for _ in range(3):
        grounder.ground(random_frames(2), ["the red star", "the blue ring"])
    handle.remove()
    assert len(calls) == 2


def test_the_heatmap_equals_a_plain_sum_of_content_maps(random_backbone: FluxBackbone) -> None:
    grounder = Grounder(random_backbone, GroundingOptions(edge_aware=False))
    frames, text = random_frames(1), "the red star"
    parsed = grounder.parse(text)
    latents = random_backbone.encode_frames(frames)
    condition = random_backbone.encode_text([parsed.prompt])
    noise = grounder._sample_noise(0, 0, latents.shape[1:])[None]
    maps = random_backbone.read_attention(latents, condition, noise, n_text=24).mean[0]
    content = [i for i, t in enumerate(parsed.tokens) if t.role in (TokenRole.CONTENT, TokenRole.HEAD)]
    assert [parsed.tokens[i].word for i in content] == ["red", "star"]
    expected = maps[:, content].sum(1).reshape(8, 14).numpy()
    expected = np.maximum(expected - np.median(expected), 0)
    got = grounder.ground(frames, [text])[0][0].grid
    np.testing.assert_allclose(got, expected / expected.max(), atol=1e-4)


@pytest.mark.parametrize(
    ("text", "message"),
    [("", "is empty"), ("the zebra", r"knows none of the words 'zebra'"), ("star " * 40, "reads 24")],
)
def test_expressions_that_cannot_be_grounded_are_refused(
    random_backbone: FluxBackbone, text: str, message: str
) -> None:
    with pytest.raises(GroundingError, match=message):
        Grounder(random_backbone).ground(random_frames(1), [text])


def test_words_that_are_read_but_not_used_are_told(random_backbone: FluxBackbone) -> None:
    grounder = Grounder(random_backbone)
    assert grounder.reading_notes("the red star on the left") == []
    moving, other = grounder.reading_notes("the star moving to the left behind a ring")
    assert moving.startswith("'to the left' is not used: this says how something moves")
    assert other.startswith("'behind a ring' is not used: 'ring' is another thing")
    assert grounder.reading_notes("with star") == ["No head noun was found, so every word is looked for"]


@pytest.mark.parametrize("size", [(1, 1), (54, 96)])
def test_a_frame_of_one_colour_has_no_peak(random_backbone: FluxBackbone, size: tuple[int, int]) -> None:
    rng = np.random.default_rng(0)
    frame = (120 + rng.integers(0, 2, (*size, 3))).astype(np.uint8)
    heatmap = Grounder(random_backbone).ground([frame], ["the red star"])[0][0]
    assert heatmap.grid.max() == 0
    assert heatmap.confidence == 0


def test_a_frame_with_one_different_pixel_is_grounded(random_backbone: FluxBackbone) -> None:
    frame = np.full((54, 96, 3), 120, np.uint8)
    frame[10, 10, 2] = 200
    assert Grounder(random_backbone).ground([frame], ["the red star"])[0][0].grid.max() == 1


def test_an_empty_list_of_frames_is_refused(random_backbone: FluxBackbone) -> None:
    with pytest.raises(ValueError, match="no frames to ground words in"):
        Grounder(random_backbone).ground([], ["the red star"])


@pytest.mark.parametrize(
    "frame",
    [np.zeros((9, 9), np.uint8), np.zeros((9, 9, 4), np.uint8), np.zeros((9, 9, 3), np.float32)],
    ids=["grey", "with alpha", "floats"],
)
def test_frames_that_are_not_rgb_are_refused(random_backbone: FluxBackbone, frame: np.ndarray) -> None:
    with pytest.raises(ValueError, match=r"must be \(H, W, 3\) uint8 RGB, got \(9, 9"):
        Grounder(random_backbone).ground([frame], ["the red star"])


def test_an_8k_frame_is_grounded_at_the_models_size(random_backbone: FluxBackbone) -> None:
    frame = np.full((4320, 7680, 3), 90, np.uint8)
    heatmap = Grounder(random_backbone).ground([frame], ["the red star"])[0][0]
    assert (heatmap.grid.shape, heatmap.confidence) == ((32, 56), 0.0)


def test_frames_of_two_sizes_are_refused(random_backbone: FluxBackbone) -> None:
    with pytest.raises(ValueError, match="one size"):
        Grounder(random_backbone).ground(random_frames(1) + random_frames(1, 64, 64), ["the red star"])


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("no-such-preset", "there is no backbone 'no-such-preset': give one of small .the default., tiny"),
        ("./nowhere", r"there is no backbone '\./nowhere'"),
        ("", "there is no backbone ''"),
        ("owner/na me", "there is no backbone 'owner/na me'"),
        ("-a/b", "there is no backbone '-a/b'"),
    ],
)
def test_unknown_backbones_are_refused(name: str, message: str) -> None:
    with pytest.raises(BackboneError, match=message):
        preset_for(name)


def test_a_directory_without_a_pipeline_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BackboneError, match=r"has no model_index\.json"):
        preset_for(str(tmp_path))


def test_a_preset_must_fit_its_model(random_flux: Path) -> None:
    preset = replace(preset_for("tiny"), source=str(random_flux), blocks=(9,))
    with pytest.raises(BackboneError, match=r"reads block 9, but .* has 4"):
        load_backbone(preset, device="cpu")


@shipped
def test_the_shipped_model_grounds_objects_in_a_wide_clip() -> None:
    clip = scenes.draw_clip(11, size=(320, 180), n_frames=1)
    grounder = load_grounder("tiny", device="cpu")
    hits = 0
    for k, heatmaps in enumerate(grounder.ground(list(clip.frames), list(clip.expressions))):
        x, y = heatmaps[0].peak
        hits += bool(clip.masks[k, 0, int(y * 180), int(x * 320)])
    assert hits == len(clip.expressions)


# --- further readings

EVERYTHING = Reading(contrast=0.5, head_weights="peak", prototypes=0.1)


def read_one(grounder: Grounder, frame: np.ndarray, reading: Reading) -> TokenMaps:
    ((maps,),) = grounder.read_token_maps(
        [frame], ["the red star"], indices=[0], options=replace(grounder.options, reading=reading)
    )
    return maps


def test_todays_reading_is_the_plain_mean_to_the_bit(random_backbone: FluxBackbone) -> None:
    grounder, frame = Grounder(random_backbone), random_frames(1)[0]
    maps = read_one(grounder, frame, Reading())
    latents = random_backbone.encode_frames([frame])
    noise = grounder._sample_noise(0, 0, latents.shape[1:])[None]
    text = random_backbone.encode_text([maps.expression.prompt])
    direct = random_backbone.read_attention(latents, text, noise, n_text=len(maps.expression.tokens), sink_stats=True)
    assert np.array_equal(maps.maps, direct.mean[0].T.unflatten(1, maps.maps.shape[1:]).numpy())


def test_what_was_read_for_options_that_are_off_changes_nothing(random_backbone: FluxBackbone) -> None:
    grounder, frame = Grounder(random_backbone), random_frames(1)[0]
    maps, more = (read_one(grounder, frame, reading) for reading in (Reading(), EVERYTHING))
    plain = grounder.compute_heatmap(maps, frame).heatmap
    carried = grounder.compute_heatmap(replace(maps, contrast=more.contrast, features=more.features), frame).heatmap
    assert np.array_equal(plain.grid, carried.grid)
    assert (plain.peak, plain.confidence) == (carried.peak, carried.confidence)


@pytest.mark.parametrize(
    ("reading", "message"),
    [(Reading(contrast=1.0), "without a contrast"), (Reading(prototypes=0.1), "without features")],
)
def test_maps_that_lack_what_a_reading_needs_are_refused(
    random_backbone: FluxBackbone, reading: Reading, message: str
) -> None:
    grounder, frame = Grounder(random_backbone), random_frames(1)[0]
    maps = read_one(grounder, frame, Reading())
    with pytest.raises(ValueError, match=message):
        grounder.compute_heatmap(maps, frame, options=GroundingOptions(reading=reading))


def test_a_contrast_with_the_expression_itself_leaves_nothing(random_backbone: FluxBackbone) -> None:
    reading = Reading(contrast=1.0, contrast_texts=("the red star",))
    grounder, frame = Grounder(random_backbone, GroundingOptions(reading=reading)), random_frames(1)[0]
    ((heatmap,),) = grounder.ground([frame], ["the red star"])
    assert heatmap.grid.max() == 0
    ((other,),) = grounder.ground([frame], ["a small dotted ring"])
    assert other.grid.max() == 1


@pytest.mark.parametrize(
    "reading",
    [Reading(contrast=0.5), Reading(head_weights="peak"), Reading(prototypes=0.1), EVERYTHING],
    ids=["contrast", "peak", "prototypes", "all"],
)
def test_each_option_changes_the_heatmap_and_the_settings(random_backbone: FluxBackbone, reading: Reading) -> None:
    frame, plain = random_frames(1)[0], Grounder(random_backbone)
    grounder = plain.with_options(GroundingOptions(reading=reading))
    before, after = (g.ground([frame], ["the red star"])[0][0].grid for g in (plain, grounder))
    assert after.max() == 1
    assert not np.array_equal(before, after)
    assert "reading" not in plain.heatmap_settings()
    assert grounder.heatmap_settings()["reading"] == reading.settings()
    assert plain.name == random_backbone.name
    assert grounder.name == random_backbone.name + reading.version_suffix != plain.name


def test_a_frame_of_one_colour_has_no_peak_with_any_reading(random_backbone: FluxBackbone) -> None:
    grounder = Grounder(random_backbone, GroundingOptions(reading=EVERYTHING))
    assert grounder.ground([np.full((54, 96, 3), 90, np.uint8)], ["the red star"])[0][0].grid.max() == 0


def test_a_contrast_of_words_that_the_model_does_not_know_is_refused(random_backbone: FluxBackbone) -> None:
    reading = Reading(contrast=1.0, contrast_texts=("the zebra",))
    with pytest.raises(GroundingError, match="knows none of the words 'zebra'"):
        Grounder(random_backbone, GroundingOptions(reading=reading)).ground(random_frames(1), ["the red star"])


def test_an_image_model_reads_no_clips(random_backbone: FluxBackbone) -> None:
    clips, said = GroundingOptions(reading=Reading(frames="both")), "reads each frame by itself, not clips: leave out"
    with pytest.raises(GroundingError, match=f"{said} frames='both'"):
        Grounder(random_backbone, clips)
    with pytest.raises(GroundingError, match=f"{said} frames='both'"):
        Grounder(random_backbone).read_token_maps(random_frames(1), ["the red star"], options=clips)


@pytest.mark.parametrize("name", ["Wan", "CogVideoX 1.5"])
def test_a_video_model_reads_clips_frames_or_both(loaded: Callable[[str], Backbone], name: str) -> None:
    grounder = Grounder(loaded(name))
    frames = [np.random.default_rng(i).integers(0, 255, (48, 72, 3), dtype=np.uint8) for i in range(2)]
    read = {}
    for way in ("together", "alone", "both"):
        reading = Reading(frames=way, contrast=0.5, prototypes=0.1)
        (read[way],) = grounder.read_token_maps(
            frames, ["the red star"], indices=[4, 9], options=GroundingOptions(reading=reading)
        )
    for i, index in enumerate((4, 9)):
        options = GroundingOptions(reading=Reading(contrast=0.5, prototypes=0.1))
        ((single,),) = grounder.read_token_maps([frames[i]], ["the red star"], indices=[index], options=options)
        together, alone, both = (read[way][i] for way in ("together", "alone", "both"))
        assert both.frame == index
        assert np.array_equal(alone.maps, single.maps)
        assert not np.allclose(together.maps, alone.maps, atol=1e-4)
        np.testing.assert_allclose(both.maps, (together.maps + alone.maps) / 2, atol=1e-6)
        np.testing.assert_allclose(both.draws, (together.draws + alone.draws) / 2, atol=1e-6)
        assert both.contrast is not None
        assert together.contrast is not None
        assert alone.contrast is not None
        np.testing.assert_allclose(both.contrast.maps, (together.contrast.maps + alone.contrast.maps) / 2, atol=1e-6)


def test_the_sinks_of_two_readings_are_those_of_either(random_backbone: FluxBackbone) -> None:
    maps = read_one(Grounder(random_backbone), random_frames(1)[0], Reading())
    averaged = average_readings(replace(maps, sinks=(1, 4)), replace(maps, sinks=(0, 4)))
    assert averaged.sinks == (0, 1, 4)
    assert average_readings(replace(maps, sinks=None), maps).sinks is None


@shipped
def test_what_was_fitted_is_valid_for_todays_reading_alone() -> None:
    grounder = load_grounder("tiny", device="cpu")
    assert grounder.valid_calibration() is not None
    assert grounder.valid_presence() is not None
    other = GroundingOptions(reading=Reading(prototypes=0.1))
    assert grounder.valid_calibration(other) is None
    assert grounder.valid_presence(other) is None
