"""Numbers, sizes, boxes and polygons in files of others, checked before anything is computed from them."""

from __future__ import annotations

import itertools
import math
import re
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from video.formats.base import FormatError, get_field

MAX_PIXELS = 2**27
"""Pixels of a picture, 16,384 x 8,192; a file that tells of more is wrong, and would fill the memory."""


_NOT_IN_XML = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def check_label(label: str, where: str) -> str:
    """Return a label if a label config can hold it.

    Args:
        label: The label.
        where: What the error's text calls what has it.

    Raises:
        FormatError: If it is blank, or has a character that XML 1.0 excludes (https://www.w3.org/TR/xml/#charsets):
            control characters and, of a JSON escape such as "\\ud800", half a character.
    """
    if not label.strip():
        raise FormatError(f"{where}: its name {label!r:.80} is blank: give the category a name")
    if (found := _NOT_IN_XML.search(label)) is not None:
        raise FormatError(f"{where}: its name {label!r:.80} has the character {found[0]!r}, which no label can hold")
    return label


def get_size(item: Any, where: str) -> tuple[int, int]:
    """Return the (width, height) in pixels of a JSON object with the members `width` and `height`.

    Args:
        item: The object.
        where: What the error's text calls it.

    Raises:
        FormatError: If they are missing, or are no size of a picture (see `check_size`).
    """
    return check_size((get_field(item, "width", int, where), get_field(item, "height", int, where)), where)


def check_size(size: tuple[int, int], where: str) -> tuple[int, int]:
    """Return a (width, height) in pixels if pictures can have it.

    Args:
        size: The size that a file tells.
        where: What the error's text calls that file or what is in it.

    Raises:
        FormatError: If a side is below 1, or the picture has more than `MAX_PIXELS`.
    """
    if min(size) < 1 or size[0] * size[1] > MAX_PIXELS:
        raise FormatError(
            f"{where} has pictures of {size[0]} x {size[1]} pixels; a side must be 1 or more, and {MAX_PIXELS} pixels "
            "at most are read"
        )
    return size


def finite_number(value: Any) -> float | None:
    """Return a JSON number as float64; None for all else, among it true, NaN and whole numbers beyond float64."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    try:
        number = float(value)
    except OverflowError:
        return None
    return number if math.isfinite(number) else None


def read_times(values: Sequence[Any], where: str) -> NDArray[np.float64]:
    """Return when frames are shown, (N,) seconds.

    Args:
        values: The JSON values.
        where: What the error's text calls their file.

    Raises:
        FormatError: If they are no numbers, or do not ascend.
    """
    times = [time for time in map(finite_number, values) if time is not None]
    if len(times) != len(values) or not all(a < b for a, b in itertools.pairwise(times)):
        raise FormatError(f"{where}: time_s must be a number of seconds that rises from picture to picture")
    return np.array(times, np.float64)


def parse_count(text: str) -> int | None:
    """Return a whole number of 0 or more; None for any other text, and for more than 18 digits."""
    text = text.strip()
    return int(text) if text.isdecimal() and len(text) <= 18 else None


def xywh_box(box: Any, size: tuple[int, int], where: str) -> tuple[float, float, float, float]:
    """Turn [x, y, width, height] in pixels into a normalised xyxy box. size: (width, height) of the image.

    Raises:
        FormatError: If it is no such list.
    """
    numbers = [finite_number(v) for v in box] if isinstance(box, list | tuple) else []
    sides = [v for v in numbers if v is not None]
    if len(numbers) != 4 or len(sides) != 4:
        raise FormatError(f"{where}: a box must be [x, y, width, height] in pixels, got {box!r:.80}")
    x, y, width, height = sides
    return (x / size[0], y / size[1], (x + width) / size[0], (y + height) / size[1])


def polygons_to_mask(polygons: Any, size: tuple[int, int], where: str) -> NDArray[np.bool_]:
    """Fill polygons as pycocotools does.

    Args:
        polygons: [[x0, y0, x1, y1, ...], ...] in pixels, as JSON has it.
        size: (width, height) of the mask.
        where: What the error's text calls them.

    Returns:
        (H, W) bool.

    Raises:
        FormatError: If a polygon is no list of numbers, has fewer than three corners, or one that is further from the
            picture than ten times its longer side: pycocotools needs memory for each pixel of an edge.
    """
    from pycocotools import mask as coco

    w, h = size
    lists = polygons if isinstance(polygons, list) else [polygons]
    if not lists or any(not isinstance(p, list) or len(p) < 6 or len(p) % 2 for p in lists):
        raise FormatError(f"{where}: a polygon needs three corners or more, x and y of each")
    corners = [[v for v in map(finite_number, p) if v is not None and abs(v) <= 11 * max(size)] for p in lists]
    if [len(p) for p in corners] != [len(p) for p in lists]:
        raise FormatError(f"{where}: the corners of a polygon must be numbers, in pixels, in or near the picture")
    parts = coco.frPyObjects(corners, h, w)
    return np.ascontiguousarray(coco.decode(coco.merge(parts))).astype(np.bool_)
