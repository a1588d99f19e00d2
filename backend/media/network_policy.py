"""Which network addresses may be connected to: public ones, and those that are allowed by name."""

from __future__ import annotations

import ipaddress
import socket
from collections.abc import Iterable
from typing import Any
from urllib.parse import urlsplit

import httpcore

from video.errors import UserError


class FetchError(UserError):
    """The address was refused or did not deliver; the message says which and why, without secrets.

    Attributes:
        transient: Whether another try may succeed (a timeout, a broken connection, a busy server).
    """

    def __init__(self, message: str, *, transient: bool = False) -> None:
        super().__init__(message)
        self.transient = transient


class PublicOnlyBackend(httpcore.NetworkBackend):
    """Connects to public or allowed addresses only, by the very IP that was checked.

    Args:
        allowed: `host` or `host:port` in lower case that need not be public.
    """

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
        """Connect as httpcore does.

        Raises:
            FetchError: If the host is unknown, or neither public nor allowed.
        """
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
        """Refuse always."""
        raise FetchError("unix sockets are not fetched from")


def is_public(address: str) -> bool:
    """Return whether an IP address is public; IPv4 inside IPv6 counts as the IPv4 address."""
    ip = ipaddress.ip_address(address.split("%")[0])
    if isinstance(ip, ipaddress.IPv6Address):
        inner = ip.ipv4_mapped or ip.sixtofour or (ip.teredo[1] if ip.teredo else None)
        if inner is None and ip in ipaddress.ip_network("64:ff9b::/96"):  # NAT64
            inner = ipaddress.IPv4Address(int(ip) & 0xFFFFFFFF)
        if inner is not None:
            return is_public(str(inner))
    return ip.is_global and not ip.is_multicast


def redact_url(address: str) -> str:
    """Return an address without login, query (signatures live there) and fragment, at most 200 characters.

    A path is returned as it is.
    """
    try:
        parts = urlsplit(address)
    except ValueError:
        return address.partition("?")[0][:200]
    if not parts.netloc:
        return address[:200]
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"[:200]
