"""Results for trainers, in any format that `refam export` knows, so many videos at a time: a folder each."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from itertools import islice
from pathlib import Path, PurePosixPath
from typing import Any
from urllib.parse import unquote, urlsplit

import numpy as np

from backend.batch.sink import read_parts
from video.formats.base import AnnotatedVideo, annotated, of_masks
from video.formats.registry import ExportFormat, format_module
from video.types import Rle

_COLUMNS = ("row", "id", "video", "status", "width", "height", "times_s", "objects")
_AT_ONCE = 500  # videos in one folder and in memory


def export(out: Path, form: ExportFormat, *, told: Callable[[int], None] = lambda done: None) -> list[Path]:
    """Writes OUT/exports/FORMAT/00000, 00001 and on -> these folders. Only what was found is in them.

    A folder stands alone: its categories are those of its own videos. Raises SinkError, FormatError, OSError.
    """
    module, options = format_module(form)
    videos = videos_of(out)
    written: list[Path] = []
    while some := list(islice(videos, _AT_ONCE)):
        folder = out / "exports" / form / f"{len(written):05d}"
        module.write({"all": some}, folder, **options)
        written.append(folder)
        told(_AT_ONCE * (len(written) - 1) + len(some))
    return written


def videos_of(out: Path) -> Iterator[AnnotatedVideo]:
    """All that was found, one after another."""
    return (video_of(item) for item in read_parts(out, _COLUMNS) if item["status"] == "done")


def video_of(item: Mapping[str, Any]) -> AnnotatedVideo:
    """A result as every format can tell it. Named by its id, else by its row and the video's own name."""
    size = (int(item["width"]), int(item["height"]))
    objects = []
    for one in item["objects"]:
        seen = zip(one["frames"], one["rles"], one["visible"], strict=True)
        found = of_masks(one["label"], {int(f): Rle(size, rle.encode("ascii")) for f, rle, there in seen if there})
        if len(found.frames):
            objects.append(found)
    stem = PurePosixPath(unquote(urlsplit(item["video"]).path)).stem or "video"
    name = item["id"] or f"{item['row']:07d}-{stem}"
    return annotated(name, size, np.array(item["times_s"], np.float64), objects)
