"""Every family against diffusers' own pipeline and a plain softmax, on small random pipelines of its classes."""

from __future__ import annotations

import inspect
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from diffusers import SanaPipeline
from torch.overrides import TorchFunctionMode

from refam.attention import read_attention
from refam.attention_layouts import attention_modules
from refam.backbones import Backbone, VideoBackbone
from refam.grounder import Grounder, GroundingOptions
from refam.grounder_loading import load_grounder
from refam.reading import Reading
from tests.refam.backbones import pipelines
from tests.refam.backbones.pipelines import ALL, random_frames

PROMPTS = ["the red star", "a small blue ring on the left . a with to pink"]
# These would run every step twice, once without the words, unless told not to.
NO_GUIDANCE = {
    "Chroma",
    "SD3",
    "SD3 without T5",
    "PRX",
    "PixArt-Sigma",
    "Sana",
    "Lumina-Image-2.0",
    "Z-Image",
    *pipelines.CLIPS,
} - {"HunyuanVideo"}
TEXT_LAST = ("SD3", "SD3 without T5", "Mochi", "HunyuanVideo", "Z-Image")
CROSS = ("Wan", "Wan 2.2 A14B", "Wan 2.2 5B", "SkyReels-V2", "SkyReels-V2 DF", "LTX", "PixArt-Sigma", "Sana")
# Text or image tokens see each other before the first block that is read.
REFINED = ("Mochi", "HunyuanVideo", "Lumina-Image-2.0", "Z-Image")
N_BLOCKS = 3
SANA_INSTRUCTION = inspect.signature(SanaPipeline.__call__).parameters["complex_human_instruction"].default


@pytest.fixture(params=ALL, name="named")
def _named(request: pytest.FixtureRequest, loaded: Callable[[str], Backbone]) -> Iterator[tuple[str, Backbone]]:
    backbone = loaded(request.param)
    preset = backbone.preset
    yield request.param, backbone
    backbone.preset = preset


def make_latents(backbone: Backbone, count: int = 2) -> tuple[torch.Tensor, torch.Tensor]:
    """Latents of so many samples (frames, or clips of five frames), and noise."""
    if backbone.is_video:
        latents = torch.cat([backbone.encode_frames(random_frames(5, seed)) for seed in range(count)])
    else:
        latents = backbone.encode_frames(random_frames(count))
    return latents, torch.randn(latents.shape, generator=torch.Generator().manual_seed(1))


@contextmanager
def record_inputs(*modules: torch.nn.Module) -> Iterator[list[dict[str, Any]]]:
    recorded: list[dict[str, Any]] = []

    def record(module: torch.nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        recorded.append({**dict(zip(inspect.signature(module.forward).parameters, args, strict=False)), **kwargs})

    hooks = [m.register_forward_pre_hook(record, with_kwargs=True) for m in modules]
    yield recorded
    for hook in hooks:
        hook.remove()


# --- the inputs of the one forward pass


def transformers_of(pipeline: Any) -> list[torch.nn.Module]:
    return [t for t in (pipeline.transformer, getattr(pipeline, "transformer_2", None)) if t is not None]


def prompts_for(name: str) -> list[str]:
    return PROMPTS[1:] if name == "SkyReels-V2 DF" else list(PROMPTS)  # its pipeline fails with several


def call_pipeline(name: str, backbone: Backbone, latents: torch.Tensor, replacement: Any = None) -> dict[str, Any]:
    """The keyword arguments of the second step; its latents can be given."""

    def swap(pipeline: Any, step: int, _t: Any, values: dict[str, Any]) -> dict[str, Any]:
        pipeline._interrupt = step == 1  # the steps after it are of no use here
        if step == 0 and replacement is not None:
            values["latents"].copy_(replacement)  # in place, since not every pipeline takes what this returns
        return values

    pixels = 8 * latents.shape[-2], 8 * latents.shape[-1]
    if not backbone.is_video:
        _, h, w = backbone.grid(latents)
        pixels = h * backbone.pixels_per_token, w * backbone.pixels_per_token
    elif name == "LTX":
        pixels = 16 * latents.shape[-2], 16 * latents.shape[-1]
    pipeline = backbone.pipeline
    length = "tokenizer_max_length" if name == "PRX" else "max_sequence_length"
    more: dict[str, Any] = {"height": pixels[0], "width": pixels[1], "output_type": "latent"}
    more[length] = backbone.preset.text_length
    if name in NO_GUIDANCE:
        more["guidance_scale"] = 0.0 if name == "Z-Image" else 1.0
    if isinstance(backbone, VideoBackbone):
        more["num_frames"] = (latents.shape[2] - 1) * backbone.stride + 1
    if name == "PRX":
        more |= {"skip_text_cleaning": True, "use_resolution_binning": False}
        pipeline.text_preprocessor.basic_clean = str  # needs ftfy, and finds nothing to clean in these prompts
    more["callback_on_step_end"] = swap
    if name == "PixArt-Sigma":  # has an older callback
        more |= {"clean_caption": False, "use_resolution_binning": False}
        del more["callback_on_step_end"]
        more["callback"] = lambda step, t, latents: swap(pipeline, step, t, {"latents": latents})
    if name.startswith("SkyReels"):
        sys.modules[type(pipeline).__module__].prompt_clean = str  # type: ignore[attr-defined]  # needs ftfy, as PRX
    if name == "Sana":
        more["use_resolution_binning"] = False
    with record_inputs(*transformers_of(pipeline)) as recorded:
        generator = torch.Generator().manual_seed(3)
        pipeline(prompt=prompts_for(name), num_inference_steps=4, generator=generator, **more)
    return recorded[1]


def noisy_latents(inputs: dict[str, Any]) -> torch.Tensor:
    return torch.stack(inputs["x"])[:, :, 0] if "x" in inputs else inputs["hidden_states"]


def text_length(inputs: dict[str, Any]) -> int:
    return max(len(text) for text in inputs.get("cap_feats", inputs.get("encoder_hidden_states", ())))


def noise_of_second_step(backbone: Backbone) -> float:
    """The share of noise, worked out from the scheduler after a call of the pipeline."""
    scheduler = backbone.pipeline.scheduler
    if hasattr(scheduler, "sigmas"):
        sigma = float(scheduler.sigmas[1])
        if scheduler.config.get("prediction_type") == "epsilon":  # variance-preserving: noise / signal
            return sigma / (1 + sigma)
        return 1 - sigma if scheduler.config.get("invert_sigmas") else sigma
    signal = float(scheduler.alphas_cumprod[scheduler.timesteps[1]])
    return (1 - signal) ** 0.5 / ((1 - signal) ** 0.5 + signal**0.5)


@pytest.mark.parametrize("dtype", ["float32", pytest.param("bfloat16", marks=pytest.mark.slow)])
@pytest.mark.parametrize("name", ALL)
def test_the_transformer_gets_exactly_the_inputs_of_its_pipeline(
    loaded: Callable[..., Backbone], name: str, dtype: str
) -> None:
    backbone = loaded(name, dtype)
    preset = backbone.preset
    prompts = prompts_for(name)
    # Three-dimensional convolutions are slow in bfloat16 on a processor; the test is about the transformer.
    latents, noise = make_latents(loaded(name), len(prompts))
    latents, noise = latents.to(backbone.pipeline.dtype), noise.to(backbone.pipeline.dtype)
    call_pipeline(name, backbone, latents)
    backbone.preset = replace(preset, noise=noise_of_second_step(backbone))
    with record_inputs(*transformers_of(backbone.pipeline)) as recorded:
        backbone.read_attention(latents, backbone.encode_text(prompts), noise, n_text=4)
    (ours,) = recorded
    theirs = call_pipeline(name, backbone, latents, noisy_latents(ours))
    empty = {k for k, v in theirs.items() if v is None or (isinstance(v, dict) and not v)}
    assert set(theirs) - empty == {k for k, v in ours.items() if v is not None}
    for key in set(theirs) - empty:
        assert_same_input(key, ours[key], theirs[key])
    backbone.preset = preset


def test_wan_2_2_reads_the_transformer_of_its_noise_level(loaded: Callable[..., Backbone]) -> None:
    backbone = loaded("Wan 2.2 A14B")  # the boundary is at 0.6
    preset = backbone.preset
    for noise, transformer in ((0.7, "transformer"), (0.5, "transformer_2")):
        backbone.preset = replace(preset, noise=noise)
        assert backbone.transformer is getattr(backbone.pipeline, transformer)
    backbone.preset = preset


def assert_same_input(key: str, ours: Any, theirs: Any) -> None:
    if isinstance(theirs, torch.Tensor):
        assert ours.shape == theirs.shape, key
        assert ours.dtype == theirs.dtype, key
        assert torch.equal(ours, theirs), f"{key}: up to {(ours.double() - theirs.double()).abs().max()}"
    elif isinstance(theirs, (tuple, list)):
        for one, other in zip(ours, theirs, strict=True):
            assert_same_input(key, one, other)
    else:
        assert ours == theirs, key


def test_noise_is_added_as_the_scheduler_does(named: tuple[str, Backbone]) -> None:
    name, backbone = named
    latents, noise = make_latents(backbone, 1)
    call_pipeline(name, backbone, latents)  # sets the scheduler's steps
    backbone.preset = replace(backbone.preset, noise=noise_of_second_step(backbone))
    with record_inputs(*transformers_of(backbone.pipeline)) as recorded:
        backbone.read_attention(latents, backbone.encode_text(PROMPTS[:1]), noise, n_text=4)
    scheduler = backbone.pipeline.scheduler
    scheduler._begin_index = scheduler._step_index = None  # find the step by its time
    step = scheduler.timesteps[1:2]
    if name == "Mochi":
        expected = latents * scheduler.sigmas[1] + noise * (1 - scheduler.sigmas[1])
    elif hasattr(scheduler, "scale_noise"):
        expected = scheduler.scale_noise(latents, step, noise)
    else:
        expected = scheduler.add_noise(latents, noise, step)
    got = noisy_latents(recorded[0])
    if name.startswith("CogVideoX"):
        expected = expected.transpose(1, 2)
    if got.ndim == 3:  # packed: the order is another test's business
        got, expected = got.flatten().sort().values, expected.flatten().sort().values
    torch.testing.assert_close(got, expected, atol=1e-5, rtol=1e-4)


# --- the maps


class Naive(TorchFunctionMode):
    """The slow truth: keeps q, k and mask of every attention call inside the given modules."""

    def __init__(self, modules: list[torch.nn.Module]) -> None:
        super().__init__()
        self.calls: list[list[tuple[torch.Tensor, torch.Tensor, torch.Tensor | None]]] = []
        self._inside = False
        self._hooks = [m.register_forward_pre_hook(self._enter) for m in modules]
        self._hooks += [m.register_forward_hook(self._leave) for m in modules]

    def _enter(self, *_: Any) -> None:
        self._inside = True
        self.calls.append([])

    def _leave(self, *_: Any) -> None:
        self._inside = False

    def __exit__(self, *error: Any) -> None:
        for hook in self._hooks:
            hook.remove()
        super().__exit__(*error)

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func is F.scaled_dot_product_attention and self._inside:
            call = {**dict(zip(("query", "key", "value", "attn_mask"), args, strict=False)), **(kwargs or {})}
            self.calls[-1].append((call["query"].clone(), call["key"].clone(), call.get("attn_mask")))
        return func(*args, **(kwargs or {}))


def softmax(q: torch.Tensor, k: torch.Tensor, mask: torch.Tensor | None) -> torch.Tensor:
    scores = q.double() @ k.double().transpose(-1, -2) * q.shape[-1] ** -0.5
    if mask is not None:
        scores = scores.masked_fill(~mask, float("-inf")) if mask.dtype == torch.bool else scores + mask.double()
    return torch.softmax(scores, -1).mean(1)


def whole_softmax(name: str, calls: list[Any], n_image: int, n_text: int, counts: list[int]) -> torch.Tensor:
    """(B, N, T) of one block, from where text stands by the family's paper; `counts` are the samples' text tokens."""
    rows = []
    for q, k, mask in calls:
        p = softmax(q, k, mask)
        if name == "Mochi":  # pads are dropped, one call for each sample
            rows.append(F.pad(p[:, :n_image, n_image:], (0, n_image + n_text - p.shape[2])))
        elif name in ("Lumina-Image-2.0", "Z-Image"):  # samples differ in length, and are padded at their end
            for sample, count in zip(p, counts, strict=True):
                start, image = (0, count) if name == "Lumina-Image-2.0" else (32 * -(-n_image // 32), 0)
                cut = sample[image : image + n_image, start : start + count]
                rows.append(F.pad(cut, (0, n_text - count))[None])
        elif name in CROSS:
            rows.append(p)
        elif name in TEXT_LAST:
            rows.append(p[:, :n_image, n_image:])
        else:
            rows.append(p[:, -n_image:, :n_text])
    return torch.cat(rows)


def text_counts(name: str, inputs: dict[str, Any]) -> list[int]:
    """How many text tokens each sample has: without padding where the family takes it out."""
    if "cap_feats" in inputs:
        return [len(text) for text in inputs["cap_feats"]]
    if name == "Lumina-Image-2.0":
        return inputs["encoder_attention_mask"].sum(1).tolist()
    return [inputs["encoder_hidden_states"].shape[1]] * len(inputs["encoder_hidden_states"])


def test_maps_equal_a_naive_softmax_and_the_output_is_untouched(named: tuple[str, Backbone]) -> None:
    name, backbone = named
    latents, noise = make_latents(backbone)
    n_image = int(np.prod(backbone.grid(latents)))
    text = backbone.encode_text(PROMPTS)
    transformer, modules = backbone.transformer, attention_modules(backbone.transformer)
    with torch.inference_mode():
        inputs = {**backbone._inputs(latents, noise, text), "return_dict": False}
        plain = transformer(**inputs)[0]
        with Naive(modules) as naive:
            transformer(**inputs)
    reading, output = read_attention(transformer, inputs, early_exit=False, keep_blocks=True)
    for got, expected in zip(output[0], plain, strict=True):  # Z-Image's is a list
        assert torch.equal(got, expected), "the tap changed the model's output"
    assert len(modules) == len(naive.calls) == len(reading.by_block) == N_BLOCKS
    n_text = text_length(inputs)
    for block, calls in enumerate(naive.calls):
        expected = whole_softmax(name, calls, n_image, n_text, text_counts(name, inputs)).float()
        torch.testing.assert_close(reading.by_block[block], expected, atol=3e-6, rtol=1e-4)
    assert reading.mean.shape == (2, n_image, n_text)
    assert reading.mean.std() > 1e-4, "the maps are flat, so that this test would not see a wrong order"
    early = backbone.read_attention(latents, text, noise, n_text=3).mean
    for row, first in enumerate(text.starts):
        torch.testing.assert_close(early[row], reading.mean[row, :, first : first + 3])


def test_padding_gets_no_attention_where_the_model_masks_it(loaded: Callable[[str], Backbone]) -> None:
    for name in ("Mochi", "HunyuanVideo", "LTX", "Qwen-Image", "PRX", "PixArt-Sigma", "Sana", "Lumina-Image-2.0"):
        backbone = loaded(name)
        latents, noise = make_latents(backbone)
        text = backbone.encode_text(PROMPTS)
        mask = next(value for key, value in text.inputs.items() if "mask" in key)
        assert mask is not None
        inputs = {**backbone._inputs(latents, noise, text), "return_dict": False}
        reading, _ = read_attention(backbone.transformer, inputs)
        pads = mask[0] == 0
        assert int(pads.sum()) > 0, name
        assert float(reading.mean[0][:, pads].max()) < 1e-6, name
        assert float(reading.mean[0][:, ~pads].min()) > 0, name


def test_sink_statistics_are_over_image_queries_where_text_asks_nothing(loaded: Callable[[str], Backbone]) -> None:
    backbone = loaded("PRX")
    latents, noise = make_latents(backbone)
    inputs = {**backbone._inputs(latents, noise, backbone.encode_text(PROMPTS)), "return_dict": False}
    reading, _ = read_attention(backbone.transformer, inputs, keep_blocks=True, sink_stats=True)
    assert reading.sink_stats is not None
    for block, maps in reading.by_block.items():
        torch.testing.assert_close(reading.sink_stats.mean[block], maps.mean(1))


# --- where things stand


def first_keys_and_queries(backbone: Backbone, inputs: dict[str, Any]) -> tuple[torch.Tensor, torch.Tensor]:
    """Of the first block, the first sample: q and k, each (tokens, heads x dim)."""
    with torch.inference_mode(), Naive(attention_modules(backbone.transformer)[:1]) as naive:
        backbone.transformer(**inputs, return_dict=False)
    q, k, _ = naive.calls[0][0]
    return q[0].transpose(0, 1).flatten(1), k[0].transpose(0, 1).flatten(1)


def test_a_text_token_stands_where_it_is_read(named: tuple[str, Backbone]) -> None:
    name, backbone = named
    latents, noise = make_latents(backbone, 1)
    text = backbone.encode_text(PROMPTS[:1])
    n_image = int(np.prod(backbone.grid(latents)))
    inputs = backbone._inputs(latents, noise, text)
    _, before = first_keys_and_queries(backbone, inputs)
    for token in range(len(backbone.tokenizer(PROMPTS[0], return_offsets_mapping=True)["input_ids"])):
        key = "cap_feats" if name == "Z-Image" else "encoder_hidden_states"
        words = [sample.clone() for sample in inputs[key]]
        words[0][text.starts[0] + token] += 5 * torch.randn(
            words[0].shape[-1], generator=torch.Generator().manual_seed(2)
        )
        changed = words if name == "Z-Image" else torch.stack(words)
        _, after = first_keys_and_queries(backbone, {**inputs, key: changed})
        moved = (after - before).abs().sum(1)
        start = n_image if name in TEXT_LAST else 0
        if name == "Z-Image":
            start = 32 * -(-n_image // 32)
        is_text = slice(start, start + text_counts(name, inputs)[0])
        assert int(moved[is_text].argmax()) == text.starts[0] + token
        if name not in REFINED:  # there text is pooled, or refined, before the first block
            assert int((moved > 1e-5).sum()) == 1


def test_tokens_are_those_that_the_text_encoder_sees(named: tuple[str, Backbone]) -> None:
    name, backbone = named
    part = {"FLUX.1": "text_encoder_2", "SD3": "text_encoder_3"}.get(name, "text_encoder")
    cut = {"Qwen-Image": 34, "HunyuanVideo": 95, "SD3": -77}.get(name, 0)
    if name == "Sana":  # 24 positions are left, the first of which is the first of the instruction
        cut = len(backbone.tokenizer.tokenizer.encode("\n".join(SANA_INSTRUCTION))) - 2
    encoder, recorded = getattr(backbone.pipeline, part), []
    hook = encoder.register_forward_pre_hook(
        lambda _, args, kwargs: recorded.append(kwargs["input_ids"] if "input_ids" in kwargs else args[0]),
        with_kwargs=True,
    )
    for prompt in PROMPTS:
        first = backbone.encode_text([prompt]).starts[0]
        coded = backbone.tokenizer(prompt, return_offsets_mapping=True)
        ids = coded["input_ids"]
        assert recorded[-1][0, first + cut : first + cut + len(ids)].tolist() == ids
        covered = {prompt[start:end].strip() for start, end in coded["offset_mapping"] if end > start}
        assert "star" in covered or "ring" in covered or name == "SD3 without T5"  # that tokenizer spells
        assert len(ids) <= backbone.max_tokens
    hook.remove()


def test_a_patch_of_the_latent_stands_where_the_grid_says(named: tuple[str, Backbone]) -> None:
    name, backbone = named
    latents, noise = make_latents(backbone, 1)
    t, h, w = backbone.grid(latents)
    assert h != w, "a square picture would hide a transposed grid"
    text = backbone.encode_text(PROMPTS[:1])
    inputs = backbone._inputs(latents, noise, text)
    n_text = text_counts(name, inputs)[0]
    before, _ = first_keys_and_queries(backbone, inputs)
    scale = [n // g for n, g in zip(latents.shape[2:], (t, h, w)[-(latents.ndim - 2) :], strict=True)]
    for cell in [(0, 0, 1), (t - 1, 1, 0), (t - 1, h - 1, w - 2)]:
        planted = latents.clone()
        where = tuple(slice(c * s, (c + 1) * s) for c, s in zip(cell[-len(scale) :], scale, strict=True))
        planted[(slice(None), slice(None), *where)] += 3
        after, _ = first_keys_and_queries(backbone, backbone._inputs(planted, noise, text))
        moved = (after - before).abs().sum(1)
        start = 0 if name in (*TEXT_LAST, *CROSS, "PRX") else n_text  # PRX's text asks nothing
        expected = start + (cell[0] * h + cell[1]) * w + cell[2]
        assert int(moved.argmax()) == expected
        # Elsewhere each place has seen all others before it looks at the text.
        if name not in (*CROSS, "Lumina-Image-2.0", "Z-Image"):
            assert (moved > 1e-4).nonzero().flatten().tolist() == [expected]
        kept = [
            read_attention(backbone.transformer, backbone._inputs(some, noise, text), blocks=[0, 2], features_of=block)
            for some in (planted, latents)
            for block in (0, 2)
        ]
        for with_patch, without in ((kept[0], kept[2]), (kept[1], kept[3])):
            features, others = with_patch[0].features, without[0].features
            assert features is not None
            assert others is not None
            assert features.shape[:2] == (1, t * h * w)
            assert int((features - others).abs().sum(-1).argmax()) == expected - start


def test_a_patch_of_the_picture_stands_where_the_grid_says(named: tuple[str, Backbone]) -> None:
    _, backbone = named
    plain, other = random_frames(2, 7)
    for index, (x, y) in enumerate([(0.2, 0.3), (0.8, 0.7), (0.2, 0.8)]):
        planted = plain.copy()
        patch = slice(int(48 * y) - 8, int(48 * y) + 8), slice(int(72 * x) - 8, int(72 * x) + 8)
        planted[patch] = other[patch]
        clip = [planted if i == index else plain for i in range(3)] if backbone.is_video else [planted]
        moved = (backbone.encode_frames(clip) - backbone.encode_frames([plain] * len(clip))).abs()
        heat = moved.flatten(0, -3).sum(0).numpy()
        row, column = np.unravel_index(heat.argmax(), heat.shape)
        assert abs((row + 0.5) / heat.shape[0] - y) < 0.3
        assert abs((column + 0.5) / heat.shape[1] - x) < 0.3


@pytest.mark.parametrize("hold", [True, False])
def test_a_frame_of_a_clip_is_in_its_latent_frame(
    loaded: Callable[[str], Backbone], monkeypatch: pytest.MonkeyPatch, hold: bool
) -> None:
    monkeypatch.setattr(torch.nn.GroupNorm, "forward", lambda _, x: x)  # those over time tell every frame of each
    for name in pipelines.CLIPS:
        if name.startswith("SkyReels"):
            continue  # encodes frames as Wan does, and no test should wait for the same twice
        backbone = loaded(name)
        assert isinstance(backbone, VideoBackbone)
        preset = backbone.preset
        backbone.preset = replace(preset, repeat_frames=hold)
        count = 4 if hold else backbone.stride + 2
        plain = random_frames(1, 5) * count
        base = backbone.encode_frames(plain)
        lead = base.shape[2] - (backbone.latent_frames(count)[-1] + 1)
        for index in (0, 1, count - 1):
            changed = list(plain)
            changed[index] = random_frames(1)[0]
            moved = (backbone.encode_frames(changed) - base).abs().sum((0, 1, 3, 4))[lead:]
            first = int((moved > 1e-3 * moved.max()).nonzero()[0])  # later latents of a causal autoencoder may follow
            assert first == backbone.latent_frames(count)[index], (name, index, moved)
            assert backbone.token_frames(count)[index] < backbone.grid(base)[0]
        backbone.preset = preset


# --- batches, and grounding as a whole


def test_a_batch_gives_the_same_maps_as_its_samples(named: tuple[str, Backbone]) -> None:
    _, backbone = named
    latents, noise = make_latents(backbone)
    together = backbone.read_attention(latents, backbone.encode_text(PROMPTS), noise, n_text=4).mean
    for row, prompt in enumerate(PROMPTS):
        one = slice(row, row + 1)
        alone = backbone.read_attention(latents[one], backbone.encode_text([prompt]), noise[one], n_text=4).mean
        torch.testing.assert_close(together[one], alone, atol=1e-4, rtol=1e-3)


def test_a_contrast_is_one_more_sample_in_the_same_pass(named: tuple[str, Backbone]) -> None:
    _, backbone = named
    grounder, frames, words = Grounder(backbone), random_frames(2), ["the red star"]
    reading = Reading(contrast=0.5, contrast_texts=("the background", "a small blue ring"), prototypes=0.1)
    every_word = GroundingOptions(noun_phrase=False, spatial_bias=False)
    with record_inputs(*transformers_of(backbone.pipeline)) as plain_passes:
        (plain,) = grounder.read_token_maps(frames, words, indices=[3, 4])
    with record_inputs(*transformers_of(backbone.pipeline)) as passes:
        (both,) = grounder.read_token_maps(frames, words, indices=[3, 4], options=GroundingOptions(reading=reading))
    (other,) = grounder.read_token_maps(
        frames, ["the background and a small blue ring"], indices=[3, 4], options=every_word
    )
    assert len(passes) == len(plain_passes) == 1
    samples = [len(noisy_latents(inputs[0])) for inputs in (plain_passes, passes)]
    assert samples == [1, 2] if backbone.is_video else [2, 4]
    for one, alone, second in zip(both, plain, other, strict=True):
        assert one.contrast is not None
        assert one.features is not None
        assert one.sinks == alone.sinks
        np.testing.assert_allclose(one.maps, alone.maps, atol=1e-4, rtol=1e-3)
        np.testing.assert_allclose(one.contrast.maps, second.maps, atol=1e-4, rtol=1e-3)
        assert one.features.shape[1:] == one.maps.shape[1:]
        assert (alone.contrast, alone.features) == (None, None)


def test_grounding_gives_a_heatmap_of_the_grid_for_each_frame(named: tuple[str, Backbone]) -> None:
    _, backbone = named
    grounder = Grounder(backbone, GroundingOptions(edge_aware=False))
    expressions = ["the red star", "a small blue ring"]
    rows = grounder.ground(random_frames(3), expressions, indices=[2, 5, 9])
    assert [[m.frame for m in row] for row in rows] == [[2, 5, 9]] * 2
    grid = backbone.grid(backbone.encode_frames(random_frames(3)))[1:]
    for heatmap in [m for row in rows for m in row]:
        assert heatmap.grid.shape == grid
        assert np.isfinite(heatmap.grid).all()
        assert heatmap.grid.max() == 1
    assert not np.array_equal(rows[0][0].grid, rows[0][1].grid)
    assert not np.array_equal(rows[0][0].grid, rows[1][0].grid)


def test_the_class_in_the_directory_decides_the_family(
    saved: Callable[[str], Path], named: tuple[str, Backbone]
) -> None:
    name, backbone = named
    grounder = load_grounder(str(saved(name)), device="cpu")
    assert type(grounder.backbone) is type(backbone)
    assert grounder.backbone.preset.pipeline == type(backbone.pipeline).__name__
