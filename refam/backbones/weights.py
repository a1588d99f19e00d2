"""Where weights lie: a directory, or the hub's cache. Nothing here asks the network but `pull`, which is told to."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from video.errors import UserError


class BackboneError(UserError):
    """A backbone cannot be loaded or used; the message says what to do."""


Index = Mapping[str, Any]


@dataclass(frozen=True)
class PipelineComponent:
    """One entry of model_index.json: the folder `name` holds a `kind` of the library `library`."""

    name: str
    library: str
    kind: str


def find(source: str, revision: str | None = None) -> Path | None:
    """The pipeline's directory on this disk, or None. source: a directory or a hub id; revision: of the hub's."""
    path = Path(source).expanduser()
    if path.is_dir():
        return path
    if source.count("/") != 1:
        return None
    from huggingface_hub import try_to_load_from_cache

    file = try_to_load_from_cache(source, "model_index.json", revision=revision)
    return Path(file).parent if isinstance(file, str) else None


def read_index(directory: Path) -> Index:
    """model_index.json. Raises BackboneError where it is missing or broken."""
    file = directory / "model_index.json"
    if not file.is_file():
        raise BackboneError(f"{directory} is not a diffusers pipeline directory: it has no model_index.json")
    try:
        index = json.loads(file.read_text(encoding="utf-8"))
        index["_class_name"]
    except (ValueError, KeyError, TypeError) as error:
        raise BackboneError(f"{file} is broken ({type(error).__name__}); fetch the directory again") from error
    return index


def parts_of(index: Index) -> list[PipelineComponent]:
    """The parts that the pipeline has; optional ones that it was saved without are left out."""
    pairs = {n: v for n, v in index.items() if not n.startswith("_") and isinstance(v, list) and len(v) == 2}
    return [PipelineComponent(n, v[0], v[1]) for n, v in pairs.items() if v[0] is not None and v[1] is not None]


def missing_files(directory: Path, index: Index) -> list[str]:
    """What is not there although model_index.json names it: folders, weights, shards of weights."""
    return [file for part in parts_of(index) for file in _missing(directory, part.name)]


def _missing(directory: Path, name: str) -> Iterator[str]:
    folder = directory / name
    if not folder.is_dir() or not any(folder.iterdir()):
        yield f"{name}/"
        return
    shards: set[str] = set()
    for listing in folder.glob("*.index.json"):
        shards |= set(json.loads(listing.read_text(encoding="utf-8")).get("weight_map", {}).values())
    yield from (f"{name}/{shard}" for shard in sorted(shards) if not (folder / shard).is_file())
    has_weights = shards or any(folder.glob("*.safetensors")) or any(folder.glob("*.bin"))
    if (folder / "config.json").is_file() and not has_weights:  # a model's; tokenizers and schedulers have others
        yield f"{name}/*.safetensors"


def size_on_disk(directory: Path) -> int:
    """Bytes of all files, links followed."""
    return sum(file.stat().st_size for file in directory.rglob("*") if file.is_file())


def pull(source: str, revision: str | None = None) -> Path:
    """Download a pipeline from the hub into its cache. Raises BackboneError, with what the hub said."""
    with quiet_libraries():
        from diffusers import DiffusionPipeline
    try:
        with quiet_libraries():
            return Path(DiffusionPipeline.download(source, revision=revision))
    except (OSError, ValueError) as error:  # hub and network errors are OSErrors
        raise BackboneError(f"{source} could not be downloaded: {_first_line(error)}") from error


def _first_line(error: Exception) -> str:
    lines = str(error).strip().splitlines()
    return lines[0] if lines else type(error).__name__


@contextmanager
def quiet_libraries() -> Iterator[None]:
    """Loading bars and notes about things that are as they should be stay out of our log and our standard error."""
    from diffusers.utils import logging as diffusers_logging
    from transformers.utils import logging as transformers_logging

    libraries = (diffusers_logging, transformers_logging)
    before = [library.get_verbosity() for library in libraries]
    for library in libraries:
        library.set_verbosity_error()
        library.disable_progress_bar()
    try:
        yield
    finally:
        for library, verbosity in zip(libraries, before, strict=True):
            library.set_verbosity(verbosity)
            library.enable_progress_bar()
