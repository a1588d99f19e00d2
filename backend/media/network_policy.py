"""Which network addresses may be connected to: public ones, and those that are allowed by name."""

from __future__ import annotations

import ipaddress
import socket
from collections.abc import Iterable
from typing import Any

import httpcore

from video.errors import UserError

_NAT64 = ipaddress.IPv6Network("64:ff9b::/96")  # RFC 6052
# What Python takes for global, and routers may pass on into private networks.
_NEVER_PUBLIC = (
    ipaddress.IPv6Network("::/96"),  # IPv4-compatible (RFC 4291), deprecated
    ipaddress.IPv6Network("::ffff:0:0:0/96"),  # IPv4-translated (RFC 2765)
    ipaddress.IPv6Network("64:ff9b:1::/48"),  # NAT64 inside one network (RFC 8215)
    ipaddress.IPv6Network("fec0::/10"),  # site-local (RFC 3879), deprecated
)


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
        except (OSError, UnicodeError):
            raise FetchError(f"the host {name!r} is not known") from None
        addresses = list(dict.fromkeys(str(info[4][0]) for info in found))
        refuse_private(name, port, addresses, self._allowed)
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


def refuse_private(name: str, port: int, addresses: Iterable[str], allowed: frozenset[str]) -> None:
    """Raise FetchError if a host is neither public nor allowed.

    One private address among public ones is refused as a whole: a mixed answer is an attack's sign.

    Args:
        name: The host, in lower case and without brackets.
        port: Its port.
        addresses: Its IP addresses.
        allowed: See `PublicOnlyBackend`.
    """
    private = [address for address in addresses if not is_public(address)]
    if private and not allowed & {name, f"{name}:{port}"}:
        raise FetchError(
            f"the host {name!r} is not on the public network ({private[0]}): "
            f"add it to REFAM_ALLOWED_HOSTS if media may come from there"
        )


def refuse_hopeless_host(name: str, port: int, allowed: frozenset[str]) -> None:
    """Raise FetchError if a host can never be fetched from, as far as that is known without asking any name server.

    Args:
        name: The host, in lower case and without brackets.
        port: Its port.
        allowed: See `PublicOnlyBackend`.
    """
    try:
        encoded = name.encode("idna")
    except UnicodeError:
        encoded = b""
    if not encoded or any(c.isspace() or not c.isprintable() for c in name):
        raise FetchError(f"{name!r} is no name of a host")
    if name == "localhost" or name.endswith(".localhost"):
        refuse_private(name, port, ["127.0.0.1"], allowed)
        return
    if ":" in name:  # IPv6; the zone behind a % is looked up as a name would be
        try:
            literal = ipaddress.IPv6Address(name.partition("%")[0])
        except ValueError:
            raise FetchError(f"{name!r} is no name of a host") from None
        refuse_private(name, port, [str(literal)], allowed)
        return
    try:  # also 2130706433 and 0x7f.1, which are 127.0.0.1
        found = socket.getaddrinfo(name, port, type=socket.SOCK_STREAM, flags=socket.AI_NUMERICHOST)
    except OSError:
        return  # a name, which only a name server knows
    refuse_private(name, port, [str(info[4][0]) for info in found], allowed)


def is_public(address: str) -> bool:
    """Return whether an IP address is public; IPv4 inside IPv6 counts as the IPv4 address, where that is in use."""
    ip = ipaddress.ip_address(address.split("%")[0])
    if isinstance(ip, ipaddress.IPv6Address):
        inner = ip.ipv4_mapped or ip.sixtofour or (ip.teredo[1] if ip.teredo else None)
        if inner is None and ip in _NAT64:
            inner = ipaddress.IPv4Address(int(ip) & 0xFFFFFFFF)
        if inner is not None:
            return is_public(str(inner))
        if any(ip in network for network in _NEVER_PUBLIC):
            return False
    return ip.is_global and not ip.is_multicast
