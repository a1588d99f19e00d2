"""The formats by name, as `refam export`, `refam import` and `refam curate --export` offer them."""

from __future__ import annotations

from types import ModuleType
from typing import Any, Literal

ExportFormat = Literal["coco", "coco-polygons", "youtube-vis", "davis", "mots", "yolo", "cvat"]
ImportFormat = Literal["coco", "youtube-vis", "davis", "mots", "cvat"]


def format_module(name: str) -> tuple[ModuleType, dict[str, Any]]:
    """Return the module that writes and reads a format, and the keyword arguments of its `write`.

    Args:
        name: One of `ExportFormat`. `yolo` cannot be read.

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
