"""Loading: the class of a pipeline, files that are missing or do not fit, and how weights are held."""

from __future__ import annotations

import importlib.util
import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from refam.backbones import PRESETS, Backbone, BackboneError, LoadOptions, load_backbone, preset_for
from refam.backbones.loading import quantisation_config

CPU = torch.device("cpu")


@pytest.fixture
def copy_pipeline(saved: Callable[[str], Path], tmp_path: Path) -> Callable[[str], Path]:
    return lambda name: Path(shutil.copytree(saved(name), tmp_path / "copy"))


def load(directory: Path, **loading: Any) -> Backbone:
    return load_backbone(preset_for(str(directory)), device="cpu", loading=LoadOptions(**loading))


def test_a_preset_for_another_class_is_refused(saved: Callable[[str], Path]) -> None:
    preset = replace(PRESETS["mochi"], source=str(saved("LTX")))
    with pytest.raises(BackboneError, match=r"'mochi' is for a MochiPipeline, but .* is a LTXPipeline"):
        load_backbone(preset, device="cpu")


def test_a_hub_id_gets_the_settings_of_its_class_after_the_download(
    saved: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    preset = preset_for("somebody/some-mochi")
    assert preset.pipeline == ""
    with pytest.raises(BackboneError, match="'somebody/some-mochi' are not on this machine"):
        load_backbone(preset, device="cpu")
    asked: list[tuple[str, str | None]] = []

    def fake_download(source: str, revision: str | None) -> Path:
        asked.append((source, revision))
        return saved("Mochi")

    monkeypatch.setattr("refam.backbones.loading.download_pipeline", fake_download)
    backbone = load_backbone(preset, device="cpu", loading=LoadOptions(download=True))
    assert asked == [("somebody/some-mochi", None)]
    assert backbone.preset.pipeline == "MochiPipeline"
    assert backbone.name.startswith("somebody/some-mochi@")


# --- what is broken


@pytest.mark.parametrize("gone", ["vae", "tokenizer_2", "text_encoder", "scheduler"])
def test_a_directory_with_a_missing_component_is_refused(copy_pipeline: Callable[[str], Path], gone: str) -> None:
    directory = copy_pipeline("FLUX.1")
    shutil.rmtree(directory / gone)
    with pytest.raises(BackboneError, match=f"is not complete: {gone}/ missing; fetch it again"):
        load(directory)


def test_a_directory_with_missing_weights_or_shards_is_refused(copy_pipeline: Callable[[str], Path]) -> None:
    directory = copy_pipeline("FLUX.1")
    weights = directory / "transformer" / "diffusion_pytorch_model.safetensors"
    weights.rename(directory / "transformer" / "diffusion_pytorch_model-00001-of-00002.safetensors")
    listing = {"weight_map": {"a": "diffusion_pytorch_model-00001-of-00002.safetensors",
                              "b": "diffusion_pytorch_model-00002-of-00002.safetensors"}}  # fmt: skip
    index = directory / "transformer" / "diffusion_pytorch_model.safetensors.index.json"
    index.write_text(json.dumps(listing))
    with pytest.raises(BackboneError, match=r"complete: transformer/diffusion_pytorch_model-00002-of-00002\.safe"):
        load(directory)
    index.unlink()
    weights.with_name("diffusion_pytorch_model-00001-of-00002.safetensors").unlink()
    with pytest.raises(BackboneError, match=r"is not complete: transformer/\*\.safetensors missing"):
        load(directory)


@pytest.mark.parametrize(
    ("file", "key"),
    [
        ("transformer/diffusion_pytorch_model.safetensors", "transformer_blocks.0.attn.to_q.weight"),
        ("vae/diffusion_pytorch_model.safetensors", "encoder.conv_in.weight"),
        ("text_encoder_2/model.safetensors", "encoder.block.0.layer.0.SelfAttention.q.weight"),
    ],
)
@pytest.mark.parametrize("how", ["lost", "misshapen", "garbage"])
def test_weights_that_do_not_match_their_class_are_refused(
    copy_pipeline: Callable[[str], Path], file: str, key: str, how: str
) -> None:
    """Never filled in with random numbers."""
    weights = copy_pipeline("FLUX.1") / file
    tensors = load_file(weights)
    if how == "garbage":
        weights.write_bytes(b"not a safetensors file")
    elif how == "lost":
        del tensors[key]
        save_file(tensors, weights, metadata={"format": "pt"})
    else:
        save_file({**tensors, key: torch.zeros(3, 5)}, weights, metadata={"format": "pt"})
    messages = {
        "lost": rf"do not match their class: 1 tensors are missing, {key} among them",
        "misshapen": r"could not be loaded as a FluxPipeline: \w+Error: ",
        "garbage": r"could not be loaded as a FluxPipeline: \w+Error: ",
    }
    with pytest.raises(BackboneError, match=messages[how]):
        load(weights.parents[1])


@pytest.mark.parametrize(
    ("component", "setting", "blocks"),
    [
        ("transformer", "num_layers", "transformer_blocks"),
        ("transformer", "num_single_layers", "single_transformer_blocks"),
        ("text_encoder", "num_hidden_layers", "encoder.layers"),
        ("text_encoder_2", "num_layers", "encoder.block"),
    ],
)
def test_a_config_with_fewer_blocks_than_the_weights_is_refused(
    copy_pipeline: Callable[[str], Path], component: str, setting: str, blocks: str
) -> None:
    """The libraries would leave the others out, and the attention would be that of another model."""
    file = copy_pipeline("FLUX.1") / component / "config.json"
    config = json.loads(file.read_text())
    assert config[setting] > 0
    for fewer in {0, config[setting] - 1}:
        file.write_text(json.dumps({**config, setting: fewer}))
        with pytest.raises(BackboneError, match=rf"they have \S*{blocks}.{fewer}, but it says {fewer} of these"):
            load(file.parents[1])


def test_a_broken_list_of_shards_and_a_lost_tokenizer_are_named(copy_pipeline: Callable[[str], Path]) -> None:
    directory = copy_pipeline("FLUX.1")
    index = directory / "transformer" / "diffusion_pytorch_model.safetensors.index.json"
    for broken in ("{", "[]", "{}", '{"weight_map": []}', '{"weight_map": {"a": 5}}'):
        index.write_text(broken)
        with pytest.raises(BackboneError, match=r"safetensors\.index\.json is broken"):
            load(directory)
    index.unlink()
    for file in (directory / "tokenizer_2").iterdir():
        if file.name != "tokenizer_config.json":
            file.unlink()
    with pytest.raises(BackboneError, match=r"is not complete: tokenizer_2/tokenizer\.json missing"):
        load(directory)


def test_weights_of_another_family_are_refused(
    copy_pipeline: Callable[[str], Path], saved: Callable[[str], Path]
) -> None:
    directory = copy_pipeline("FLUX.1")
    shutil.rmtree(directory / "transformer")
    shutil.copytree(saved("Chroma") / "transformer", directory / "transformer")
    with pytest.raises(BackboneError, match=r"could not be loaded|do not match their class"):
        load(directory)


def test_nan_in_the_weights_is_an_error_and_not_a_mask(copy_pipeline: Callable[[str], Path]) -> None:
    directory = copy_pipeline("FLUX.1")
    weights = directory / "transformer" / "diffusion_pytorch_model.safetensors"
    tensors = load_file(weights)
    tensors["x_embedder.bias"][0] = float("nan")
    save_file(tensors, weights, metadata={"format": "pt"})
    backbone = load_backbone(replace(preset_for(str(directory)), short_side_px=16, text_length=24), device="cpu")
    latents = torch.zeros(1, 4, 8, 12)
    with pytest.raises(BackboneError, match=r"not finite \(NaN or infinite\) in torch.float32: .* use bfloat16"):
        backbone.read_attention(latents, backbone.encode_text(["the red star"]), latents, n_text=4)


@pytest.mark.parametrize(("width", "height"), [(1, 1), (7680, 4320), (96, 12), (12, 96)])
def test_frames_of_any_size_become_whole_tokens(loaded: Callable[..., Backbone], width: int, height: int) -> None:
    backbone = loaded("FLUX.1")
    w, h = backbone.size_for(width, height)
    assert min(w, h) == backbone.preset.short_side_px
    assert w % backbone.pixels_per_token == h % backbone.pixels_per_token == 0
    assert w / h == pytest.approx(width / height, rel=0.2)


def test_a_very_elongated_frame_is_refused(loaded: Callable[..., Backbone]) -> None:
    with pytest.raises(
        BackboneError, match="a frame of 1x500 pixels cannot be grounded: one side is more than 8 times"
    ):
        loaded("FLUX.1").encode_frames([np.zeros((500, 1, 3), np.uint8)])
    with pytest.raises(BackboneError, match="a frame of 0x500 pixels is empty"):
        loaded("FLUX.1").encode_frames([np.zeros((500, 0, 3), np.uint8)])


# --- how weights are held


def test_text_encoders_are_unloaded_and_loaded_again(saved: Callable[[str], Path]) -> None:
    kept, freeing = load(saved("FLUX.1")), load(saved("FLUX.1"), free_text=True)
    first = freeing.encode_text(["the red star"])
    freeing.release_text_encoders()
    kept.release_text_encoders()
    assert freeing.pipeline.text_encoder is None
    assert freeing.pipeline.text_encoder_2 is None
    assert kept.pipeline.text_encoder_2 is not None
    again = freeing.encode_text(["the red star"])
    for name, tensor in kept.encode_text(["the red star"]).inputs.items():
        assert tensor is not None
        assert torch.equal(tensor, first.inputs[name])  # type: ignore[arg-type]
        assert torch.equal(tensor, again.inputs[name])  # type: ignore[arg-type]


def test_an_offloaded_transformer_is_moved_before_text_is_encoded(
    saved: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    backbone, done = load(saved("FLUX.1")), []
    monkeypatch.setattr(backbone.pipeline, "maybe_free_model_hooks", lambda: done.append("freed"))
    hook = backbone.pipeline.text_encoder_2.register_forward_pre_hook(lambda *_: done.append("encoded"))
    backbone.encode_text(["the red star"])
    backbone.offloaded = True
    backbone.encode_text(["the red star"])
    hook.remove()
    assert done == ["encoded", "freed", "encoded"]
    assert not backbone.offload(), "on the CPU there is nothing to gain by it"


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_weights_can_be_held_in_half_precision(saved: Callable[[str], Path], dtype: str) -> None:
    backbone = load(saved("SD3"), dtype=dtype)
    assert backbone.transformer.dtype == getattr(torch, dtype)
    assert backbone.pipeline.text_encoder_3.dtype == getattr(torch, dtype)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"dtype": "int4"}, "dtype must be auto, float32, bfloat16 or float16, not 'int4'"),
        ({"offload": True}, "offloading moves parts to and from a GPU, but the device is cpu"),
        ({"quantise": "bnb-4bit"}, "'bnb-4bit' needs a CUDA device, and the device is cpu"),
        ({"quantise": "3-bit"}, "no quantisation '3-bit'; known are bnb-4bit, bnb-8bit, int8"),
    ],
)
def test_invalid_options_are_refused(saved: Callable[[str], Path], options: dict[str, Any], message: str) -> None:
    with pytest.raises(BackboneError, match=message):
        load(saved("FLUX.1"), **options)


@pytest.mark.skipif(importlib.util.find_spec("bitsandbytes") is not None, reason="bitsandbytes is installed")
def test_a_quantisation_without_its_package_is_refused() -> None:
    with pytest.raises(BackboneError, match="needs the package bitsandbytes: pip install bitsandbytes"):
        quantisation_config("bnb-8bit", torch.device("cuda"))
