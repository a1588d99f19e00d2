"""The address that tasks have for what Label Studio is to serve: --url, or that of a local file."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

import typer

from backend.cli.console import err

ADDRESS_UNLESS_GIVEN = "unless given, that of a local file, with the current folder as Label Studio's document root"
_ADDRESS = re.compile(r"/|(?:https?|s3|gs|azure-blob)://[^/\s]", re.IGNORECASE)


def check_url(url: str | None) -> str | None:
    """Refuse what no task can have as an address, as the callback of --url."""
    if url is not None and any(character.isspace() for character in url.strip()):
        raise typer.BadParameter(f"{url!r} has a space, which no address has: write {'%20'.join(url.split())!r}")
    if url is not None and _ADDRESS.match(url) is None:
        raise typer.BadParameter(
            f"{url!r} is no address that Label Studio can serve: it begins with http://, https://, the scheme of a "
            "cloud storage such as s3://, or /, as in /data/local-files/?d=clips/"
        )
    return url


def note_outside(paths: Sequence[Path], url: str | None) -> None:
    """Say of local files outside the current folder, if no --url was given, which address their tasks have.

    Args:
        paths: The files or folders that tasks name.
        url: What --url says.
    """
    from backend.labelstudio.addresses import is_in_document_root, local_file_address

    outside = [path for path in paths if not is_in_document_root(path)]
    if url is not None or not outside:
        return
    others = f" (and {len(outside) - 1} more)" if len(outside) > 1 else ""
    err.print(
        f"note: {outside[0]}{others} lies outside the current folder: its address in the task, "
        f"{local_file_address(outside[0])}, is right only if Label Studio's document root is the folder that holds it; "
        "else give --url",
        markup=False,
        soft_wrap=True,
    )
