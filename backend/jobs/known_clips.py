"""The times of clips that were opened lately: opening one reads the whole file."""

from __future__ import annotations

import threading
from collections import OrderedDict
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

_MOST = 16


@dataclass(frozen=True, eq=False)
class ClipTimes:
    """The times of a clip.

    Attributes:
        times: Presentation times (N,) in seconds, ascending.
        duration_s: Duration in seconds.
        fps: Average frames per second, without noise in its last digits (`rate_for_task`).
    """

    times: NDArray[np.float64]
    duration_s: float
    fps: float


class KnownClips:
    """The times of the last 16 clips, by the address and the task that it stands in. Safe to use from threads."""

    def __init__(self) -> None:
        self._clips: OrderedDict[tuple[str, int | None], ClipTimes] = OrderedDict()
        self._lock = threading.Lock()

    def get(self, address: str, task: int | None) -> ClipTimes | None:
        """Return the times of a clip, None if it was not opened lately."""
        with self._lock:
            if (address, task) in self._clips:
                self._clips.move_to_end((address, task))
            return self._clips.get((address, task))

    def add(self, address: str, task: int | None, clip: ClipTimes) -> None:
        """Remember a clip, and forget the one that was unused longest where there are too many."""
        with self._lock:
            self._clips[address, task] = clip
            if len(self._clips) > _MOST:
                self._clips.popitem(last=False)
