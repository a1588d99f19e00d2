"""Presets: what grounding needs to know beside a pipeline's own files."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

from refam.backbones.errors import BackboneError
from refam.tiny import DIRECTORY as TINY_DIRECTORY


@dataclass(frozen=True)
class Preset:
    """How to ground with one pipeline.

    source: a directory or a hub id. pipeline: the class that its model_index.json names. blocks: attention modules to
    read, in the order they run (None: all, as the paper averages over them). noise: sigma in (0, 1), the share of noise
    in the noised latent. short_side_px: frames are resized to it. text_length: positions of the text encoder's
    sequence. draws: noise samples averaged per frame. balanced, smooth_tokens: how token maps are summed, see
    refam.heatmap.evidence. guidance: what guidance-distilled models are told. hold_frames: for clips, see
    refam.backbones.clips. revision: a commit of the hub repository (None: its main branch). gated: the hub asks for a
    login and for the licence to be accepted first. billions: parameters of the transformer, and of all other parts,
    counted from the classes' configurations.
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
    dtype: str = "auto"
    licence: str = ""
    revision: str | None = None
    pipeline: str = "FluxPipeline"
    guidance: float = 3.5
    hold_frames: bool = True
    gated: bool = False
    billions: tuple[float, float] | None = None

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
        """All weights at 16 bits, in 10**9 bytes; about what is downloaded and what loading needs."""
        return None if self.billions is None else 2 * sum(self.billions)


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
            draws=4,
            balanced=True,
            smooth_tokens=1.5,
            licence="Apache-2.0",
        ),
        Preset(
            "flux-schnell",
            "black-forest-labs/FLUX.1-schnell",
            0.5,
            512,
            256,
            dtype="bfloat16",
            licence="Apache-2.0",
        ),
        Preset(
            "flux-dev",
            "black-forest-labs/FLUX.1-dev",
            0.5,
            512,
            512,
            dtype="bfloat16",
            licence="FLUX.1-dev, non-commercial",
        ),
    )
}


def preset_for(name_or_source: str) -> Preset:
    """A preset by name; else the FLUX settings with this directory or hub id as source."""
    if name_or_source in PRESETS:
        return PRESETS[name_or_source]
    path = Path(name_or_source).expanduser()
    if path.exists():
        if not (path / "model_index.json").is_file():
            raise BackboneError(f"{name_or_source} is not a diffusers pipeline directory: it has no model_index.json")
        return replace(PRESETS["flux-schnell"], name=path.resolve().name, source=str(path), licence="see its directory")
    if name_or_source.startswith((".", "/", "~")) or name_or_source.count("/") != 1:
        known = ", ".join(PRESETS)
        raise BackboneError(
            f"there is no backbone {name_or_source!r}: give one of {known}, a diffusers pipeline directory, "
            "or a hub id (owner/name)"
        )
    return replace(PRESETS["flux-schnell"], name=name_or_source, source=name_or_source, licence="see its model card")
