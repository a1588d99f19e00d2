"""Results in a folder: Parquet parts that are whole or not there, exactly one row for each key.

OUT/parts/part-000001.parquet and on; OUT/run.json says what the run is of. Nothing else remembers: what is in the parts
is done, so a run that was killed goes on from them.
"""

from __future__ import annotations

import contextlib
import json
import os
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from backend.batch.rows import ManifestRow
from backend.jobs.worker import try_lock
from backend.media.network_policy import redact_url
from video.errors import UserError

FORMAT = "1"
_F, _I, _T = pa.float64(), pa.int32(), pa.string()
_KEYFRAME = pa.struct(
    [("frame", _I), ("time_s", _F), ("box", pa.list_(_F)), ("enabled", pa.bool_()), ("score", _F)],
)
_OBJECT = pa.struct(
    [
        ("label", _T),
        ("words", _T),
        ("score", _F),
        ("anchor", _I),
        ("notes", pa.list_(_T)),
        ("keyframes", pa.list_(_KEYFRAME)),
        ("frames", pa.list_(_I)),
        ("boxes", pa.list_(pa.list_(pa.float32()))),
        ("scores", pa.list_(pa.float32())),
        ("visible", pa.list_(pa.bool_())),
        ("rles", pa.list_(_T)),
    ]
)
# status: done; nothing (the words were not found, error says why); error. seconds: of wall time, failed tries included.
SCHEMA = pa.schema(
    [
        ("key", _T),
        ("row", pa.int64()),
        ("id", _T),
        ("video", _T),
        ("expressions", pa.list_(_T)),
        ("labels", pa.list_(_T)),
        ("status", _T),
        ("error", _T),
        ("tries", _I),
        ("width", _I),
        ("height", _I),
        ("frames", _I),
        ("duration_s", _F),
        ("times_s", pa.list_(_F)),
        ("objects", pa.list_(_OBJECT)),
        ("model_version", _T),
        ("stages_s", pa.map_(_T, _F)),
        ("seconds", _F),
        ("node", _T),
    ],
    metadata={"refam.curate.format": FORMAT},
)


class ResultFolderError(UserError):
    """The folder of results cannot be used; the message says what would be right."""


@dataclass(frozen=True)
class ResultFolderInfo:
    """What a folder of results is of. rows: that differ in the manifest; repeated: that said the same as another."""

    manifest: str
    rows: int
    repeated: int
    model_version: str


class ResultSink:
    """Takes results one by one, drops what it has already, and writes a part when there is enough or it is time."""

    def __init__(self, out: Path, *, part_rows: int = 500, part_bytes: int = 64 << 20, part_s: float = 20.0) -> None:
        self._parts = out / "parts"
        self._part_rows, self._part_bytes, self._part_s = part_rows, part_bytes, part_s
        self._parts.mkdir(parents=True, exist_ok=True)
        for half in self._parts.glob(".*.tmp"):
            half.unlink()
        self.done = keys_of(out)
        self._waiting: list[dict[str, Any]] = []
        self._bytes, self._since = 0, 0.0
        self._next = 1 + max((int(p.stem.rpartition("-")[2]) for p in part_files(out)), default=0)

    def take(self, row: ManifestRow, fields: Mapping[str, Any], *, size: int = 0) -> bool:
        """Whether it was new. fields: of SCHEMA, those that the row does not say; size: about so many bytes."""
        if row.key in self.done:
            return False
        self.done.add(row.key)
        if not self._waiting:
            self._since = time.monotonic()
        self._waiting.append(
            {
                "key": row.key,
                "row": row.number,
                "id": row.id,
                "video": redact_url(row.video) if "://" in row.video else row.video,  # addresses may be signed
                "expressions": list(row.expressions),
                "labels": list(row.labels),
                **fields,
                "stages_s": list(fields.get("stages_s", {}).items()),
            }
        )
        self._bytes += size
        late = time.monotonic() - self._since >= self._part_s
        if late or len(self._waiting) >= self._part_rows or self._bytes >= self._part_bytes:
            self.flush()
        return True

    def flush(self) -> None:
        """Writes what waits. Raises OSError."""
        if not self._waiting:
            return
        write_part(self._parts / f"part-{self._next:06d}.parquet", pa.Table.from_pylist(self._waiting, schema=SCHEMA))
        self._next += 1
        self._waiting, self._bytes = [], 0


def write_part(path: Path, table: pa.Table) -> None:
    """A Parquet file that is whole or not there, also after a power cut."""
    half = path.with_name(f".{path.name}.tmp")
    pq.write_table(table, half, compression="zstd")
    with half.open("rb") as file:
        os.fsync(file.fileno())
    half.replace(path)


def part_files(out: Path) -> list[Path]:
    """All parts, in the order in which they were written."""
    return sorted((out / "parts").glob("part-*.parquet"))


def read_parts(out: Path, columns: Sequence[str]) -> Iterator[dict[str, Any]]:
    """Results, a few in memory at a time. Raises ResultFolderError for a part that is damaged or of another format."""
    for path in part_files(out):
        try:
            with pq.ParquetFile(path) as file:
                if (file.schema_arrow.metadata or {}).get(b"refam.curate.format") != FORMAT.encode():
                    raise ResultFolderError(f"{path} is not from this version of `refam curate`: choose another --out")
                for batch in file.iter_batches(batch_size=16, columns=list(columns)):
                    yield from batch.to_pylist()
        except (pa.ArrowException, OSError) as error:
            raise ResultFolderError(
                f"{path} is damaged: delete it, and its rows are computed again ({error})"
            ) from None


def keys_of(out: Path) -> set[str]:
    """The keys that have a result."""
    return {item["key"] for item in read_parts(out, ["key"])}


def forget_errors(out: Path) -> int:
    """Takes results with status error out of the parts, so that they are tried again; says how many."""
    forgotten = 0
    for path in part_files(out):
        if "error" not in set(pq.read_table(path, columns=["status"])["status"].to_pylist()):
            continue
        table = pq.read_table(path)
        kept = table.filter(pa.compute.not_equal(table["status"], "error"))
        forgotten += len(table) - len(kept)
        if len(kept):
            write_part(path, kept)
        else:
            path.unlink()
    return forgotten


@contextlib.contextmanager
def only_one(out: Path) -> Iterator[None]:
    """Two runs may not write one folder. Raises ResultFolderError."""
    if out.exists() and not out.is_dir():
        raise ResultFolderError(f"{out} is a file; --out names a folder")
    out.mkdir(parents=True, exist_ok=True)
    with (out / ".lock").open("a") as file:
        if not try_lock(file):
            raise ResultFolderError(f"another `refam curate` is writing to {out}")
        yield


def claim(out: Path, about: ResultFolderInfo) -> None:
    """Notes what the folder is of. Raises ResultFolderError where its results were made by other models."""
    before = about_of(out)
    if before is None and part_files(out):
        raise ResultFolderError(f"{out} holds parts, but no run.json that says what made them: choose another --out")
    if before is not None and before.model_version != about.model_version:
        raise ResultFolderError(
            f"{out} holds results of {before.model_version}; now it would be {about.model_version}: choose another "
            "--out, or set up the models as they were"
        )
    half = out / ".run.json.tmp"
    half.write_text(json.dumps(asdict(about), indent=1) + "\n", encoding="utf-8")
    half.replace(out / "run.json")


def about_of(out: Path) -> ResultFolderInfo | None:
    """What a folder is of; None for a new one. Raises ResultFolderError."""
    path = out / "run.json"
    if not path.is_file():
        return None
    try:
        return ResultFolderInfo(**json.loads(path.read_text(encoding="utf-8")))
    except (ValueError, TypeError) as error:
        raise ResultFolderError(f"{path} cannot be read ({error})") from None
