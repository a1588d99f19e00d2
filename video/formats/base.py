"""Objects in videos as every file format can tell them: what exports are made of and imports become.

A track here may have boxes alone, as a person leaves them, or masks as well. Nothing is interpolated any more: an
object is on exactly the frames that it has.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

from video import masks
from video.errors import UserError
from video.types import DEFAULT_FPS, MaskTrack, Rle


class FormatError(UserError):
    """A file or folder is not of the format it should be, or a format cannot hold what it is given; for people."""


@dataclass(frozen=True, eq=False)
class ObjectTrack:
    """One object on the frames on which it is seen.

    frames: (n,) int64, 0-based, ascending. boxes: (n, 4) normalised xyxy with area. rles: n masks of the video's size,
    or none at all where boxes are all that is known. keyframes: those of `frames` that a person should be given to
    correct the others by; empty: not known.
    """

    label: str
    frames: NDArray[np.int64]
    boxes: NDArray[np.float64]
    rles: tuple[Rle, ...] = ()
    keyframes: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        n = len(self.frames)
        if n and (int(self.frames[0]) < 0 or not bool((np.diff(self.frames) > 0).all())):
            raise ValueError(f"{self.label!r}: frames must be 0 or more and ascend")
        if self.boxes.shape != (n, 4) or len(self.rles) not in (0, n):
            raise ValueError(
                f"{self.label!r}: {n} frames need ({n}, 4) boxes and {n} masks or none, got {self.boxes.shape} boxes "
                f"and {len(self.rles)} masks"
            )
        inside = ((self.boxes >= 0) & (self.boxes <= 1)).all() and (self.boxes[:, :2] < self.boxes[:, 2:]).all()
        if not inside:
            raise ValueError(f"{self.label!r}: boxes must be normalised xyxy with area")

    @property
    def has_masks(self) -> bool:
        """Whether more than boxes is known."""
        return bool(self.rles)

    def on(self, frames: NDArray[np.int64]) -> ObjectTrack:
        """The same object on these frames only."""
        keep = np.isin(self.frames, frames)
        rles = tuple(rle for rle, kept in zip(self.rles, keep, strict=True) if kept) if self.rles else ()
        left = self.frames[keep]
        keyframes = tuple(k for k in self.keyframes if k in left)
        return replace(self, frames=left, boxes=self.boxes[keep], rles=rles, keyframes=keyframes)

    def __repr__(self) -> str:
        what = "masks" if self.rles else "boxes"
        return f"ObjectTrack({self.label!r}, {what} on {len(self.frames)} frames)"


@dataclass(frozen=True, eq=False)
class AnnotatedVideo:
    """A video and what is in it.

    name: tells it from others; may have slashes. size: (width, height) in pixels. times: (N,) seconds of all its
    frames, ascending. frames: (m,) those of them that are kept, ascending: all, until it is sampled. pictures: the
    files of all frames, below a folder that all videos share, where a format names them; else empty.
    """

    name: str
    size: tuple[int, int]
    times: NDArray[np.float64]
    objects: tuple[ObjectTrack, ...]
    frames: NDArray[np.int64]
    pictures: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        n = len(self.times)
        if not n or not bool((np.diff(self.times) > 0).all()):
            raise ValueError(f"{self.name}: times must be (N,) seconds that ascend, with N > 0")
        if len(self.pictures) not in (0, n):
            raise ValueError(f"{self.name}: {n} frames, but {len(self.pictures)} pictures")
        for one in self.objects:
            if len(one.frames) and int(one.frames[-1]) >= n:
                raise ValueError(f"{self.name}: {one.label!r} is on frame {one.frames[-1]}, the last one is {n - 1}")
            if any(rle.size != self.size for rle in one.rles):
                raise ValueError(f"{self.name}: a mask of {one.label!r} has not the video's size {self.size}")

    def __repr__(self) -> str:
        w, h = self.size
        return f"AnnotatedVideo({self.name!r}, {w}x{h}, {len(self.frames)} of {len(self.times)} frames, {self.objects})"

    def picture(self, frame: int) -> str:
        """The file of a frame: as the format named it, else by the video's name and the frame's number."""
        return self.pictures[frame] if self.pictures else f"{self.name}/{frame:06d}.jpg"

    def only(self, frames: Sequence[int] | NDArray[np.int64]) -> AnnotatedVideo:
        """Sampled: the frames that are named and kept so far, and what is on them."""
        left = np.intersect1d(self.frames, np.asarray(frames, np.int64))
        seen = tuple(one for one in (o.on(left) for o in self.objects) if len(one.frames))
        return replace(self, frames=left, objects=seen)


def make_video(
    name: str,
    size: tuple[int, int],
    times: NDArray[np.float64],
    objects: Sequence[ObjectTrack],
    *,
    pictures: Sequence[str] = (),
) -> AnnotatedVideo:
    """A video with all of its frames."""
    all_frames = np.arange(len(times), dtype=np.int64)
    return AnnotatedVideo(name, size, times, tuple(objects), all_frames, tuple(pictures))


def of_mask_track(track: MaskTrack, *, keyframes: Sequence[int] = ()) -> ObjectTrack:
    """A track without the frames on which nothing is seen."""
    rows = np.flatnonzero(track.visible)
    return ObjectTrack(
        track.label, track.frames[rows], track.boxes[rows], tuple(track.rles[i] for i in rows), tuple(keyframes)
    )


def track_from_masks(label: str, by_frame: dict[int, Rle]) -> ObjectTrack:
    """Masks by frame, those without pixels left out."""
    found = {f: box for f in sorted(by_frame) if (box := masks.rle_box(by_frame[f])) is not None}
    boxes = np.array(list(found.values()), np.float64).reshape(-1, 4).clip(0, 1)
    return ObjectTrack(label, np.array(list(found), np.int64), boxes, tuple(by_frame[f] for f in found))


def track_from_boxes(label: str, by_frame: dict[int, masks.Box], *, keyframes: Sequence[int] = ()) -> ObjectTrack:
    """Normalised xyxy boxes by frame, clipped to the frame; what has no area in it is left out."""
    frames, boxes = [], []
    for frame in sorted(by_frame):
        x0, y0, x1, y1 = (min(1.0, max(0.0, float(c))) for c in by_frame[frame])
        if x0 < x1 and y0 < y1:
            frames.append(frame)
            boxes.append((x0, y0, x1, y1))
    kept = tuple(k for k in keyframes if k in set(frames))
    return ObjectTrack(label, np.array(frames, np.int64), np.array(boxes, np.float64).reshape(-1, 4), (), kept)


def every_nth_frame(video: AnnotatedVideo, step: int) -> NDArray[np.int64]:
    """Every so many frames, from the first. Raises ValueError for a step below 1."""
    if step < 1:
        raise ValueError(f"frames are taken every 1 or more, not every {step}")
    return np.arange(0, len(video.times), step, dtype=np.int64)


def frames_at_rate(times: NDArray[np.float64], fps: float) -> NDArray[np.int64]:
    """The frames that players show at 0, 1/fps, 2/fps, ... seconds, each once. Raises ValueError for no rate."""
    if not 0 < fps < float("inf"):
        raise ValueError(f"a rate must be a positive number of frames per second, got {fps}")
    moments = np.arange(0, float(times[-1]) + 1e-6, 1 / fps) + 1e-6  # a hair, for times that are rounded
    return np.unique((np.searchsorted(times, moments, side="right") - 1).clip(0)).astype(np.int64)


def split_videos(names: Sequence[str], shares: Sequence[float], *, seed: int) -> list[list[str]]:
    """Names -> as many lists as there are shares, each name in one: no video is ever divided between two.

    shares: positive, relative. Counts are the largest remainders', so they sum up; the shuffle depends on the names
    and the seed alone, not on their order. Raises ValueError for fewer names than shares.
    """
    if not shares or any(not s > 0 for s in shares):
        raise ValueError(f"shares must be positive, got {list(shares)}")
    pool = sorted(set(names))
    if len(pool) < len(shares):
        raise ValueError(f"{len(pool)} videos cannot be split into {len(shares)} parts without dividing one")
    order = [pool[i] for i in np.random.default_rng(seed).permutation(len(pool))]
    exact = len(pool) * np.asarray(shares, np.float64) / sum(shares)
    counts = np.floor(exact).astype(int)
    for i in np.argsort(counts - exact, kind="stable")[: len(pool) - counts.sum()]:
        counts[i] += 1
    while (counts == 0).any():  # a small share of few videos gets one all the same: an empty part is of no use
        counts[counts.argmax()] -= 1
        counts[counts.argmin()] += 1
    ends = np.cumsum(counts)
    return [sorted(order[end - count : end]) for count, end in zip(counts, ends, strict=True)]


def read_json(path: Path) -> Any:
    """A JSON file. Raises FormatError, which names it."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise FormatError(f"{path} cannot be read: {error.strerror}") from None
    except (ValueError, RecursionError) as error:
        raise FormatError(f"{path} is not JSON: {error}") from None


def write_text(path: Path, text: str) -> Path:
    """Writes a file whole or not at all; makes its folders."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".{path.name}.part")
    part.write_text(text, encoding="utf-8")
    part.replace(path)
    return path


def write_json(path: Path, content: Any) -> Path:
    """Compact, since masks are many."""
    return write_text(path, json.dumps(content, ensure_ascii=False, allow_nan=False, separators=(",", ":")) + "\n")


def number_labels(videos: Iterable[AnnotatedVideo]) -> dict[str, int]:
    """Labels -> 1, 2, ... in alphabetical order: the same whatever the order of the videos."""
    labels = sorted({one.label for video in videos for one in video.objects})
    return {label: i for i, label in enumerate(labels, start=1)}


def coco_header(numbers: Mapping[str, int], *lists: str) -> dict[str, Any]:
    """Return the beginning of a COCO file, and empty lists of these names. numbers: of `number_labels`."""
    return {
        "info": {"description": "annotated videos"},
        "licenses": [],
        "categories": [{"id": i, "name": label, "supercategory": ""} for label, i in numbers.items()],
        **{name: [] for name in lists},
    }


def safe_name(name: str, what: str) -> str:
    """A name that stays in its folder when joined to it. Raises FormatError."""
    parts = PurePosixPath(name).parts
    if not parts or name.startswith("/") or ".." in parts or "\\" in name or "\0" in name:
        raise FormatError(f"{what} has the name {name!r}, which leads out of its folder")
    return name


def require_masks(videos: Sequence[AnnotatedVideo], form: str) -> None:
    """Raises FormatError where there are boxes alone."""
    for video in videos:
        for one in video.objects:
            if len(one.frames) and not one.has_masks:
                raise FormatError(
                    f"{video.name}: {one.label!r} has boxes and no masks, and {form} holds masks; "
                    "choose coco, youtube-vis, yolo or cvat"
                )


def even_times(n: int, fps: float = DEFAULT_FPS) -> NDArray[np.float64]:
    """(n,) seconds of frames of which only the number is known."""
    return np.arange(n) / fps


def get_field(item: Any, name: str, kind: type | tuple[type, ...], where: str) -> Any:
    """A member that must be there and of a kind. Raises FormatError. bool is no number."""
    value = item.get(name) if isinstance(item, Mapping) else None
    if not isinstance(value, kind) or (isinstance(value, bool) and kind is not bool):
        wanted = " or ".join(k.__name__ for k in (kind if isinstance(kind, tuple) else (kind,)))
        raise FormatError(f"{where} needs {name!r}, {wanted}, got {value!r:.80}")
    return value


def xywh_box(box: Any, size: tuple[int, int], where: str) -> tuple[float, float, float, float]:
    """[x, y, width, height] in pixels -> normalised xyxy. Raises FormatError."""
    numbers = isinstance(box, list | tuple) and all(
        isinstance(v, int | float) and not isinstance(v, bool) and math.isfinite(v) for v in box
    )
    if not numbers or len(box) != 4:
        raise FormatError(f"{where}: a box must be [x, y, width, height] in pixels, got {box!r:.80}")
    x, y, width, height = (float(v) for v in box)
    return (x / size[0], y / size[1], (x + width) / size[0], (y + height) / size[1])


def box_xywh(box: NDArray[np.float64], size: tuple[int, int]) -> list[float]:
    """Normalised xyxy -> [x, y, width, height] in pixels, to 1/1000."""
    scale = np.array([*size, *size], np.float64)
    x0, y0, x1, y1 = (np.asarray(box) * scale).tolist()
    return [round(x0, 3), round(y0, 3), round(x1 - x0, 3), round(y1 - y0, 3)]


def read_indices(path: Path) -> NDArray[np.uint8]:
    """The numbers in an indexed or grey PNG: (H, W) uint8. Raises FormatError."""
    try:
        with Image.open(path) as picture:
            if picture.mode not in ("P", "L", "1"):
                raise FormatError(f"{path} has colours ({picture.mode}); an annotation has a number for each pixel")
            return np.asarray(picture if picture.mode != "1" else picture.convert("L"), np.uint8)
    except UnidentifiedImageError:
        raise FormatError(f"{path} is no picture") from None
    except (OSError, Image.DecompressionBombError) as error:
        raise FormatError(f"{path} cannot be read: {error}") from None


def image_size(path: Path) -> tuple[int, int]:
    """(width, height) in pixels, from the header. Raises FormatError."""
    try:
        with Image.open(path) as picture:
            return picture.size
    except (OSError, Image.DecompressionBombError) as error:
        raise FormatError(f"{path} cannot be read as a picture: {error}") from None


def polygons_to_mask(polygons: Sequence[Sequence[float]], size: tuple[int, int], where: str) -> NDArray[np.bool_]:
    """[[x0, y0, x1, y1, ...], ...] in pixels -> (H, W) bool, as pycocotools fills them. Raises FormatError."""
    from pycocotools import mask as coco

    w, h = size
    if not polygons or any(len(p) < 6 or len(p) % 2 for p in polygons):
        raise FormatError(f"{where}: a polygon needs three corners or more, x and y of each")
    parts = coco.frPyObjects([[float(v) for v in p] for p in polygons], h, w)
    return np.ascontiguousarray(coco.decode(coco.merge(parts))).astype(np.bool_)


def write_png(path: Path, picture: NDArray[np.uint8]) -> Path:
    """(H, W) uint8 as a grey PNG. Raises OSError."""
    ok, data = cv2.imencode(".png", picture)
    if not ok:
        raise OSError(5, "OpenCV could not write a PNG", str(path))
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data.tobytes())
    return path
