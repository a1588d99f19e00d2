"""Logging: short lines for people, or one JSON object a line; never a secret.

Every line carries the request and the job that it was written for, wherever the code that wrote it stands.
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
_MIN_SECRET = 4  # characters: hiding shorter ones would black out innocent words
_QUERY = re.compile(r"(\b[a-z][a-z0-9+.-]*://[^\s?#'\"<>]*)\?[^\s'\"<>]+", re.IGNORECASE)  # it may hold a signature
_LOGIN = re.compile(r"(\b[a-z][a-z0-9+.-]*://)[^\s/@'\"]+@", re.IGNORECASE)
_CONTROL = {i: f"\\x{i:02x}" for i in (*range(32), 127)}  # nobody writes a second line into the log
_secrets: set[str] = set()  # in every form in which they may be written


@contextmanager
def log_context(*, request: str | None = None, job: str | None = None) -> Iterator[None]:
    """Mark what is logged within as belonging to a request or a job."""
    tokens = [(var, var.set(value)) for var, value in ((_REQUEST, request), (_JOB, job)) if value is not None]
    try:
        yield
    finally:
        for var, token in reversed(tokens):
            var.reset(token)


def current_request() -> str:
    """Return the id of the request that is answered here; "" outside of one."""
    return _REQUEST.get()


def hide_secret(secret: str) -> None:
    """Keep a secret out of the log from now on, in every form in which it may be written there."""
    if len(secret) >= _MIN_SECRET:
        _secrets.update({secret, repr(secret)[1:-1], quote(secret, safe=""), quote(secret)})


def redact(text: str) -> str:
    """Return the text without hidden secrets, and without logins and queries of addresses."""
    for secret in sorted(_secrets, key=len, reverse=True):
        text = text.replace(secret, "***")
    return _LOGIN.sub(r"\1***@", _QUERY.sub(r"\1?***", text))


def configure_logging(settings: Settings, file: Path | None = None) -> None:
    """Log to stderr, or to `file`, as the settings say, and hide their secrets."""
    for secret in secrets_in(settings):
        hide_secret(secret)
    handler = logging.FileHandler(file) if file else logging.StreamHandler()
    handler.setFormatter(_JsonFormatter() if settings.log == "json" else _TextFormatter())
    logging.basicConfig(level="INFO", handlers=[handler])
    logging.getLogger("refam").setLevel(settings.log_level)  # others stay at INFO: at DEBUG they log headers
    logging.getLogger("httpx").setLevel("WARNING")  # it would log every address


def secrets_in(settings: Settings) -> list[str]:
    """Return the secrets of the settings: tokens, passwords, and the header that basic auth makes of them."""
    secrets = []
    if settings.label_studio_api_key is not None:
        secrets.append(settings.label_studio_api_key.get_secret_value())
    if settings.basic_auth_pass is not None:
        password = settings.basic_auth_pass.get_secret_value()
        header = base64.b64encode(f"{settings.basic_auth_user}:{password}".encode()).decode()
        secrets += [password, header]
    queue_password = urlsplit(settings.queue).password if "://" in settings.queue else None
    return [*secrets, queue_password] if queue_password else secrets


class _TextFormatter(logging.Formatter):
    """Time, level, logger, message, and the request it belongs to."""

    def __init__(self) -> None:
        super().__init__("%(asctime)s %(levelname)s %(name)s %(message)s")

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802
        line, request = super().formatMessage(record).translate(_CONTROL), _REQUEST.get()
        return f"{line} [request {request}]" if request and request not in line else line

    def format(self, record: logging.LogRecord) -> str:
        return redact(super().format(record))


class _JsonFormatter(JsonFormatter):
    """An object a line: time, level, logger, message, request, job, exc_info, and the line's own extras."""

    def __init__(self) -> None:
        names = {"asctime": "time", "levelname": "level", "name": "logger"}
        super().__init__("{asctime}{levelname}{name}{message}", style="{", rename_fields=names)
        self.default_time_format, self.default_msec_format = "%Y-%m-%dT%H:%M:%S", "%s.%03d"

    def process_log_record(self, log_record: dict[str, Any]) -> dict[str, Any]:
        for name, value in (("request", _REQUEST.get()), ("job", _JOB.get())):
            if value:
                log_record.setdefault(name, value)
        return {name: redact(value) if isinstance(value, str) else value for name, value in log_record.items()}
