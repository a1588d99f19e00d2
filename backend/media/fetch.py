"""Downloading from addresses that task data names: whoever writes a task chooses them, so none is trusted.

- http and https only; a host on a private, loopback or otherwise not public network is refused unless allowed.
- The address is checked when the connection is made, on the very IP that is connected to: a redirect or a name that
  changes its address between check and use (DNS re-binding) meets the same wall (`backend.media.network_policy`).
- The token goes to Label Studio's own origin only, also after redirects.
- Bounded in bytes, in time and in redirects. Environment proxies are not used: they would connect unchecked.
- What breaks off is gone on with from where it broke (RFC 9110, Range with If-Range), as long as it is the same file:
  Label Studio ends what it passes on from cloud storage after 20 s, and gives 8 MB at a time then.
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

from backend.media.network_policy import FetchError, PublicOnlyBackend, redact_url

_MOST_REDIRECTS = 5
_CONNECT_S, _READ_S = 10.0, 30.0
_AS_THEY_ARE = "%/:=&?~#+!$,;'@()*[]"  # in an address; what else is not ASCII letters is percent-encoded
_WORTH_ANOTHER = 1 << 16  # bytes that a broken connection must have brought to be worth another at once
_MOST_IDLE = 3  # answers without a byte, one after another
_BUSY = frozenset({408, 425, 429, 500, 502, 503, 504})  # answers that another time may be better
_DEFAULT_PORTS = {"http": 80, "https": 443}


@dataclass(frozen=True)
class Origin:
    """scheme, host and port of an address: what decides who may be reached and who gets the token."""

    scheme: str
    host: str
    port: int

    @classmethod
    def of(cls, url: str) -> Origin:
        """Raises FetchError for what is no http(s) address."""
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
class Fetched:
    """not_modified: the validators sent still hold, nothing was written. headers: lower-case names. size: bytes."""

    not_modified: bool
    headers: Mapping[str, str]
    size: int


class Fetcher:
    """Fetches within limits.

    trusted: Label Studio's address; it may be private, and gets `authorization()` under `trusted_paths`.
    allowed_hosts: further `host` or `host:port` that may be private.
    """

    def __init__(
        self,
        *,
        trusted: str | None = None,
        trusted_paths: Sequence[str] = ("/",),
        authorization: Callable[[], str] | None = None,
        allowed_hosts: Iterable[str] = (),
        most_bytes: int,
        timeout_s: float,
    ) -> None:
        self._trusted = Origin.of(trusted) if trusted else None
        base = urlsplit(trusted).path.rstrip("/") if trusted else ""
        self._trusted_paths = tuple(base + path for path in trusted_paths)
        self._authorization = authorization
        allowed = {host.lower() for host in allowed_hosts}
        if self._trusted:
            allowed.add(f"{self._trusted.host}:{self._trusted.port}")
        self._most_bytes = most_bytes
        self._timeout_s = timeout_s
        self._pool_of = lambda: httpcore.ConnectionPool(network_backend=PublicOnlyBackend(frozenset(allowed)))

    def fetch(
        self,
        url: str,
        into: BinaryIO,
        *,
        validators: Mapping[str, str] | None = None,
        version: str | None = None,
        unchanging: bool = False,
        begun: Callable[[str | None], None] = lambda _: None,
    ) -> Fetched:
        """Writes the whole body to `into`, or raises FetchError (then `into` may hold a part of it).

        validators: If-None-Match and the like, of a copy that is there already.
        version: of the part that `into` holds already; it is gone on with if the server still has that very file.
        unchanging: what this address names never changes, so a part can be gone on with whatever the server says.
        begun: told the version whenever a file begins anew; None: a part of it cannot be gone on with.
        """
        body = Body(into, size=into.seek(0, 2), version="" if unchanging else version)
        if not body.may_go_on:
            body.start_over()
        deadline = time.monotonic() + self._timeout_s
        idle = 0
        while idle < _MOST_IDLE:
            before = body.came
            try:
                done = self._once(url, body, deadline, validators, unchanging, begun)
                if done is not None:
                    return done
            except FetchError as error:
                enough = body.came - before >= _WORTH_ANOTHER
                if not (error.transient and enough and body.may_go_on) or time.monotonic() > deadline:
                    raise
            idle = idle + 1 if body.came == before else 0
        raise FetchError(f"{redact_url(url)} gives no more than {body.size} bytes of {body.total}", transient=True)

    def _once(
        self,
        url: str,
        body: Body,
        deadline: float,
        validators: Mapping[str, str] | None,
        unchanging: bool,
        begun: Callable[[str | None], None],
    ) -> Fetched | None:
        """One request, redirects followed. None: there is more to ask for."""
        url = quote(url, safe=_AS_THEY_ARE)
        asked = range_of(body) if body.may_go_on else dict(validators or {})
        with self._pool_of() as pool:
            for _ in range(_MOST_REDIRECTS + 1):
                try:
                    headers = self._headers(url, asked)
                    with pool.stream("GET", url, headers=headers, extensions=_TIMEOUTS) as answer:
                        if answer.status not in (301, 302, 303, 307, 308):
                            return self._take(url, answer, body, deadline, asked, unchanging, begun)
                        url = _location(url, answer)
                except FetchError:
                    raise
                except (httpcore.TimeoutException, TimeoutError):
                    raise FetchError(f"{redact_url(url)} did not answer in time", transient=True) from None
                except (httpcore.NetworkError, httpcore.ProtocolError, ssl.SSLError, UnicodeError) as error:
                    reason = str(error) or type(error).__name__
                    text = f"{redact_url(url)} broke off or cannot be reached: {reason}"
                    raise FetchError(text, transient=True) from None
        raise FetchError(f"more than {_MOST_REDIRECTS} redirects, the last to {redact_url(url)}")

    def _headers(self, url: str, asked: Mapping[str, str]) -> dict[bytes | str, bytes | str]:
        headers: dict[bytes | str, bytes | str] = {
            "Host": urlsplit(url).netloc,
            "User-Agent": "refam",
            "Accept-Encoding": "identity",
        }
        headers.update(asked.items())
        if self._is_trusted(url) and self._authorization is not None:
            headers["Authorization"] = self._authorization()
        return headers

    def _is_trusted(self, url: str) -> bool:
        return Origin.of(url) == self._trusted and urlsplit(url).path.startswith(self._trusted_paths)

    def _take(
        self,
        url: str,
        answer: httpcore.Response,
        body: Body,
        deadline: float,
        asked: Mapping[str, str],
        unchanging: bool,
        begun: Callable[[str | None], None],
    ) -> Fetched | None:
        headers = {name.decode("latin-1").lower(): value.decode("latin-1") for name, value in answer.headers}
        if answer.status == 304 and asked and "Range" not in asked:
            return Fetched(True, headers, 0)
        if "Range" in asked and (answer.status == 416 or (answer.status == 206 and not goes_on(body, headers))):
            body.start_over()  # another file stands there now
            return None
        self._check(url, answer.status, headers, part="Range" in asked)
        if answer.status == 200:
            body.start_over()
            body.version = "" if unchanging else version_of(headers)
            length = headers.get("content-length", "")
            body.total = int(length) if length.isdigit() else None
            begun(body.version)
        self._pour(url, answer, body, deadline)
        if body.size == 0:
            raise FetchError(f"{redact_url(url)} is empty")
        if body.total is not None and body.size > body.total:
            raise FetchError(f"{redact_url(url)} sent more than the {body.total} bytes it said")
        return Fetched(False, headers, body.size) if body.total in (None, body.size) else None

    def _pour(self, url: str, answer: httpcore.Response, body: Body, deadline: float) -> None:
        for chunk in answer.iter_stream():
            if body.size + len(chunk) > self._most_bytes:
                raise FetchError(self._too_large(url))
            if time.monotonic() > deadline:
                raise FetchError(f"{redact_url(url)} took longer than {self._timeout_s:g} s", transient=True)
            body.into.write(chunk)
            body.size += len(chunk)
            body.came += len(chunk)

    def _check(self, url: str, status: int, headers: Mapping[str, str], *, part: bool) -> None:
        if status in (401, 403):
            mend = "set LABEL_STUDIO_API_KEY to a valid token" if self._is_trusted(url) else "it needs a login"
            raise FetchError(f"{redact_url(url)} answered {status}: {mend}")
        if status != 200 and not (part and status == 206):
            raise FetchError(f"{redact_url(url)} answered {status}", transient=status in _BUSY)
        if headers.get("content-encoding", "identity").lower() != "identity":
            raise FetchError(f"{redact_url(url)} came {headers['content-encoding']}-encoded, unasked")
        if headers.get("content-type", "").lower().startswith("text/html"):
            raise FetchError(f"{redact_url(url)} is a web page, not a video")
        said = headers.get("content-range", "").rpartition("/")[2] if status == 206 else headers.get("content-length")
        if (said or "").isdigit() and int(said or 0) > self._most_bytes:
            raise FetchError(self._too_large(url))

    def _too_large(self, url: str) -> str:
        return f"{redact_url(url)} is larger than {self._most_bytes / 1e6:g} MB (REFAM_MAX_MEDIA_MB)"


_TIMEOUTS = {"timeout": {"connect": _CONNECT_S, "read": _READ_S, "write": _READ_S, "pool": _CONNECT_S}}


def _location(url: str, answer: httpcore.Response) -> str:
    for name, value in answer.headers:
        if name.lower() == b"location":
            target = quote(urljoin(url, value.decode("latin-1")), safe=_AS_THEY_ARE)
            Origin.of(target)  # refuses file:// and the like before anything is connected to
            return target
    raise FetchError(f"{redact_url(url)} redirects to nowhere")


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
