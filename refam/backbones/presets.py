"""Presets: the settings for grounding with a pipeline, which its own files do not hold."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from refam.backbones.blocks import BlockPrior
from refam.backbones.weights import BackboneError, find_pipeline_directory, is_hub_id, read_index
from refam.photos import PHOTOS_DIRECTORY, TEXT_LENGTH
from refam.tiny import TINY_DIRECTORY as TINY_DIRECTORY


@dataclass(frozen=True)
class Preset:
    """How to ground with one pipeline.

    Attributes:
        name: Name of the preset.
        source: A pipeline directory or a hub id.
        noise: Sigma in (0, 1), the share of noise in the noised latent.
        short_side_px: The short side that frames are resized to.
        text_length: Positions of the text encoder's sequence.
        blocks: Attention modules to read, in the order in which they run; None reads all, as the paper averages over
            them.
        block_priors: Blocks that were published for this model, which `refam eval photos --choose` compares.
        draws: Noise samples averaged for each frame.
        balanced: See `refam.heatmaps.sum_word_maps`.
        smooth_tokens: See `refam.heatmaps.sum_word_maps`.
        whole_bias, mode_level: Of the `video.types.MaskChoice` among the masks that fit a heatmap of this model.
        dtype: Data type of the weights on a GPU; "auto" is float32.
        licence: Licence of the weights.
        revision: A commit, tag or branch of the hub repository; None is its main branch.
        pipeline: The class that model_index.json names.
        guidance: The guidance scale that guidance-distilled models are given.
        repeat_frames: For video backbones, see `refam.backbones.video_models.VideoBackbone`.
        gated: Whether the hub asks for a login and for the licence to be accepted first.
        billion_parameters: Billions of parameters, of the transformer and of all other components, counted from the
            configurations of their classes.
        trained_by: The command that makes the weights, for a model that ships.

    Raises:
        ValueError: If a number is out of range.
    """

    name: str
    source: str
    noise: float
    short_side_px: int
    text_length: int
    blocks: tuple[int, ...] | None = None
    draws: int = 1
    balanced: bool = False
    smooth_tokens: float = 0.0
    whole_bias: float = 0.0
    mode_level: float = 1.0
    dtype: str = "auto"
    licence: str = ""
    revision: str | None = None
    pipeline: str = "FluxPipeline"
    guidance: float = 3.5
    repeat_frames: bool = True
    gated: bool = False
    billion_parameters: tuple[float, float] | None = None
    trained_by: str = ""
    block_priors: tuple[BlockPrior, ...] = ()

    def __post_init__(self) -> None:
        if not 0 < self.noise < 1:
            raise ValueError(f"Preset.noise must be between 0 and 1, got {self.noise}")
        if self.draws < 1:
            raise ValueError(f"Preset.draws must be at least 1, got {self.draws}")
        if self.short_side_px < 1 or self.text_length < 1:
            raise ValueError(
                f"Preset.short_side_px and text_length must be positive, got {self.short_side_px}, {self.text_length}"
            )

    @property
    def size_gb(self) -> float | None:
        """All weights at 16 bits, in 10**9 bytes: about what is downloaded, and what loading needs."""
        return None if self.billion_parameters is None else 2 * sum(self.billion_parameters)

    @property
    def pull_command(self) -> str:
        """The end of a sentence that says how to fetch the weights; "" for a directory."""
        here = Path(self.source).expanduser().is_dir()
        pinned = f"@{self.revision}" if self.revision else ""
        return "" if here else f" with: refam models pull {self.name}{pinned}"

    @property
    def missing_weights_message(self) -> str:
        """What to tell a person if the weights are not on this machine."""
        if self.trained_by:
            return f"the weights of {self.name!r} are missing from this checkout; `refam {self.trained_by}` makes them"
        at = f" at revision {self.revision}" if self.revision else ""
        size = f", about {self.size_gb:.0f} GB" if self.size_gb else ""
        gate = " after its licence was accepted on the hub's page and `hf auth login`" if self.gated else ""
        licence = self.licence or "see its model card"
        no_folder = f"there is no folder {self.source!r}, and " if self.name == self.source else ""
        return (
            f"{no_folder}the weights of {self.name!r} are not on this machine: {self.source}{at}{size}. "
            f"Licence: {licence}. Fetch them{gate}{self.pull_command}"
        )


_T5, _CLIP_L, _CLIP_G, _UMT5, _LLAMA = 4.76, 0.12, 0.70, 5.68, 7.51
_QWEN_VL, _QWEN3_4B, _MISTRAL, _GEMMA2_2B = 8.29, 4.02, 24.0, 2.61
_DC_AE = 0.36  # Sana's autoencoder
_GEMMA = "text encoder: Gemma Terms of Use"
_STABILITY = "Stability AI Community License"
_FLUX_DEV = "FLUX [dev] Non-Commercial License"


_CONCEPT_ATTENTION = BlockPrior(tuple(range(14, 18)), "ConceptAttention (arXiv 2502.04320)")
_SEG4DIFF = BlockPrior((9,), "Seg4Diff, for SD3-medium (arXiv 2509.18096)")
_REFAM = BlockPrior(tuple(range(20, 48)), "RefAM (arXiv 2509.22650)")


def _large(name: str, source: str, pipeline: str, short_side_px: int, text_length: int, **more: Any) -> Preset:
    """A published model: all blocks, half noise. These two are not tuned, since the weights were not available."""
    return Preset(name, source, 0.5, short_side_px, text_length, pipeline=pipeline, dtype="bfloat16", **more)


# The first preset of each pipeline class gives the settings of any other directory or hub id of that class.
PRESETS: dict[str, Preset] = {
    p.name: p
    for p in (
        Preset(
            "tiny",
            str(TINY_DIRECTORY),
            noise=0.7,
            short_side_px=64,
            text_length=24,
            blocks=(2, 3),
            draws=1,
            balanced=True,
            smooth_tokens=1.5,
            licence="Apache-2.0",
            trained_by="train-tiny",
        ),
        Preset(
            "photos",
            str(PHOTOS_DIRECTORY),
            noise=0.2,
            short_side_px=576,
            text_length=TEXT_LENGTH,
            blocks=(0, 1),
            # IoU of the first mask on 313 COCO pairs: .440 with a bias of 0, .475 with .7, .485 with 1.
            whole_bias=0.7,
            mode_level=0.4,
            pipeline="PhotoFluxPipeline",
            licence="Apache-2.0",
            trained_by="train-photos",
        ),
        _large(
            "flux-schnell",
            "black-forest-labs/FLUX.1-schnell",
            "FluxPipeline",
            512,
            256,
            licence="Apache-2.0",
            block_priors=(_CONCEPT_ATTENTION,),
            billion_parameters=(11.9, _T5 + _CLIP_L + 0.08),
        ),
        _large(
            "flux-dev",
            "black-forest-labs/FLUX.1-dev",
            "FluxPipeline",
            512,
            512,
            licence="FLUX.1-dev, non-commercial",
            gated=True,
            block_priors=(_CONCEPT_ATTENTION,),
            billion_parameters=(11.9, _T5 + _CLIP_L + 0.08),
        ),
        _large(
            "flux2-dev",
            "black-forest-labs/FLUX.2-dev",
            "Flux2Pipeline",
            512,
            512,
            guidance=4.0,
            licence=_FLUX_DEV,
            gated=True,
            billion_parameters=(32.2, _MISTRAL + 0.08),
        ),
        _large(
            "flux2-klein-4b",
            "black-forest-labs/FLUX.2-klein-4B",
            "Flux2KleinPipeline",
            512,
            512,
            licence="Apache-2.0",
            billion_parameters=(3.88, _QWEN3_4B + 0.08),
        ),
        _large(
            "chroma",
            "lodestones/Chroma1-HD",
            "ChromaPipeline",
            512,
            512,
            licence="Apache-2.0",
            billion_parameters=(8.90, _T5 + 0.08),
        ),
        _large(
            "sd3.5-medium",
            "stabilityai/stable-diffusion-3.5-medium",
            "StableDiffusion3Pipeline",
            512,
            256,
            licence=_STABILITY,
            gated=True,
            block_priors=(_SEG4DIFF,),
            billion_parameters=(2.24, _T5 + _CLIP_L + _CLIP_G + 0.08),
        ),
        _large(
            "sd3.5-large",
            "stabilityai/stable-diffusion-3.5-large",
            "StableDiffusion3Pipeline",
            512,
            256,
            licence=_STABILITY,
            gated=True,
            billion_parameters=(8.06, _T5 + _CLIP_L + _CLIP_G + 0.08),
        ),
        _large(
            "qwen-image",
            "Qwen/Qwen-Image",
            "QwenImagePipeline",
            512,
            512,
            licence="Apache-2.0",
            billion_parameters=(20.4, _QWEN_VL + 0.13),
        ),
        _large(
            "prx-512",
            "Photoroom/prx-512-t2i-sft",
            "PRXPipeline",
            512,
            256,
            licence=f"Apache-2.0; {_GEMMA}",
            billion_parameters=(1.17, _GEMMA2_2B + 0.08),
        ),
        _large(
            "pixart-sigma",
            "PixArt-alpha/PixArt-Sigma-XL-2-1024-MS",
            "PixArtSigmaPipeline",
            512,
            300,
            licence="OpenRAIL++",
            billion_parameters=(0.61, _T5 + 0.08),
        ),
        _large(
            "sana-0.6b",
            "Efficient-Large-Model/Sana_600M_512px_diffusers",
            "SanaPipeline",
            512,
            300,
            licence=f"NSCL v2-custom (NVIDIA, non-commercial); {_GEMMA}",
            billion_parameters=(0.59, _GEMMA2_2B + _DC_AE),
        ),
        _large(
            "sana-1.6b",
            "Efficient-Large-Model/Sana_1600M_512px_diffusers",
            "SanaPipeline",
            512,
            300,
            licence=f"NSCL v2-custom (NVIDIA, non-commercial); {_GEMMA}",
            billion_parameters=(1.60, _GEMMA2_2B + _DC_AE),
        ),
        _large(
            "lumina-image-2",
            "Alpha-VLLM/Lumina-Image-2.0",
            "Lumina2Pipeline",
            512,
            256,
            licence=f"Apache-2.0; {_GEMMA}",
            billion_parameters=(2.61, _GEMMA2_2B + 0.08),
        ),
        _large(
            "z-image-turbo",
            "Tongyi-MAI/Z-Image-Turbo",
            "ZImagePipeline",
            512,
            512,
            licence="Apache-2.0",
            billion_parameters=(6.15, _QWEN3_4B + 0.08),
        ),
        _large(
            "mochi",
            "genmo/mochi-1-preview",
            "MochiPipeline",
            480,
            256,
            licence="Apache-2.0",
            block_priors=(_REFAM,),
            billion_parameters=(10.0, _T5 + 0.46),
        ),
        _large(
            "cogvideox-2b",
            "THUDM/CogVideoX-2b",
            "CogVideoXPipeline",
            480,
            226,
            licence="Apache-2.0",
            billion_parameters=(1.69, _T5 + 0.22),
        ),
        _large(
            "cogvideox-5b",
            "THUDM/CogVideoX-5b",
            "CogVideoXPipeline",
            480,
            226,
            licence="CogVideoX License",
            billion_parameters=(5.57, _T5 + 0.22),
        ),
        _large(
            "hunyuan-video",
            "hunyuanvideo-community/HunyuanVideo",
            "HunyuanVideoPipeline",
            480,
            256,
            guidance=6.0,
            licence="Tencent Hunyuan Community License",
            billion_parameters=(12.8, _LLAMA + _CLIP_L + 0.25),
        ),
        _large(
            "wan-1.3b",
            "Wan-AI/Wan2.1-T2V-1.3B-Diffusers",
            "WanPipeline",
            480,
            512,
            licence="Apache-2.0",
            billion_parameters=(1.42, _UMT5 + 0.13),
        ),
        _large(
            "wan-14b",
            "Wan-AI/Wan2.1-T2V-14B-Diffusers",
            "WanPipeline",
            480,
            512,
            licence="Apache-2.0",
            billion_parameters=(14.3, _UMT5 + 0.13),
        ),
        _large(
            "skyreels-1.3b",
            "Skywork/SkyReels-V2-DF-1.3B-540P-Diffusers",
            "SkyReelsV2DiffusionForcingPipeline",
            480,
            512,
            licence="Skywork's own, see its model card",
            billion_parameters=(1.44, _UMT5 + 0.13),
        ),
        _large(
            "skyreels-14b",
            "Skywork/SkyReels-V2-T2V-14B-540P-Diffusers",
            "SkyReelsV2Pipeline",
            480,
            512,
            licence="Skywork's own, see its model card",
            billion_parameters=(14.3, _UMT5 + 0.13),
        ),
        _large(
            "ltx-video",
            "Lightricks/LTX-Video",
            "LTXPipeline",
            512,
            128,
            licence="Lightricks' own, see its model card",
            billion_parameters=(1.92, _T5 + 0.42),
        ),
    )
}


GROUPS: Mapping[str, tuple[str, ...]] = {"small": ("tiny", "photos")}
"""Names that stand for several backbones, of which the words of an expression choose one: the first that knows them."""
DEFAULT_BACKBONE = "small"


def members_of(backbone: str) -> tuple[str, ...]:
    """Return the backbones that a name stands for: the members of a group, or the backbone alone."""
    return GROUPS.get(backbone, (backbone,))


def known_pipeline_classes() -> list[str]:
    """Return the names of the pipeline classes that can be loaded."""
    return sorted({p.pipeline for p in PRESETS.values()})


def preset_for_class(pipeline: str, *, name: str, source: str, licence: str) -> Preset:
    """Make a preset for other weights of a known pipeline class.

    Args:
        pipeline: The class.
        name: Name of the preset.
        source: A pipeline directory or a hub id.
        licence: Licence of the weights.

    Raises:
        BackboneError: If the class is unknown.
    """
    template = next((p for p in PRESETS.values() if p.pipeline == pipeline and p.name != "tiny"), None)
    if template is None:
        raise BackboneError(
            f"{source} is a {pipeline}, whose attention cannot be read here; known are "
            f"{', '.join(known_pipeline_classes())}"
        )
    return replace(
        template,
        name=name,
        source=source,
        licence=licence,
        gated=False,
        billion_parameters=None,
        block_priors=(),
        revision=None,
        trained_by="",
    )


def preset_for(name_or_source: str) -> Preset:
    """Find or make the preset for a backbone.

    Args:
        name_or_source: The name or the hub id of a preset; else a pipeline directory or any hub id, which gets the
            settings of the class that its model_index.json names. NAME@REVISION pins a hub repository to a commit, a
            tag or a branch.

    Returns:
        The preset. If the files of a hub id are not on this machine, its class is unknown yet and `pipeline` is empty.

    Raises:
        BackboneError: If there is no such backbone, or if its class is unknown.
    """
    if name_or_source in GROUPS:
        members = " or ".join(GROUPS[name_or_source])
        raise BackboneError(f"{name_or_source!r} stands for several backbones; name one of them: {members}")
    for preset in PRESETS.values():
        if name_or_source in (preset.name, preset.source):
            return preset
    path = Path(name_or_source).expanduser()
    name, at, revision = name_or_source.rpartition("@")
    if at and not path.exists():
        pinned = preset_for(name)
        if not revision or Path(pinned.source).is_dir():
            raise BackboneError(f"{name_or_source!r}: only a hub repository has revisions, as in owner/name@revision")
        return replace(pinned, revision=revision)
    if name_or_source and path.exists():  # "" would be the current folder
        index = read_index(path)
        return preset_for_class(
            index["_class_name"], name=path.resolve().name, source=str(path), licence="see its directory"
        )
    if not is_hub_id(name_or_source):
        known = ", ".join([f"{DEFAULT_BACKBONE} (the default)", *PRESETS])
        raise BackboneError(
            f"there is no backbone {name_or_source!r}: give one of {known}, a diffusers pipeline directory, "
            "or a hub id (owner/name)"
        )
    fields = {"name": name_or_source, "source": name_or_source, "licence": "see its model card"}
    found = find_pipeline_directory(name_or_source)
    if found is not None:
        return preset_for_class(read_index(found)["_class_name"], **fields)
    return replace(preset_for_class("FluxPipeline", **fields), pipeline="")
