"""YOLO boxes (https://docs.ultralytics.com/datasets/detect): `class x y width height`, centre and sides as fractions.

Files: labels/SPLIT/VIDEO_000012.txt for each frame, empty where nothing is visible, images/SPLIT likewise, and
data.yaml, which trainers find the images by and which must have `train` and `val`: without a split, and for a part of a
split without videos, both are the same folder. The format has no identities of objects from frame to frame.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

from video.atomic_files import write_text
from video.formats.base import AnnotatedVideo, number_labels

_PARTS = ("train", "val", "test")


def write(splits: Mapping[str, Sequence[AnnotatedVideo]], out: Path) -> list[Path]:
    """Write all files below OUT, and return the main ones.

    Raises:
        OSError: If a file cannot be written.
    """
    numbers = number_labels(video for videos in splits.values() for video in videos)
    for split, videos in splits.items():
        for video in videos:
            rows = [{frame: row for row, frame in enumerate(one.frames.tolist())} for one in video.objects]
            for frame in video.frames.tolist():
                lines = []
                for one, row in zip(video.objects, rows, strict=True):
                    if frame in row:
                        x0, y0, x1, y1 = one.boxes[row[frame]].tolist()
                        box = ((x0 + x1) / 2, (y0 + y1) / 2, x1 - x0, y1 - y0)
                        lines.append(" ".join([str(numbers[one.label] - 1), *(f"{v:.6f}" for v in box)]) + "\n")
                write_text(out / "labels" / split / f"{_stem(video, frame)}.txt", "".join(lines))
    folders = {split: f"images/{split}" for split, videos in splits.items() if videos}
    for folder in folders.values():
        (out / folder).mkdir(parents=True, exist_ok=True)  # for the images, if they are not written
    first = next(iter(folders.values()), "images")
    parts = {"train": first, "val": first} | {split: f for split, f in folders.items() if split in _PARTS}
    # JSON is YAML as well, and needs no library to quote a label. Without `path` folders are relative to this file.
    about = {**parts, "names": list(numbers)}
    text = "".join(f"{json.dumps(key)}: {json.dumps(value, ensure_ascii=False)}\n" for key, value in about.items())
    return [write_text(out / "data.yaml", text), out / "labels"]


def image_path(video: AnnotatedVideo, frame: int, split: str) -> str:
    """Return where the image of a frame belongs, relative to OUT."""
    return f"images/{split}/{_stem(video, frame)}.jpg"


def _stem(video: AnnotatedVideo, frame: int) -> str:
    return f"{video.name.replace('/', '_')}_{Path(video.picture(frame)).stem}"
