"""The file that an address in a task names: an upload, a local file, one in cloud storage or on a web server."""

from __future__ import annotations

import base64
import binascii
import os
import re
from pathlib import Path, PurePosixPath
from urllib.parse import parse_qs, quote, unquote, urlsplit

from video.formats.base import FormatError

UPLOAD_PREFIX = re.compile(r"^[0-9a-f]{8}-")  # what Label Studio puts before the names of uploaded files
_DRIVE = re.compile(r"^[A-Za-z]:$")
_LOGIN = re.compile(r"([A-Za-z][A-Za-z0-9+.-]+:[\\/]*|[\\/]{2})([^\\/]*)@")
_LOCAL_FILE = re.compile(r"/data/local-files/?\?(?:[^#]*&)?(d=[^&#]*)")
_LONGEST_SHOWN = 200


def address_parts(address: str) -> tuple[str, ...]:
    r"""Return the folders and the name of the file that an address names.

    `/data/local-files/?d=a/b%20c.mp4` gives ("a", "b c.mp4"), and so does `C:\a\b c.mp4`: a Label Studio on Windows
    writes backslashes. Of what Label Studio passes on from cloud storage it is the file there.

    Raises:
        FormatError: If it names no file.
    """
    try:
        parts = urlsplit(cloud_address(address) or address)
    except ValueError:
        raise FormatError(f"{redact_url(address)!r} is no address") from None
    path = parts.netloc + parts.path if parts.scheme == "file" else parts.path
    inside = parse_qs(parts.query).get("d", [unquote(path)])[0]
    names = [name for name in PurePosixPath(inside.replace("\\", "/")).parts if name.strip("/")]
    names = [name for name in names if not _DRIVE.match(name)]
    if not names or names[-1] == "..":
        raise FormatError(f"{redact_url(address)!r} names no file")
    return tuple(names)


def address_in(folder: str, path: str) -> str:
    """Return the address of a file in a folder.

    Args:
        folder: The folder's address, such as http://host/clips, or the beginning `/data/local-files/?d=`.
        path: The file's path in it, with slashes.
    """
    return f"{folder}{'' if folder.endswith(('/', '=')) else '/'}{quote(path)}"


def leaves_folder(path: str) -> bool:
    """Return whether a path has a `..`, however often it was percent-encoded."""
    for _ in range(5):
        if ".." in re.split(r"[/\\]", path):
            return True
        decoded = unquote(path)
        if decoded == path:
            return False
        path = decoded
    return True  # nobody honest encodes deeper than this


def is_absolute(path: str) -> bool:
    r"""Return whether a path begins at the root of a disk: `/etc/x.jpg`, `C:\x.jpg`, `\\host\x.jpg`."""
    return re.match(r"[/\\]|[A-Za-z]:[/\\]", unquote(path)) is not None


def local_file_address(path: Path) -> str:
    """Return the address of a file or folder that Label Studio serves from its own disk.

    Label Studio's document root is taken to be the current folder. Of what lies outside of it the address has the name
    alone, as if the document root were the folder that holds it.

    Args:
        path: The file or folder. `address_in` makes the address of a file in a folder.
    """
    root, is_in = Path.cwd(), is_in_document_root(path)
    path = _absolute(path)
    below = path.relative_to(root).as_posix() if is_in else path.name
    return address_in("/data/local-files/?d=", "" if path == root else below)


def is_in_document_root(path: Path) -> bool:
    """Return whether a file or folder is in the current folder, which is taken to be Label Studio's document root."""
    return _absolute(path).is_relative_to(Path.cwd())


def _absolute(path: Path) -> Path:
    return Path(os.path.abspath(path))  # noqa: PTH100 - resolve() would follow links out of the folder


def cloud_address(address: str) -> str | None:
    """Return the address in cloud storage that Label Studio passes a file on from, such as s3://bucket/a.mp4.

    None for all other addresses. Label Studio writes `/tasks/12/resolve/?fileuri=` and the address in base64.
    """
    encoded = parse_qs(address.partition("?")[2]).get("fileuri", [""])[0]
    if "://" in encoded:
        return encoded
    try:
        decoded = base64.urlsafe_b64decode(encoded + "=" * (-len(encoded) % 4)).decode()
    except (binascii.Error, UnicodeDecodeError):
        return None
    return decoded if "://" in decoded else None


def video_stem(address: str) -> str:
    """Return the name of a video without folders, ending and upload prefix. Raises FormatError as `address_parts`."""
    return PurePosixPath(UPLOAD_PREFIX.sub("", address_parts(address)[-1])).stem or "video"


def file_name(address: str) -> str:
    """Return the name of the file that an address names, for people; the address itself if it names none."""
    try:
        return address_parts(address)[-1]
    except FormatError:
        return redact_url(address)


def redact_url(address: str) -> str:
    """Return an address or a path as people and logs may see it: without login, query and fragment, where secrets are.

    The query of `/data/local-files/?d=FILE` stays, for it names the file; so does what follows a # in the name of a
    file that stands alone, unless it is like a parameter (`#token=...`). At most 200 characters.
    """
    if (local := _LOCAL_FILE.match(address)) is not None:
        return f"/data/local-files/?{local[1]}"[:_LONGEST_SHOWN]
    if (login := _LOGIN.match(address)) is not None:
        if re.search(r"[?#]", login[2]):  # it may be a part of the login or of the query
            return f"{login[1]}..."
        address = login[1] + address[login.end() :]
    shown = address.partition("?")[0]
    path, _, fragment = shown.partition("#")
    is_file_name = "=" not in fragment and re.match(r"/|[A-Za-z][A-Za-z0-9+.-]+:", shown) is None
    return (shown if is_file_name else path)[:_LONGEST_SHOWN]
