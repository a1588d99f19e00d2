"""A name for the weights of a backbone, computed from its files alone, before anything is loaded."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from pathlib import Path

from refam.backbones.presets import GROUPS, members_of, preset_for
from refam.backbones.weights import find_pipeline_directory
from refam.photos import VOCABULARY_NAME

_SAMPLE = 1 << 16  # bytes
_SAMPLES = 16  # of each file, evenly spread, so that 24 GB are hashed in milliseconds
_TRANSFORMERS = ("transformer", "transformer_2")


def hash_weights(directory: Path) -> str | None:
    """Hash the weights of all components in a pipeline directory, and the vocabulary of a model for photographs.

    Args:
        directory: The directory. Some 20 ms for the models that ship.

    Returns:
        Eight hex digits, or None if there are no weights of a transformer.
    """
    files = sorted(directory.glob("*/*.safetensors"))
    if not any(file.parent.name in _TRANSFORMERS for file in files):
        return None
    vocabulary = directory / VOCABULARY_NAME
    files += [vocabulary] if vocabulary.is_file() else []
    return hash_files((file.relative_to(directory).as_posix(), file) for file in files)


def hash_files(files: Iterable[tuple[str, Path]]) -> str:
    """Hash the names, the sizes and samples of the content of files.

    Args:
        files: Pairs of the name to hash and the path to read.

    Returns:
        Eight hex digits.

    Raises:
        OSError: If a file cannot be read.
    """
    digest = hashlib.sha256()
    for name, path in files:
        size = path.stat().st_size
        digest.update(f"{name} {size}".encode())
        with path.open("rb") as file:
            for i in range(_SAMPLES):
                file.seek(max(0, size - _SAMPLE) * i // (_SAMPLES - 1))
                digest.update(file.read(_SAMPLE))
    return digest.hexdigest()[:8]


def name_with_weights(name_or_source: str) -> str:
    """Return `name@hash` of a preset, directory or hub id; the name alone if its weights are not on this machine.

    The hash of a group is one of its members' names with their hashes.
    """
    if name_or_source in GROUPS:
        members = " ".join(map(name_with_weights, members_of(name_or_source)))
        return f"{name_or_source}@{hashlib.sha256(members.encode()).hexdigest()[:8]}"
    preset = preset_for(name_or_source)
    return append_weights_hash(preset.name, find_pipeline_directory(preset.source, preset.revision))


def append_weights_hash(name: str, directory: Path | None) -> str:
    """Return `name@hash`, or the name alone if the directory has no weights."""
    weights = hash_weights(directory) if directory else None
    return f"{name}@{weights}" if weights else name
