"""A bounded folder of downloaded files, and of downloads that broke off.

A file is written under a temporary name and gets its own only when it is whole. A download that broke off stays for a
day, with a note of which version of the file it is, so that the next try resumes it. When the folder is over its size
the least recently used files are removed, and files that nobody used for long are removed in any case; files that this
process uses never are. (Another process on the same folder may remove them: give the folder room for all that is worked
on at once.)
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import json
import os
import threading
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from backend.media.fetch import Fetcher
from backend.media.network_policy import FetchError
from refam.pipeline.stage_cache import hash_file

_NOTE_SUFFIX = ".json"
_PART_PREFIX, _PART_LIFE_S = ".part-", 24 * 3600.0
_LOCK_PREFIX, _LOCKS = ".turn-", 16  # locks that all files share: one process at a time downloads a file
_DISK_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


class MediaCache:
    """Downloaded files by name. Safe to use from several threads and processes.

    Args:
        folder: Where they are kept.
        max_bytes: Size of the folder.
        max_idle_s: Seconds without use after which a file is removed.
    """

    def __init__(self, folder: Path, *, max_bytes: int, max_idle_s: float) -> None:
        self.folder = folder
        self._max_bytes, self._max_idle_s = max_bytes, max_idle_s
        self._lock = threading.Lock()  # of `_in_use` and of removing files; never held for long
        self._in_use: Counter[Path] = Counter()

    @contextlib.contextmanager
    def acquire(self, name: str, url: str, fetcher: Fetcher, *, immutable: bool) -> Iterator[Path]:
        """Yield the whole and current file of a URL, which is not removed before the block ends.

        Args:
            name: The file's name in the folder.
            url: Where it is downloaded from.
            fetcher: Downloads it.
            immutable: Whether what the URL names never changes; a file that is there is not asked for again then.

        Raises:
            FetchError: If the file cannot be downloaded, or the disk is full.
            OSError: If the folder cannot be written.
        """
        path = self.folder / name
        with self._lock:
            self._in_use[path] += 1  # from here on it is not removed
        try:
            self._update(path, url, fetcher, immutable=immutable)
            yield path
        finally:
            with self._lock:
                self._in_use[path] -= 1
                self._trim()

    def remove_if_damaged(self, path: Path, content: str) -> bool:
        """Remove a file of this folder that is no longer what was downloaded, so that it is downloaded again.

        Args:
            path: The file.
            content: What `hash_file` returns for it now.

        Returns:
            Whether it was damaged.
        """
        downloaded = _read_note(path).get("content") if path.parent == self.folder else None
        if downloaded in (None, content):
            return False
        _remove(path)
        return True

    def _update(self, path: Path, url: str, fetcher: Fetcher, *, immutable: bool) -> None:
        """Download a file unless the current one is there."""
        self.folder.mkdir(parents=True, exist_ok=True)
        with self._download_lock(path):
            if not (immutable and path.exists() and _read_note(path)):
                self._download(path, url, fetcher, immutable=immutable)
            os.utime(path)  # used just now
        with self._lock:
            self._trim()

    def _download(self, path: Path, url: str, fetcher: Fetcher, *, immutable: bool) -> None:
        part = path.with_name(_PART_PREFIX + path.name)

        def note_version(version: str | None) -> None:
            _note_path(part).write_text(json.dumps({"version": version}))

        try:
            with part.open("a+b") as file:
                result = fetcher.fetch(
                    url,
                    file,
                    validators=_read_note(path).get("validators") if path.exists() else None,
                    version=_read_note(part).get("version"),
                    immutable=immutable,
                    on_start=note_version,
                )
            if not result.not_modified:
                note = {"validators": _validators(result.headers), "content": hash_file(part)}
                _note_path(path).write_text(json.dumps(note))
                part.replace(path)
            _remove(part)
        except FetchError as error:
            if not (error.transient and _read_note(part).get("version") is not None):
                _remove(part)
            raise
        except OSError as error:
            _remove(part)
            if error.errno in _DISK_FULL:
                raise FetchError(f"no room is left in the media cache {self.folder}", transient=True) from None
            raise

    @contextlib.contextmanager
    def _download_lock(self, path: Path) -> Iterator[None]:
        number = int.from_bytes(path.name.encode()[:8], "big") % _LOCKS
        with (self.folder / f"{_LOCK_PREFIX}{number}").open("a") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            yield

    def _trim(self) -> None:
        """Remove what is too old, then the least recently used files until the rest fits. Call with the lock held."""
        files, now = [], time.time()
        for path in self.folder.glob("*"):
            if path.suffix == _NOTE_SUFFIX or path.name.startswith(_LOCK_PREFIX):
                continue
            with contextlib.suppress(OSError):  # another process may have removed it just now
                status = path.stat()
                is_part = path.name.startswith(_PART_PREFIX)
                if self._in_use[path.with_name(path.name.removeprefix(_PART_PREFIX))]:
                    files.append((float("inf"), status.st_size, path))
                elif now - status.st_mtime > (_PART_LIFE_S if is_part else self._max_idle_s):
                    _remove(path)
                else:
                    files.append((status.st_mtime, status.st_size, path))
        total = sum(size for _, size, _ in files)
        for used_at, size, path in sorted(files):
            if total <= self._max_bytes or used_at == float("inf"):
                return
            _remove(path)
            total -= size


def _note_path(path: Path) -> Path:
    return path.with_name(path.name + _NOTE_SUFFIX)


def _read_note(path: Path) -> dict[str, Any]:
    """Return what was noted about a file; {} where the note is gone or damaged, so that the file is fetched anew."""
    try:
        note = json.loads(_note_path(path).read_text())
    except (OSError, ValueError):
        return {}
    return note if isinstance(note, dict) else {}


def _remove(path: Path) -> None:
    path.unlink(missing_ok=True)
    _note_path(path).unlink(missing_ok=True)


def _validators(headers: Mapping[str, str]) -> dict[str, str]:
    """Return the headers to send next time, so that an unchanged file is not sent again."""
    pairs = {"If-None-Match": "etag", "If-Modified-Since": "last-modified"}
    return {send: headers[have] for send, have in pairs.items() if headers.get(have)}
