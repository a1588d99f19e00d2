"""Loading: the class, what is missing, what does not fit; nothing is downloaded unless that is asked for."""

from __future__ import annotations

import importlib.util
import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

import diffusers
import numpy as np
import pytest
import torch
import transformers
from packaging.version import Version
from safetensors.torch import load_file, save_file

from refam.backbones import PRESETS, Backbone, BackboneError, LoadOptions, Preset, load_backbone, preset_for
from refam.backbones.identity import name_with_weights
from refam.backbones.loading import BACKBONES, quantisation_config
from refam.backbones.presets import known_pipeline_classes
from refam.backbones.tokenizers import ChatTokenizer, PromptTokenizer, render_chat_template
from refam.backbones.weights import directory_size, find_pipeline_directory
from refam.photos import PHOTOS_DIRECTORY
from tests.refam.backbones.pipelines import CHAT_TEMPLATE, MISTRAL_TEMPLATE, qwen_tokenizer

CPU = torch.device("cpu")


@pytest.fixture
def copy_pipeline(saved: Callable[[str], Path], tmp_path: Path) -> Callable[[str], Path]:
    return lambda name: Path(shutil.copytree(saved(name), tmp_path / "copy"))


def load(directory: Path, **loading: Any) -> Backbone:
    return load_backbone(preset_for(str(directory)), device="cpu", loading=LoadOptions(**loading))


# --- which


def test_every_known_class_has_a_preset_and_a_backbone() -> None:
    assert set(known_pipeline_classes()) == set(BACKBONES)


def test_an_unknown_class_is_refused_with_a_list_of_known_ones(tmp_path: Path) -> None:
    (tmp_path / "model_index.json").write_text('{"_class_name": "KandinskyPipeline"}')
    with pytest.raises(BackboneError, match=r"is a KandinskyPipeline, whose .*; known are ChromaPipeline, .*WanPipe"):
        preset_for(str(tmp_path))


@pytest.mark.parametrize("text", ["{", "[]", "{}", '{"_class_name": 5}', "[" * 100_000])
def test_a_broken_model_index_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "model_index.json").write_text(text)
    with pytest.raises(BackboneError, match=r"model_index\.json is broken"):
        preset_for(str(tmp_path))


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


def test_a_revision_is_pinned_with_an_at_sign() -> None:
    assert preset_for("mochi@" + "e" * 40) == replace(PRESETS["mochi"], revision="e" * 40)
    assert preset_for("owner/name@v1.0").revision == "v1.0"
    for wrong in ("tiny@main", "mochi@"):
        with pytest.raises(BackboneError, match="only a hub repository has revisions"):
            preset_for(wrong)


# --- what is not here


def cache(tmp_path: Path, source: str, directory: Path, revision: str) -> Path:
    """A hub cache as huggingface_hub lays it out, with this repository at this commit."""
    repo = tmp_path / f"models--{source.replace('/', '--')}"
    (repo / "refs").mkdir(parents=True)
    (repo / "refs" / "main").write_text(revision)
    return Path(shutil.copytree(directory, repo / "snapshots" / revision))


def test_weights_in_the_hub_cache_are_found_and_loaded_without_network(
    saved: Callable[[str], Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    commit = "a" * 40
    snapshot = cache(tmp_path, "genmo/mochi-1-preview", saved("Mochi"), commit)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr("huggingface_hub.file_download.HF_HUB_CACHE", str(tmp_path), raising=False)
    found = find_pipeline_directory("genmo/mochi-1-preview")
    assert found is not None
    assert found.resolve() == snapshot.resolve()
    assert find_pipeline_directory("genmo/mochi-1-preview", commit) is not None
    assert find_pipeline_directory("genmo/mochi-1-preview", "b" * 40) is None, "another revision is not here"
    assert directory_size(found) > 10_000
    assert load_backbone(preset_for("mochi"), device="cpu").preset.name == "mochi"
    with pytest.raises(BackboneError, match=f"at revision {'b' * 40}"):
        load_backbone(replace(preset_for("mochi"), revision="b" * 40), device="cpu")


def test_an_incomplete_download_is_reported_and_resumed(
    saved: Callable[[str], Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    snapshot = cache(tmp_path, "genmo/mochi-1-preview", saved("Mochi"), "a" * 40)
    shutil.rmtree(snapshot / "vae")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(BackboneError, match=r"complete: vae/ missing; fetch it again with: refam models pull mochi"):
        load_backbone(preset_for("mochi"), device="cpu")
    monkeypatch.setattr("refam.backbones.loading.download_pipeline", lambda *_: saved("Mochi"))
    assert load_backbone(preset_for("mochi"), device="cpu", loading=LoadOptions(download=True)).preset.name == "mochi"


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("flux-dev", r"not on this machine: .*FLUX\.1-dev, about 34 GB\. Licence: FLUX\.1-dev, non-commercial\. "
                     r"Fetch them after its licence was accepted .*: refam models pull flux-dev"),
        ("wan-1.3b", r"about 14 GB\. Licence: Apache-2\.0\. Fetch them with: refam models pull wan-1\.3b"),
    ],
)  # fmt: skip
def test_missing_weights_are_reported_with_size_licence_and_command(
    name: str, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr("diffusers.DiffusionPipeline.download", lambda *_, **__: pytest.fail("it was not asked for"))
    with pytest.raises(BackboneError, match=message):
        load_backbone(preset_for(name), device="cpu")


def test_a_failed_download_reports_the_hubs_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(*_: Any, **__: Any) -> None:
        raise OSError("401 Client Error: access to this model is restricted\nlong trace")

    monkeypatch.setattr("diffusers.DiffusionPipeline.download", refused)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
    with pytest.raises(BackboneError, match=r"owner/name could not be downloaded: 401 Client Error: .* restricted$"):
        load_backbone(preset_for("owner/name"), device="cpu", loading=LoadOptions(download=True))


@pytest.mark.parametrize(
    ("cause", "offline", "said"),
    [
        (
            ConnectionError("[Errno -2] Name or service not known"),
            False,
            r"huggingface\.co: \[Errno -2\] Name .*known$",
        ),
        (ConnectionError("Cannot reach https://huggingface.co/api\nmore"), False, r"Cannot reach https://.*/api$"),
        (ConnectionError("whatever"), True, "HF_HUB_OFFLINE is set, which forbids it: unset it$"),
        (None, True, "HF_HUB_OFFLINE is set, which forbids it: unset it$"),
    ],
)
def test_an_unreachable_hub_is_named_not_what_the_cache_lacks(
    cause: Exception | None, offline: bool, said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: Any, **__: Any) -> None:
        raise OSError("not cached (outgoing traffic has been disabled)") from cause

    monkeypatch.setattr("diffusers.DiffusionPipeline.download", fail)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", offline)
    with pytest.raises(BackboneError, match=f"^owner/name could not be downloaded: {said}"):
        load_backbone(preset_for("owner/name"), device="cpu", loading=LoadOptions(download=True))


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


# --- presets

FULL_SIZE: dict[str, Callable[[], torch.nn.Module]] = {
    "flux-dev": lambda: diffusers.FluxTransformer2DModel(guidance_embeds=True),
    "flux2-dev": diffusers.Flux2Transformer2DModel,
    "flux2-klein-4b": lambda: diffusers.Flux2Transformer2DModel(
        num_layers=5, num_single_layers=20, num_attention_heads=24, joint_attention_dim=7680, guidance_embeds=False
    ),
    "chroma": diffusers.ChromaTransformer2DModel,
    "sd3.5-large": lambda: diffusers.SD3Transformer2DModel(
        sample_size=128, num_layers=38, num_attention_heads=38, joint_attention_dim=4096, caption_projection_dim=2432,
        out_channels=16, pos_embed_max_size=192, qk_norm="rms_norm",
    ),
    "qwen-image": diffusers.QwenImageTransformer2DModel,
    "mochi": diffusers.MochiTransformer3DModel,
    "cogvideox-2b": diffusers.CogVideoXTransformer3DModel,
    "hunyuan-video": diffusers.HunyuanVideoTransformer3DModel,
    "wan-14b": diffusers.WanTransformer3DModel,
    "ltx-video": diffusers.LTXVideoTransformer3DModel,
}  # fmt: skip


@pytest.mark.parametrize("name", FULL_SIZE)
def test_sizes_are_the_parameter_counts_of_the_full_configurations(name: str) -> None:
    with torch.device("meta"):
        count = sum(p.numel() for p in FULL_SIZE[name]().parameters()) / 1e9
    billion_parameters = PRESETS[name].billion_parameters
    assert billion_parameters is not None
    assert billion_parameters[0] == pytest.approx(count, rel=0.01)


def test_the_largest_text_encoder_is_counted_right() -> None:
    config = transformers.T5Config(
        d_model=4096, d_ff=10240, num_layers=24, num_heads=64, d_kv=64, feed_forward_proj="gated-gelu"
    )
    with torch.device("meta"):
        count = sum(p.numel() for p in transformers.T5EncoderModel(config).parameters()) / 1e9
    billion_parameters = PRESETS["chroma"].billion_parameters
    assert billion_parameters is not None
    assert billion_parameters[1] == pytest.approx(count + 0.08, rel=0.01)


@pytest.mark.parametrize(
    "wrong", [{"noise": 0.0}, {"noise": 1.0}, {"draws": 0}, {"short_side_px": 0}, {"text_length": 0}]
)
def test_invalid_presets_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=next(iter(wrong))):
        Preset(**{"name": "x", "source": "x", "noise": 0.5, "short_side_px": 64, "text_length": 24, **wrong})


# --- chat templates

MESSAGES = [{"role": "user", "content": "the red star"}]


def test_a_chat_template_is_rendered_as_transformers_does() -> None:
    tokenizer = qwen_tokenizer()
    ours = ChatTokenizer(tokenizer)
    text = ours.apply_chat_template(MESSAGES, tokenize=False, add_generation_prompt=True, enable_thinking=False)
    assert text == "<|im_start|>user\nthe red star<|im_end|>\n<|im_start|>assistant\n"
    two = [[{"role": "user", "content": [{"type": "text", "text": t}]}] for t in ("a", "b c")]
    assert [render_chat_template(MISTRAL_TEMPLATE, m, bos_token="<s>") for m in two] == [
        "<s>[user]a[/user]",
        "<s>[user]b c[/user]",
    ]
    if Version(version("jinja2")) >= Version("3.1.6"):  # else it refuses
        theirs = tokenizer.apply_chat_template(MESSAGES, tokenize=False, add_generation_prompt=True)
        assert text == theirs


@pytest.mark.parametrize(
    "template",
    [
        "{{ ''.format.__globals__ }}",
        "{{ '{0.__class__}'.format(messages) }}",
        "{{ ('{0.__class__}'|attr('format'))(messages) }}",
        "{{ ''['format'](messages) }}",
        "{{ ['{0.__class__}']|map('format', messages)|list }}",
        "{{ messages.append(1) }}",
        "{{ raise_exception('no') }}",
        "{% for %}",
    ],
)
def test_templates_that_leave_the_sandbox_or_fail_are_refused(template: str) -> None:
    with pytest.raises(BackboneError, match="chat template of this pipeline's tokenizer cannot be filled in"):
        render_chat_template(template, MESSAGES)


def test_the_tokenizer_of_another_pipeline_is_reported(caplog: pytest.LogCaptureFixture) -> None:
    tokenizer = PromptTokenizer(qwen_tokenizer(), "<|im_start|>user\n{}<|im_end|>".format)
    head = tokenizer.prompt_start("a")
    assert tokenizer.start_after_crop(head) == 0
    assert not caplog.records
    assert tokenizer.start_after_crop(head - 2) == 2
    assert f"makes {head} tokens of what its pipeline puts before a prompt, but the pipeline cuts off" in caplog.text
    with pytest.raises(BackboneError, match=f"makes {head} tokens .* cuts off {head + 1}: it is not the tokenizer"):
        tokenizer.start_after_crop(head + 1)


def test_mochi_with_a_left_padding_tokenizer_is_refused(loaded: Callable[..., Backbone]) -> None:
    tokenizer = loaded("Mochi").pipeline.tokenizer
    tokenizer.padding_side = "left"
    with pytest.raises(BackboneError, match="pads on the left, and Mochi's pads on the right"):
        loaded("Mochi").encode_text(["the red star"])
    tokenizer.padding_side = "right"


def test_a_tokenizer_without_a_chat_template_is_refused() -> None:
    tokenizer = qwen_tokenizer()
    tokenizer.chat_template = None
    with pytest.raises(BackboneError, match="has no chat template"):
        ChatTokenizer(tokenizer)
    assert CHAT_TEMPLATE


@pytest.mark.parametrize(
    "changed",
    [
        "transformer/diffusion_pytorch_model.safetensors",
        "vae/diffusion_pytorch_model.safetensors",
        "text_encoder/model.safetensors",
        "text_encoder_2/model.safetensors",
        "vocabulary.json.gz",
    ],
)
def test_another_file_of_weights_or_words_is_another_name(tmp_path: Path, changed: str) -> None:
    same, other = tmp_path / "same", tmp_path / "other"
    for copy in (same, other):
        shutil.copytree(PHOTOS_DIRECTORY, copy)
    data = bytearray((other / changed).read_bytes())
    data[-100] ^= 1
    (other / changed).write_bytes(data)
    photos = name_with_weights("photos")
    assert photos.startswith("photos@")
    assert name_with_weights(str(same)).split("@")[1] == photos.split("@")[1]
    assert name_with_weights(str(other)).split("@")[1] != photos.split("@")[1]


def test_the_name_with_weights_is_the_loaded_backbones() -> None:
    tiny = name_with_weights("tiny")
    assert load_backbone(preset_for("tiny")).name == tiny
    assert name_with_weights("mochi") == "mochi"  # not on this machine
