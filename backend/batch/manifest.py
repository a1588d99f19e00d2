"""A manifest in Parquet, CSV or JSON lines -> rows that were checked before any work begins.

Columns: video (a path, relative to the manifest's folder, or a URL that fsspec or our fetcher knows), expressions (a
list, or text with `;` between them), and optional labels (the same), id (unique) and prompts (JSON; see Row).
"""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from backend.batch.rows import ManifestRow
from backend.media.network_policy import redact_url
from video.errors import UserError

_COLUMNS = ("video", "expressions", "labels", "id", "prompts")
_MOST_TOLD = 5  # problems in one message


class ManifestError(UserError):
    """The manifest cannot be used; a sentence that names file, row and column."""


@dataclass(frozen=True)
class Manifest:
    """Rows that differ. repeated: how many said the same as an earlier one. unused: columns that nothing reads."""

    rows: tuple[ManifestRow, ...]
    repeated: int
    unused: tuple[str, ...]


def read_manifest(path: Path) -> Manifest:
    """Every row checked. Raises ManifestError, which names the first problems of all rows."""
    rows: dict[str, ManifestRow] = {}
    ids: dict[str, ManifestRow] = {}
    schemes: dict[str, str | None] = {}
    problems: list[str] = []
    columns: set[str] = set()
    number = 0
    for number, content in enumerate(_contents(path), start=1):
        columns |= content.keys()
        try:
            row = _row(number, content, path.parent)
            _check_scheme(row.video, schemes)
            if row.id and (first := ids.setdefault(row.id, row)).key != row.key:
                raise ValueError(f"id: {row.id!r} is row {first.number}'s too, which asks for something else")
        except ValueError as error:
            problems.append(f"{path}, row {number}: {error}")
            continue
        rows.setdefault(row.key, row)
    if number == 0:
        raise ManifestError(f"{path} has no rows")
    if "video" not in columns or not columns & {"expressions", "prompts"}:
        raise ManifestError(
            f"{path} has the columns {', '.join(sorted(columns)) or 'none'}; it needs video, and expressions or prompts"
        )
    if problems:
        more = f"; and {len(problems) - _MOST_TOLD} more rows" if len(problems) > _MOST_TOLD else ""
        raise ManifestError("; ".join(problems[:_MOST_TOLD]) + more)
    return Manifest(tuple(rows.values()), number - len(rows), tuple(sorted(columns - set(_COLUMNS))))


def _contents(path: Path) -> Iterator[Mapping[str, Any]]:
    readers = {".parquet": _parquet, ".csv": _csv, ".jsonl": _json_lines, ".ndjson": _json_lines}
    read = readers.get(path.suffix.lower())
    if read is None:
        raise ManifestError(f"{path}: a manifest is a .parquet, .csv or .jsonl file")
    if not path.is_file():
        raise ManifestError(f"there is no file {path}")
    try:
        yield from read(path)
    except UnicodeDecodeError as error:
        raise ManifestError(f"{path} is not UTF-8: {error}") from None
    except csv.Error as error:
        raise ManifestError(f"{path} cannot be read as CSV: {error}") from None


def _csv(path: Path) -> Iterator[Mapping[str, Any]]:
    with path.open(encoding="utf-8-sig", newline="") as file:
        reader = csv.DictReader(file, strict=True)
        for number, content in enumerate(reader, start=1):
            if None in content:
                n = len(reader.fieldnames or ())
                raise ManifestError(f"{path}, row {number}: it has more than the {n} columns of the first line")
            yield content


def _json_lines(path: Path) -> Iterator[Mapping[str, Any]]:
    with path.open(encoding="utf-8-sig") as file:
        for number, line in enumerate((text for text in file if text.strip()), start=1):
            try:
                content = json.loads(line)
            except ValueError as error:
                raise ManifestError(f"{path}, row {number}: it is no JSON: {error}") from None
            if not isinstance(content, dict):
                raise ManifestError(f"{path}, row {number}: it must be an object with the fields {', '.join(_COLUMNS)}")
            yield content


def _parquet(path: Path) -> Iterator[Mapping[str, Any]]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        for batch in pq.ParquetFile(path).iter_batches(batch_size=1024):
            yield from batch.to_pylist()
    except pa.ArrowException as error:
        raise ManifestError(f"{path} cannot be read as Parquet: {error}") from None


def _row(number: int, content: Mapping[str, Any], folder: Path) -> ManifestRow:
    video = content.get("video")
    if not isinstance(video, str) or not video.strip():
        raise ValueError(f"video: it must be a path or an address, not {video!r}")
    expressions = _texts(content.get("expressions"), "expressions")
    labels = _texts(content.get("labels"), "labels")
    prompts = _prompts(content.get("prompts"))
    if not labels:
        labels = expressions or tuple(f"object {i}" for i in range(_objects(prompts)))
    own = content.get("id")
    if own is not None and not isinstance(own, (str, int)):
        raise ValueError(f"id: it must be text or a whole number, not {own!r}")
    return ManifestRow(
        number, "" if own is None else str(own), _placed(video.strip(), folder), expressions, labels, prompts
    )


def _placed(video: str, folder: Path) -> str:
    if "://" in video and not video.startswith("file://"):
        return video
    return str((folder / video.removeprefix("file://")).absolute())


def _texts(value: Any, column: str) -> tuple[str, ...]:
    if value is None:
        return ()
    parts = value.split(";") if isinstance(value, str) else value
    if not isinstance(parts, list) or not all(isinstance(part, str) for part in parts):
        raise ValueError(f"{column}: it must be a list of texts, or text with ; between them, not {value!r}")
    texts = [" ".join(part.split()) for part in parts]
    if isinstance(value, str):
        texts = [text for text in texts if text]
    if not all(texts):
        raise ValueError(f"{column}: one of them is empty")
    if column == "expressions" and len(set(texts)) < len(texts):
        raise ValueError(f"{column}: one is there twice; two objects need words that tell them apart")
    return tuple(texts)


def _prompts(value: Any) -> str:
    if value is None or value == "" or value == []:
        return ""
    if isinstance(value, str):
        try:
            value = json.loads(value)
        except ValueError as error:
            raise ValueError(f"prompts: it is no JSON: {error}") from None
    if not isinstance(value, list):
        raise ValueError(
            f'prompts: it must be a list such as [{{"frame": 0, "box": [0.1, 0.2, 0.3, 0.4]}}], not {value!r}'
        )
    kept = [{k: v for k, v in item.items() if v is not None} if isinstance(item, dict) else item for item in value]
    return json.dumps(kept, sort_keys=True)


def _objects(prompts: str) -> int:
    numbers = [item.get("object", 0) for item in json.loads(prompts or "[]") if isinstance(item, dict)]
    return 1 + max((n for n in numbers if isinstance(n, int)), default=-1) if numbers else 0


def _check_scheme(video: str, known: dict[str, str | None]) -> None:
    """A scheme that cannot be read here would fail in every row."""
    scheme = urlsplit(video).scheme if "://" in video else ""
    if scheme in ("", "http", "https"):
        return
    if scheme not in known:
        import fsspec

        try:
            fsspec.get_filesystem_class(scheme)
            known[scheme] = None
        except (ImportError, ValueError) as error:
            known[scheme] = str(error)
    if known[scheme] is not None:
        raise ValueError(f"video: {redact_url(video)} cannot be read: {known[scheme]}")
