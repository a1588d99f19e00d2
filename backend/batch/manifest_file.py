"""The rows of a manifest's file: Parquet, CSV or JSON lines. A line that is malformed costs only itself."""

from __future__ import annotations

import csv
import json
from collections import deque
from collections.abc import Iterator, Mapping
from itertools import zip_longest
from pathlib import Path
from typing import Any, TextIO

from video.errors import UserError

COLUMNS = ("video", "expressions", "labels", "id", "prompts")


class ManifestError(UserError):
    """The manifest cannot be used; the message names file, row and column."""


def read_rows(path: Path) -> Iterator[Mapping[str, Any] | str]:
    """Yield the content of each row, or what is wrong with it.

    Raises:
        ManifestError: If the file as a whole cannot be read.
    """
    readers = {".parquet": _read_parquet, ".csv": _read_csv, ".jsonl": _read_json_lines, ".ndjson": _read_json_lines}
    read = readers.get(path.suffix.lower())
    if read is None:
        raise ManifestError(
            f"{path}: a manifest is a .parquet, .csv or .jsonl file with the columns video and expressions, a row for "
            "each video; `refam label` takes videos and folders of them without one"
        )
    if not path.is_file():
        raise ManifestError(f"there is no file {path}")
    yield from read(path)


class _Lines:
    """The lines of a file; those that were read since the last `mark`, but the first, can be read again."""

    def __init__(self, file: TextIO) -> None:
        self._file = file
        self._waiting: deque[str] = deque()
        self._read: list[str] = []

    def __iter__(self) -> Iterator[str]:
        return self

    def __next__(self) -> str:
        line = self._waiting.popleft() if self._waiting else self._file.readline()
        if not line:
            raise StopIteration
        self._read.append(line)
        return line

    def mark(self) -> None:
        self._read = []

    def back_to_second(self) -> None:
        self._waiting.extendleft(reversed(self._read[1:]))


def _read_csv(path: Path) -> Iterator[Mapping[str, Any] | str]:
    with _open_text(path) as file:
        lines = _Lines(file)
        reader = csv.reader(lines, strict=True)
        try:
            names = next(reader, [])
        except csv.Error as error:
            raise ManifestError(f"{path} cannot be read as CSV: {error}") from None
        if not all(map(_is_utf8, names)):
            raise ManifestError(f"{path} is not UTF-8")
        while True:
            lines.mark()
            try:
                cells = next(reader)
            except StopIteration:
                return
            except csv.Error as error:  # such as a quotation mark that nothing closes: the next lines are rows again
                lines.back_to_second()
                yield f"it cannot be read as CSV: {error}"
                continue
            if not cells:
                continue
            if len(cells) > len(names):
                yield f"it has more than the {len(names)} columns of the first line"
            elif not all(map(_is_utf8, cells)):
                yield "it is not UTF-8"
            else:
                yield dict(zip_longest(names, cells))


def _read_json_lines(path: Path) -> Iterator[Mapping[str, Any] | str]:
    with _open_text(path) as file:
        for line in file:
            if not line.strip():
                continue
            if not _is_utf8(line):
                yield "it is not UTF-8"
                continue
            try:
                content = json.loads(line)
            except (ValueError, RecursionError) as error:
                yield f"it is no JSON: {error}"
                continue
            yield (
                content if isinstance(content, dict) else f"it must be an object with the fields {', '.join(COLUMNS)}"
            )


def _open_text(path: Path) -> TextIO:
    """Open a text whose bytes that are no UTF-8 become surrogates, so that they cost only their line."""
    return path.open(encoding="utf-8-sig", errors="surrogateescape", newline="")


def _is_utf8(text: str) -> bool:
    return not any("\udc80" <= character <= "\udcff" for character in text)


def _read_parquet(path: Path) -> Iterator[Mapping[str, Any] | str]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        for batch in pq.ParquetFile(path).iter_batches(batch_size=1024):
            yield from batch.to_pylist()
    except pa.ArrowException as error:
        raise ManifestError(f"{path} cannot be read as Parquet: {error}") from None
