"""What stands in a log, and what must not."""

from __future__ import annotations

import io
import json
import logging
import threading

import pytest

from backend import logging as logs
from backend.logging import current_request, hide_secret, log_context, redact, secrets_in
from backend.settings import load_settings

SECRETS = {
    "LABEL_STUDIO_API_KEY": "odd\"key'with\\all/of+it=%é",
    "REFAM_BASIC_AUTH_PASS": "pa:ss wörd?&#@",
    "REFAM_QUEUE": "redis://:qu-eu3-s3cret@127.0.0.1:1/0",
}


@pytest.fixture(params=["text", "json"])
def log(request, monkeypatch):
    """A logger that writes as the settings say, and what it has written."""
    for name, value in {**SECRETS, "LABEL_STUDIO_URL": "http://ls", "REFAM_BASIC_AUTH_USER": "anna"}.items():
        monkeypatch.setenv(name, value)
    settings = load_settings(log=request.param)
    monkeypatch.setattr(logs, "_secrets", set())
    for secret in secrets_in(settings):
        hide_secret(secret)
    written = io.StringIO()
    handler = logging.StreamHandler(written)
    handler.setFormatter(logs._JsonFormatter() if request.param == "json" else logs._TextFormatter())
    logger = logging.getLogger("refam.test")
    logger.handlers, logger.propagate = [handler], False
    logger.setLevel("DEBUG")
    logger.form, logger.written = request.param, written
    return logger


@pytest.mark.parametrize("secret", [SECRETS["LABEL_STUDIO_API_KEY"], SECRETS["REFAM_BASIC_AUTH_PASS"], "qu-eu3-s3cret"])
@pytest.mark.parametrize("where", ["message", "argument", "repr", "exception", "extra", "quoted", "cause"])
def test_secrets_of_the_settings_are_never_logged(secret, where, log):
    from urllib.parse import quote

    if where == "message":
        log.info(secret)
    elif where == "argument":
        log.info("it is %s, really", secret)
    elif where == "repr":
        log.info("it is %r", secret)
    elif where == "extra":
        log.info("x", extra={"more": secret})
    elif where == "quoted":
        log.info("http://h/%s/a", quote(secret, safe=""))
    else:
        try:
            try:
                raise ValueError(secret)
            except ValueError as error:
                raise (RuntimeError("later") if where == "cause" else KeyError(secret)) from error
        except (RuntimeError, KeyError):
            log.exception("failed")
    text = log.written.getvalue()
    assert text
    parsed = " ".join(map(str, json.loads(text).values())) if log.form == "json" else text
    for form in (secret, repr(secret)[1:-1], json.dumps(secret)[1:-1], quote(secret, safe="")):
        assert form not in text
        assert form not in parsed


@pytest.mark.parametrize(
    ("text", "kept"),
    [
        ("https://b.s3.x/clip.mp4?X-Amz-Signature=s3cret&a=1 answered 403", "https://b.s3.x/clip.mp4?*** answered 403"),
        ("s3://b/k?versionId=s3cret", "s3://b/k?***"),
        ("redis://anna:s3cret@h:1/0 is away", "redis://***@h:1/0 is away"),
        ("HTTP://u:s3cret@h/", "HTTP://***@h/"),
        ("is it here? yes: a@b.example", "is it here? yes: a@b.example"),
    ],
)
def test_signatures_and_logins_are_removed_from_addresses(text, kept):
    assert redact(text) == kept


def test_short_secrets_do_not_black_out_the_log(monkeypatch):
    monkeypatch.setattr(logs, "_secrets", set())
    hide_secret("a")
    assert redact("a task") == "a task"


def test_log_lines_carry_their_request_and_job(log):
    with log_context(request="r-1"):
        log.info("one")
        with log_context(request="r-2", job="j-2"):
            log.info("two")
        assert current_request() == "r-1"
        threading.Thread(target=log.info, args=("elsewhere",)).start()
    log.info("three")
    assert current_request() == ""
    lines = log.written.getvalue().splitlines()
    if log.form == "json":
        found = [json.loads(line) for line in lines]
        assert [(line["message"], line.get("request"), line.get("job")) for line in found] == [
            ("one", "r-1", None), ("two", "r-2", "j-2"), ("elsewhere", None, None), ("three", None, None),
        ]  # fmt: skip
        assert {"time", "level", "logger"} <= set(found[0])
    else:
        assert [line.partition("refam.test ")[2] for line in lines] == [
            "one [request r-1]", "two [request r-2]", "elsewhere", "three",
        ]  # fmt: skip


def test_a_message_cannot_forge_a_second_line(log):
    log.info("webhook %s", "A\n2026-01-01 00:00:00,000 INFO refam.server all is well\r\x1b[2J")
    (line,) = log.written.getvalue().splitlines()
    assert "\x1b" not in line
