"""Download a file by HTTP so that what has arrived survives an interruption (RFC 9110, range requests)."""

from __future__ import annotations

import hashlib
import re
import time
from collections.abc import Callable, Mapping
from http import HTTPStatus
from pathlib import Path
from typing import Any

import httpx

from video.errors import UserError

# A machine without a network is told so soon; a slow server may take its time.
_TIMEOUT = httpx.Timeout(20.0, connect=4.0)
_TRIES = 3  # attempts in a row that bring nothing new
_PAUSE_S = 1.0
_CONTENT_RANGE = re.compile(r"bytes (\d+)-\d+/(\d+|\*)")


class DownloadError(UserError):
    """A file could not be downloaded; the text says why."""


def download_file(
    url: str,
    to: Path,
    *,
    sha256: str | None = None,
    headers: Mapping[str, str] | None = None,
    received: Callable[[int], None] | None = None,
) -> None:
    """Download a file; after an interruption go on where it was.

    What has arrived is kept in `to` with the suffix ".part" added, and `to` appears when all of it is there. A
    connection that breaks is opened again as long as it brings new bytes, and given up after three attempts that do
    not. Proxies are taken from the environment.

    Args:
        url: Where the file is.
        to: Where to put it; its folder exists.
        sha256: The file's SHA-256 in hex; None does not check it.
        headers: Sent with each request.
        received: Called now and then with the number of bytes that are here.

    Raises:
        DownloadError: If the server cannot be reached or refuses, or if the content has another checksum. What has
            arrived is kept, unless its checksum is wrong.
        OSError: If the file cannot be written.
    """
    part = to.with_name(f"{to.name}.part")
    failures = 0
    # identity: a range of a compressed body could not be continued
    own = {**(headers or {}), "Accept-Encoding": "identity"}
    with httpx.Client(follow_redirects=True, timeout=_TIMEOUT, headers=own) as client:
        while True:
            before = _size(part)
            try:
                _request_rest(client, url, part, received or (lambda count: None))
                break
            except (httpx.TransportError, DownloadError) as error:
                failures = 0 if _size(part) > before else failures + 1
                unreachable = isinstance(error, httpx.ConnectError | httpx.ConnectTimeout) and before == 0
                if unreachable or failures == _TRIES or isinstance(error, _RefusedError):
                    raise DownloadError(f"{_host(url)}: {first_line(error)}") from error
            except httpx.HTTPError as error:  # redirects without end, and the like
                raise DownloadError(f"{_host(url)}: {first_line(error)}") from error
            time.sleep(_PAUSE_S)
    if sha256 is not None and (digest := file_sha256(part)) != sha256:
        part.unlink()
        raise DownloadError(f"{_host(url)}: {to.name} has the SHA-256 {digest}, not {sha256}")
    part.rename(to)


def fetch_json(url: str, *, headers: Mapping[str, str] | None = None) -> Any:
    """Return the JSON at an address.

    Raises:
        DownloadError: If the server cannot be reached or refuses, or if its answer is no JSON.
    """
    try:
        answer = httpx.get(url, headers=headers, timeout=_TIMEOUT, follow_redirects=True)
        if not answer.is_success:
            raise DownloadError(f"{_host(url)}: answered {answer.status_code} {answer.reason_phrase}".rstrip())
        return answer.json()
    except (httpx.HTTPError, ValueError) as error:
        raise DownloadError(f"{_host(url)}: {first_line(error)}") from error


def file_sha256(path: Path) -> str:
    """Return a file's SHA-256 in hex."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def first_line(error: Exception) -> str:
    """Return the first line of an error's text; the name of its class if it has none."""
    lines = str(error).strip().splitlines()
    return lines[0] if lines else type(error).__name__


class _RefusedError(DownloadError):
    """The server's answer will be the same the next time."""


def _request_rest(client: httpx.Client, url: str, part: Path, received: Callable[[int], None]) -> None:
    """Append to `part` what is missing of the file, or write it anew where the server cannot continue it."""
    have = _size(part)
    with client.stream("GET", url, headers={"Range": f"bytes={have}-"} if have else {}) as answer:
        if answer.status_code == HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE:
            if answer.headers.get("Content-Range") == f"bytes */{have}":
                return  # it was complete
            part.unlink()
            raise DownloadError("the file there is shorter than what is here")
        if answer.status_code not in (HTTPStatus.OK, HTTPStatus.PARTIAL_CONTENT):
            kind = DownloadError if answer.is_server_error else _RefusedError
            raise kind(f"answered {answer.status_code} {answer.reason_phrase}".rstrip())
        if answer.status_code == HTTPStatus.PARTIAL_CONTENT:
            described = _CONTENT_RANGE.fullmatch(answer.headers.get("Content-Range", ""))
            if described is None or int(described[1]) != have:
                part.unlink()
                raise DownloadError("sent another part of the file than it was asked for")
        else:
            have = 0
        with part.open("ab" if have else "wb") as file:
            received(have)
            for block in answer.iter_raw():  # as it arrives: larger blocks would be lost with the connection
                file.write(block)
                have += len(block)
                received(have)


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0


def _host(url: str) -> str:
    return httpx.URL(url).host
