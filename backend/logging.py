"""What is logged and how: short lines for people, or one JSON object a line; never a secret.

Every line knows the request and the job that it was written in, wherever the code that wrote it stands.
"""

from __future__ import annotations

import base64
import logging
import re
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit

from pythonjsonlogger.json import JsonFormatter

from backend.settings import Settings

_REQUEST: ContextVar[str] = ContextVar("refam_request", default="")
_JOB: ContextVar[str] = ContextVar("refam_job", default="")
_SHORTEST = 4  # of a secret that is hidden: hiding less would black out innocent words
# Signatures stand in queries.
_SIGNED = re.compile(r"(\b[a-z][a-z0-9+.-]*://[^\s?#'\"<>]*)\?[^\s'\"<>]+", re.IGNORECASE)
_LOGIN = re.compile(r"(\b[a-z][a-z0-9+.-]*://)[^\s/@'\"]+@", re.IGNORECASE)
_CONTROL = {i: f"\\x{i:02x}" for i in (*range(32), 127)}  # a line is a line: nobody writes another one into the log
_hidden: set[str] = set()


@contextmanager
def written_for(*, request: str | None = None, job: str | None = None) -> Iterator[None]:
    """What is logged within belongs to this request or job."""
    set_to = [(var, var.set(value)) for var, value in ((_REQUEST, request), (_JOB, job)) if value is not None]
    try:
        yield
    finally:
        for var, token in reversed(set_to):
            var.reset(token)


def current_request() -> str:
    """The id of the request that is answered here; "" outside of one."""
    return _REQUEST.get()


def hide(secret: str) -> None:
    """From now on this never stands in a log, in none of the ways it may be written there."""
    if len(secret) >= _SHORTEST:
        _hidden.update({secret, repr(secret)[1:-1], quote(secret, safe=""), quote(secret)})


def redacted(text: str) -> str:
    """The text without hidden secrets, without logins in addresses, and without what stands behind their `?`."""
    for secret in sorted(_hidden, key=len, reverse=True):
        text = text.replace(secret, "***")
    return _LOGIN.sub(r"\1***@", _SIGNED.sub(r"\1?***", text))


def set_up_logging(settings: Settings, file: Path | None = None) -> None:
    """Logs to stderr, or to `file`, as the settings say; their secrets are hidden from then on."""
    for secret in secrets_of(settings):
        hide(secret)
    handler = logging.FileHandler(file) if file else logging.StreamHandler()
    handler.setFormatter(_Json() if settings.log == "json" else _Lines())
    logging.basicConfig(level="INFO", handlers=[handler])
    logging.getLogger("refam").setLevel(settings.log_level)  # others stay at INFO: at DEBUG they log headers
    logging.getLogger("httpx").setLevel("WARNING")  # it would log every address


def secrets_of(settings: Settings) -> list[str]:
    """What of the settings must not be told."""
    found = []
    if settings.label_studio_api_key is not None:
        found.append(settings.label_studio_api_key.get_secret_value())
    if settings.basic_auth_pass is not None:
        secret = settings.basic_auth_pass.get_secret_value()
        coded = base64.b64encode(f"{settings.basic_auth_user}:{secret}".encode()).decode()
        found += [secret, coded]
    password = urlsplit(settings.queue).password if "://" in settings.queue else None
    return [*found, password] if password else found


class _Lines(logging.Formatter):
    """Time, level, part, what happened, and for which request."""

    def __init__(self) -> None:
        super().__init__("%(asctime)s %(levelname)s %(name)s %(message)s")

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802
        line, request = super().formatMessage(record).translate(_CONTROL), _REQUEST.get()
        return f"{line} [request {request}]" if request and request not in line else line

    def format(self, record: logging.LogRecord) -> str:
        return redacted(super().format(record))


class _Json(JsonFormatter):
    """The same as an object a line: time, level, logger, message, request, job, exc_info, and what a line brings."""

    def __init__(self) -> None:
        names = {"asctime": "time", "levelname": "level", "name": "logger"}
        super().__init__("{asctime}{levelname}{name}{message}", style="{", rename_fields=names)
        self.default_time_format, self.default_msec_format = "%Y-%m-%dT%H:%M:%S", "%s.%03d"

    def process_log_record(self, log_record: dict[str, Any]) -> dict[str, Any]:
        for name, value in (("request", _REQUEST.get()), ("job", _JOB.get())):
            if value:
                log_record.setdefault(name, value)
        return {name: redacted(value) if isinstance(value, str) else value for name, value in log_record.items()}
