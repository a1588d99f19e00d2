"""A video's address in a task -> a whole file on this machine, for as long as it is needed.

Addresses that are taken:
- `/data/...`, `/storage-data/...`, `/tasks/...` (uploads, local files): LABEL_STUDIO_URL's, with its token;
- `http://`, `https://`: within the walls of `backend.fetch`;
- a path, only under REFAM_MEDIA_ROOT, and only when that is set.
Anything else (`file://`, `..`, other schemes) is refused.

Files land under a temporary name and get their own only when they are whole. The cache is bounded; what is in
use is never removed, the longest unused goes first.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import re
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from urllib.parse import parse_qs, unquote, urlsplit

from backend.access import AccessError, StudioAccess
from backend.fetch import Fetcher, FetchError
from backend.settings import Settings

_STUDIO_PATHS = ("/data/", "/storage-data/", "/tasks/")
_UNCHANGING = "/data/upload/"  # Label Studio gives every upload a name of its own
_NOTE = ".json"
_PART, _PART_LIFE_S = ".part-", 24 * 3600.0


class MediaError(ValueError):
    """The video cannot be had; the message says why and what would be right. passing: it may heal by itself."""

    def __init__(self, message: str, *, passing: bool = False) -> None:
        super().__init__(message)
        self.passing = passing


class MediaStore:
    """Fetches media once and keeps it in a bounded folder. One download at a time per process."""

    def __init__(self, settings: Settings) -> None:
        self._studio = settings.label_studio_url
        self._root = settings.media_root and settings.media_root.resolve()
        self._dir = settings.cache_dir
        self._most_bytes = int(settings.cache_mb * 1e6)
        access = StudioAccess.of(settings)
        self._fetcher = Fetcher(
            trusted=settings.label_studio_url,
            trusted_paths=_STUDIO_PATHS,
            authorization=access.header if access else None,
            allowed_hosts=settings.allowed_hosts,
            most_bytes=int(settings.max_media_mb * 1e6),
            timeout_s=settings.fetch_timeout_s,
        )
        self._downloading = threading.Lock()
        self._lock = threading.Lock()  # of `_in_use` and of removing files; never held for long
        self._in_use: Counter[Path] = Counter()

    @contextlib.contextmanager
    def local(self, address: str) -> Iterator[Path]:
        """The file behind an address, kept until the block ends. Raises MediaError."""
        where = self.locate(address)
        if isinstance(where, Path):
            yield where
            return
        path = self._dir / f"{hashlib.sha256(where.encode()).hexdigest()[:24]}-{_file_name(where)}"
        with self._lock:
            self._in_use[path] += 1  # from here on nobody trims it away
        try:
            self._bring(where, path)
            yield path
        finally:
            with self._lock:
                self._in_use[path] -= 1
                self._trim()

    def locate(self, address: str) -> Path | str:
        """Where an address leads: a path under the media root, or a URL. Raises MediaError if nowhere
        allowed.
        """
        if not address or any(ord(c) < 32 for c in address) or "\\" in address:
            raise MediaError(f"{address!r} is no address of a video")
        parts = urlsplit(address)
        if _climbs(parts.path) or any(_climbs(value) for value in parse_qs(parts.query).get("d", [])):
            raise MediaError(f"{address!r} leaves its folder ('..')")
        if parts.scheme in ("http", "https"):
            return address
        if parts.scheme or address.startswith("//"):
            raise MediaError(
                f"{parts.scheme or 'scheme-less'}:// addresses are not fetched: give http(s)://, "
                f"an upload, or a file that Label Studio serves"
            )
        if address.startswith(_STUDIO_PATHS):
            if self._studio is None:
                raise MediaError(f"{address!r} is a file of Label Studio: set LABEL_STUDIO_URL")
            return self._studio + address
        return self._under_root(address)

    def _under_root(self, address: str) -> Path:
        if self._root is None:
            raise MediaError(f"{address!r} is a path: to read files of this machine set REFAM_MEDIA_ROOT")
        path = (self._root / address).resolve()  # an absolute address replaces the root here, and fails below
        if not path.is_relative_to(self._root):
            raise MediaError(f"{address!r} is not under REFAM_MEDIA_ROOT")
        if not path.is_file():
            raise MediaError(f"{address!r} is no file under REFAM_MEDIA_ROOT")
        return path

    def _bring(self, url: str, path: Path) -> None:
        """Makes `path` the whole and current file of a URL. Raises MediaError."""
        try:
            with self._downloading:
                self._dir.mkdir(parents=True, exist_ok=True)
                unchanging = self._studio is not None and url.startswith(self._studio + _UNCHANGING)
                if not (unchanging and path.exists()):
                    self._download(url, path)
                os.utime(path)  # used just now
            with self._lock:
                self._trim()
        except (FetchError, AccessError) as error:
            raise MediaError(str(error), passing=error.passing) from None
        except OSError as error:
            raise MediaError(f"the media cache {self._dir} cannot be written: {error.strerror}") from None

    def _download(self, url: str, path: Path) -> None:
        note = path.with_name(path.name + _NOTE)
        validators: dict[str, str] = {}
        if path.exists():
            with contextlib.suppress(OSError, ValueError):
                validators = dict(json.loads(note.read_text()))
        with tempfile.NamedTemporaryFile(dir=self._dir, prefix=_PART, delete=False) as file:
            part = Path(file.name)
        try:
            with part.open("wb") as file:
                fetched = self._fetcher.fetch(url, file, validators=validators)
            if not fetched.not_modified:
                note.write_text(json.dumps(_validators(fetched.headers)))
                part.replace(path)
        finally:
            part.unlink(missing_ok=True)

    def _trim(self) -> None:
        """Removes the longest unused files until the rest fits. Call with the lock held."""
        files = []
        for path in self._dir.glob("*"):
            with contextlib.suppress(OSError):  # another process may have removed it just now
                status = path.stat()
                if path.name.startswith(_PART):
                    if time.time() - status.st_mtime > _PART_LIFE_S:  # of a process that was killed
                        path.unlink()
                elif path.suffix != _NOTE:
                    files.append((status.st_mtime, status.st_size, path))
        total = sum(size for _, size, _ in files)
        for _, size, path in sorted(files, key=lambda file: file[0]):
            if total <= self._most_bytes:
                return
            if not self._in_use[path]:
                path.unlink(missing_ok=True)
                path.with_name(path.name + _NOTE).unlink(missing_ok=True)
                total -= size


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
    return name + ".video" if name.endswith(_NOTE) else name


def _validators(headers: Mapping[str, str]) -> dict[str, str]:
    """What to send next time, so that an unchanged file is not sent again."""
    pairs = {"If-None-Match": "etag", "If-Modified-Since": "last-modified"}
    return {send: headers[have] for send, have in pairs.items() if headers.get(have)}
