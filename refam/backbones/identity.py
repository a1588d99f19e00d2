"""Which weights a backbone has, told from its files alone: whoever serves must know it before anything is loaded."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from pathlib import Path

from refam.backbones.presets import preset_for
from refam.backbones.weights import find

_SAMPLE = 1 << 16  # bytes
_SAMPLES = 16  # of each file, evenly spread: a 24 GB model is told from another in milliseconds
_PARTS = ("transformer", "transformer_2")


def weights_id(directory: Path) -> str | None:
    """Eight hex digits of the transformer's weights: each file's size and samples of it; None where there are none."""
    files = [(f"{part}/{f.name}", f) for part in _PARTS for f in sorted((directory / part).glob("*.safetensors"))]
    return files_id(files) if files else None


def files_id(files: Iterable[tuple[str, Path]]) -> str:
    """Eight hex digits of files, each with what it is called: their sizes and samples of them. Raises OSError."""
    digest = hashlib.sha256()
    for called, path in files:
        size = path.stat().st_size
        digest.update(f"{called} {size}".encode())
        with path.open("rb") as file:
            for i in range(_SAMPLES):
                file.seek(max(0, size - _SAMPLE) * i // (_SAMPLES - 1))
                digest.update(file.read(_SAMPLE))
    return digest.hexdigest()[:8]


def identity(name_or_source: str) -> str:
    """`name@weights` of a preset, directory or hub id; the name alone where its weights are not on this machine."""
    preset = preset_for(name_or_source)
    return named(preset.name, find(preset.source, preset.revision))


def named(name: str, directory: Path | None) -> str:
    """The name with its weights' id, where there are weights."""
    weights = weights_id(directory) if directory else None
    return f"{name}@{weights}" if weights else name
