"""Manifests: a row for each video in Parquet, CSV or JSON lines, all checked before any work begins.

A line or row that is malformed costs only itself.

Columns: `video` (a path relative to the manifest's folder, or a URL that fsspec or the fetcher knows), `expressions` (a
list, or text separated by `;`; `Car: the red one` has the label Car), and optionally `labels` (the same), `id` (unique)
and `prompts` (JSON, see `ManifestRow`).
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from backend.batch.manifest_file import COLUMNS, ManifestError, read_rows
from backend.labelstudio.addresses import redact_url
from refam.pipeline.types import FramePrompt, Target
from refam.text.labelled import NoWordsError, find_label, remove_number, split_label
from video.errors import Skipped

_PROMPT_FIELDS = {"object", "frame", "box", "points", "labels"}
_MAX_PROBLEMS = 5  # in one message


@dataclass(frozen=True)
class ManifestRow:
    """The objects to find in one video.

    Attributes:
        number: 1-based number of the row.
        id: The manifest's id of the row, or "".
        video: An absolute path or a URL.
        expressions: One for each object; empty if the prompts define all objects.
        labels: One for each object.
        prompts: A list of {object, frame, box, points, labels} as canonical JSON, with the fields of `FramePrompt` and
            a 0-based object; "" for none.
    """

    number: int
    id: str
    video: str
    expressions: tuple[str, ...]
    labels: tuple[str, ...]
    prompts: str = ""

    def __post_init__(self) -> None:
        if not self.video:
            raise ValueError("video is empty")
        if not self.labels:
            raise ValueError("expressions is empty, and so is prompts: say what to find")
        if self.expressions and len(self.expressions) != len(self.labels):
            raise ValueError(f"labels has {len(self.labels)} entries for {len(self.expressions)} expressions")
        self.targets()

    @property
    def key(self) -> str:
        """32 hexadecimal digits of a hash over everything but the number: the same for equal rows."""
        content = [self.id, self.video, self.expressions, self.labels, self.prompts]
        return hashlib.sha256(json.dumps(content, ensure_ascii=True).encode()).hexdigest()[:32]

    def targets(self) -> list[Target]:
        """Return the pipeline's targets. Raises ValueError if a prompt is malformed."""
        prompts: list[list[FramePrompt]] = [[] for _ in self.labels]
        for i, item in enumerate(json.loads(self.prompts) if self.prompts else []):
            try:
                number, prompt = _parse_prompt(item)
                if not 0 <= number < len(prompts):
                    raise ValueError(
                        f"there is no object {number}; they are counted from 0, and there are {len(prompts)}"
                    )
            except (TypeError, ValueError, KeyError) as error:
                raise ValueError(f"prompts, entry {i}: {error}") from None
            prompts[number].append(prompt)
        words = self.expressions or (None,) * len(self.labels)
        return [
            Target(label=label, words=word, prompts=tuple(object_prompts))
            for label, word, object_prompts in zip(self.labels, words, prompts, strict=True)
        ]

    def to_json(self) -> str:
        """Return the row as JSON, to be sent to a worker."""
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> ManifestRow:
        """Return the row of `to_json`."""
        content = json.loads(text)
        return cls(**{**content, "expressions": tuple(content["expressions"]), "labels": tuple(content["labels"])})


@dataclass(frozen=True)
class Manifest:
    """A manifest.

    Attributes:
        rows: Its rows without repetitions.
        repeated: Number of rows that equal an earlier one.
        unused: Columns that are ignored.
    """

    rows: tuple[ManifestRow, ...]
    repeated: int
    unused: tuple[str, ...]


def read_manifest(path: Path, *, skipped: Skipped = None) -> Manifest:
    """Read and check a manifest.

    Args:
        path: The file.
        skipped: If given, a bad row is left out, and a sentence that names it is appended here.

    Raises:
        ManifestError: If the file cannot be read or no row of it can be used. Without `skipped` also for one bad row;
            the message names the first ones.
    """
    rows: dict[str, ManifestRow] = {}
    ids: dict[str, ManifestRow] = {}
    schemes: dict[str, str | None] = {}
    problems: list[str] = []
    columns: set[str] = set()
    number = 0
    for number, content in enumerate(read_rows(path), start=1):
        try:
            if isinstance(content, str):
                raise ValueError(content)
            columns |= content.keys()
            row = _parse_row(number, content, path.parent)
            _check_scheme(row.video, schemes)
            if row.id and (first := ids.setdefault(row.id, row)).key != row.key:
                raise ValueError(f"id: {row.id!r} is row {first.number}'s too, which asks for something else")
        except ValueError as error:
            problems.append(f"{path}, row {number}: {error}")
            continue
        rows.setdefault(row.key, row)
    if number == 0:
        raise ManifestError(f"{path} has no rows")
    if columns and ("video" not in columns or not columns & {"expressions", "prompts"}):
        raise ManifestError(
            f"{path} has the columns {', '.join(sorted(columns))}; it needs video, and expressions or prompts"
        )
    if problems and (skipped is None or not rows):
        more = f"; and {len(problems) - _MAX_PROBLEMS} more rows" if len(problems) > _MAX_PROBLEMS else ""
        raise ManifestError("; ".join(problems[:_MAX_PROBLEMS]) + more)
    if skipped is not None:
        skipped += problems
    repeated = number - len(problems) - len(rows)
    return Manifest(tuple(rows.values()), repeated, tuple(sorted(columns - set(COLUMNS))))


def _parse_row(number: int, content: Mapping[str, Any], folder: Path) -> ManifestRow:
    video = content.get("video")
    if not isinstance(video, str) or not video.strip():
        raise ValueError(f"video: it must be a path or an address, not {video!r}")
    expressions = _parse_texts(content.get("expressions"), "expressions")
    expressions, labels = _split_labels(expressions, _parse_texts(content.get("labels"), "labels"))
    prompts = _canonical_prompts(content.get("prompts"))
    if not labels:
        labels = expressions or tuple(f"object {i}" for i in range(_count_objects(prompts)))
    row_id = content.get("id")
    if row_id is not None and not isinstance(row_id, (str, int)):
        raise ValueError(f"id: it must be text or a whole number, not {row_id!r}")
    return ManifestRow(
        number, "" if row_id is None else str(row_id), _absolute(video.strip(), folder), expressions, labels, prompts
    )


def _split_labels(expressions: tuple[str, ...], labels: tuple[str, ...]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Return expressions without the labels before them, and the labels, which the column overrules where it agrees.

    Raises:
        ValueError: If an expression has another label than its entry in the column, or no words behind its colon.
    """
    try:
        split = [split_label(text, labels) for text in expressions]
    except NoWordsError as error:
        raise ValueError(f"expressions: {error}") from None
    for (before, _), label in zip(split, labels, strict=False):
        if before and find_label(before, [label]) is None:
            raise ValueError(
                f"expressions: {before!r} stands before the colon, and labels says {label!r}; give one of both"
            )
    words = tuple(words for _, words in split)
    if not any(before for before, _ in split):
        return words, labels
    return _require_different(words), labels or tuple(remove_number(before) or text for before, text in split)


def _absolute(video: str, folder: Path) -> str:
    if "://" in video and not video.startswith("file://"):
        return video
    return str((folder / video.removeprefix("file://")).absolute())


def _parse_texts(value: Any, column: str) -> tuple[str, ...]:
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
    return _require_different(tuple(texts)) if column == "expressions" else tuple(texts)


def _require_different(expressions: tuple[str, ...]) -> tuple[str, ...]:
    if len(set(expressions)) < len(expressions):
        raise ValueError("expressions: one is there twice; two objects need words that tell them apart")
    return expressions


def _canonical_prompts(value: Any) -> str:
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


def _count_objects(prompts: str) -> int:
    """Return how many objects prompts describe: each has one or more, so that there are no more than prompts."""
    numbers = [item.get("object", 0) for item in json.loads(prompts or "[]") if isinstance(item, dict)]
    return min(len(numbers), 1 + max((n for n in numbers if isinstance(n, int)), default=-1))


def _check_scheme(video: str, known: dict[str, str | None]) -> None:
    """Raise ValueError if no file system is installed for the scheme of a URL; `known` caches the answers."""
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


def _parse_prompt(item: Any) -> tuple[int, FramePrompt]:
    if not isinstance(item, Mapping):
        raise ValueError(f'must be like {{"frame": 0, "box": [0.1, 0.2, 0.3, 0.4]}}, not {item!r}')
    if unknown := sorted(set(item) - _PROMPT_FIELDS):
        raise ValueError(f"has no field {unknown[0]!r}; there are {', '.join(sorted(_PROMPT_FIELDS))}")
    if not isinstance(item.get("frame"), int):
        raise ValueError(f"frame must be a whole number from 0, not {item.get('frame')!r}")
    points = tuple((float(x), float(y)) for x, y in item.get("points") or ())
    labels = tuple(int(v) for v in item.get("labels") or (1,) * len(points))
    box = None
    if item.get("box") is not None:
        x0, y0, x1, y1 = (float(v) for v in item["box"])
        box = (x0, y0, x1, y1)
    return int(item.get("object") or 0), FramePrompt(item["frame"], points=points, labels=labels, box=box)
