"""What all annotation formats share: videos with their objects, sampling and splits, and reading and writing of files.

An `ObjectTrack` may have only boxes, as a person leaves them, or masks as well. Nothing in it is interpolated later: an
object is on exactly the frames that the track has.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path, PurePosixPath
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

from video import masks
from video.atomic_files import write_bytes, write_text
from video.errors import UserError
from video.types import DEFAULT_FPS, Rle


class FormatError(UserError):
    """A file or folder is not of the expected format, or a format cannot hold some data. The text is for people."""


@dataclass(frozen=True, eq=False)
class ObjectTrack:
    """One object on the frames on which it is visible.

    Args:
        label: The object's label.
        frames: (n,) int64, 0-based, ascending.
        boxes: (n, 4) float64 normalised xyxy with area.
        rles: n masks of the video's size; empty if only boxes are known.
        keyframes: The frames that a person should correct the others by; empty if not known.
        attributes: What else people said of the object, by the name of the question: choices, texts, numbers. An object
            with several labels has all of them as "labels".
    """

    label: str
    frames: NDArray[np.int64]
    boxes: NDArray[np.float64]
    rles: tuple[Rle, ...] = ()
    keyframes: tuple[int, ...] = ()
    attributes: Mapping[str, tuple[str, ...]] = field(default_factory=dict)

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
        """Whether masks are known, and not only boxes."""
        return bool(self.rles)

    def select_frames(self, frames: NDArray[np.int64]) -> ObjectTrack:
        """Return the object on these frames only."""
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
    """A video and its objects.

    Args:
        name: Unique among the videos; may contain slashes.
        size: (width, height) in pixels.
        times: (N,) float64 seconds of all frames, ascending.
        objects: The objects.
        frames: (m,) int64, the frames that are kept, ascending: all until the video is sampled.
        pictures: The image files of all N frames, relative to a folder that all videos share; empty if the format does
            not name them.
        notes: What people have to know of how it was read, as sentences: what was left out, what was contradictory.
        file_name: Name of the video file, where the format tells it and it is not the video's name.
        open_end: Whether the video file may have more frames than these N, with nothing known of them.
        numbers: Which frame of the video file each of the N frames is, ascending from 0; empty if not known.
        length: The number of frames of the video file that `numbers` count; 0 if not known.
    """

    name: str
    size: tuple[int, int]
    times: NDArray[np.float64]
    objects: tuple[ObjectTrack, ...]
    frames: NDArray[np.int64]
    pictures: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    file_name: str = ""
    open_end: bool = False
    numbers: tuple[int, ...] = ()
    length: int = 0

    def __post_init__(self) -> None:
        n = len(self.times)
        if not n or not bool((np.diff(self.times) > 0).all()):
            raise ValueError(f"{self.name}: times must be (N,) seconds that ascend, with N > 0")
        if len(self.pictures) not in (0, n):
            raise ValueError(f"{self.name}: {n} frames, but {len(self.pictures)} pictures")
        if len(self.numbers) not in (0, n):
            raise ValueError(f"{self.name}: {n} frames, but {len(self.numbers)} numbers")
        for one in self.objects:
            if len(one.frames) and int(one.frames[-1]) >= n:
                raise ValueError(f"{self.name}: {one.label!r} is on frame {one.frames[-1]}, the last one is {n - 1}")
            if any(rle.size != self.size for rle in one.rles):
                raise ValueError(f"{self.name}: a mask of {one.label!r} has not the video's size {self.size}")

    def __repr__(self) -> str:
        w, h = self.size
        return f"AnnotatedVideo({self.name!r}, {w}x{h}, {len(self.frames)} of {len(self.times)} frames, {self.objects})"

    def picture(self, frame: int) -> str:
        """Return the image file of a frame: as the format names it, else by the video's name and the frame's number."""
        return self.pictures[frame] if self.pictures else f"{self.name}/{frame:06d}.jpg"

    @property
    def is_sampled(self) -> bool:
        """Whether some of its frames are left out."""
        return len(self.frames) < len(self.times)

    def select_frames(self, frames: Sequence[int] | NDArray[np.int64]) -> AnnotatedVideo:
        """Return the video with only these frames of those that are kept, and with what is on them."""
        left = np.intersect1d(self.frames, np.asarray(frames, np.int64))
        objects = tuple(one for one in (o.select_frames(left) for o in self.objects) if len(one.frames))
        return replace(self, frames=left, objects=objects)


def make_video(
    name: str,
    size: tuple[int, int],
    times: NDArray[np.float64],
    objects: Sequence[ObjectTrack],
    *,
    pictures: Sequence[str] = (),
    notes: Sequence[str] = (),
) -> AnnotatedVideo:
    """Make a video of which all frames are kept.

    Args:
        name: Unique among the videos.
        size: (width, height) in pixels.
        times: (N,) float64 seconds, ascending.
        objects: The objects.
        pictures: The image files of all frames, if the format names them.
        notes: Sentences for people; each is kept once.
    """
    all_frames = np.arange(len(times), dtype=np.int64)
    unique_notes = tuple(dict.fromkeys(notes))
    return AnnotatedVideo(name, size, times, tuple(objects), all_frames, tuple(pictures), unique_notes)


def track_from_masks(label: str, by_frame: dict[int, Rle]) -> ObjectTrack:
    """Make an object from masks by frame. Masks without pixels are left out."""
    found = {f: box for f in sorted(by_frame) if (box := masks.rle_box(by_frame[f])) is not None}
    boxes = np.array(list(found.values()), np.float64).reshape(-1, 4).clip(0, 1)
    return ObjectTrack(label, np.array(list(found), np.int64), boxes, tuple(by_frame[f] for f in found))


def track_from_boxes(label: str, by_frame: dict[int, masks.Box], *, keyframes: Sequence[int] = ()) -> ObjectTrack:
    """Make an object from boxes by frame.

    Args:
        label: The object's label.
        by_frame: A box for each frame, counted from 0: normalised xyxy. Boxes are clipped to the frame, and those that
            have no area then are left out.
        keyframes: The frames that a person should correct the others by; those without a box are left out.

    Returns:
        The object on the frames whose boxes were kept, in ascending order, with boxes only: it has no masks.
    """
    frames, boxes = [], []
    for frame in sorted(by_frame):
        x0, y0, x1, y1 = (min(1.0, max(0.0, float(c))) for c in by_frame[frame])
        if x0 < x1 and y0 < y1:
            frames.append(frame)
            boxes.append((x0, y0, x1, y1))
    kept = tuple(k for k in keyframes if k in set(frames))
    return ObjectTrack(label, np.array(frames, np.int64), np.array(boxes, np.float64).reshape(-1, 4), (), kept)


def require_visible(track: ObjectTrack, where: str) -> ObjectTrack:
    """Return an object that is on a frame at least.

    Args:
        track: The object.
        where: What the error's text calls it.

    Raises:
        FormatError: If it is on none.
    """
    if not len(track.frames):
        raise FormatError(f"{where} is on no frame: it has no box or mask with an area inside the picture")
    return track


def every_nth_frame(video: AnnotatedVideo, step: int) -> NDArray[np.int64]:
    """Return every n-th frame of a video, from the first one on.

    Raises:
        ValueError: For a step below 1.
    """
    if step < 1:
        raise ValueError(f"frames are taken every 1 or more, not every {step}")
    return np.arange(0, len(video.times), step, dtype=np.int64)


def frames_at_rate(times: NDArray[np.float64], fps: float) -> NDArray[np.int64]:
    """Return the frames that players show at 0, 1/fps, 2/fps, ... seconds, each once.

    Args:
        times: (N,) float64 seconds, ascending.
        fps: Frames per second.

    Raises:
        ValueError: If the rate is not positive and finite.
    """
    if not 0 < fps < float("inf"):
        raise ValueError(f"a rate must be a positive number of frames per second, got {fps}")
    moments = np.arange(0, float(times[-1]) + 1e-6, 1 / fps) + 1e-6  # a hair, for times that are rounded
    return np.unique((np.searchsorted(times, moments, side="right") - 1).clip(0)).astype(np.int64)


def split_videos(names: Sequence[str], shares: Sequence[float], *, seed: int) -> list[list[str]]:
    """Split names at random; no video is divided between two splits.

    The sizes are rounded by largest remainders, so that they sum up. The result depends on the names and the seed, not
    on the order of the names.

    Args:
        names: The names of the videos.
        shares: The relative size of each split; positive.
        seed: The seed of the shuffle.

    Returns:
        The names of each split, sorted.

    Raises:
        ValueError: If a share is not positive, or there are fewer names than splits.
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
    while (counts == 0).any():  # an empty split is of no use: a small share of few videos gets one too
        counts[counts.argmax()] -= 1
        counts[counts.argmin()] += 1
    ends = np.cumsum(counts)
    return [sorted(order[end - count : end]) for count, end in zip(counts, ends, strict=True)]


def read_json(path: Path) -> Any:
    """Read a JSON file in UTF-8, with or without a byte order mark.

    Raises:
        FormatError: If it cannot be read or is not JSON.
    """
    if path.is_dir():
        found = next((file for file in sorted(path.rglob("*.json"))), None)
        hint = f", such as {found}" if found else "; there is none in it"
        raise FormatError(f"{path} is a folder, and a JSON file is expected{hint}")
    try:
        return json.loads(path.read_text(encoding="utf-8-sig"))
    except OSError as error:
        raise FormatError(f"{path} cannot be read: {error.strerror}") from None
    except (ValueError, RecursionError) as error:
        raise FormatError(f"{path} is not JSON: {error}") from None


def read_text(path: Path) -> str:
    """Read a text file in UTF-8.

    Raises:
        FormatError: If it cannot be read or is no text.
    """
    try:
        return path.read_text(encoding="utf-8")
    except OSError as error:
        raise FormatError(f"{path} cannot be read: {error.strerror}") from None
    except UnicodeDecodeError as error:
        raise FormatError(f"{path} is no text: {error}") from None


def write_json(path: Path, content: Any) -> Path:
    """Write a compact JSON file as a whole or not at all; makes its folders. Returns the path."""
    return write_text(path, json.dumps(content, ensure_ascii=False, allow_nan=False, separators=(",", ":")) + "\n")


def number_labels(videos: Iterable[AnnotatedVideo]) -> dict[str, int]:
    """Number the labels of videos 1, 2, ... in alphabetical order, whatever the order of the videos."""
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
    """Return a name if it stays in its folder when joined to it.

    Args:
        name: The name; may contain slashes.
        what: What the error's text calls it.

    Raises:
        FormatError: If the name leads out of its folder.
    """
    parts = PurePosixPath(name).parts
    if not parts or name.startswith("/") or ".." in parts or "\\" in name or "\0" in name:
        raise FormatError(f"{what} has the name {name!r}, which leads out of its folder")
    return name


def require_masks(videos: Sequence[AnnotatedVideo], form: str) -> None:
    """Check that all objects have masks.

    Args:
        videos: The videos.
        form: The name of the format that needs them.

    Raises:
        FormatError: If an object has only boxes.
    """
    for video in videos:
        for one in video.objects:
            if len(one.frames) and not one.has_masks:
                raise FormatError(
                    f"{video.name}: {one.label!r} has boxes and no masks, and {form} holds masks; "
                    "choose coco, youtube-vis, yolo or cvat"
                )


def even_times(n: int, fps: float = DEFAULT_FPS) -> NDArray[np.float64]:
    """Return (n,) seconds of frames of which only the number and the rate are known."""
    return np.arange(n) / fps


def get_field(item: Any, name: str, kind: type | tuple[type, ...], where: str) -> Any:
    """Return a member of a JSON object.

    Args:
        item: The object.
        name: The member's name.
        kind: The type that it must have. bool does not count as a number.
        where: What the error's text calls the object.

    Raises:
        FormatError: If the member is missing or of another type.
    """
    value = item.get(name) if isinstance(item, Mapping) else None
    if not isinstance(value, kind) or (isinstance(value, bool) and kind is not bool):
        wanted = " or ".join(k.__name__ for k in (kind if isinstance(kind, tuple) else (kind,)))
        raise FormatError(f"{where} needs {name!r}, {wanted}, got {value!r:.80}")
    return value


def attributes_json(one: ObjectTrack) -> dict[str, dict[str, str | list[str]]]:
    """Return the member `attributes` of an annotation in COCO's manner, as CVAT writes it; {} without attributes.

    A single value is a string, several are a list.
    """
    values = {name: values[0] if len(values) == 1 else list(values) for name, values in one.attributes.items()}
    return {"attributes": values} if values else {}


def box_xywh(box: NDArray[np.float64], size: tuple[int, int]) -> list[float]:
    """Turn a normalised xyxy box into [x, y, width, height] in pixels, rounded to 1/1000."""
    scale = np.array([*size, *size], np.float64)
    x0, y0, x1, y1 = (np.asarray(box) * scale).tolist()
    return [round(x0, 3), round(y0, 3), round(x1 - x0, 3), round(y1 - y0, 3)]


def read_indices(path: Path) -> NDArray[np.uint8]:
    """Read the numbers of an indexed or grey PNG, (H, W) uint8.

    Raises:
        FormatError: If the file cannot be read or has colours.
    """
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
    """Return the (width, height) of an image file in pixels, from its header.

    Raises:
        FormatError: If it cannot be read.
    """
    try:
        with Image.open(path) as picture:
            return picture.size
    except (OSError, Image.DecompressionBombError) as error:
        raise FormatError(f"{path} cannot be read as a picture: {error}") from None


def write_png(path: Path, picture: NDArray[np.uint8]) -> Path:
    """Write (H, W) uint8 as a grey PNG; makes its folders. Returns the path.

    Raises:
        OSError: If it cannot be written.
    """
    ok, data = cv2.imencode(".png", picture)
    if not ok:
        raise OSError(5, "OpenCV could not write a PNG", str(path))
    return write_bytes(path, data.tobytes())
