"""The formats by name, as `refam export`, `refam import` and `refam curate --export` offer them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from types import ModuleType
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from pathlib import Path

    from video.errors import Skipped
    from video.formats.base import AnnotatedVideo
    from video.formats.frame_numbers import LengthOf

ExportFormat = Literal["coco", "coco-polygons", "youtube-vis", "davis", "mots", "yolo", "cvat"]
ImportFormat = Literal["coco", "youtube-vis", "davis", "mots", "cvat"]


_WITH_ATTRIBUTES = ("coco", "coco-polygons", "youtube-vis", "cvat")


def describe_lost_attributes(name: str, videos: Iterable[AnnotatedVideo]) -> str | None:
    """Return a sentence about the labels and choices that a format has no place for; None if none are lost.

    Args:
        name: One of `ExportFormat`.
        videos: What is written.
    """
    if name in _WITH_ATTRIBUTES:
        return None
    counts = Counter(question for video in videos for one in video.objects for question in one.attributes)
    if not counts:
        return None
    lost = ", ".join(
        f"the labels behind the first of {n} object(s)" if question == "labels" else f"{question!r} of {n} object(s)"
        for question, n in counts.items()
    )
    return f"{name} has no attributes, so this is left out: {lost}; {', '.join(_WITH_ATTRIBUTES)} have them"


def read_videos(
    name: ImportFormat, path: Path, *, skipped: Skipped = None, length_of: LengthOf | None = None
) -> list[AnnotatedVideo]:
    """Read the annotated videos of a file or folder.

    Args:
        name: The format.
        path: The file or folder.
        skipped: See `leave_out`.
        length_of: See `check_frame_count`; for the formats that tell of frames without listing them.

    Raises:
        FormatError: If it is invalid.
    """
    from video.formats import coco, cvat, davis, mots, youtube_vis

    if name == "mots":
        return mots.read(path, skipped=skipped, length_of=length_of)
    if name == "cvat":
        return cvat.read(path, skipped=skipped, length_of=length_of)
    return {"coco": coco, "youtube-vis": youtube_vis, "davis": davis}[name].read(path, skipped=skipped)


def format_module(name: str) -> tuple[ModuleType, dict[str, Any]]:
    """Return the module that writes a format, and the keyword arguments of its `write`.

    Args:
        name: One of `ExportFormat`.

    Raises:
        KeyError: For any other name.
    """
    from video.formats import coco, cvat, davis, mots, yolo, youtube_vis

    modules: dict[str, tuple[ModuleType, dict[str, Any]]] = {
        "coco": (coco, {}),
        "coco-polygons": (coco, {"shape": "polygons"}),
        "youtube-vis": (youtube_vis, {}),
        "davis": (davis, {}),
        "mots": (mots, {}),
        "yolo": (yolo, {}),
        "cvat": (cvat, {}),
    }
    return modules[name]
