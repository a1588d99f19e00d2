"""Going on with a file that broke off: which part is there, of which version, and whether an answer is its rest."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from typing import BinaryIO

_MOST_STARTS = 3  # of one file within one fetch: it may change under way, but not for ever


@dataclass
class Body:
    """What has come of a file so far. version: what names it for If-Range, "" for a file that never changes."""

    into: BinaryIO
    size: int = 0
    version: str | None = None
    total: int | None = None
    came: int = 0  # bytes over the network, also of what had to be thrown away
    starts: int = 0

    @property
    def may_go_on(self) -> bool:
        """Whether the rest can be asked for."""
        return self.size > 0 and self.version is not None and self.starts <= _MOST_STARTS

    def start_over(self) -> None:
        """Throws away what is there."""
        self.into.seek(0)
        self.into.truncate()
        self.size, self.version, self.total = 0, None, None
        self.starts += 1


def range_of(body: Body) -> dict[str, str]:
    """The headers that ask for the rest."""
    asked = {"Range": f"bytes={body.size}-"}
    return {**asked, "If-Range": body.version} if body.version else asked


def goes_on(body: Body, headers: Mapping[str, str]) -> bool:
    """Whether a 206 is the rest of what is there. Servers without If-Range (Label Studio) are held to it here."""
    found = re.fullmatch(r"bytes (\d+)-(\d+)/(\d+)", headers.get("content-range", "").strip())
    if found is None:
        return False
    first, _, total = map(int, found.groups())
    now = headers.get("etag") if (body.version or "").startswith('"') else headers.get("last-modified")
    if first != body.size or body.total not in (None, total) or (body.version and now != body.version):
        return False
    body.total = total
    return True


def version_of(headers: Mapping[str, str]) -> str | None:
    """What If-Range may name a file by: a strong ETag, or a date that lies a minute back (RFC 9110, 8.8.2.2)."""
    tag = headers.get("etag", "")
    if tag.startswith('"'):
        return tag
    try:
        changed, now = (parsedate_to_datetime(headers[name]) for name in ("last-modified", "date"))
        return headers["last-modified"] if (now - changed).total_seconds() >= 60 else None
    except (KeyError, ValueError, TypeError):
        return None
