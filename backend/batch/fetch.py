"""A video of a manifest -> a file on this machine for as long as it is looked at. Whoever writes a manifest runs it, so
paths and every kind of storage that fsspec knows are open; http(s) goes through `backend.media.fetch` with its walls.
"""

from __future__ import annotations

import contextlib
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, cast

from backend.media.fetch import Fetcher
from backend.media.network_policy import FetchError, redact_url
from backend.settings import Settings
from video.errors import UserError

_CHUNK = 1 << 20


class VideoError(UserError):
    """The video cannot be had. passing: another time may be better."""

    def __init__(self, message: str, *, passing: bool = False) -> None:
        super().__init__(message)
        self.passing = passing


@contextlib.contextmanager
def fetched(video: str, settings: Settings) -> Iterator[Path]:
    """The file behind a path or URL, within max_media_mb and fetch_timeout_s. Raises VideoError."""
    if "://" not in video:
        if not Path(video).is_file():
            raise VideoError(f"there is no file {video}")
        yield Path(video)
        return
    suffix = Path(redact_url(video)).suffix[:12]
    with tempfile.NamedTemporaryFile(prefix="refam-", suffix=suffix) as file:
        into = cast("BinaryIO", file)
        if video.startswith(("http://", "https://")):
            fetcher = Fetcher(
                allowed_hosts=settings.allowed_hosts,
                max_bytes=int(settings.max_media_mb * 1e6),
                timeout_s=settings.fetch_timeout_s,
            )
            try:
                fetcher.fetch(video, into)
            except FetchError as error:
                raise VideoError(str(error), passing=error.transient) from None
        else:
            _copy(video, into, settings)
        file.flush()
        yield Path(file.name)


def _copy(video: str, into: BinaryIO, settings: Settings) -> None:
    import fsspec

    most_bytes, deadline, size = settings.max_media_mb * 1e6, time.monotonic() + settings.fetch_timeout_s, 0
    try:
        with fsspec.open(video, "rb") as source:
            while chunk := source.read(_CHUNK):
                size += len(chunk)
                if size > most_bytes:
                    raise VideoError(
                        f"{redact_url(video)} is larger than {settings.max_media_mb:g} MB (REFAM_MAX_MEDIA_MB)"
                    )
                if time.monotonic() > deadline:
                    text = f"{redact_url(video)} took longer than {settings.fetch_timeout_s:g} s"
                    raise VideoError(text, passing=True)
                into.write(chunk)
    except VideoError:
        raise
    except FileNotFoundError:
        raise VideoError(f"there is no {redact_url(video)}") from None
    except PermissionError:
        raise VideoError(f"{redact_url(video)} may not be read: give this machine keys for it") from None
    except Exception as error:  # each storage has errors of its own; what they are of is said
        raise VideoError(f"{redact_url(video)}: {type(error).__name__}: {error}", passing=True) from error
    if not size:
        raise VideoError(f"{redact_url(video)} is empty")
