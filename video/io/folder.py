"""Opens whatever a person may call a video: a video file, or a folder with a picture for each frame."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np

from video.io.file_names import PICTURES
from video.io.probe import ClipError
from video.io.reader import Clip, ClipView, open_clip, open_sequence
from video.types import DEFAULT_FPS


def open_video(path: str | Path, *, partial: bool = False, fps: float = DEFAULT_FPS) -> Clip:
    """Open a video file (see `open_clip`), or a folder of pictures in the order of their names.

    Args:
        path: The file or the folder.
        partial: Whether to open the frames before the place where a file is damaged.
        fps: The frame rate of a folder of pictures, which have none.

    Raises:
        ClipError: If it is neither, or cannot be read.
    """
    path = Path(path)
    if not path.is_dir():
        return open_clip(path, partial=partial)
    sequence = open_sequence(list_pictures(path), fps=fps)
    return ClipView(
        path=path,
        size=sequence.size,
        times=sequence.times,
        duration_s=sequence.duration_s,
        rotation=0,
        decoder="pillow",
        codec=sequence.codec,
        _probe=None,
        whole=sequence,
        frames=np.arange(len(sequence)),
    )


def list_pictures(folder: Path) -> list[Path]:
    """Return the pictures of a folder in the order of their names, 2 before 10.

    Raises:
        ClipError: If there are none, or two of one name, such as 1.jpg and 1.png.
    """
    files = [path for path in folder.iterdir() if path.suffix.lower() in PICTURES and not path.name.startswith(".")]
    if not files:
        raise ClipError(f"{folder.name}: the folder holds no pictures (JPEG, PNG, WebP and their like)")
    by_stem: dict[str, Path] = {}
    for path in files:
        if (other := by_stem.setdefault(path.stem, path)) is not path:
            names = " and ".join(sorted((other.name, path.name)))
            raise ClipError(f"{folder.name}: {names} would be one frame; leave pictures of one kind in the folder")
    return sorted(files, key=lambda path: (_natural(path.stem), path.name))


def _natural(name: str) -> list[tuple[int, str]]:
    """Return what sorts names as people count: runs of digits by their value."""
    return [(int(part), "") if part.isdecimal() else (-1, part) for part in re.split(r"(\d+)", name) if part]
