"""A pass through a clip as it stands, in bytes: hours of following outlive the process that does it.

What a tracker holds is written by pickle and read by a reader of its own that makes numbers, arrays and this project's
own plain records, and nothing else: a folder that somebody else has prepared runs no code.
"""

from __future__ import annotations

import importlib
import io
import pickle
from collections.abc import Mapping
from typing import Any, Protocol

_READ = {
    "collections": {"deque"},
    "numpy": {"ndarray", "dtype"},
    "numpy._core.multiarray": {"_reconstruct", "scalar"},
    "numpy._core.numeric": {"_frombuffer"},
    "video.tracking.distractors": {"Contact"},
    "video.shots": {"CutWatch", "Glance"},
    "video.tracking.appearance": {"Looks"},
    "video.tracking.memory_bank": {"Memory", "MemoryOptions", "_Page"},
    "video.tracking.motion": {"Course"},
    "video.tracking.memory_tracker": {"_Subject"},
    "video.tracking.flow_tracker": {"_Subject"},
    "video.types": {"Rle"},
}


class CheckpointStore(Protocol):
    """Where the state of passes is kept, the last one; a place of its own for all that their result depends on."""

    def load(self) -> bytes | None: ...  # noqa: D102
    def keep(self, state: bytes) -> None: ...  # noqa: D102


class Resumable:
    """A tracker that can go on in another process, to the same masks as if it had never stopped.

    All that it holds, but for what it is made of, must be numbers, arrays and plain records.
    """

    _MADE_OF = ("_options", "_segmenter", "_flow")

    def freeze(self) -> dict[str, Any]:
        """What it holds."""
        return {name: value for name, value in vars(self).items() if name not in self._MADE_OF}

    def thaw(self, state: Mapping[str, Any]) -> None:
        """Goes on from what `freeze` gave, with the same options and models."""
        vars(self).update(state)


def packed(content: Any) -> bytes:
    """Numbers, arrays, containers of them and this project's records -> bytes."""
    return pickle.dumps(content, protocol=5)


def unpacked(state: bytes) -> Any:
    """What `packed` was given; None where the bytes are damaged or hold anything else."""
    try:
        return _Reader(io.BytesIO(state)).load()
    except Exception:  # whatever reading rubbish gives
        return None


class _Reader(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        if name not in _READ.get(module, ()):
            raise pickle.UnpicklingError(f"{module}.{name} is no plain record")
        return getattr(importlib.import_module(module), name)
