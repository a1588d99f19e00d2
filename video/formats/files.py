"""What the formats share: files written whole, JSON read with errors that name the file, and categories."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

from video.formats.base import AnnotatedVideo, FormatError
from video.types import DEFAULT_FPS


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


def categories(videos: Iterable[AnnotatedVideo]) -> dict[str, int]:
    """Labels -> 1, 2, ... in alphabetical order: the same whatever the order of the videos."""
    labels = sorted({one.label for video in videos for one in video.objects})
    return {label: i for i, label in enumerate(labels, start=1)}


def head(numbers: Mapping[str, int], *lists: str) -> dict[str, Any]:
    """What a file in COCO's manner begins with, and empty lists of these names. numbers: as `categories` gives them."""
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


def evenly(n: int, fps: float = DEFAULT_FPS) -> NDArray[np.float64]:
    """(n,) seconds of frames of which only the number is known."""
    return np.arange(n) / fps


def field(item: Any, name: str, kind: type | tuple[type, ...], where: str) -> Any:
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


def picture_size(path: Path) -> tuple[int, int]:
    """(width, height) in pixels, from the header. Raises FormatError."""
    try:
        with Image.open(path) as picture:
            return picture.size
    except (OSError, Image.DecompressionBombError) as error:
        raise FormatError(f"{path} cannot be read as a picture: {error}") from None


def fill_polygons(polygons: Sequence[Sequence[float]], size: tuple[int, int], where: str) -> NDArray[np.bool_]:
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
