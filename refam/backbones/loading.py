"""Loading a diffusers pipeline as a backbone. Nothing is downloaded unless that is asked for."""

from __future__ import annotations

import gc
import importlib.util
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from refam.backbones.base import Backbone
from refam.backbones.blocks import parse_blocks
from refam.backbones.compact_models import (
    Lumina2Backbone,
    PixArtSigmaBackbone,
    PRXBackbone,
    SanaBackbone,
    ZImageBackbone,
)
from refam.backbones.image_models import ChromaBackbone, Flux2Backbone, FluxBackbone, QwenImageBackbone, SD3Backbone
from refam.backbones.photo_model import PhotoBackbone
from refam.backbones.presets import Preset, preset_for_class
from refam.backbones.tokenizers import ChatTokenizer, restore_normalizer
from refam.backbones.video_models import (
    CogVideoXBackbone,
    HunyuanVideoBackbone,
    LTXBackbone,
    MochiBackbone,
    SkyReelsV2Backbone,
    WanBackbone,
)
from refam.backbones.weights import (
    BackboneError,
    ModelIndex,
    download_pipeline,
    find_missing_files,
    find_pipeline_directory,
    pipeline_components,
    quiet_libraries,
    read_index,
)

BACKBONES: Mapping[str, type[Backbone]] = {
    "FluxPipeline": FluxBackbone,
    "Flux2Pipeline": Flux2Backbone,
    "Flux2KleinPipeline": Flux2Backbone,
    "ChromaPipeline": ChromaBackbone,
    "StableDiffusion3Pipeline": SD3Backbone,
    "QwenImagePipeline": QwenImageBackbone,
    "PRXPipeline": PRXBackbone,
    "PixArtSigmaPipeline": PixArtSigmaBackbone,
    "SanaPipeline": SanaBackbone,
    "Lumina2Pipeline": Lumina2Backbone,
    "ZImagePipeline": ZImageBackbone,
    "MochiPipeline": MochiBackbone,
    "CogVideoXPipeline": CogVideoXBackbone,
    "HunyuanVideoPipeline": HunyuanVideoBackbone,
    "WanPipeline": WanBackbone,
    "SkyReelsV2Pipeline": SkyReelsV2Backbone,
    "SkyReelsV2DiffusionForcingPipeline": SkyReelsV2Backbone,
    "LTXPipeline": LTXBackbone,
    "PhotoFluxPipeline": PhotoBackbone,
}
CHAT_PIPELINES = frozenset({"Flux2Pipeline", "Flux2KleinPipeline", "ZImagePipeline"})
QUANTISATIONS = {"bnb-4bit": "bitsandbytes", "bnb-8bit": "bitsandbytes", "int8": "torchao"}
"""The ways to quantise weights, and the package that each needs."""
_QUANTISED = ("transformer", "transformer_2", "text_encoder", "text_encoder_2", "text_encoder_3")


@dataclass(frozen=True)
class LoadOptions:
    """How weights are held.

    Attributes:
        dtype: "float32", "bfloat16" or "float16"; "auto" is the preset's on CUDA, and float32 elsewhere.
        offload: Keep components in main memory and move them to the GPU one at a time.
        quantise: One of `QUANTISATIONS`, or None.
        free_text: Unload the text encoders once the words of a call are encoded, and read them from disk again for new
            words.
        download: Fetch weights that are not on this machine.
        blocks: Read these blocks instead of the preset's, as in "14-17", see `parse_blocks`; None keeps the preset's.

    Raises:
        BackboneError: If the dtype is unknown, or if the blocks cannot be read.
    """

    dtype: str = "auto"
    offload: bool = False
    quantise: str | None = None
    free_text: bool = False
    download: bool = False
    blocks: str | None = None

    def __post_init__(self) -> None:
        if self.blocks is not None:
            parse_blocks(self.blocks)
        if self.dtype not in ("auto", "float32", "bfloat16", "float16"):
            raise BackboneError(f"dtype must be auto, float32, bfloat16 or float16, not {self.dtype!r}")


def pick_device(device: str) -> torch.device:
    """Return the torch device; "auto" is CUDA if there is any, else the CPU.

    Raises:
        BackboneError: If CUDA is asked for and there is none.
    """
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    if device.startswith("cuda") and not torch.cuda.is_available():
        raise BackboneError("device 'cuda' was asked for, but torch sees no CUDA device; use device 'cpu' or 'auto'")
    return torch.device(device)


def load_backbone(preset: Preset, *, device: str = "auto", loading: LoadOptions | None = None) -> Backbone:
    """Load a pipeline with `from_pretrained` of its class, and wrap it in the backbone of that class.

    Args:
        preset: What to load, see `refam.backbones.preset_for`.
        device: "auto", "cpu" or "cuda".
        loading: How weights are held; None takes the defaults.

    Raises:
        BackboneError: If weights are missing, broken or of another class, or if the options do not fit the device.
    """
    loading, torch_device = loading or LoadOptions(), pick_device(device)
    if loading.offload and torch_device.type != "cuda":
        raise BackboneError(
            f"offloading moves parts to and from a GPU, but the device is {torch_device.type}; leave it out"
        )
    directory = _directory_of(preset, download=loading.download)
    index = read_index(directory)
    preset = _preset_for_index(preset, index["_class_name"])
    if loading.blocks is not None:
        preset = replace(preset, blocks=parse_blocks(loading.blocks))
    if missing := find_missing_files(directory, index):
        more = f" and {len(missing) - 3} more" if len(missing) > 3 else ""
        raise BackboneError(
            f"{directory} is not complete: {', '.join(missing[:3])}{more} missing; fetch it again{preset.pull_command}"
        )
    pipeline = _from_pretrained(preset, directory, index, torch_device, loading)
    backbone = BACKBONES[preset.pipeline](pipeline, preset, torch_device)
    backbone.offloaded = loading.offload
    if loading.free_text:
        read = _text_encoder_reader(preset, directory, index, torch_device, loading)
        backbone.text_encoders = ReloadableTextEncoders(pipeline, read)
    return backbone


# --- text encoders that do not stay in memory -------------------------------------------------------------------------


class ReloadableTextEncoders:
    """The text encoders of a pipeline, some of which are larger than the transformer they serve.

    They are loaded when the object is made.
    """

    def __init__(self, pipeline: Any, read: Callable[[], dict[str, Any]]) -> None:
        """Take over the text encoders of a pipeline.

        Args:
            pipeline: A diffusers pipeline.
            read: Reads the text encoders by their names in the pipeline, on the right device.
        """
        self._pipeline, self._read = pipeline, read
        self._names = [
            n for n, part in pipeline.components.items() if n.startswith("text_encoder") and part is not None
        ]

    def unload(self) -> None:
        """Free their memory."""
        for name in self._names:
            setattr(self._pipeline, name, None)
        gc.collect()
        if torch.cuda.is_available():
            torch.cuda.empty_cache()

    def load(self) -> None:
        """Read them again if they were unloaded."""
        if any(getattr(self._pipeline, name) is None for name in self._names):
            for name, encoder in self._read().items():
                setattr(self._pipeline, name, encoder)


def _text_encoder_reader(
    preset: Preset, directory: Path, index: ModelIndex, device: torch.device, loading: LoadOptions
) -> Callable[[], dict[str, Any]]:
    quantised, dtype = quantisation_config(loading.quantise, device), _dtype_of(preset, device, loading)

    def read() -> dict[str, Any]:
        with quiet_libraries():
            encoders = _read_text_encoders(directory, index, dtype, quantised)
        # Quantised encoders are put on their device while they are read; offloaded ones move by themselves.
        if quantised is not None or loading.offload:
            return encoders
        return {name: encoder.to(device) for name, encoder in encoders.items()}

    return read


# --- where the weights are --------------------------------------------------------------------------------------------


def _directory_of(preset: Preset, *, download: bool) -> Path:
    found = find_pipeline_directory(preset.source, preset.revision)
    on_hub = not Path(preset.source).expanduser().is_dir()
    if download and on_hub and (found is None or find_missing_files(found, read_index(found))):
        found = download_pipeline(preset.source, preset.revision)
    if found is None:
        raise BackboneError(preset.missing_weights_message)
    return found


def _preset_for_index(preset: Preset, class_name: str) -> Preset:
    """The preset, with the settings of this class if its own class was not known before."""
    if class_name not in BACKBONES or not preset.pipeline:
        return preset_for_class(class_name, name=preset.name, source=preset.source, licence=preset.licence)
    if preset.pipeline != class_name:
        raise BackboneError(f"preset {preset.name!r} is for a {preset.pipeline}, but {preset.source} is a {class_name}")
    return preset


# --- reading them -----------------------------------------------------------------------------------------------------


def _dtype_of(preset: Preset, device: torch.device, loading: LoadOptions) -> torch.dtype:
    if loading.dtype != "auto":
        return getattr(torch, loading.dtype)
    return torch.float32 if preset.dtype == "auto" or device.type == "cpu" else getattr(torch, preset.dtype)


def _from_pretrained(
    preset: Preset, directory: Path, index: ModelIndex, device: torch.device, loading: LoadOptions
) -> Any:
    with quiet_libraries():
        import diffusers
    quantised = quantisation_config(loading.quantise, device)
    dtype = _dtype_of(preset, device, loading)
    components: dict[str, Any] = {name: None for name, value in index.items() if value == [None, None]}
    if preset.pipeline in CHAT_PIPELINES:
        components["tokenizer"] = None  # replaced below
    try:
        with quiet_libraries():
            if preset.pipeline == "PhotoFluxPipeline":
                # Imported here: every other pipeline would pay for FLUX's, and print its libraries' remarks.
                from refam.photos.encoder import PhotoEncoder
                from refam.photos.pipeline import PhotoFluxPipeline

                kind = PhotoFluxPipeline
                components["vae"] = PhotoEncoder.from_pretrained(directory / "vae", dtype=dtype)
            else:
                kind = getattr(diffusers, preset.pipeline)  # PRX's adds its text encoder's class to transformers
            components |= _read_text_encoders(directory, index, dtype, quantised)
            if quantised is not None:
                components["quantization_config"] = quantised
            pipeline = kind.from_pretrained(str(directory), dtype=dtype, local_files_only=True, **components)
    except BackboneError:
        raise
    except Exception as error:  # each library has its own for a broken file, a wrong shape, an unknown class
        raise BackboneError(
            f"the weights of {preset.name!r} in {directory} could not be loaded as a {preset.pipeline}: "
            f"{type(error).__name__}: {' '.join(str(error).split())[:300]}"
        ) from error
    if preset.pipeline in CHAT_PIPELINES:
        pipeline.tokenizer = ChatTokenizer.from_pretrained(directory / "tokenizer")
    for name in pipeline.components:
        if name.startswith("tokenizer"):
            restore_normalizer(getattr(pipeline, name), directory / name)
    _check_complete(pipeline, directory)
    if quantised is None:
        _check_depth(pipeline, directory)
    with quiet_libraries():
        for name in ("transformer", "transformer_2"):
            if getattr(pipeline, name, None) is not None:
                getattr(pipeline, name).set_attention_backend("native")
    pipeline.set_progress_bar_config(disable=True)
    if loading.offload:
        pipeline.enable_model_cpu_offload(device=device)
        return pipeline
    return pipeline.to(device)


def _text_encoder_names(index: ModelIndex) -> list[str]:
    return [
        p.name for p in pipeline_components(index) if p.name.startswith("text_encoder") and p.library == "transformers"
    ]


def _read_text_encoders(directory: Path, index: ModelIndex, dtype: torch.dtype, quantised: Any) -> dict[str, Any]:
    """The text encoders by name. Read here, since the pipeline would fill missing weights with random ones."""
    import transformers

    classes = {c.name: c.kind for c in pipeline_components(index)}
    encoders = {}
    for name in _text_encoder_names(index):
        options: dict[str, Any] = {} if quantised is None else {"quantization_config": quantised.quant_mapping[name]}
        encoder, info = getattr(transformers, classes[name]).from_pretrained(
            directory / name, dtype=dtype, local_files_only=True, output_loading_info=True, **options
        )
        # A language model's head is not used, and some pipelines are shipped without it.
        missing = sorted(key for key in info["missing_keys"] if not key.startswith("lm_head"))
        if missing:
            raise BackboneError(_mismatch_message(directory / name, missing))
        encoders[name] = encoder.eval()
    return encoders


def _check_complete(pipeline: Any, directory: Path) -> None:
    """Refuse a pipeline with missing weights, which diffusers leaves without data (on the meta device)."""
    for name, component in pipeline.components.items():
        if isinstance(component, torch.nn.Module):
            missing = [key for key, value in component.state_dict().items() if value.is_meta]
            if missing:
                raise BackboneError(_mismatch_message(directory / name, missing))


def _check_depth(pipeline: Any, directory: Path) -> None:
    """Refuse a component whose files have more blocks than its config.json: the libraries leave them out silently."""
    from safetensors import safe_open

    for name, component in pipeline.components.items():
        if not isinstance(component, torch.nn.Module):
            continue
        lists = {n: len(m) for n, m in component.named_modules() if isinstance(m, torch.nn.ModuleList)}
        for file in sorted((directory / name).glob("*.safetensors")):
            with safe_open(file, "pt") as tensors:
                stored = [place for key in tensors.keys() for place in _places_in_lists(key)]  # noqa: SIM118 - no dict
            for blocks, number in stored:
                if number >= lists.get(blocks, number + 1):
                    raise BackboneError(
                        f"the weights in {directory / name} do not match its config.json: they have {blocks}.{number}, "
                        f"but it says {lists[blocks]} of these; fetch the directory again"
                    )


def _places_in_lists(key: str) -> Iterator[tuple[str, int]]:
    """Yield each list in the name of a tensor, and the number in it: "blocks.3.to_q.weight" -> ("blocks", 3)."""
    parts = key.split(".")
    for i, part in enumerate(parts):
        if part.isdecimal():
            yield ".".join(parts[:i]), int(part)


def _mismatch_message(folder: Path, keys: list[str]) -> str:
    return (
        f"the weights in {folder} do not match their class: {len(keys)} tensors are missing, {keys[0]} among them; "
        "fetch them again"
    )


def quantisation_config(name: str | None, device: torch.device) -> Any:
    """Make the configuration that quantises a pipeline's transformers and text encoders.

    Args:
        name: One of `QUANTISATIONS`, or None.
        device: Where the pipeline is to run.

    Returns:
        A diffusers PipelineQuantizationConfig, or None if nothing is to be quantised.

    Raises:
        BackboneError: If the name is unknown, without CUDA, or if the package is not installed.
    """
    if name is None:
        return None
    if name not in QUANTISATIONS:
        raise BackboneError(f"there is no quantisation {name!r}; known are {', '.join(QUANTISATIONS)}")
    if device.type != "cuda":
        raise BackboneError(f"quantisation {name!r} needs a CUDA device, and the device is {device.type}; leave it out")
    package = QUANTISATIONS[name]
    if importlib.util.find_spec(package) is None:
        raise BackboneError(f"quantisation {name!r} needs the package {package}: pip install {package}")
    from diffusers.quantizers import PipelineQuantizationConfig

    for_diffusers, for_transformers = _library_configs(name)
    return PipelineQuantizationConfig(
        quant_mapping={c: for_transformers if c.startswith("text") else for_diffusers for c in _QUANTISED}
    )


def _library_configs(name: str) -> tuple[Any, Any]:
    """The configuration for diffusers, and the same for transformers."""
    import diffusers
    import transformers

    if name == "int8":
        from torchao.quantization import Int8WeightOnlyConfig

        return diffusers.TorchAoConfig(Int8WeightOnlyConfig()), transformers.TorchAoConfig(Int8WeightOnlyConfig())
    options: dict[str, Any] = {"load_in_8bit": True}
    if name == "bnb-4bit":
        options = {
            "load_in_4bit": True,
            "bnb_4bit_quant_type": "nf4",
            "bnb_4bit_compute_dtype": torch.bfloat16,
        }
    return diffusers.BitsAndBytesConfig(**options), transformers.BitsAndBytesConfig(**options)
