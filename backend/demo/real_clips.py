"""The two excerpts of real video that `make demo` shows, with a first box and with masks to compare tracks with.

clips/NOTICE says where they are from and how the masks were made.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from backend.demo.synthetic_videos import LABEL
from video.io.reader import open_clip
from video.masks import Box, rle_box
from video.types import Rle

_FOLDER = Path(__file__).parent / "clips"


@dataclass(frozen=True)
class RealClip:
    """An excerpt of a real video of N frames, and one object in it.

    Attributes:
        path: The file.
        words: What the object is called.
        by_words: Whether the demo finds it by these words; otherwise it follows the box.
        box: Normalised xyxy around the object on the first frame, as a person draws it.
        fps: Frames per second.
        times: (N,) presentation times in seconds.
        boxes: (N, 4) normalised xyxy of the object's mask; NaN on frames without a checked mask.
    """

    path: Path
    words: str
    by_words: bool
    box: Box
    fps: float
    times: NDArray[np.float64]
    boxes: NDArray[np.float64]

    @property
    def duration_s(self) -> float:
        """Duration in seconds, as players show it."""
        return len(self.times) / self.fps

    def drawn_region(self) -> dict[str, Any]:
        """Return the box on the first frame as Label Studio stores it when a person has drawn it."""
        x0, y0, x1, y1 = (100 * value for value in self.box)
        sides = {"x": x0, "y": y0, "width": x1 - x0, "height": y1 - y0, "rotation": 0}
        value = {
            "framesCount": len(self.times),
            "duration": self.duration_s,
            "sequence": [{"frame": 1, "time": 0, "enabled": True, **sides}],
            "labels": [LABEL],
        }
        kind = {"type": "videorectangle", "from_name": "box", "to_name": "video", "origin": "manual"}
        return {"id": self.path.stem, **kind, "value": value}


def load_real_clips() -> list[RealClip]:
    """Return the excerpts."""
    described = json.loads((_FOLDER / "clips.json").read_text(encoding="utf-8"))
    return [_read_clip(item) for item in described]


def _read_clip(described: dict[str, Any]) -> RealClip:
    clip = open_clip(_FOLDER / described["file"])
    width, height = described["size"]
    boxes = np.full((len(clip), 4), np.nan)
    for frame, counts in described["masks"].items():
        boxes[int(frame)] = rle_box(Rle((width, height), counts.encode()))
    x0, y0, x1, y1 = described["box"]
    return RealClip(
        clip.path,
        described["words"],
        described["by_words"],
        (x0, y0, x1, y1),
        float(described["fps"]),
        np.asarray(clip.times),
        boxes,
    )
