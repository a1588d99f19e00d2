"""What can be exported: folders of `refam label` and Label Studio's JSON exports, and the video files they speak of."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

import numpy as np

from video.formats.base import AnnotatedVideo, FormatError, annotated, field, of_masks, read_json
from video.formats.coco import rle_of

_UPLOAD = re.compile(r"^[0-9a-f]{8}-")  # what Label Studio puts before the names of uploaded files
_NOT_KEPT = re.compile(r"[^-\w.]")  # in these names, in which a space becomes "_" (Django's get_valid_filename)


@dataclass(frozen=True)
class LoadedVideo:
    """An annotated video with where it came from.

    origin: the video file's name or the task: what has the same origin is never divided by a split. media: the file, if
    it was looked for.
    """

    video: AnnotatedVideo
    origin: str
    media: Path | None = None


class VideoFolder:
    """Video files below a folder, found by the addresses that tasks name them by."""

    def __init__(self, folder: Path) -> None:
        if not folder.is_dir():
            raise FormatError(f"--videos {folder} is no folder")
        self._folder = folder
        self._by_name: dict[str, list[Path]] = defaultdict(list)
        self._by_upload: dict[str, list[Path]] = defaultdict(list)
        for path in sorted(folder.rglob("*")):
            if path.is_file():
                self._by_name[path.name].append(path)
                self._by_upload[_NOT_KEPT.sub("", path.name.strip().replace(" ", "_"))].append(path)

    def find(self, address: str) -> Path:
        """The file of an address, by its name, with or without what Label Studio does to names of uploads.

        Of several files of one name the one whose folders fit the address's is taken. Raises FormatError.
        """
        parts = address_parts(address)
        plain = _UPLOAD.sub("", parts[-1])
        found = self._by_name.get(parts[-1]) or self._by_name.get(plain) or self._by_upload.get(plain) or []
        best = [path for path in found if path.parts[-len(parts) :] == parts] or found
        if not best:
            raise FormatError(f"{address}: there is no {parts[-1]} below --videos {self._folder}")
        if len(best) > 1:
            raise FormatError(f"{address}: it could be {best[0]} or {best[1]}; leave one of them below --videos")
        return best[0]


def address_parts(address: str) -> tuple[str, ...]:
    """The folders and the name of a file in an address: of `/data/local-files/?d=a/b%20c.mp4`, a and "b c.mp4"."""
    parts = urlsplit(address)
    inside = parse_qs(parts.query).get("d", [unquote(parts.path)])[0]
    names = PurePosixPath(inside).parts
    if not names or names[-1] in ("/", ".."):
        raise FormatError(f"{address!r} names no file")
    return tuple(name for name in names if name != "/")


def video_stem(address: str) -> str:
    """The name of a video without folders, ending and upload prefix."""
    return PurePosixPath(_UPLOAD.sub("", address_parts(address)[-1])).stem or "video"


def find_tracks_files(source: Path) -> list[Path]:
    """tracks.json itself, in a folder, or in folders below it."""
    if source.is_file():
        return [source]
    own = source / "tracks.json"
    found = [own] if own.is_file() else sorted(source.rglob("tracks.json"))
    if not found:
        raise FormatError(f"{source} holds no tracks.json: it is not from `refam label`")
    return found


def read_tracks(path: Path, *, videos: VideoFolder | None = None) -> LoadedVideo:
    """A tracks.json, with masks. Raises FormatError."""
    content = read_json(path)
    about = field(content, "video", dict, str(path))
    name = field(about, "name", str, f"{path}: video")
    size = (field(about, "width", int, f"{path}: video"), field(about, "height", int, f"{path}: video"))
    times: dict[int, float] = {}
    objects = []
    for item in field(content, "objects", list, str(path)):
        where = f"{path}: object {item.get('object')}"
        rows = field(item, "frames", list, where)
        times |= {field(r, "frame", int, where): float(field(r, "time_s", (int, float), where)) for r in rows}
        seen = {r["frame"]: rle_of(field(r, "mask", dict, where), size, where) for r in rows if r.get("visible")}
        keys = tuple(k["frame"] for k in item.get("keyframes", []) if k["frame"] in seen)
        objects.append(replace(of_masks(field(item, "label", str, where), seen), keyframes=keys))
    n = field(about, "frames", int, f"{path}: video")
    if sorted(times) != list(range(n)):
        raise FormatError(f"{path}: the video has {n} frames, and the times of {len(times)} are told")
    shown = np.array([times[i] for i in range(n)], np.float64)
    video = annotated(video_stem(name), size, shown, [o for o in objects if len(o.frames)])
    return LoadedVideo(video, name, videos.find(name) if videos else None)


def rename_duplicates(loaded: Sequence[LoadedVideo]) -> list[LoadedVideo]:
    """Each with a name of its own: the second "clip" becomes "clip-2"."""
    taken: set[str] = set()
    out = []
    for one in loaded:
        name, number = one.video.name, 1
        while name in taken:
            number += 1
            name = f"{one.video.name}-{number}"
        taken.add(name)
        old = one.video.name
        pictures = tuple(name + p.removeprefix(old) if p.startswith(old + "/") else p for p in one.video.pictures)
        out.append(replace(one, video=replace(one.video, name=name, pictures=pictures)))
    return out


def is_label_studio_export(source: Path) -> bool:
    """Whether a file is a list of tasks rather than a tracks.json."""
    return source.is_file() and isinstance(read_json(source), list)


def submitted_annotation(task: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """The annotation that counts: ground truth before others, then the newest; skipped ones do not."""
    found = [a for a in task.get("annotations") or [] if isinstance(a, Mapping) and not a.get("was_cancelled")]
    return max(found, key=lambda a: (bool(a.get("ground_truth")), str(a.get("updated_at"))), default=None)
