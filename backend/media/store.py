"""From a video's address in a task to a whole file on this machine, for as long as it is needed.

Addresses that are accepted:
- `/data/...`, `/storage-data/...`, `/tasks/...`, `/projects/...` (uploads, local files, and what Label Studio passes on
  from cloud storage): LABEL_STUDIO_URL's, with its token;
- `s3://`, `gs://`, `azure-blob://`: through Label Studio, whose project has the storage and its keys; it answers with
  the file or redirects to a signed address, which is checked like any other;
- `http://`, `https://`: within the limits of `backend.media.fetch`;
- a path, only under REFAM_MEDIA_ROOT, and only when that is set.
Anything else (`file://`, `..`, other schemes) is refused. Downloads are kept by `backend.media.cache`.
"""

from __future__ import annotations

import base64
import contextlib
import hashlib
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

from backend.labelstudio.addresses import cloud_address, file_name, leaves_folder, redact_url
from backend.labelstudio.client import LabelStudioAuth, LabelStudioAuthError
from backend.media.cache import MediaCache
from backend.media.fetch import Fetcher
from backend.media.network_policy import FetchError
from backend.settings import Settings
from video.errors import UserError

_LABEL_STUDIO_PATHS = ("/data/", "/storage-data/", "/tasks/", "/projects/")
_UPLOADS = "/data/upload/"  # Label Studio gives every upload a name of its own, so these never change
_CLOUD_SCHEMES = ("s3", "gs", "azure-blob")  # those that Label Studio 1.23 has storages for, and resolves
_WINDOWS_PATH = re.compile(r"[A-Za-z]:[\\/]")
_DAY_S = 24 * 3600.0


class MediaError(UserError):
    """The video cannot be had; the message says why and what would be right.

    Attributes:
        transient: Whether another try may succeed.
    """

    def __init__(self, message: str, *, transient: bool = False) -> None:
        super().__init__(message)
        self.transient = transient


@dataclass(frozen=True)
class RemoteFile:
    """A file to download.

    Attributes:
        url: Where it is downloaded from.
        key: What it is cached by; for cloud storage the same for all tasks that name it.
        cloud: The address in cloud storage, None for other files.
    """

    url: str
    key: str
    cloud: str | None = None


class MediaStore:
    """Downloads media once and keeps it in a bounded folder."""

    def __init__(self, settings: Settings) -> None:
        self._label_studio_url = settings.label_studio_url
        self._root = settings.media_root and settings.media_root.resolve()
        max_bytes = int(settings.cache_mb * 1e6)
        self._cache = MediaCache(settings.cache_dir, max_bytes=max_bytes, max_idle_s=settings.cache_days * _DAY_S)
        auth = LabelStudioAuth.from_settings(settings)
        self._fetcher = Fetcher(
            trusted=settings.label_studio_url,
            trusted_paths=_LABEL_STUDIO_PATHS,
            authorization=auth.header if auth else None,
            allowed_hosts=settings.allowed_hosts,
            max_bytes=int(settings.max_media_mb * 1e6),
            timeout_s=settings.fetch_timeout_s,
        )

    @contextlib.contextmanager
    def local_file(self, address: str, *, task_id: int | None = None) -> Iterator[Path]:
        """Yield the file behind an address; it is kept until the block ends.

        Args:
            address: The address as it stands in the task.
            task_id: Label Studio's id of the task, which files in cloud storage are fetched through.

        Raises:
            MediaError: If the address is refused or does not deliver.
        """
        source = self.locate(address, task_id=task_id)
        if isinstance(source, Path):
            yield source
            return
        name = f"{hashlib.sha256(source.key.encode()).hexdigest()[:24]}-{_file_name(source.key)}"
        immutable = self._label_studio_url is not None and source.url.startswith(self._label_studio_url + _UPLOADS)
        with contextlib.ExitStack() as stack:
            try:
                path = stack.enter_context(self._cache.acquire(name, source.url, self._fetcher, immutable=immutable))
            except (FetchError, LabelStudioAuthError) as error:
                raise MediaError(_explain(source, error), transient=error.transient) from None
            except OSError as error:
                text = f"the media cache {self._cache.folder} cannot be written: {error.strerror}"
                raise MediaError(text) from None
            yield path

    def raise_if_damaged(self, path: Path, content: str) -> None:
        """Remove a file of the cache that is no longer what was downloaded.

        Args:
            path: The file.
            content: Its hash now, by `hash_file`.

        Raises:
            MediaError: If it was damaged; another try downloads it again.
        """
        if self._cache.remove_if_damaged(path, content):
            raise MediaError(
                f"the copy of {path.name} in the media cache was damaged; it is fetched again", transient=True
            )

    def check(self, address: str, *, task_id: int | None = None) -> None:
        """Refuse an address that can never be had. The network is not asked, nor whether a file is there.

        Raises:
            MediaError: If the address is refused.
        """
        source = self._resolve(address, task_id)
        if isinstance(source, RemoteFile):
            try:
                self._fetcher.check(source.url)
            except FetchError as error:
                text, name = str(error), repr(redact_url(address))
                raise MediaError(text if name in text else f"{name} is refused: {text}") from None

    def locate(self, address: str, *, task_id: int | None = None) -> Path | RemoteFile:
        """Return where an address leads: a file under the media root, or one to download.

        Raises:
            MediaError: If the address is refused, or there is no such file under the media root.
        """
        source = self._resolve(address, task_id)
        if isinstance(source, Path) and not _is_file(source):
            raise MediaError(f"{redact_url(address)!r} is no file under REFAM_MEDIA_ROOT")
        return source

    def _resolve(self, address: str, task_id: int | None) -> Path | RemoteFile:
        if _WINDOWS_PATH.match(address):
            raise MediaError(
                f"{redact_url(address)!r} is a path of a Windows machine: give the address that Label Studio serves "
                "the file at, or a path under REFAM_MEDIA_ROOT"
            )
        address = _with_slashes(address)
        if not address or any(_is_control(c) for c in address) or "\\" in address.partition("?")[0]:
            raise MediaError(f"{redact_url(address)!r} is no address of a video")
        try:
            parts = urlsplit(address)
        except ValueError:  # its text has the login
            raise MediaError(f"{redact_url(address)!r} is no address: its host cannot be read") from None
        if leaves_folder(parts.path) or any(leaves_folder(value) for value in parse_qs(parts.query).get("d", [])):
            raise MediaError(f"{redact_url(address)!r} leaves its folder ('..')")
        if parts.scheme in ("http", "https"):
            return RemoteFile(address, address)
        if parts.scheme in _CLOUD_SCHEMES:
            return self._in_cloud(address, task_id)
        if parts.scheme or address.startswith("//"):
            raise MediaError(
                f"{parts.scheme or 'scheme-less'}:// addresses are not fetched: give http(s)://, "
                f"{', '.join(f'{scheme}://' for scheme in _CLOUD_SCHEMES)}, "
                "an upload, or a file that Label Studio serves"
            )
        if address.startswith(_LABEL_STUDIO_PATHS):
            if self._label_studio_url is None:
                raise MediaError(f"{redact_url(address)!r} is a file of Label Studio: set LABEL_STUDIO_URL")
            url = self._label_studio_url + address
            cloud = cloud_address(address)  # the same file for all tasks that name it
            return RemoteFile(url, cloud or url, cloud=cloud)
        return self._under_root(address)

    def _in_cloud(self, address: str, task_id: int | None) -> RemoteFile:
        name = repr(redact_url(address))
        if self._label_studio_url is None:
            text = "set LABEL_STUDIO_URL and LABEL_STUDIO_API_KEY, and add the storage to the project there"
            raise MediaError(f"{name} is fetched through Label Studio, which has the storage's keys: {text}")
        if task_id is None:
            text = "name a file, or an http(s) address that the storage has signed"
            raise MediaError(f"{name} is fetched through its task in Label Studio, and here is none: {text}")
        encoded = base64.urlsafe_b64encode(address.encode()).decode()
        url = f"{self._label_studio_url}/tasks/{task_id}/resolve/?fileuri={encoded}"
        return RemoteFile(url, address, cloud=address)

    def _under_root(self, address: str) -> Path:
        if self._root is None:
            raise MediaError(f"{redact_url(address)!r} is a path: to read files of this machine set REFAM_MEDIA_ROOT")
        try:
            path = (self._root / address).resolve()  # an absolute address replaces the root here, and fails below
        except (OSError, RuntimeError) as error:  # longer than a name may be, or links that go round
            why = error.strerror if isinstance(error, OSError) else "its links lead in a circle"
            raise MediaError(f"{redact_url(address)!r} is no path: {why}") from None
        if not path.is_relative_to(self._root):
            raise MediaError(f"{redact_url(address)!r} is not under REFAM_MEDIA_ROOT")
        return path


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except OSError:  # such as a name that is too long
        return False


def _is_control(character: str) -> bool:
    """Whether this is a control character, or half a character that JSON let through and no file name can hold."""
    return ord(character) < 32 or ord(character) == 127 or "\ud800" <= character <= "\udfff"


def _explain(source: RemoteFile, error: FetchError | LabelStudioAuthError) -> str:
    """Return the error's text; for cloud storage, of which Label Studio says only 404 or 424, what that means."""
    text = str(error)
    if source.cloud is None or not re.search(
        r"/(?:tasks|projects)/\d+/(?:resolve|presign)/ answered (403|404|424)", text
    ):
        return text
    status = text.rpartition("answered ")[2].partition(":")[0]
    remedy = "add the bucket to the project under Settings, Cloud Storage, with keys that may read it"
    return f"Label Studio cannot get {redact_url(source.cloud)!r} ({status}): {remedy}"


def _with_slashes(address: str) -> str:
    """Return a relative path with slashes where Windows writes backslashes; other addresses as they are."""
    return address if "://" in address or address.startswith("/") else address.replace("\\", "/")


def _file_name(url: str) -> str:
    """Return a harmless name that people know the file by."""
    name = re.sub(r"[^A-Za-z0-9._-]+", "_", file_name(url))[-60:].lstrip(".") or "video"
    return name + ".video" if name.endswith(".json") else name
