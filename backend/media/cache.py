"""A bounded folder of files that were downloaded, and of what came of those that broke off.

A file lands under a temporary name and gets its own only when it is whole. What broke off stays for a day, with a
note of which version it is a part of, so that the next try goes on with it. The longest unused goes first when the
folder is over its size, and what nobody used for long goes anyway; what this process uses is never removed. (Another
process on the same folder may remove it: give the folder room for all that is worked on at once.)
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

_NOTE = ".json"
_PART, _PART_LIFE_S = ".part-", 24 * 3600.0
_TURN, _TURNS = ".turn-", 16  # locks that all files share: one file is brought by one process at a time
_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


class MediaCache:
    """Files by key. Safe to use from several threads and processes."""

    def __init__(self, folder: Path, *, most_bytes: int, most_idle_s: float) -> None:
        self.folder = folder
        self._most_bytes, self._most_idle_s = most_bytes, most_idle_s
        self._lock = threading.Lock()  # of `_in_use` and of removing files; never held for long
        self._in_use: Counter[Path] = Counter()

    @contextlib.contextmanager
    def acquire(self, name: str, url: str, fetcher: Fetcher, *, unchanging: bool) -> Iterator[Path]:
        """The whole and current file of a URL, kept until the block ends. name: the file's here.

        Raises FetchError, and OSError when the folder cannot be written.
        """
        path = self.folder / name
        with self._lock:
            self._in_use[path] += 1  # from here on nobody trims it away
        try:
            self._bring(path, url, fetcher, unchanging=unchanging)
            yield path
        finally:
            with self._lock:
                self._in_use[path] -= 1
                self._trim()

    def remove_if_damaged(self, path: Path, content: str) -> bool:
        """Whether a file here is no longer what was downloaded (content: what `hash_file` says of it now).

        It is removed then, so that it is fetched again.
        """
        known = _note(path).get("content") if path.parent == self.folder else None
        if known in (None, content):
            return False
        _remove(path)
        return True

    def _bring(self, path: Path, url: str, fetcher: Fetcher, *, unchanging: bool) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        with self._turn(path):
            if not (unchanging and path.exists() and _note(path)):
                self._download(path, url, fetcher, unchanging=unchanging)
            os.utime(path)  # used just now
        with self._lock:
            self._trim()

    def _download(self, path: Path, url: str, fetcher: Fetcher, *, unchanging: bool) -> None:
        part = path.with_name(_PART + path.name)

        def begun(version: str | None) -> None:
            _note_of(part).write_text(json.dumps({"version": version}))

        try:
            with part.open("a+b") as file:
                fetched = fetcher.fetch(
                    url,
                    file,
                    validators=_note(path).get("validators") if path.exists() else None,
                    version=_note(part).get("version"),
                    unchanging=unchanging,
                    begun=begun,
                )
            if not fetched.not_modified:
                about = {"validators": _validators(fetched.headers), "content": hash_file(part)}
                _note_of(path).write_text(json.dumps(about))
                part.replace(path)
            _remove(part)
        except FetchError as error:
            if not (error.transient and _note(part).get("version") is not None):
                _remove(part)
            raise
        except OSError as error:
            _remove(part)
            if error.errno in _FULL:
                raise FetchError(f"no room is left in the media cache {self.folder}", transient=True) from None
            raise

    @contextlib.contextmanager
    def _turn(self, path: Path) -> Iterator[None]:
        number = int.from_bytes(path.name.encode()[:8], "big") % _TURNS
        with (self.folder / f"{_TURN}{number}").open("a") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            yield

    def _trim(self) -> None:
        """Removes what is too old, then the longest unused files until the rest fits. Call with the lock held."""
        files, now = [], time.time()
        for path in self.folder.glob("*"):
            if path.suffix == _NOTE or path.name.startswith(_TURN):
                continue
            with contextlib.suppress(OSError):  # another process may have removed it just now
                status = path.stat()
                part = path.name.startswith(_PART)
                if self._in_use[path.with_name(path.name.removeprefix(_PART))]:
                    files.append((float("inf"), status.st_size, path))
                elif now - status.st_mtime > (_PART_LIFE_S if part else self._most_idle_s):
                    _remove(path)
                else:
                    files.append((status.st_mtime, status.st_size, path))
        total = sum(size for _, size, _ in files)
        for used_at, size, path in sorted(files):
            if total <= self._most_bytes or used_at == float("inf"):
                return
            _remove(path)
            total -= size


def _note_of(path: Path) -> Path:
    return path.with_name(path.name + _NOTE)


def _note(path: Path) -> dict[str, Any]:
    """What was written down about a file; nothing where that is gone or damaged, so that it is fetched anew."""
    try:
        found = json.loads(_note_of(path).read_text())
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def _remove(path: Path) -> None:
    path.unlink(missing_ok=True)
    _note_of(path).unlink(missing_ok=True)


def _validators(headers: Mapping[str, str]) -> dict[str, str]:
    """What to send next time, so that an unchanged file is not sent again."""
    pairs = {"If-None-Match": "etag", "If-Modified-Since": "last-modified"}
    return {send: headers[have] for send, have in pairs.items() if headers.get(have)}
