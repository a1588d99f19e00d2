"""Where weights are: a pipeline directory, or the hub's cache. Only `download_pipeline` uses the network."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from refam.photos import VOCABULARY_NAME
from video.errors import UserError

ModelIndex = Mapping[str, Any]
"""The content of a pipeline's model_index.json."""


_TOKENIZER_FILES = ("tokenizer.json", "vocab.*", "*.model", "tekken.json")
"""Patterns of the files of which a tokenizer has one."""


class BackboneError(UserError):
    """A backbone cannot be loaded or used; the message says what to do."""


@dataclass(frozen=True)
class PipelineComponent:
    """One entry of model_index.json.

    Attributes:
        name: Name of the component and its folder, such as "text_encoder".
        library: That its class is from, such as "transformers".
        kind: The name of its class.
    """

    name: str
    library: str
    kind: str


def find_pipeline_directory(source: str, revision: str | None = None) -> Path | None:
    """Find the directory of a pipeline on this machine.

    Args:
        source: A directory or a hub id.
        revision: Revision of the hub repository; None is its main branch.

    Returns:
        The directory, or None if the pipeline is not here.
    """
    path = Path(source).expanduser()
    if path.is_dir():
        return path
    if not is_hub_id(source):
        return None
    from huggingface_hub import try_to_load_from_cache

    file = try_to_load_from_cache(source, "model_index.json", revision=revision)
    return Path(file).parent if isinstance(file, str) else None


def is_hub_id(source: str) -> bool:
    """Return whether text can be the name of a repository on the hub, owner/name."""
    from huggingface_hub.utils import HFValidationError, validate_repo_id

    try:
        validate_repo_id(source)
    except HFValidationError:
        return False
    return source.count("/") == 1


def read_index(directory: Path) -> ModelIndex:
    """Read model_index.json.

    Raises:
        BackboneError: If it is missing or broken.
    """
    file = directory / "model_index.json"
    if not file.is_file():
        raise BackboneError(f"{directory} is not a diffusers pipeline directory: it has no model_index.json")
    index = read_model_json(file)
    if not isinstance(index.get("_class_name"), str):
        raise BackboneError(f"{file} is broken (it has no _class_name); fetch the directory again")
    return index


def read_model_json(file: Path) -> dict[str, Any]:
    """Read a JSON file of a model.

    Raises:
        BackboneError: If it cannot be read or is no JSON object.
    """
    from video.checked_json import JsonError, parse_json  # pydantic would be a fifth of a command's start

    try:
        return parse_json(file.read_bytes(), dict[str, Any])
    except (OSError, JsonError) as error:
        reason = error if isinstance(error, JsonError) else error.strerror
        raise BackboneError(f"{file} is broken ({reason}); fetch the directory again") from error


def pipeline_components(index: ModelIndex) -> list[PipelineComponent]:
    """Return the components of a pipeline, without optional ones that it was saved without."""
    pairs = {n: v for n, v in index.items() if not n.startswith("_") and isinstance(v, list) and len(v) == 2}
    return [PipelineComponent(n, v[0], v[1]) for n, v in pairs.items() if v[0] is not None and v[1] is not None]


def find_missing_files(directory: Path, index: ModelIndex) -> list[str]:
    """Return what model_index.json names and the directory lacks: folders, weights, shards of weights."""
    missing = [f for component in pipeline_components(index) for f in _missing_files_of(directory, component.name)]
    if index["_class_name"] == "PhotoFluxPipeline" and not (directory / VOCABULARY_NAME).exists():
        missing.append(VOCABULARY_NAME)
    return missing


def _missing_files_of(directory: Path, component: str) -> Iterator[str]:
    folder = directory / component
    if not folder.is_dir() or not any(folder.iterdir()):
        yield f"{component}/"
        return
    shards: set[str] = set()
    for listing in folder.glob("*.index.json"):
        weight_map = read_model_json(listing).get("weight_map")
        if not isinstance(weight_map, dict) or not all(isinstance(shard, str) for shard in weight_map.values()):
            raise BackboneError(f"{listing} is broken (it has no weight_map of file names); fetch the directory again")
        shards |= set(weight_map.values())
    yield from (f"{component}/{shard}" for shard in sorted(shards) if not (folder / shard).is_file())
    has_weights = shards or any(folder.glob("*.safetensors")) or any(folder.glob("*.bin"))
    # Only models have a config.json; the configurations of tokenizers and schedulers have other names.
    if (folder / "config.json").is_file() and not has_weights:
        yield f"{component}/*.safetensors"
    if component.startswith("tokenizer") and not any(
        f.is_file() for name in _TOKENIZER_FILES for f in folder.glob(name)
    ):
        yield f"{component}/{_TOKENIZER_FILES[0]}"


def directory_size(directory: Path) -> int:
    """Return the bytes of all files in a directory, following links."""
    return sum(file.stat().st_size for file in directory.rglob("*") if file.is_file())


def download_pipeline(source: str, revision: str | None = None) -> Path:
    """Download a pipeline from the hub into its cache.

    Raises:
        BackboneError: With what the hub answered.
    """
    with quiet_libraries():
        from diffusers import DiffusionPipeline
    try:
        with quiet_libraries():
            return Path(DiffusionPipeline.download(source, revision=revision))
    except (OSError, ValueError) as error:  # hub and network errors are OSErrors
        raise BackboneError(f"{source} could not be downloaded: {_describe_hub_error(error)}") from error


def _describe_hub_error(error: Exception) -> str:
    """Return what went wrong in one line.

    Where the hub does not answer, diffusers looks into the cache and its error is about that; the cause is the hub's.
    """
    from huggingface_hub import constants

    if constants.HF_HUB_OFFLINE:
        return "HF_HUB_OFFLINE is set, which forbids it: unset it"
    if not isinstance(error.__cause__, Exception):
        return _first_line(error)
    host, text = urlsplit(constants.ENDPOINT).hostname or "", _first_line(error.__cause__)
    return text if host in text else f"{host}: {text}"


def _first_line(error: Exception) -> str:
    lines = str(error).strip().splitlines()
    return lines[0] if lines else type(error).__name__


@contextmanager
def quiet_libraries() -> Iterator[None]:
    """Keep the progress bars and remarks of diffusers and transformers out of the log and standard error."""
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
