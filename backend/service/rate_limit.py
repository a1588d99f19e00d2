"""How often one may ask: by client address and by credential; and how often one may guess the password."""

from __future__ import annotations

import hashlib
import ipaddress
import math
import time

from fastapi.responses import JSONResponse
from limits import RateLimitItemPerMinute
from limits.storage import MemoryStorage
from limits.strategies import SlidingWindowCounterRateLimiter
from starlette.types import ASGIApp, Message, Receive, Scope, Send

_WRONG_PER_MINUTE = 30  # of passwords from one address; after them it is not listened to for a while


class RateLimit:
    """Refuses with 429 and Retry-After what comes too often. /health is never refused: probes must not be."""

    def __init__(self, app: ASGIApp, *, per_minute: int) -> None:
        self._app = app
        self._limiter = SlidingWindowCounterRateLimiter(MemoryStorage())
        self._asked = RateLimitItemPerMinute(per_minute)
        self._wrong = RateLimitItemPerMinute(_WRONG_PER_MINUTE, namespace="wrong")

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request (ASGI)."""
        if scope["type"] != "http" or scope["path"] == "/health":
            await self._app(scope, receive, send)
            return
        address, credential = _address(scope), _credential(scope)
        if not self._limiter.test(self._wrong, address):
            await self._refuse(self._wrong, address, "too many wrong passwords", scope, receive, send)
            return
        for who in (address, credential):
            if who and not self._limiter.hit(self._asked, who):
                text = f"more than {self._asked.amount} requests a minute (REFAM_RATE_PER_MINUTE)"
                await self._refuse(self._asked, who, text, scope, receive, send)
                return

        async def noted(message: Message) -> None:
            # Without a password nothing is guessed: Label Studio's webhooks come so until they are told one.
            if message["type"] == "http.response.start" and message["status"] == 401 and credential:
                self._limiter.hit(self._wrong, address)
            await send(message)

        await self._app(scope, receive, noted)

    async def _refuse(
        self, item: RateLimitItemPerMinute, who: str, text: str, scope: Scope, receive: Receive, send: Send
    ) -> None:
        wait_s = max(1, math.ceil(self._limiter.get_window_stats(item, who).reset_time - time.time()))
        headers = {"Retry-After": str(wait_s)}
        answer = JSONResponse({"error": f"{text}: ask again in {wait_s} s"}, status_code=429, headers=headers)
        await answer(scope, receive, send)


def _address(scope: Scope) -> str:
    """The client's; of IPv6 the network, since one client has all of its 2**64 addresses."""
    host = (scope.get("client") or ("unknown", 0))[0]
    try:
        ip = ipaddress.ip_address(host.split("%")[0])
    except ValueError:
        return host
    return str(ip) if ip.version == 4 else str(ipaddress.ip_network(f"{ip}/64", strict=False))


def _credential(scope: Scope) -> str:
    given = dict(scope["headers"]).get(b"authorization", b"")
    return hashlib.sha256(given).hexdigest()[:16] if given else ""
