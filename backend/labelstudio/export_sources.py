"""Sources of an export: `tracks.json` files of `refam label`, Label Studio's JSON exports, and their video files."""

from __future__ import annotations

import itertools
import re
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from backend.labelstudio.addresses import UPLOAD_PREFIX, address_parts, redact_url, video_stem
from backend.labelstudio.regions import annotation_age
from video.formats.base import AnnotatedVideo, FormatError, get_field, make_video, read_json, track_from_masks
from video.formats.coco import parse_segmentation
from video.formats.values import get_size, read_times
from video.io.file_names import PICTURES

# What Label Studio leaves out of names of uploads, after turning spaces into "_" (Django's get_valid_filename).
_DROPPED_CHARACTERS = re.compile(r"[^-\w.]")


@dataclass(frozen=True)
class LoadedVideo:
    """An annotated video and where it came from.

    Attributes:
        video: The video with its objects.
        origin: The video file's name, or the task. Videos of one origin all go to one part of a split.
        media: The video file or folder of pictures, None if it was not looked for or is not where it was.
    """

    video: AnnotatedVideo
    origin: str
    media: Path | None = None


class SeveralFilesError(FormatError):
    """Several files may be meant by one address."""


class VideoFolder:
    """Video files below a folder, found by the addresses that tasks name them by.

    Args:
        folder: The folder, which is searched with its subfolders.

    Raises:
        FormatError: If it is no folder.
    """

    def __init__(self, folder: Path) -> None:
        if not folder.is_dir():
            raise FormatError(f"--videos {folder} is no folder")
        self._folder = folder
        self._by_name: dict[str, list[Path]] = defaultdict(list)
        self._by_upload: dict[str, list[Path]] = defaultdict(list)
        self._folders: dict[str, list[Path]] = defaultdict(list)
        for path in sorted(folder.rglob("*")):
            if path.is_dir():
                self._folders[path.name].append(path)
            elif path.is_file():
                self._by_name[path.name].append(path)
                self._by_upload[_DROPPED_CHARACTERS.sub("", path.name.strip().replace(" ", "_"))].append(path)

    def inside(self, path: Path) -> str:
        """Return a file's path within the folder, with slashes."""
        return path.relative_to(self._folder).as_posix()

    def describe_missing(self, name: str) -> str:
        """Return the words that say that no file has this name."""
        return f"there is no {name} below --videos {self._folder}"

    def find(self, address: str, *, pictures: bool = False) -> Path:
        """Return the file of an address, by its name, with or without what Label Studio does to names of uploads.

        Of several files of one name the one is taken whose folders fit most of the address.

        Args:
            address: The address.
            pictures: Whether a folder of pictures will do where there is no such file.

        Raises:
            FormatError: If there is no such file.
            SeveralFilesError: If several fit.
        """
        parts = address_parts(address)
        name = UPLOAD_PREFIX.sub("", parts[-1])
        same_name = self._by_name.get(parts[-1]) or self._by_name.get(name) or self._by_upload.get(name) or []
        if not same_name and pictures:
            same_name = [folder for folder in self._folders.get(parts[-1], ()) if _holds_pictures(folder)]
        fits = [_common_tail(path.parts[:-1], parts[:-1]) for path in same_name]
        best = [path for path, fit in zip(same_name, fits, strict=True) if fit == max(fits)]
        if not best:
            raise FormatError(f"{redact_url(address)}: {self.describe_missing(parts[-1])}")
        if len({path.resolve() for path in best}) > 1:
            raise SeveralFilesError(
                f"{redact_url(address)}: it could be {best[0]} or {best[1]}; leave one of them below --videos"
            )
        return best[0]


def _holds_pictures(folder: Path) -> bool:
    try:
        return any(inside.suffix.lower() in PICTURES for inside in folder.iterdir())
    except OSError:  # not to be read: a folder of somebody else
        return False


def _common_tail(one: Sequence[str], other: Sequence[str]) -> int:
    """Return how many of the last items two sequences share."""
    pairs = zip(reversed(one), reversed(other), strict=False)
    return sum(1 for _ in itertools.takewhile(lambda pair: pair[0] == pair[1], pairs))


def find_tracks_files(source: Path) -> list[Path]:
    """Return the tracks.json files of a source: the file itself, the one in a folder, or those in folders below it.

    Raises:
        FormatError: If there are none.
    """
    if source.is_file():
        return [source]
    own = source / "tracks.json"
    paths = [own] if own.is_file() else sorted(source.rglob("tracks.json"))
    if not paths:
        if any(source.glob("part-*.parquet")) or any(source.glob("parts/part-*.parquet")):
            raise FormatError(
                f"{source} holds no tracks.json: it is from `refam curate`, which exports its own results: "
                "`refam curate MANIFEST --out FOLDER --export FORMAT`, with the manifest and the folder of that run"
            )
        raise FormatError(f"{source} holds no tracks.json: it is not from `refam label`")
    return paths


def read_tracks(path: Path, *, videos: VideoFolder | None = None) -> LoadedVideo:
    """Read a tracks.json, with masks.

    Args:
        path: The file.
        videos: Where to find the video file. Unless given, it is where it was when the file was written, or nowhere.

    Raises:
        FormatError: If it cannot be read, or the video file is missing.
    """
    content = read_json(path)
    if not isinstance(content, Mapping) or not {"video", "objects"} <= content.keys():
        raise FormatError(
            f"{path} is neither a tracks.json of `refam label` nor tasks of Label Studio: "
            "export the project there in the format JSON"
        )
    video_info = get_field(content, "video", dict, str(path))
    name = get_field(video_info, "name", str, f"{path}: video")
    size = get_size(video_info, f"{path}: video")
    times: dict[int, float] = {}
    objects = []
    for item in get_field(content, "objects", list, str(path)):
        where = f"{path}: object {item.get('object') if isinstance(item, Mapping) else item!r:.40}"
        rows = get_field(item, "frames", list, where)
        times |= {get_field(r, "frame", int, where): get_field(r, "time_s", (int, float), where) for r in rows}
        visible = {
            r["frame"]: parse_segmentation(get_field(r, "mask", dict, where), size, where)
            for r in rows
            if r.get("visible")
        }
        marked = get_field({"keyframes": [], **item}, "keyframes", list, where)
        keyframes = tuple(frame for k in marked if (frame := get_field(k, "frame", int, where)) in visible)
        objects.append(replace(track_from_masks(get_field(item, "label", str, where), visible), keyframes=keyframes))
    n = get_field(video_info, "frames", int, f"{path}: video")
    # A file without times_s tells the time of each frame in its row.
    told = get_field({"times_s": [], **video_info}, "times_s", list, str(path)) or [times[i] for i in sorted(times)]
    if len(told) != n:
        raise FormatError(f"{path}: the video has {n} frames, and the times of {len(told)} are told")
    if times and not 0 <= min(times) <= max(times) < n:
        raise FormatError(f"{path}: the video has the frames 0 to {n - 1}, and an object is on others")
    frame_times = read_times(told, str(path))
    video = make_video(video_stem(name), size, frame_times, [o for o in objects if len(o.frames)])
    if len(times) < n:  # of the frames beyond the range that was looked at nothing is known
        video = video.select_frames(sorted(times))
    return LoadedVideo(video, name, videos.find(name, pictures=True) if videos else _recorded_file(path, video_info))


def _recorded_file(path: Path, video_info: Mapping[str, Any]) -> Path | None:
    """Return the video of a tracks.json by the path in it; None if it tells none, or nothing is there any more."""
    if "path" not in video_info:
        return None
    file = path.parent.resolve() / get_field(video_info, "path", str, f"{path}: video")
    return file if file.exists() else None


def rename_duplicates(loaded: Sequence[LoadedVideo]) -> list[LoadedVideo]:
    """Return the videos with a name of its own each: the second "clip" becomes "clip-2"."""
    names: set[str] = set()
    out = []
    for one in loaded:
        name, number = one.video.name, 1
        while name in names:
            number += 1
            name = f"{one.video.name}-{number}"
        names.add(name)
        old = one.video.name
        pictures = tuple(name + p.removeprefix(old) if p.startswith(old + "/") else p for p in one.video.pictures)
        out.append(replace(one, video=replace(one.video, name=name, pictures=pictures)))
    return out


def is_label_studio_export(source: Path) -> bool:
    """Return whether a file is a list of tasks rather than a tracks.json."""
    return source.is_file() and isinstance(read_json(source), list)


def submitted_annotations(task: Mapping[str, Any], where: str) -> list[Mapping[str, Any]]:
    """Return a task's annotations, the one that counts first: ground truth before others, then the newest.

    Annotations that were skipped do not count.

    Args:
        task: The task.
        where: What the error's text calls it.

    Raises:
        FormatError: If its annotations are no list.
    """
    listed = get_field({"annotations": None, **task}, "annotations", (list, type(None)), where) or []
    annotations = [a for a in listed if isinstance(a, Mapping) and not a.get("was_cancelled")]
    return sorted(annotations, key=lambda a: (bool(a.get("ground_truth")), *annotation_age(a)), reverse=True)
