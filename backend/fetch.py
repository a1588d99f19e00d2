"""Downloading from addresses that task data names: whoever writes a task chooses them, so none is trusted.

- http and https only; a host on a private, loopback or otherwise not public network is refused unless
allowed. - The address is checked when the connection is made, on the very IP that is connected to: a redirect
or a name
  that changes its address between check and use (DNS re-binding) meets the same wall.
- The token goes to Label Studio's own origin only, also after redirects.
- Bounded in bytes, in time and in redirects. Environment proxies are not used: they would connect unchecked.
"""

from __future__ import annotations

import ipaddress
import socket
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, BinaryIO
from urllib.parse import quote, urljoin, urlsplit

import httpcore

_MOST_REDIRECTS = 5
_CONNECT_S, _READ_S = 10.0, 30.0
_AS_THEY_ARE = "%/:=&?~#+!$,;'@()*[]"  # in an address; what else is not ASCII letters is percent-encoded
_BUSY = frozenset({408, 425, 429, 500, 502, 503, 504})  # answers that another time may be better
_DEFAULT_PORTS = {"http": 80, "https": 443}


class FetchError(ValueError):
    """The address was refused or did not deliver; the message says which and why, without secrets.

    passing: whether it may heal by itself (a timeout, a broken connection, a busy server).
    """

    def __init__(self, message: str, *, passing: bool = False) -> None:
        super().__init__(message)
        self.passing = passing


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
            raise FetchError(f"{url!r} is no address") from None
        if parts.scheme not in _DEFAULT_PORTS or not host:
            raise FetchError(f"only http:// and https:// addresses are fetched, not {_shown(url)}")
        if parts.username is not None or parts.password is not None:
            raise FetchError(f"addresses with a user or password are not fetched: {_shown(url)}")
        return cls(parts.scheme, host.lower().rstrip("."), port or _DEFAULT_PORTS[parts.scheme])


@dataclass(frozen=True)
class Fetched:
    """not_modified: the validators sent still hold, nothing was written. headers: lower-case names."""

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
        self._pool_of = lambda: httpcore.ConnectionPool(network_backend=_Wall(frozenset(allowed)))

    def fetch(self, url: str, into: BinaryIO, *, validators: Mapping[str, str] | None = None) -> Fetched:
        """Writes the whole body to `into`, or raises FetchError (then `into` may hold a part of it).

        validators: If-None-Match and the like, of a copy that is there already.
        """
        deadline = time.monotonic() + self._timeout_s
        url = quote(url, safe=_AS_THEY_ARE)
        with self._pool_of() as pool:
            for _ in range(_MOST_REDIRECTS + 1):
                try:
                    headers = self._headers(url, validators)
                    with pool.stream("GET", url, headers=headers, extensions=_TIMEOUTS) as answer:
                        if answer.status not in (301, 302, 303, 307, 308):
                            return self._read(url, answer, into, deadline, may_be_304=bool(validators))
                        url = _location(url, answer)
                except FetchError:
                    raise
                except (httpcore.TimeoutException, TimeoutError):
                    raise FetchError(f"{_shown(url)} did not answer in time", passing=True) from None
                except (httpcore.NetworkError, httpcore.ProtocolError, OSError, UnicodeError) as error:
                    reason = str(error) or type(error).__name__
                    text = f"{_shown(url)} broke off or cannot be reached: {reason}"
                    raise FetchError(text, passing=True) from None
        raise FetchError(f"more than {_MOST_REDIRECTS} redirects, the last to {_shown(url)}")

    def _headers(self, url: str, validators: Mapping[str, str] | None) -> dict[bytes | str, bytes | str]:
        headers: dict[bytes | str, bytes | str] = {
            "Host": urlsplit(url).netloc,
            "User-Agent": "refam",
            "Accept-Encoding": "identity",
        }
        headers.update((validators or {}).items())
        if self._is_trusted(url) and self._authorization is not None:
            headers["Authorization"] = self._authorization()
        return headers

    def _is_trusted(self, url: str) -> bool:
        return Origin.of(url) == self._trusted and urlsplit(url).path.startswith(self._trusted_paths)

    def _read(
        self, url: str, answer: httpcore.Response, into: BinaryIO, deadline: float, *, may_be_304: bool
    ) -> Fetched:
        headers = {name.decode("latin-1").lower(): value.decode("latin-1") for name, value in answer.headers}
        if answer.status == 304 and may_be_304:
            return Fetched(True, headers, 0)
        self._check(url, answer.status, headers)
        size = 0
        for chunk in answer.iter_stream():
            size += len(chunk)
            if size > self._most_bytes:
                raise FetchError(self._too_large(url))
            if time.monotonic() > deadline:
                raise FetchError(f"{_shown(url)} took longer than {self._timeout_s:g} s", passing=True)
            into.write(chunk)
        if size == 0:
            raise FetchError(f"{_shown(url)} is empty")
        return Fetched(False, headers, size)

    def _check(self, url: str, status: int, headers: Mapping[str, str]) -> None:
        if status in (401, 403):
            mend = "set LABEL_STUDIO_API_KEY to a valid token" if self._is_trusted(url) else "it needs a login"
            raise FetchError(f"{_shown(url)} answered {status}: {mend}")
        if status != 200:
            raise FetchError(f"{_shown(url)} answered {status}", passing=status in _BUSY)
        if headers.get("content-encoding", "identity").lower() != "identity":
            raise FetchError(f"{_shown(url)} came {headers['content-encoding']}-encoded, unasked")
        if headers.get("content-type", "").lower().startswith("text/html"):
            raise FetchError(f"{_shown(url)} is a web page, not a video")
        if headers.get("content-length", "").isdigit() and int(headers["content-length"]) > self._most_bytes:
            raise FetchError(self._too_large(url))

    def _too_large(self, url: str) -> str:
        return f"{_shown(url)} is larger than {self._most_bytes / 1e6:g} MB (REFAM_MAX_MEDIA_MB)"


_TIMEOUTS = {"timeout": {"connect": _CONNECT_S, "read": _READ_S, "write": _READ_S, "pool": _CONNECT_S}}


class _Wall(httpcore.NetworkBackend):
    """Connects to allowed or public addresses only, by the IP that was checked."""

    def __init__(self, allowed: frozenset[str]) -> None:
        self._allowed = allowed
        self._inner = httpcore.SyncBackend()

    def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[Any] | None = None,
    ) -> httpcore.NetworkStream:
        name = host.lower().rstrip(".").strip("[]")
        try:
            found = socket.getaddrinfo(name, port, type=socket.SOCK_STREAM)
        except OSError:
            raise FetchError(f"the host {name!r} is not known") from None
        addresses = list(dict.fromkeys(str(info[4][0]) for info in found))
        # One private address among public ones is refused as a whole: a mixed answer is an attack's sign.
        private = [address for address in addresses if not is_public(address)]
        if private and not self._allowed & {name, f"{name}:{port}"}:
            raise FetchError(
                f"the host {name!r} is not on the public network ({private[0]}): "
                f"add it to REFAM_ALLOWED_HOSTS if media may come from there"
            )
        failure: Exception | None = None
        for address in addresses:
            try:
                return self._inner.connect_tcp(address, port, timeout, local_address, socket_options)
            except (httpcore.ConnectError, httpcore.ConnectTimeout) as error:
                failure = error
        raise failure or httpcore.ConnectError(f"no address for {name}")

    def connect_unix_socket(self, path: str, *_: Any, **__: Any) -> httpcore.NetworkStream:
        raise FetchError("unix sockets are not fetched from")


def is_public(address: str) -> bool:
    """Whether an IP address is of the public network; IPv4 inside IPv6 counts as what it stands for."""
    ip = ipaddress.ip_address(address.split("%")[0])
    if isinstance(ip, ipaddress.IPv6Address):
        inner = ip.ipv4_mapped or ip.sixtofour or (ip.teredo[1] if ip.teredo else None)
        if inner is None and ip in ipaddress.ip_network("64:ff9b::/96"):  # NAT64
            inner = ipaddress.IPv4Address(int(ip) & 0xFFFFFFFF)
        if inner is not None:
            return is_public(str(inner))
    return ip.is_global and not ip.is_multicast


def _location(url: str, answer: httpcore.Response) -> str:
    for name, value in answer.headers:
        if name.lower() == b"location":
            target = quote(urljoin(url, value.decode("latin-1")), safe=_AS_THEY_ARE)
            Origin.of(target)  # refuses file:// and the like before anything is connected to
            return target
    raise FetchError(f"{_shown(url)} redirects to nowhere")


def _shown(url: str) -> str:
    """An address as it may be logged: without user, password, query (signatures live there) and fragment."""
    parts = urlsplit(url)
    netloc = parts.netloc.rpartition("@")[2]
    return f"{parts.scheme}://{netloc}{parts.path}"[:200]
