"""ASGI middleware around every request: request log, rate limit, user and password, body size."""

from __future__ import annotations

import base64
import binascii
import hashlib
import ipaddress
import logging
import math
import re
import secrets
import time
import uuid

from fastapi.responses import JSONResponse
from limits import RateLimitItemPerMinute
from limits.storage import MemoryStorage
from limits.strategies import SlidingWindowCounterRateLimiter
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from backend.logging import log_context
from backend.metrics import PATHS, REQUEST_SECONDS

log = logging.getLogger("refam.server")
_REQUEST_ID = re.compile(r"[A-Za-z0-9._-]{1,64}")  # which ids of callers are taken over
# A refusal may come before the body does. Servers then close the connection; a client that was not told so meets the
# closing one with its next request.
_CLOSE = {"Connection": "close"}
_WRONG_PASSWORDS_PER_MINUTE = 30  # from one address; after them it is refused for a while


class RequestLog:
    """Logs one line per request: id, method, path, status, milliseconds. Never a query, a header or a body.

    The id is X-Request-ID where that is well-formed, and is answered there. Everything that is logged on the way, and
    the jobs that the request submits, carry it.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request (ASGI)."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        given = dict(scope["headers"]).get(b"x-request-id", b"").decode("latin-1")
        request_id = given if _REQUEST_ID.fullmatch(given) else uuid.uuid4().hex[:8]
        scope["request_id"] = request_id
        started, status = time.monotonic(), 500

        async def send_with_id(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                message = {**message, "headers": [*message["headers"], (b"x-request-id", request_id.encode())]}
            await send(message)

        try:
            with log_context(request=request_id):
                await self._app(scope, receive, send_with_id)
        finally:
            took_s = time.monotonic() - started
            path = scope["path"] if scope["path"] in PATHS else "other"
            REQUEST_SECONDS.labels(path, status).observe(took_s)
            level = logging.DEBUG if scope["path"] == "/health" else logging.INFO
            fields = {
                "request": request_id,
                "method": scope["method"],
                "path": scope["path"][:80],
                "status": status,
                "took_ms": round(took_s * 1000),
            }
            log.log(level, "%s %s %s %d %d ms", *fields.values(), extra=fields)


class RateLimit:
    """Refuses with 429 and Retry-After clients that ask too often. /health is never refused: probes must not be.

    A client is an address, and also a credential; guessing passwords is limited apart.

    Args:
        app: What it stands before.
        per_minute: Requests that one client may send.
    """

    def __init__(self, app: ASGIApp, *, per_minute: int) -> None:
        self._app = app
        self._limiter = SlidingWindowCounterRateLimiter(MemoryStorage())
        self._requests = RateLimitItemPerMinute(per_minute)
        self._wrong_passwords = RateLimitItemPerMinute(_WRONG_PASSWORDS_PER_MINUTE, namespace="wrong")

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request (ASGI)."""
        if scope["type"] != "http" or scope["path"] == "/health":
            await self._app(scope, receive, send)
            return
        address, credential = _client_address(scope), _hash_credential(scope)
        if not self._limiter.test(self._wrong_passwords, address):
            await self._refuse(self._wrong_passwords, address, "too many wrong passwords", scope, receive, send)
            return
        for client in (address, credential):
            if client and not self._limiter.hit(self._requests, client):
                text = f"more than {self._requests.amount} requests a minute (REFAM_RATE_PER_MINUTE)"
                await self._refuse(self._requests, client, text, scope, receive, send)
                return

        async def count_wrong_passwords(message: Message) -> None:
            # No password is no guess: Label Studio's webhooks come so until they are given one.
            if message["type"] == "http.response.start" and message["status"] == 401 and credential:
                self._limiter.hit(self._wrong_passwords, address)
            await send(message)

        await self._app(scope, receive, count_wrong_passwords)

    async def _refuse(
        self, item: RateLimitItemPerMinute, client: str, text: str, scope: Scope, receive: Receive, send: Send
    ) -> None:
        wait_s = max(1, math.ceil(self._limiter.get_window_stats(item, client).reset_time - time.time()))
        headers = {"Retry-After": str(wait_s), **_CLOSE}
        response = JSONResponse({"error": f"{text}: ask again in {wait_s} s"}, status_code=429, headers=headers)
        await response(scope, receive, send)


class BasicAuth:
    """Asks for user and password everywhere but at /health, which containers' probes call without."""

    def __init__(self, app: ASGIApp, *, user: str, password: str) -> None:
        self._app = app
        self._expected = f"{user}:{password}".encode()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request (ASGI)."""
        if scope["type"] == "http" and scope["path"] != "/health" and not self._allows(scope):
            headers = {"WWW-Authenticate": 'Basic realm="refam"', **_CLOSE}
            response = JSONResponse({"error": "user and password are needed"}, status_code=401, headers=headers)
            await response(scope, receive, send)
            return
        await self._app(scope, receive, send)

    def _allows(self, scope: Scope) -> bool:
        kind, _, encoded = _authorization(scope).partition(b" ")
        try:
            given = base64.b64decode(encoded, validate=True) if kind.lower() == b"basic" else b""
        except binascii.Error:
            return False
        return secrets.compare_digest(given, self._expected)


class BodyLimit:
    """Refuses bodies over a size with 413, by their declared length and by what really arrives."""

    def __init__(self, app: ASGIApp, *, max_bytes: int) -> None:
        self._app = app
        self._max_bytes = max_bytes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request (ASGI)."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        declared = dict(scope["headers"]).get(b"content-length", b"0")
        if declared.isdigit() and int(declared) > self._max_bytes:
            await self._refuse(scope, receive, send)
            return
        received = 0

        async def receive_counted() -> Message:
            nonlocal received
            message = await receive()
            received += len(message.get("body", b""))
            # The rest is cut off; whatever the application makes of the beginning is not sent.
            return message if received <= self._max_bytes else {"type": "http.disconnect"}

        async def send_unless_too_large(message: Message) -> None:
            if received <= self._max_bytes:
                await send(message)

        try:
            await self._app(scope, receive_counted, send_unless_too_large)
        except Exception:
            if received <= self._max_bytes:
                raise
        if received > self._max_bytes:
            await self._refuse(scope, receive, send)

    async def _refuse(self, scope: Scope, receive: Receive, send: Send) -> None:
        text = f"the request is larger than {self._max_bytes / 1e6:g} MB (REFAM_MAX_BODY_MB)"
        await JSONResponse({"error": text}, status_code=413, headers=_CLOSE)(scope, receive, send)


def _authorization(scope: Scope) -> bytes:
    header: bytes = dict(scope["headers"]).get(b"authorization", b"")
    return header


def _client_address(scope: Scope) -> str:
    """The client's address; of IPv6 its network, since one client has all of its 2**64 addresses."""
    host: str = (scope.get("client") or ("unknown", 0))[0]
    try:
        ip = ipaddress.ip_address(host.split("%")[0])
    except ValueError:
        return host
    return str(ip) if ip.version == 4 else str(ipaddress.ip_network(f"{ip}/64", strict=False))


def _hash_credential(scope: Scope) -> str:
    """A hash of the Authorization header; "" without one."""
    header = _authorization(scope)
    return hashlib.sha256(header).hexdigest()[:16] if header else ""
