"""Check what --out names before any work is done: a folder, or an HTML page."""

from __future__ import annotations

from pathlib import Path

import typer

_PAGES = (".html", ".htm")
# Endings of files: a folder of such a name is a slip. A name such as "run-0.5" has none of them.
_FILES = (
    frozenset(
        (*_PAGES, ".txt", ".md", ".log", ".pdf", ".json", ".jsonl", ".ndjson", ".xml", ".yaml", ".yml", ".csv", ".tsv")
    )
    | frozenset(
        (".parquet", ".zip", ".tar", ".gz", ".tgz", ".png", ".jpg", ".jpeg", ".webp", ".gif", ".svg", ".bmp", ".tif")
    )
    | frozenset(
        (".mp4", ".m4v", ".webm", ".mov", ".mkv", ".avi", ".mpg", ".mpeg", ".ts", ".wmv", ".y4m", ".pt", ".pth")
    )
)


def output_folder(text: str) -> Path:
    """Return a folder to write to, as the parser of its option or argument; it need not exist.

    Raises:
        BadParameter: If it has no name, is a file, or has a file's name.
    """
    path = _named(text, "folder")
    if path.is_dir():
        return path
    if path.exists():
        raise typer.BadParameter(f"{path} is a file; name a folder")
    if path.suffix.lower() in _FILES:
        raise typer.BadParameter(f"{path} is a file's name; name a folder, such as {path.with_suffix('')}")
    if (parent := _file_above(path)) is not None:
        raise typer.BadParameter(f"{path} cannot be made: {parent} is a file")
    return path


def output_page(text: str) -> Path:
    """Return the HTML file to write, as the parser of its option; .html is added to a name without an ending.

    Raises:
        BadParameter: If it has no name, is a folder, or has another file's name.
    """
    path = _named(text, "file")
    if path.is_dir():
        raise typer.BadParameter(f"{path} is a folder; name a file, such as {path / 'page.html'}")
    ending = path.suffix.lower()
    if ending in _FILES and ending not in _PAGES:
        raise typer.BadParameter(f"an HTML page is written, not {path.suffix}: name it {path.with_suffix('.html')}")
    if (parent := _file_above(path)) is not None:
        raise typer.BadParameter(f"{path} cannot be made: {parent} is a file")
    return path if ending in _PAGES else path.with_name(path.name + ".html")


def _named(text: str, kind: str) -> Path:
    """Return the path of what somebody typed. An empty one would be the current folder, which is `.`."""
    if not text.strip():
        raise typer.BadParameter(f"the name is empty; name a {kind}")
    if text == "-":
        raise typer.BadParameter(f"nothing is written to the standard output; name a {kind} (./- if that is its name)")
    path = Path(text)
    try:
        path.stat()
    except (FileNotFoundError, NotADirectoryError):
        pass
    except OSError as error:  # a name that is too long, a folder without rights
        raise typer.BadParameter(f"{text}: {error.strerror}") from None
    return path


def _file_above(path: Path) -> Path | None:
    """Return the first of the folders above a path that is a file."""
    return next((parent for parent in path.parents if parent.exists() and not parent.is_dir()), None)
