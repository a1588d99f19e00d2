"""A whole run: what is to be done, done and kept; and what a folder of results holds."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from backend.batch.actors import WorkerPlan, cluster, results
from backend.batch.manifest import Manifest
from backend.batch.sink import ResultFolderInfo, ResultSink, about_of, claim, forget_errors, only_one, read_parts


@dataclass
class RunSummary:
    """What a folder of results holds. stages_s: seconds in each stage; video_s: of film; both of all clips."""

    rows: int = 0
    statuses: Counter[str] = field(default_factory=Counter)
    objects: int = 0
    video_s: float = 0.0
    seconds: float = 0.0
    stages_s: Counter[str] = field(default_factory=Counter)
    errors: Counter[str] = field(default_factory=Counter)
    model_version: str = ""

    @property
    def finished(self) -> int:
        """Rows that have a result."""
        return sum(self.statuses.values())


def run(
    manifest: Manifest,
    source: str,
    out: Path,
    *,
    crew: WorkerPlan,
    settings: Mapping[str, Any],
    model_version: str,
    address: str | None = None,
    retry_errors: bool = False,
    part_s: float = 20.0,
    progress: Callable[[int, int, int], None] = lambda done, failed, of: None,
) -> None:
    """Does what has no result yet. part_s: after so long what is done is written, even if little:
    a driver that is killed loses no more. progress: told (rows done, of them with an error now, rows in all).

    Raises SinkError, WorkersError, OSError.
    """
    with only_one(out):
        claim(out, ResultFolderInfo(source, len(manifest.rows), manifest.repeated, model_version))
        if retry_errors:
            forget_errors(out)
        sink = ResultSink(out, part_s=part_s)
        by_key = {row.key: row for row in manifest.rows}
        todo = [row for row in manifest.rows if row.key not in sink.done]
        done, failed = len(by_key) - len(todo), 0
        progress(done, failed, len(by_key))
        if not todo:
            return
        with cluster(address) as resources:
            try:
                for key, text in results(todo, crew, settings, resources):
                    fields = json.loads(text)
                    if sink.take(by_key[key], fields, size=len(text)):
                        done, failed = done + 1, failed + (fields["status"] == "error")
                        progress(done, failed, len(by_key))
            finally:
                sink.flush()


def standing(out: Path) -> RunSummary:
    """Reads the parts, without masks. Raises SinkError."""
    about = about_of(out)
    found = RunSummary(rows=about.rows if about else 0, model_version=about.model_version if about else "")
    columns = ["status", "error", "duration_s", "seconds", "stages_s", "labels"]
    for item in read_parts(out, columns):
        found.statuses[item["status"]] += 1
        found.objects += len(item["labels"]) if item["status"] == "done" else 0
        found.video_s += item["duration_s"] or 0.0
        found.seconds += item["seconds"] or 0.0
        found.stages_s.update(dict(item["stages_s"] or []))
        if item["status"] != "done":
            found.errors[str(item["error"])] += 1
    return found
