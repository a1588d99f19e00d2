"""VectorKeyframes as the editor draws them from their keyframes, on any place of its grid of frames.

The rule is that of Label Studio's editor (see `outline_regions`): each vertex goes linearly to the one of the same id
on the next keyframe, and stays where the next has none; `closed` is the earlier keyframe's; frames are shown from the
first keyframe on, and hidden after one that is not enabled, up to the next.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray


class VectorKeyframes:
    """Keyframes of one region. Those that cannot be read are left out."""

    def __init__(self, sequence: Sequence[Any]) -> None:
        items = [i for i in sequence if isinstance(i, Mapping) and isinstance(i.get("frame"), int)]
        self._keys = sorted((i for i in items if readable(i.get("vertices"))), key=lambda i: int(i["frame"]))
        self._at = np.array([i["frame"] for i in self._keys], np.int64)

    @property
    def frames(self) -> list[int]:
        """Of the editor, 1-based, that keyframes are on."""
        return self._at.tolist()

    def shown(self, frame: float) -> bool:
        """Whether anything is drawn there. frame: of the editor, 1-based; between two it is as on the earlier one."""
        before = int(np.searchsorted(self._at, int(frame), side="right")) - 1
        if before < 0:
            return False
        return bool(self._keys[before].get("enabled", True)) or int(self._at[before]) == int(frame)

    def points(self, frame: float) -> NDArray[np.float64]:
        """(n, 2) xy in fractions of the frame, whether shown or not; none before the first keyframe."""
        before = int(np.searchsorted(self._at, frame, side="right")) - 1
        if before < 0:
            return np.empty((0, 2))
        here = _by_id(self._keys[before])
        if before + 1 < len(self._keys):
            there = _by_id(self._keys[before + 1])
            share = (frame - self._at[before]) / (self._at[before + 1] - self._at[before])
            here = {i: p + share * (there[i] - p) if i in there else p for i, p in here.items()}
        return np.array(list(here.values()), np.float64).reshape(-1, 2) / 100


def _by_id(item: Mapping[str, Any]) -> dict[str, NDArray[np.float64]]:
    return {str(v.get("id", i)): np.array([v["x"], v["y"]], np.float64) for i, v in enumerate(item["vertices"])}


def readable(vertices: Any) -> bool:
    """Whether this is the list of vertices of a keyframe."""
    return isinstance(vertices, list) and all(
        isinstance(v, Mapping) and all(isinstance(v.get(c), int | float) for c in "xy") for v in vertices
    )
