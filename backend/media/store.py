"""A video's address in a task -> a whole file on this machine, for as long as it is needed.

Addresses that are taken:
- `/data/...`, `/storage-data/...`, `/tasks/...` (uploads, local files): LABEL_STUDIO_URL's, with its token;
- `s3://`, `gs://`, `azure-blob://`: through Label Studio, whose project has the storage and its keys; it answers with
  the file or sends on to a signed address, which is checked like any other;
- `http://`, `https://`: within the walls of `backend.media.fetch`;
- a path, only under REFAM_MEDIA_ROOT, and only when that is set.
Anything else (`file://`, `..`, other schemes) is refused. What was fetched is kept by `backend.media.cache`.
"""

from __future__ import annotations

import base64
import contextlib
import hashlib
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import parse_qs, unquote, urlsplit

from backend.labelstudio.client import LabelStudioAuth, LabelStudioAuthError
from backend.media.cache import MediaCache
from backend.media.fetch import Fetcher
from backend.media.network_policy import FetchError, redact_url
from backend.settings import Settings
from video.errors import UserError

_STUDIO_PATHS = ("/data/", "/storage-data/", "/tasks/")
_UNCHANGING = "/data/upload/"  # Label Studio gives every upload a name of its own
_CLOUD = ("s3", "gs", "azure-blob")  # the schemes that Label Studio 1.23 has storages for, and resolves
_DAY_S = 24 * 3600.0


class MediaError(UserError):
    """The video cannot be had; the message says why and what would be right. transient: it may heal by itself."""

    def __init__(self, message: str, *, transient: bool = False) -> None:
        super().__init__(message)
        self.transient = transient


@dataclass(frozen=True)
class _Remote:
    """A file to fetch. key: what it is kept by; for cloud storage the same for all tasks that name it."""

    url: str
    key: str
    cloud: str | None = None


class MediaStore:
    """Fetches media once and keeps it in a bounded folder."""

    def __init__(self, settings: Settings) -> None:
        self._studio = settings.label_studio_url
        self._root = settings.media_root and settings.media_root.resolve()
        most_bytes = int(settings.cache_mb * 1e6)
        self._cache = MediaCache(settings.cache_dir, most_bytes=most_bytes, most_idle_s=settings.cache_days * _DAY_S)
        access = LabelStudioAuth.from_settings(settings)
        self._fetcher = Fetcher(
            trusted=settings.label_studio_url,
            trusted_paths=_STUDIO_PATHS,
            authorization=access.header if access else None,
            allowed_hosts=settings.allowed_hosts,
            most_bytes=int(settings.max_media_mb * 1e6),
            timeout_s=settings.fetch_timeout_s,
        )

    @contextlib.contextmanager
    def local_file(self, address: str, *, task_id: int | None = None) -> Iterator[Path]:
        """The file behind an address, kept until the block ends. task_id: Label Studio's. Raises MediaError."""
        where = self.locate(address, task_id=task_id)
        if isinstance(where, Path):
            yield where
            return
        name = f"{hashlib.sha256(where.key.encode()).hexdigest()[:24]}-{_file_name(where.key)}"
        unchanging = self._studio is not None and where.url.startswith(self._studio + _UNCHANGING)
        with contextlib.ExitStack() as held:
            try:
                path = held.enter_context(self._cache.acquire(name, where.url, self._fetcher, unchanging=unchanging))
            except (FetchError, LabelStudioAuthError) as error:
                raise MediaError(_cloud_words(where, error), transient=error.transient) from None
            except OSError as error:
                text = f"the media cache {self._cache.folder} cannot be written: {error.strerror}"
                raise MediaError(text) from None
            yield path

    def raise_if_damaged(self, path: Path, content: str) -> None:
        """Raises MediaError for a file of the cache that was damaged there (content: its hash now); it may heal."""
        if self._cache.remove_if_damaged(path, content):
            raise MediaError(
                f"the copy of {path.name} in the media cache was damaged; it is fetched again", transient=True
            )

    def locate(self, address: str, *, task_id: int | None = None) -> Path | _Remote:
        """Where an address leads: a path under the media root, or what to fetch. Raises MediaError when refused."""
        if not address or any(ord(c) < 32 for c in address) or "\\" in address:
            raise MediaError(f"{redact_url(address)!r} is no address of a video")
        parts = urlsplit(address)
        if _climbs(parts.path) or any(_climbs(value) for value in parse_qs(parts.query).get("d", [])):
            raise MediaError(f"{redact_url(address)!r} leaves its folder ('..')")
        if parts.scheme in ("http", "https"):
            return _Remote(address, address)
        if parts.scheme in _CLOUD:
            return self._in_the_cloud(address, task_id)
        if parts.scheme or address.startswith("//"):
            raise MediaError(
                f"{parts.scheme or 'scheme-less'}:// addresses are not fetched: give http(s)://, "
                f"{', '.join(f'{scheme}://' for scheme in _CLOUD)}, an upload, or a file that Label Studio serves"
            )
        if address.startswith(_STUDIO_PATHS):
            if self._studio is None:
                raise MediaError(f"{redact_url(address)!r} is a file of Label Studio: set LABEL_STUDIO_URL")
            return _Remote(self._studio + address, self._studio + address)
        return self._under_root(address)

    def _in_the_cloud(self, address: str, task_id: int | None) -> _Remote:
        name = repr(redact_url(address))
        if self._studio is None:
            text = "set LABEL_STUDIO_URL and LABEL_STUDIO_API_KEY, and add the storage to the project there"
            raise MediaError(f"{name} is fetched through Label Studio, which has the storage's keys: {text}")
        if task_id is None:
            text = "name a file, or an http(s) address that the storage has signed"
            raise MediaError(f"{name} is fetched through its task in Label Studio, and here is none: {text}")
        coded = base64.urlsafe_b64encode(address.encode()).decode()
        return _Remote(f"{self._studio}/tasks/{task_id}/resolve/?fileuri={coded}", address, cloud=address)

    def _under_root(self, address: str) -> Path:
        if self._root is None:
            raise MediaError(f"{redact_url(address)!r} is a path: to read files of this machine set REFAM_MEDIA_ROOT")
        path = (self._root / address).resolve()  # an absolute address replaces the root here, and fails below
        if not path.is_relative_to(self._root):
            raise MediaError(f"{redact_url(address)!r} is not under REFAM_MEDIA_ROOT")
        if not path.is_file():
            raise MediaError(f"{redact_url(address)!r} is no file under REFAM_MEDIA_ROOT")
        return path


def _cloud_words(where: _Remote, error: FetchError | LabelStudioAuthError) -> str:
    """Label Studio says only 404 or 424; what that means for storage is said here."""
    said = str(error)
    if where.cloud is None or not re.search(r"/tasks/\d+/resolve/ answered (403|404|424)", said):
        return said
    mend = "add the bucket to the project under Settings, Cloud Storage, with keys that may read it"
    status = said.rpartition("answered ")[2].partition(":")[0]
    return f"Label Studio cannot get {redact_url(where.cloud)!r} ({status}): {mend}"


def _climbs(path: str) -> bool:
    """Whether a path has a `..`, however often it was percent-encoded."""
    for _ in range(5):
        if ".." in re.split(r"[/\\]", path):
            return True
        decoded = unquote(path)
        if decoded == path:
            return False
        path = decoded
    return True  # encoded deeper than anybody honest does


def _file_name(url: str) -> str:
    """A harmless name that people know the file by; from `?d=` where there is one."""
    parts = urlsplit(url)
    path = next(iter(parse_qs(parts.query).get("d", [])), unquote(parts.path))
    name = re.sub(r"[^A-Za-z0-9._-]+", "_", path.rsplit("/", 1)[-1])[-60:].lstrip(".") or "video"
    return name + ".video" if name.endswith(".json") else name
