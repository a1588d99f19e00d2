"""Downloading from addresses that task data names. Whoever writes a task chooses them, so none is trusted.

- Only http and https. A host on a private, loopback or otherwise not public network is refused unless it is allowed.
- The address is checked when the connection is made, on the very IP that is connected to: a redirect, or a name that
  changes its address between check and use (DNS rebinding), meets the same check (`backend.media.network_policy`).
- The token goes to Label Studio's own origin only, also after redirects.
- Downloads are limited in bytes, in time and in redirects. Environment proxies are not used: they would connect
  unchecked.
- A download that breaks off is resumed from where it broke (RFC 9110, Range with If-Range), as long as it is the same
  file: Label Studio ends what it passes on from cloud storage after 20 s, and gives 8 MB at a time then.
"""

from __future__ import annotations

import re
import ssl
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from typing import BinaryIO
from urllib.parse import quote, urljoin, urlsplit

import httpcore

from backend.labelstudio.addresses import redact_url
from backend.media.network_policy import FetchError, PublicOnlyBackend, refuse_hopeless_host

_MAX_REDIRECTS = 5
_CONNECT_S, _READ_S = 10.0, 30.0
_TIMEOUTS = {"timeout": {"connect": _CONNECT_S, "read": _READ_S, "write": _READ_S, "pool": _CONNECT_S}}
_URL_CHARACTERS = "%/:=&?~#+!$,;'@()*[]"  # kept in an address; what else is not ASCII letters is percent-encoded
_MIN_PROGRESS = 1 << 16  # bytes that a broken connection must have brought to be worth another one at once
_MAX_EMPTY_ANSWERS = 3  # answers without a byte, one after another
_MAX_STARTS = 3  # of one file within one download: it may change on the way, but not for ever
_TRANSIENT_STATUS = frozenset({408, 425, 429, 500, 502, 503, 504})
_DEFAULT_PORTS = {"http": 80, "https": 443}


@dataclass(frozen=True)
class Origin:
    """Scheme, host and port of an address: what decides who may be reached and who gets the token."""

    scheme: str
    host: str
    port: int

    @classmethod
    def of(cls, url: str) -> Origin:
        """Return the origin of a URL.

        Raises:
            FetchError: If it is no http(s) address, or holds a user or password.
        """
        try:
            parts = urlsplit(url)
            host, port = parts.hostname, parts.port
        except ValueError:
            raise FetchError(f"{redact_url(url)!r} is no address") from None
        if parts.scheme not in _DEFAULT_PORTS or not host:
            raise FetchError(f"only http:// and https:// addresses are fetched, not {redact_url(url)}")
        if parts.username is not None or parts.password is not None:
            raise FetchError(f"addresses with a user or password are not fetched: {redact_url(url)}")
        return cls(parts.scheme, host.lower().rstrip("."), port or _DEFAULT_PORTS[parts.scheme])


@dataclass(frozen=True)
class FetchResult:
    """What came of a download.

    Attributes:
        not_modified: Whether the copy that is there is still current; nothing was written then.
        headers: The answer's headers, names in lower case.
        size: Bytes of the whole file.
    """

    not_modified: bool
    headers: Mapping[str, str]
    size: int


class Fetcher:
    """Downloads within limits.

    Args:
        trusted: Label Studio's address. It may be private, and gets the authorization.
        trusted_paths: Paths under it that get the authorization.
        authorization: Returns the value of the `Authorization` header.
        allowed_hosts: Further `host` or `host:port` that may be private.
        max_bytes: Size of the largest file.
        timeout_s: Seconds for one whole download.
    """

    def __init__(
        self,
        *,
        trusted: str | None = None,
        trusted_paths: Sequence[str] = ("/",),
        authorization: Callable[[], str] | None = None,
        allowed_hosts: Iterable[str] = (),
        max_bytes: int,
        timeout_s: float,
    ) -> None:
        self._trusted = Origin.of(trusted) if trusted else None
        base = urlsplit(trusted).path.rstrip("/") if trusted else ""
        self._trusted_paths = tuple(base + path for path in trusted_paths)
        self._authorization = authorization
        allowed = {host.lower() for host in allowed_hosts}
        if self._trusted:
            allowed.add(f"{self._trusted.host}:{self._trusted.port}")
        self._max_bytes = max_bytes
        self._timeout_s = timeout_s
        self._allowed = frozenset(allowed)
        self._new_pool = lambda: httpcore.ConnectionPool(network_backend=PublicOnlyBackend(self._allowed))

    def check(self, url: str) -> None:
        """Raise FetchError if an address can never be fetched, as far as that is known without the network."""
        origin = Origin.of(url)
        refuse_hopeless_host(origin.host.strip("[]"), origin.port, self._allowed)

    def fetch(
        self,
        url: str,
        into: BinaryIO,
        *,
        validators: Mapping[str, str] | None = None,
        version: str | None = None,
        immutable: bool = False,
        on_start: Callable[[str | None], None] = lambda _: None,
    ) -> FetchResult:
        """Download the whole file.

        Args:
            url: The address.
            into: A file to write to. What it holds already is resumed, if that is possible, else replaced.
            validators: Headers such as If-None-Match, of a current copy elsewhere.
            version: ETag or date of the part that `into` holds; it is resumed if the server still has that very file.
            immutable: Whether what this address names never changes, so that any part can be resumed.
            on_start: Called with the version whenever a file begins anew; None means that it cannot be resumed.

        Raises:
            FetchError: If the address is refused or does not deliver; `into` may hold a part of the file then.
        """
        download = PartialDownload(into, size=into.seek(0, 2), version="" if immutable else version)
        if not download.resumable:
            download.start_over()
        deadline = time.monotonic() + self._timeout_s
        empty_answers = 0
        while empty_answers < _MAX_EMPTY_ANSWERS:
            before = download.received
            try:
                result = self._request(url, download, deadline, validators, immutable, on_start)
                if result is not None:
                    return result
            except FetchError as error:
                enough = download.received - before >= _MIN_PROGRESS
                if not (error.transient and enough and download.resumable) or time.monotonic() > deadline:
                    raise
            empty_answers = empty_answers + 1 if download.received == before else 0
        text = f"{redact_url(url)} gives no more than {download.size} bytes of {download.total}"
        raise FetchError(text, transient=True)

    def _request(
        self,
        url: str,
        download: PartialDownload,
        deadline: float,
        validators: Mapping[str, str] | None,
        immutable: bool,
        on_start: Callable[[str | None], None],
    ) -> FetchResult | None:
        """Make one request, following redirects. None: there is more of the file to ask for."""
        url = quote(url, safe=_URL_CHARACTERS)
        conditions = range_headers(download) if download.resumable else dict(validators or {})
        with self._new_pool() as pool:
            for _ in range(_MAX_REDIRECTS + 1):
                try:
                    headers = self._headers(url, conditions)
                    with pool.stream("GET", url, headers=headers, extensions=_TIMEOUTS) as answer:
                        if answer.status not in (301, 302, 303, 307, 308):
                            return self._receive(url, answer, download, deadline, conditions, immutable, on_start)
                        url = _location(url, answer)
                except FetchError:
                    raise
                except (httpcore.TimeoutException, TimeoutError):
                    raise FetchError(f"{redact_url(url)} did not answer in time", transient=True) from None
                except (httpcore.NetworkError, httpcore.ProtocolError, ssl.SSLError, UnicodeError) as error:
                    reason = str(error) or type(error).__name__
                    text = f"{redact_url(url)} broke off or cannot be reached: {reason}"
                    raise FetchError(text, transient=True) from None
        raise FetchError(f"more than {_MAX_REDIRECTS} redirects, the last to {redact_url(url)}")

    def _headers(self, url: str, conditions: Mapping[str, str]) -> dict[bytes | str, bytes | str]:
        headers: dict[bytes | str, bytes | str] = {
            "Host": urlsplit(url).netloc,
            "User-Agent": "refam",
            "Accept-Encoding": "identity",
        }
        headers.update(conditions.items())
        if self._is_trusted(url) and self._authorization is not None:
            headers["Authorization"] = self._authorization()
        return headers

    def _is_trusted(self, url: str) -> bool:
        return Origin.of(url) == self._trusted and urlsplit(url).path.startswith(self._trusted_paths)

    def _receive(
        self,
        url: str,
        answer: httpcore.Response,
        download: PartialDownload,
        deadline: float,
        conditions: Mapping[str, str],
        immutable: bool,
        on_start: Callable[[str | None], None],
    ) -> FetchResult | None:
        """Read an answer that is no redirect. None: there is more of the file to ask for."""
        headers = {name.decode("latin-1").lower(): value.decode("latin-1") for name, value in answer.headers}
        status, ranged = answer.status, "Range" in conditions
        if status == 304 and conditions and not ranged:
            return FetchResult(True, headers, 0)
        if ranged and (status == 416 or (status == 206 and not continues(download, headers))):
            download.start_over()  # another file stands there now
            return None
        self._check_answer(url, status, headers, ranged=ranged)
        if status == 200:
            download.start_over()
            download.version = "" if immutable else resumable_version(headers)
            length = headers.get("content-length", "")
            download.total = int(length) if length.isdigit() else None
            on_start(download.version)
        self._write(url, answer, download, deadline)
        if download.size == 0:
            raise FetchError(f"{redact_url(url)} is empty")
        if download.total is not None and download.size > download.total:
            raise FetchError(f"{redact_url(url)} sent more than the {download.total} bytes it said")
        complete = download.total in (None, download.size)
        return FetchResult(False, headers, download.size) if complete else None

    def _write(self, url: str, answer: httpcore.Response, download: PartialDownload, deadline: float) -> None:
        for chunk in answer.iter_stream():
            if download.size + len(chunk) > self._max_bytes:
                raise FetchError(self._too_large(url))
            if time.monotonic() > deadline:
                raise FetchError(f"{redact_url(url)} took longer than {self._timeout_s:g} s", transient=True)
            download.write(chunk)

    def _check_answer(self, url: str, status: int, headers: Mapping[str, str], *, ranged: bool) -> None:
        """Raise FetchError for an answer that is not the file."""
        if status in (401, 403):
            remedy = "set LABEL_STUDIO_API_KEY to a valid token" if self._is_trusted(url) else "it needs a login"
            raise FetchError(f"{redact_url(url)} answered {status}: {remedy}")
        if status != 200 and not (ranged and status == 206):
            raise FetchError(f"{redact_url(url)} answered {status}", transient=status in _TRANSIENT_STATUS)
        if headers.get("content-encoding", "identity").lower() != "identity":
            raise FetchError(f"{redact_url(url)} came {headers['content-encoding']}-encoded, unasked")
        if headers.get("content-type", "").lower().startswith("text/html"):
            raise FetchError(f"{redact_url(url)} is a web page, not a video")
        size = headers.get("content-range", "").rpartition("/")[2] if status == 206 else headers.get("content-length")
        if (size or "").isdigit() and int(size or 0) > self._max_bytes:
            raise FetchError(self._too_large(url))

    def _too_large(self, url: str) -> str:
        return f"{redact_url(url)} is larger than {self._max_bytes / 1e6:g} MB (REFAM_MAX_MEDIA_MB)"


def _location(url: str, answer: httpcore.Response) -> str:
    """Return the absolute address that a redirect leads to."""
    for name, value in answer.headers:
        if name.lower() == b"location":
            target = quote(urljoin(url, value.decode("latin-1")), safe=_URL_CHARACTERS)
            Origin.of(target)  # refuses file:// and the like before anything is connected to
            return target
    raise FetchError(f"{redact_url(url)} redirects to nowhere")


# --- resuming a download ---------------------------------------------------------------------------------------------


@dataclass
class PartialDownload:
    """The part of a file that has been downloaded.

    Attributes:
        into: The file that it is written to.
        size: Bytes that it holds.
        version: What names the file for If-Range: an ETag or a date; "" for a file that never changes, None if it
            cannot be resumed.
        total: Bytes of the whole file, None if unknown.
        received: Bytes that came over the network, also those of parts that had to be thrown away.
        starts: How often the file began anew.
    """

    into: BinaryIO
    size: int = 0
    version: str | None = None
    total: int | None = None
    received: int = 0
    starts: int = 0

    @property
    def resumable(self) -> bool:
        """Whether the rest can be asked for."""
        return self.size > 0 and self.version is not None and self.starts <= _MAX_STARTS

    def start_over(self) -> None:
        """Throw the part away."""
        self.into.seek(0)
        self.into.truncate()
        self.size, self.version, self.total = 0, None, None
        self.starts += 1

    def write(self, chunk: bytes) -> None:
        """Add the next bytes."""
        self.into.write(chunk)
        self.size += len(chunk)
        self.received += len(chunk)


def range_headers(download: PartialDownload) -> dict[str, str]:
    """Return the headers that ask for the rest of a file."""
    headers = {"Range": f"bytes={download.size}-"}
    return {**headers, "If-Range": download.version} if download.version else headers


def continues(download: PartialDownload, headers: Mapping[str, str]) -> bool:
    """Return whether a 206 answer is the rest of this very file, and note the file's total size.

    Servers that do not know If-Range (Label Studio) are checked here.

    Args:
        download: The part.
        headers: The answer's headers, names in lower case.
    """
    match = re.fullmatch(r"bytes (\d+)-(\d+)/(\d+)", headers.get("content-range", "").strip())
    if match is None:
        return False
    first, _, total = map(int, match.groups())
    version = headers.get("etag") if (download.version or "").startswith('"') else headers.get("last-modified")
    same_version = not download.version or version == download.version
    if first != download.size or download.total not in (None, total) or not same_version:
        return False
    download.total = total
    return True


def resumable_version(headers: Mapping[str, str]) -> str | None:
    """Return what If-Range may name a file by, None without one (RFC 9110, 8.8.2.2).

    That is a strong ETag, or a modification date at least a minute before the answer's date.
    """
    tag = headers.get("etag", "")
    if tag.startswith('"'):
        return tag
    try:
        changed, now = (parsedate_to_datetime(headers[name]) for name in ("last-modified", "date"))
        return headers["last-modified"] if (now - changed).total_seconds() >= 60 else None
    except (KeyError, ValueError, TypeError):
        return None
