"""What every request passes before it reaches a route: the log, user and password, the size limit. See also rates."""

from __future__ import annotations

import base64
import binascii
import logging
import re
import secrets
import time
import uuid

from fastapi.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from backend.logging import log_context
from backend.metrics import PATHS, REQUEST_SECONDS

log = logging.getLogger("refam.server")
_DECENT = re.compile(r"[A-Za-z0-9._-]{1,64}")  # request ids of others


class BasicAuth:
    """Asks for user and password everywhere but at /health, which containers' probes call without."""

    def __init__(self, app: ASGIApp, *, user: str, password: str) -> None:
        self._app = app
        self._expected = f"{user}:{password}".encode()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request (ASGI)."""
        if scope["type"] == "http" and scope["path"] != "/health" and not self._allows(scope):
            ask = {"WWW-Authenticate": 'Basic realm="refam"'}
            answer = JSONResponse({"error": "user and password are needed"}, status_code=401, headers=ask)
            await answer(scope, receive, send)
            return
        await self._app(scope, receive, send)

    def _allows(self, scope: Scope) -> bool:
        given = dict(scope["headers"]).get(b"authorization", b"")
        kind, _, secret = given.partition(b" ")
        try:
            sent = base64.b64decode(secret, validate=True) if kind.lower() == b"basic" else b""
        except binascii.Error:
            return False
        return secrets.compare_digest(sent, self._expected)


class BodyLimit:
    """Refuses bodies over a size, by what they say and by what really comes."""

    def __init__(self, app: ASGIApp, *, most_bytes: int) -> None:
        self._app = app
        self._most_bytes = most_bytes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request (ASGI)."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        said = dict(scope["headers"]).get(b"content-length", b"0")
        if said.isdigit() and int(said) > self._most_bytes:
            await self._refuse(scope, receive, send)
            return
        came = 0

        async def counted() -> Message:
            nonlocal came
            message = await receive()
            came += len(message.get("body", b""))
            # The rest is cut off; whatever the application makes of the stump is not sent.
            return message if came <= self._most_bytes else {"type": "http.disconnect"}

        async def unless_too_large(message: Message) -> None:
            if came <= self._most_bytes:
                await send(message)

        try:
            await self._app(scope, counted, unless_too_large)
        except Exception:
            if came <= self._most_bytes:
                raise
        if came > self._most_bytes:
            await self._refuse(scope, receive, send)

    async def _refuse(self, scope: Scope, receive: Receive, send: Send) -> None:
        text = f"the request is larger than {self._most_bytes / 1e6:g} MB (REFAM_MAX_BODY_MB)"
        await JSONResponse({"error": text}, status_code=413)(scope, receive, send)


class RequestLog:
    """One line per request: id, method, path, status, milliseconds. Never a query, a header or a body.

    The id is taken from X-Request-ID where it is a decent one, and answered there; everything that is logged on the
    way, and the job that is asked for, carry it.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request (ASGI)."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        sent = dict(scope["headers"]).get(b"x-request-id", b"").decode("latin-1")
        name = sent if _DECENT.fullmatch(sent) else uuid.uuid4().hex[:8]
        scope["request_id"] = name
        started, status = time.monotonic(), 500

        async def noted(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                message = {**message, "headers": [*message["headers"], (b"x-request-id", name.encode())]}
            await send(message)

        try:
            with log_context(request=name):
                await self._app(scope, receive, noted)
        finally:
            took_s = time.monotonic() - started
            path = scope["path"] if scope["path"] in PATHS else "other"
            REQUEST_SECONDS.labels(path, status).observe(took_s)
            level = logging.DEBUG if scope["path"] == "/health" else logging.INFO
            told = {"request": name, "method": scope["method"], "path": scope["path"][:80], "status": status}
            took = {"took_ms": round(took_s * 1000)}
            log.log(level, "%s %s %s %d %d ms", *told.values(), *took.values(), extra=told | took)
