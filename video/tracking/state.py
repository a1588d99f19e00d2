"""The state of a tracker and of unfinished passes: plain data that is stored as bytes and loaded again.

A state is a tree of dicts with string keys, lists, numbers, strings, None and numpy arrays. It names no class of this
project, and loading it runs no code of the file: arrays are stored in numpy's npz format without pickle, the structure
around them as JSON.
"""

from __future__ import annotations

import io
import json
import time
from collections.abc import Mapping, Sequence
from typing import Any, Protocol, runtime_checkable

import numpy as np

from video.types import EncodedObservation, Rle, Tracker

State = dict[str, Any]
PassObservations = dict[int, EncodedObservation]  # what one pass observed of one object, by frame

_FORMAT = 1  # of the stored bytes; another number is not read
_SAVE_INTERVAL_S = 60.0
_STRUCTURE = "structure"  # the name of the array that holds the JSON
_ARRAY = "$array"  # the key of a node that stands for an array


class CheckpointStore(Protocol):
    """Where the state of unfinished passes is kept. Each store belongs to one combination of inputs."""

    def load(self) -> bytes | None:
        """Return the state that was saved last, or None."""
        ...

    def save(self, state: bytes) -> None:
        """Replace the saved state."""
        ...


@runtime_checkable
class Resumable(Protocol):
    """A tracker that another process can continue, to the same masks as if it had never stopped."""

    def state_dict(self) -> State:
        """Return all that the tracker holds except its options and models."""
        ...

    def load_state_dict(self, state: State) -> None:
        """Continue from the result of `state_dict`; options and models must be the same."""
        ...


class PassCheckpoint:
    """The observations and tracker states of the passes over a clip, saved every minute and on an interruption.

    Args:
        store: Where they are saved; None saves nothing.
    """

    def __init__(self, store: CheckpointStore | None) -> None:
        self._store = store
        saved = None if store is None else store.load()
        state = None if saved is None else deserialize(saved)
        self._passes: State = state if isinstance(state, dict) else {}
        self._last_save = time.monotonic()

    def resume(self, name: str, tracker: Tracker) -> tuple[list[PassObservations], int] | None:
        """Load the saved state of a pass into a new tracker.

        Args:
            name: The name of the pass.
            tracker: A tracker without objects.

        Returns:
            The observations of each object and the number of frames that are done. None if nothing was saved or the
            tracker cannot be resumed.
        """
        saved = self._passes.get(name)
        if saved is None or not isinstance(tracker, Resumable):
            return None
        if saved["tracker"] is not None:
            tracker.load_state_dict(saved["tracker"])
        return [_observations_from_state(one) for one in saved["observations"]], saved["frames_done"]

    def update(
        self,
        name: str,
        tracker: Tracker,
        observations: Sequence[PassObservations],
        frames_done: int,
        *,
        is_finished: bool,
        save_now: bool = False,
    ) -> None:
        """Record how far a pass is; saves it when the last save is a minute ago.

        Args:
            name: The name of the pass.
            tracker: The tracker after the last frame.
            observations: What was observed of each object.
            frames_done: The number of frames that are done.
            is_finished: Whether the pass is at its end: its tracker is not needed again.
            save_now: Whether to save in any case.
        """
        if self._store is None or not isinstance(tracker, Resumable):
            return
        if not save_now and not is_finished and time.monotonic() - self._last_save <= _SAVE_INTERVAL_S:
            return
        self._passes[name] = {
            "observations": [_observations_to_state(one) for one in observations],
            "frames_done": frames_done,
            "tracker": None if is_finished else tracker.state_dict(),
        }
        if save_now or time.monotonic() - self._last_save > _SAVE_INTERVAL_S:
            self._store.save(serialize(self._passes))
            self._last_save = time.monotonic()


def serialize(state: State) -> bytes:
    """Encode a state as bytes.

    Raises:
        TypeError: If it holds anything but plain data.
    """
    arrays: dict[str, np.ndarray[Any, Any]] = {}
    structure = json.dumps({"format": _FORMAT, "state": _to_json(state, arrays)})
    file = io.BytesIO()
    np.savez(file, allow_pickle=False, **{_STRUCTURE: np.frombuffer(structure.encode(), np.uint8)}, **arrays)
    return file.getvalue()


def deserialize(content: bytes) -> State | None:
    """Decode the result of `serialize`. Returns None for bytes that are damaged or were written by anything else."""
    try:
        with np.load(io.BytesIO(content), allow_pickle=False) as arrays:
            stored = json.loads(arrays[_STRUCTURE].tobytes())
            if stored["format"] != _FORMAT:
                return None
            state = _from_json(stored["state"], arrays)
    except Exception:  # numpy, zipfile and json each raise errors of their own for bytes of other formats
        return None
    return state if isinstance(state, dict) else None


def _to_json(node: Any, arrays: dict[str, np.ndarray[Any, Any]]) -> Any:
    """Return a state for JSON, with a reference in place of each array; adds the arrays to `arrays`."""
    if isinstance(node, np.ndarray | np.generic):
        name = f"a{len(arrays)}"
        arrays[name] = np.asarray(node)
        return {_ARRAY: name}
    if isinstance(node, Mapping):
        if not all(isinstance(key, str) for key in node):
            raise TypeError(f"the keys of a state must be strings, got {list(node)}")
        return {key: _to_json(value, arrays) for key, value in node.items()}
    if isinstance(node, list | tuple):
        return [_to_json(value, arrays) for value in node]
    if node is None or isinstance(node, bool | int | float | str):
        return node
    raise TypeError(f"a state cannot hold {type(node).__name__}")


def _from_json(node: Any, arrays: Mapping[str, Any]) -> Any:
    if isinstance(node, list):
        return [_from_json(value, arrays) for value in node]
    if not isinstance(node, dict):
        return node
    if _ARRAY in node:
        array = arrays[node[_ARRAY]]
        return array if array.ndim else array[()]  # a numpy scalar comes back as one
    return {key: _from_json(value, arrays) for key, value in node.items()}


def _observations_to_state(observations: PassObservations) -> State:
    rows = list(observations.values())
    return {
        "frames": list(observations),
        "size": list(rows[0].mask.size) if rows else None,
        "counts": [row.mask.counts.decode("ascii") for row in rows],
        "scores": [float(row.score) for row in rows],
        "visible": [bool(row.visible) for row in rows],
    }


def _observations_from_state(state: State) -> PassObservations:
    columns = zip(state["frames"], state["counts"], state["scores"], state["visible"], strict=True)
    size = tuple(state["size"] or ())
    return {
        frame: EncodedObservation(Rle(size, counts.encode("ascii")), score, visible)
        for frame, counts, score, visible in columns
    }
