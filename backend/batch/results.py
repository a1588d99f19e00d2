"""A folder of results: Parquet parts with exactly one row for each key, their summary, and their export.

OUT/parts/part-000001.parquet and so on are complete or absent; OUT/run.json says what the run is of. A row is done if
it is in a part, so that a run that was killed continues from them.
"""

from __future__ import annotations

import contextlib
import json
import os
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence, Set
from dataclasses import asdict, dataclass, field
from itertools import islice
from pathlib import Path, PurePosixPath
from typing import Any
from urllib.parse import unquote, urlsplit

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from backend.batch.manifest import ManifestRow
from backend.jobs.worker import try_lock
from backend.labelstudio.addresses import redact_url
from refam.pipeline.quality import Quality
from video.atomic_files import write_text
from video.errors import UserError
from video.formats.base import AnnotatedVideo, make_video, track_from_masks
from video.formats.registry import ExportFormat, format_module
from video.types import Rle

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
# status: done, nothing (the words were not found; `error` holds the reason) or error. seconds: wall time of all tries.
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
    """The folder of results cannot be used."""


@dataclass(frozen=True)
class ResultFolderInfo:
    """The content of run.json.

    Attributes:
        manifest: The manifest's path.
        rows: Number of its rows without repetitions.
        repeated: Number of rows that equal an earlier one.
        model_version: The models that make the results.
    """

    manifest: str
    rows: int
    repeated: int
    model_version: str


class ResultSink:
    """Collects results, ignores those it has already, and writes parts.

    Args:
        out: The folder of results.
        part_rows: A part is written when so many rows wait,
        part_bytes: or about so many bytes,
        part_s: or when the oldest has waited so many seconds.

    Attributes:
        done: The keys that have a result.
    """

    def __init__(self, out: Path, *, part_rows: int = 500, part_bytes: int = 64 << 20, part_s: float = 20.0) -> None:
        self._parts = out / "parts"
        self._part_rows, self._part_bytes, self._part_s = part_rows, part_bytes, part_s
        self._parts.mkdir(parents=True, exist_ok=True)
        for partial in self._parts.glob(".*.tmp"):
            partial.unlink()
        self.done = read_keys(out)
        self._waiting: list[dict[str, Any]] = []
        self._bytes, self._since = 0, 0.0
        self._next = 1 + max((int(p.stem.rpartition("-")[2]) for p in part_files(out)), default=0)

    def add(self, row: ManifestRow, fields: Mapping[str, Any], *, size: int = 0) -> bool:
        """Add a result and write a part if it is due.

        Args:
            row: The row of the manifest.
            fields: The fields of `SCHEMA` that do not come from the manifest.
            size: The approximate number of bytes.

        Returns:
            Whether the row had no result yet.

        Raises:
            OSError: If the part cannot be written.
        """
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
                "video": redact_url(row.video)
                if "://" in row.video or "?" in row.video
                else row.video,  # may be signed
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
        """Write the results that wait as a part. Raises OSError."""
        if not self._waiting:
            return
        write_part(self._parts / f"part-{self._next:06d}.parquet", pa.Table.from_pylist(self._waiting, schema=SCHEMA))
        self._next += 1
        self._waiting, self._bytes = [], 0


def write_part(path: Path, table: pa.Table) -> None:
    """Write a Parquet file so that it is complete or absent, even after a power failure. Raises OSError."""
    partial = path.with_name(f".{path.name}.tmp")
    try:
        pq.write_table(table, partial, compression="zstd")
        with partial.open("rb") as file:
            os.fsync(file.fileno())
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)  # of a disk that is full


def part_files(out: Path) -> list[Path]:
    """Return all parts in the order in which they were written."""
    return sorted((out / "parts").glob("part-*.parquet"))


def read_parts(out: Path, columns: Sequence[str]) -> Iterator[dict[str, Any]]:
    """Yield results with these columns, a few in memory at a time.

    Raises:
        ResultFolderError: If a part is damaged or of another format.
    """
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


def read_keys(out: Path) -> set[str]:
    """Return the keys that have a result."""
    return {item["key"] for item in read_parts(out, ["key"])}


def remove_errors(out: Path) -> int:
    """Remove results with the status error, so that their rows are tried again, and return how many."""
    removed = 0
    for path in part_files(out):
        if "error" not in set(pq.read_table(path, columns=["status"])["status"].to_pylist()):
            continue
        table = pq.read_table(path)
        kept = table.filter(pa.compute.not_equal(table["status"], "error"))
        removed += len(table) - len(kept)
        if len(kept):
            write_part(path, kept)
        else:
            path.unlink()
    return removed


@contextlib.contextmanager
def lock_folder(out: Path) -> Iterator[None]:
    """Make the folder and lock it against other runs; what is new of it is removed again if run.json was not written.

    Raises:
        ResultFolderError: If it is a file, or another run holds it.
        OSError: If it cannot be made.
    """
    if out.exists() and not out.is_dir():
        raise ResultFolderError(f"{out} is a file; --out names a folder")
    lock, parts = out / ".lock", out / "parts"
    made = [path for path in (lock, parts, out, *out.parents) if not path.exists()]
    try:
        out.mkdir(parents=True, exist_ok=True)
        with lock.open("a") as file:
            if not try_lock(file):
                made = []  # the other run's
                raise ResultFolderError(f"another `refam curate` is writing to {out}")
            parts.mkdir(exist_ok=True)  # before run.json: a disk that is full by now leaves neither
            yield
    finally:
        if not (out / "run.json").exists():
            for path in made:
                with contextlib.suppress(OSError):  # it could not be made, or holds something
                    path.unlink() if path == lock else path.rmdir()


def write_info(out: Path, info: ResultFolderInfo) -> None:
    """Write run.json. Raises ResultFolderError if the folder is full or holds results of other models."""
    before = read_info(out)
    if before is None and part_files(out):
        raise ResultFolderError(f"{out} holds parts, but no run.json that says what made them: choose another --out")
    if before is not None and before.model_version != info.model_version:
        options = describe_models(before.model_version, info.model_version)
        raise ResultFolderError(
            f"{out} holds results of {before.model_version}; now it would be {info.model_version}: "
            + (f"go on with {options}, or choose another --out" if options else "choose another --out")
        )
    try:
        write_text(out / "run.json", json.dumps(asdict(info), indent=1) + "\n")
    except OSError as error:
        raise ResultFolderError(f"{out} cannot be written to: {error.strerror}; what was in it is as it was") from error


def describe_models(wanted: str, now: str) -> str:
    """Return what to set so that the models are those of a version; "" where settings do not suffice.

    Args:
        wanted: The version, see `backend.runtime.model_version`.
        now: That of the settings in use.
    """
    try:
        (package, backbone, segmenter, tracker, quality), there = _split_version(wanted), _split_version(now)
    except ValueError:
        return ""
    name, other = (text.partition("@")[0] for text in (backbone, there[1]))
    if package != there[0] or (backbone != there[1] and name == other):
        return ""  # another release, other weights of that name, or calibrated since
    options = []
    if backbone != there[1]:
        options.append(f"REFAM_BACKBONE={name}")
    if segmenter != there[2]:
        options.append(f"--sam2 {segmenter}")
    elif tracker != there[3]:
        options.append(f"REFAM_TRACKER={tracker.removeprefix('dis-')}")
    if quality != there[4]:
        options.append(f"--quality {quality}")
    return " ".join(options)


def _split_version(version: str) -> tuple[str, str, str, str, str]:
    """Return package, backbone, segmenter, tracker and quality of a version. Raises ValueError for any other text."""
    package, backbone, segmenter, tracker = version.split("/")
    tracker, _, quality = tracker.partition(":")
    return package, backbone, segmenter, tracker, quality or str(Quality.NORMAL)


def has_results(out: Path, keys: Set[str], *, retry_errors: bool) -> bool:
    """Return whether all of these rows have a result that stays. Raises ResultFolderError.

    Args:
        out: The folder of results.
        keys: Of the rows.
        retry_errors: Whether errors are to be tried again.
    """
    results = read_parts(out, ["key", "status"])
    return keys <= {item["key"] for item in results if not (retry_errors and item["status"] == "error")}


def read_info(out: Path) -> ResultFolderInfo | None:
    """Read run.json; None for a new folder. Raises ResultFolderError if it is malformed."""
    path = out / "run.json"
    if not path.is_file():
        return None
    try:
        return ResultFolderInfo(**json.loads(path.read_text(encoding="utf-8")))
    except (ValueError, TypeError) as error:
        raise ResultFolderError(f"{path} cannot be read ({error})") from None


# --- summary ---------------------------------------------------------------------------------------------------------


@dataclass
class RunSummary:
    """The totals of a folder of results.

    Attributes:
        rows: Rows of the manifest.
        statuses: Number of results of each status.
        objects: Objects of the rows that are done; a plural may be several.
        video_s: Duration of all videos in seconds.
        seconds: Wall time of all rows.
        stages_s: Seconds in each stage.
        errors: Number of rows with each error message.
        failed: Number, video and error of each row that ended in an error.
        model_version: The models that made the results.
    """

    rows: int = 0
    statuses: Counter[str] = field(default_factory=Counter)
    objects: int = 0
    video_s: float = 0.0
    seconds: float = 0.0
    stages_s: Counter[str] = field(default_factory=Counter)
    errors: Counter[str] = field(default_factory=Counter)
    failed: list[tuple[int, str, str]] = field(default_factory=list)
    model_version: str = ""

    @property
    def finished(self) -> int:
        """Number of rows that have a result."""
        return sum(self.statuses.values())


def summarize_results(out: Path) -> RunSummary:
    """Sum up the parts without reading masks. Raises ResultFolderError."""
    info = read_info(out)
    summary = RunSummary(rows=info.rows if info else 0, model_version=info.model_version if info else "")
    columns = ["row", "video", "status", "error", "duration_s", "seconds", "stages_s", "objects.list.element.label"]
    for item in read_parts(out, columns):
        summary.statuses[item["status"]] += 1
        summary.objects += len(item["objects"] or ())
        summary.video_s += item["duration_s"] or 0.0
        summary.seconds += item["seconds"] or 0.0
        summary.stages_s.update(dict(item["stages_s"] or []))
        if item["status"] != "done":
            summary.errors[str(item["error"])] += 1
        if item["status"] == "error":
            summary.failed.append((item["row"], item["video"], str(item["error"])))
    return summary


# --- export ----------------------------------------------------------------------------------------------------------

_EXPORT_COLUMNS = ("row", "id", "video", "status", "width", "height", "times_s", "objects")
_VIDEOS_PER_FOLDER = 500  # all of them in memory


def export_results(out: Path, form: ExportFormat, *, progress: Callable[[int], None] = lambda done: None) -> list[Path]:
    """Write the found objects to OUT/exports/FORMAT/00000, 00001 and so on.

    Every folder is complete by itself: its categories are those of its own videos.

    Args:
        out: The folder of results.
        form: The format.
        progress: Called with the number of videos written so far.

    Returns:
        The folders written, in order.

    Raises:
        ResultFolderError: If a part is damaged.
        FormatError: If the format cannot hold the objects.
        OSError: If a file cannot be written.
    """
    module, options = format_module(form)
    videos = _read_videos(out)
    written: list[Path] = []
    while batch := list(islice(videos, _VIDEOS_PER_FOLDER)):
        folder = out / "exports" / form / f"{len(written):05d}"
        module.write({"all": batch}, folder, **options)
        written.append(folder)
        progress(_VIDEOS_PER_FOLDER * (len(written) - 1) + len(batch))
    return written


def _read_videos(out: Path) -> Iterator[AnnotatedVideo]:
    return (to_annotated_video(item) for item in read_parts(out, _EXPORT_COLUMNS) if item["status"] == "done")


def to_annotated_video(item: Mapping[str, Any]) -> AnnotatedVideo:
    """Convert a result for the formats. It is named by its id, else by its row and the name of the video's file."""
    size = (int(item["width"]), int(item["height"]))
    objects = []
    for one in item["objects"]:
        seen = zip(one["frames"], one["rles"], one["visible"], strict=True)
        found = track_from_masks(
            one["label"], {int(f): Rle(size, rle.encode("ascii")) for f, rle, there in seen if there}
        )
        if len(found.frames):
            objects.append(found)
    stem = PurePosixPath(unquote(urlsplit(item["video"]).path)).stem or "video"
    name = item["id"] or f"{item['row']:07d}-{stem}"
    return make_video(name, size, np.array(item["times_s"], np.float64), objects)
