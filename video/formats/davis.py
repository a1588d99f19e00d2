"""DAVIS 2017 (https://davischallenge.org): indexed PNGs, 0 = background, 1.. = objects, 255 = void.

Files: Annotations/RESOLUTION/VIDEO/00000.png, JPEGImages likewise, ImageSets/2017/SPLIT.txt with the names of the
videos, and davis_semantics.json with the labels of the objects. A pixel belongs to one object: where several claim it,
to the smallest, which would vanish otherwise. Frames keep the clip's numbers; video_lengths.json tells the number of
frames of each video of which frames are left out.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from video import masks
from video.atomic_files import write_text
from video.errors import Skipped, leave_out
from video.formats.base import (
    AnnotatedVideo,
    FormatError,
    even_times,
    get_field,
    make_video,
    read_indices,
    read_json,
    require_masks,
    safe_name,
    track_from_masks,
    write_json,
)
from video.formats.frame_numbers import numbers_in_names
from video.types import Rle

RESOLUTION = "Full-Resolution"
VOID = 255
_LENGTHS = "video_lengths.json"
OPTIONAL_FILES = (_LENGTHS,)
"""What an export may have or not, below OUT; that of an earlier one is removed."""


def write(splits: Mapping[str, Sequence[AnnotatedVideo]], out: Path) -> list[Path]:
    """Write all files below OUT, and return the main ones.

    Raises:
        FormatError: For objects without masks, and for more than 254 objects in a video.
        OSError: If a file cannot be written.
    """
    for videos in splits.values():  # before anything is written
        require_masks(videos, "DAVIS")
        for video in videos:
            safe_name(video.name, "a video")
            if len(video.objects) >= VOID:
                raise FormatError(f"{video.name} has {len(video.objects)} objects; DAVIS has room for {VOID - 1}")
    meanings = {}
    for split, videos in splits.items():
        for video in videos:
            meanings[video.name] = {str(i): one.label for i, one in enumerate(video.objects, start=1)}
            folder = out / "Annotations" / RESOLUTION / video.name
            folder.mkdir(parents=True, exist_ok=True)
            for frame, picture in index_images(video):
                save_indexed(folder / f"{frame:05d}.png", picture)
        write_text(out / "ImageSets" / "2017" / f"{split}.txt", "".join(f"{video.name}\n" for video in videos))
    write_json(out / "davis_semantics.json", meanings)
    sampled = {video.name: len(video.times) for videos in splits.values() for video in videos if video.is_sampled}
    (out / _LENGTHS).unlink(missing_ok=True)  # of an earlier export
    if sampled:
        write_json(out / _LENGTHS, sampled)
    return [out / "Annotations" / RESOLUTION, out / "ImageSets" / "2017", out / "davis_semantics.json"]


def image_path(video: AnnotatedVideo, frame: int, split: str) -> str:
    """Return where the image of a frame belongs, relative to OUT."""
    return f"JPEGImages/{RESOLUTION}/{video.name}/{frame:05d}.jpg"


def index_images(video: AnnotatedVideo) -> Iterator[tuple[int, NDArray[np.uint8]]]:
    """Yield each frame and its index image, (H, W) uint8: the number of the object from 1 on, 0 for the background."""
    for frame, found in disjoint_masks(video):
        picture = np.zeros((video.size[1], video.size[0]), np.uint8)
        for number, mask in found.items():
            picture[mask] = number + 1
        yield frame, picture


def disjoint_masks(video: AnnotatedVideo) -> Iterator[tuple[int, dict[int, NDArray[np.bool_]]]]:
    """Yield each frame and its masks by object (from 0 on); a pixel that several claim is in the smallest one only."""
    rows = [{frame: row for row, frame in enumerate(one.frames.tolist())} for one in video.objects]
    for frame in video.frames.tolist():
        here = {i: video.objects[i].rles[row[frame]] for i, row in enumerate(rows) if frame in row}
        claimed = np.zeros((video.size[1], video.size[0]), np.bool_)
        found = {}
        for i in sorted(here, key=lambda i: masks.area(here[i])):
            found[i] = masks.decode(here[i]) & ~claimed
            claimed |= found[i]
        yield frame, found


def save_indexed(path: Path, picture: NDArray[np.uint8]) -> None:
    """Write (H, W) uint8 as a PNG with the palette of DAVIS, which is PASCAL VOC's."""
    image = Image.fromarray(picture, mode="P")
    image.putpalette(_palette())
    image.save(path, format="PNG")


def _palette() -> list[int]:
    """Return PASCAL VOC's colour map: the bits of a number, spread over the three channels from the highest bit on."""
    colours = []
    for number in range(256):
        rest, rgb = number, [0, 0, 0]
        for bit in range(7, -1, -1):
            for channel in range(3):
                rgb[channel] |= (rest >> channel & 1) << bit
            rest >>= 3
        colours += rgb
    return colours


def read(path: Path, *, skipped: Skipped = None) -> list[AnnotatedVideo]:
    """Read a folder with DAVIS's layout, or one whose subfolders are the videos' annotations.

    Args:
        path: The folder.
        skipped: See `leave_out`.

    Raises:
        FormatError: If there are no annotations or a file is invalid.
    """
    root = annotation_root(path)
    semantics = path / "davis_semantics.json"
    meanings, lengths = _read_members(semantics), _read_members(path / _LENGTHS)
    folders = sorted(folder for folder in root.iterdir() if folder.is_dir() and any(folder.glob("*.png")))
    if not folders:
        raise FormatError(f"{root} has no folder with PNGs: a video's annotations are VIDEO/00000.png and so on")
    videos = []
    for folder in folders:
        with leave_out(skipped):
            of_video = {folder.name: {}, **meanings}
            video = _video(folder, get_field(of_video, folder.name, dict, str(semantics)))
            numbers, length = numbers_in_names(video.pictures), lengths.get(folder.name)
            stated = length if numbers and isinstance(length, int) and length > numbers[-1] else 0
            videos.append(replace(video, numbers=numbers, length=stated))
    return videos


def _read_members(path: Path) -> Mapping[str, Any]:
    """Return the members of a JSON file by the name of the video; none if there is no such file."""
    content = read_json(path) if path.is_file() else {}
    if not isinstance(content, Mapping):
        raise FormatError(f"{path} must be an object with a member for each video, got {content!r:.80}")
    return content


def annotation_root(path: Path) -> Path:
    """Return the folder whose subfolders are the videos.

    Raises:
        FormatError: If there is none.
    """
    for inside in ("Annotations/480p", f"Annotations/{RESOLUTION}", "Annotations", "."):
        if (path / inside).is_dir():
            return path / inside
    raise FormatError(f"{path} is no folder; DAVIS has Annotations/480p/VIDEO/00000.png")


def _video(folder: Path, meanings: Mapping[str, str]) -> AnnotatedVideo:
    files = sorted(folder.glob("*.png"))
    found: dict[int, dict[int, Rle]] = {}
    white: dict[int, Rle] = {}
    size = None
    for frame, file in enumerate(files):
        indices = read_indices(file)
        here = (indices.shape[1], indices.shape[0])
        size = size or here
        if here != size:
            raise FormatError(f"{file} is {here[0]}x{here[1]}, the first one {size[0]}x{size[1]}")
        for number in np.unique(indices).tolist():
            if number:
                of = white if number == VOID else found.setdefault(number, {})
                of[frame] = masks.encode(indices == number)
    assert size is not None
    found = found or {1: white}  # in DAVIS 2016 the only object is white
    objects = [track_from_masks(str(meanings.get(str(n), f"object {n}")), rows) for n, rows in sorted(found.items())]
    names = [f"{folder.name}/{file.stem}.jpg" for file in files]
    visible = [one for one in objects if len(one.frames)]
    return make_video(folder.name, size, even_times(len(files)), visible, pictures=names)
