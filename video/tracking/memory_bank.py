"""A bounded memory of the features of past frames, from which the objects in a new frame are read.

Labels are propagated without training, as in space-time memory networks: each cell of a new frame's feature grid finds
the most similar cells of the frames in memory and takes over their labels (Oh et al. 2019, "Video Object Segmentation
using Space-Time Memory Networks"; Jabri et al. 2020, "Space-Time Correspondence as a Contrastive Random Walk").
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

Grid = NDArray[np.float32]
_ROWS_AT_ONCE = 8  # rows of a local search that share one matrix product
_OUT_OF_REACH = np.float32(-4.0)  # added to the cosine of a cell beyond the search radius, so that it has no vote


@dataclass(frozen=True)
class MemoryBankOptions:
    """How much is remembered, and how it is read.

    Args:
        max_recent: Frames kept of the latest ones.
        max_long_term: Frames kept that are spread over all of the past.
        max_anchors: Frames kept per object on which its mask was given. The first of them is kept for ever.
        search_radius: How far an object may have moved since a recent frame, in parts of the frame.
        top_k: Cells of the past that vote for one cell of the present, at most half of them from one frame.
        temperature: Of the softmax over the votes' cosines.
        look_alike_cosine: Two objects look alike if the mean features on their anchors have at least this cosine.
    """

    max_recent: int = 3
    max_long_term: int = 4
    max_anchors: int = 3
    search_radius: float = 0.19
    top_k: int = 10
    temperature: float = 0.1
    look_alike_cosine: float = 0.8

    def __post_init__(self) -> None:
        if self.max_recent < 0 or self.max_long_term < 0 or self.max_anchors < 1 or self.top_k < 1:
            raise ValueError(
                f"max_recent and max_long_term must be at least 0, max_anchors and top_k at least 1, got {self}"
            )
        if not (0 < self.search_radius <= 1 and self.temperature > 0):
            raise ValueError(f"search_radius must be in (0, 1] and temperature above 0, got {self}")


@dataclass(eq=False)
class _MemoryFrame:
    """One frame in memory.

    Args:
        keys: (h, w, c) float32, unit vectors.
        labels: By object id, (h * w,) float32: the share of each cell that is the object's.
        cells: The cells that are searched; computed when it is needed.
    """

    keys: Grid
    labels: dict[int, Grid] = field(default_factory=dict)
    cells: NDArray[np.int64] | None = None

    def searched_cells(self) -> NDArray[np.int64]:
        """Return the indices of the cells to search: all on or near an object, and a quarter of the others."""
        if self.cells is None:
            h, w = self.keys.shape[:2]
            labelled = np.any([label >= 0.1 for label in self.labels.values()], axis=0).reshape(h, w)
            width = max(3, round(0.2 * min(h, w))) | 1
            near = cv2.dilate(labelled.astype(np.uint8), np.ones((width, width), np.uint8)) > 0
            near[::2, ::2] = True
            self.cells = np.flatnonzero(near)
        return self.cells


@dataclass(frozen=True, eq=False)
class Readout:
    """The result of matching a new frame against the memory.

    Args:
        size: (w, h) of the frame's feature grid; n = h * w.
        matches: For each frame in memory: the frame, whether it is a long-term one or an anchor, and the cosines (n, k)
            and cells (n, k) of the most similar cells.
        options: The options of the memory.
    """

    size: tuple[int, int]
    matches: list[tuple[_MemoryFrame, bool, Grid, NDArray[np.int64]]]
    options: MemoryBankOptions

    def share(self, object_id: int, *, lasting_only: bool = False) -> Grid:
        """Return (h, w) float32 in [0, 1]: how much of each cell is the object's, by the votes of the memory.

        Args:
            object_id: The object.
            lasting_only: Whether to leave out the recent frames, which only know the surroundings of the last place.
        """
        w, h = self.size
        matches = [m for m in self.matches if object_id in m[0].labels and (m[1] or not lasting_only)]
        if not matches:
            return np.zeros((h, w), np.float32)
        cosines = np.concatenate([c for _, _, c, _ in matches], axis=1)
        labels = np.concatenate([frame.labels[object_id][cells] for frame, _, _, cells in matches], axis=1)
        cosines, best = _largest(cosines, self.options.top_k)
        labels = np.take_along_axis(labels, best, axis=1)
        votes = np.exp((cosines - cosines.max(axis=1, keepdims=True)) / self.options.temperature)
        return np.asarray((votes * labels).sum(axis=1) / votes.sum(axis=1), np.float32).reshape(h, w)

    def similarity(self, object_ids: Collection[int]) -> Grid:
        """Return (h, w) float32: the greatest cosine of each cell to a cell of these objects; -1 where there is none.

        Only anchors and long-term frames count. The votes of `share` weigh an object against its surroundings; the
        similarity tells whether either is there at all. Long-term frames were chosen by the tracker itself, so a wrong
        mask among them confirms the next one (a bar over the swan of DAVIS's blackswan is taken for it). Without them
        that bar is recognised as an occlusion, but an object that turns is lost (J on drift-chicane 0.25 instead of
        0.91).
        """
        w, h = self.size
        best = np.full(w * h, -1, np.float32)
        for frame, is_lasting, cosines, cells in self.matches:
            for object_id in frame.labels.keys() & set(object_ids) if is_lasting else ():
                own = np.where(frame.labels[object_id][cells] >= 0.5, cosines, np.float32(-1))
                best = np.maximum(best, own.max(axis=1))
        return best.reshape(h, w)


class MemoryBank:
    """Frames of three kinds: anchors, recent ones, and long-term ones spread over the past. Their number is bounded.

    Args:
        options: How much is remembered, and how it is read.
    """

    def __init__(self, options: MemoryBankOptions | None = None) -> None:
        self._options = options or MemoryBankOptions()
        self._mean: Grid | None = None
        self._anchors: list[_MemoryFrame] = []
        self._recent: list[_MemoryFrame] = []
        self._long_term: list[_MemoryFrame] = []
        self._stride, self._since_long_term = 1, 0
        self._mean_features: dict[int, Grid] = {}

    def __len__(self) -> int:
        return len(self._anchors) + len(self._recent) + len(self._long_term)

    def copy(self) -> MemoryBank:
        """Return a memory that goes on from here by itself. Anchors must be added to neither before one is dropped."""
        other = MemoryBank(self._options)
        other.__dict__.update(self.__dict__)
        other._anchors, other._recent, other._long_term = [*self._anchors], [*self._recent], [*self._long_term]
        return other

    def make_keys(self, features: Grid) -> Grid:
        """Turn features into keys: unit vectors about the mean of the first frame, whose common part tells nothing.

        Args:
            features: (h, w, c) float32.

        Returns:
            (h, w, c) float32.
        """
        if self._mean is None:
            self._mean = np.asarray(features.mean(axis=(0, 1)), np.float32)
        centred = features - self._mean
        return np.asarray(centred / (np.linalg.norm(centred, axis=-1, keepdims=True) + 1e-6), np.float32)

    def read(self, keys: Grid) -> Readout:
        """Match a new frame against the memory. keys: (h, w, c) float32 of `make_keys`."""
        h, w = keys.shape[:2]
        flat = keys.reshape(h * w, -1)
        frames = [(f, True) for f in self._anchors + self._long_term] + [(f, False) for f in self._recent]
        matches = [(f, is_lasting, *self._search(flat, f, local=not is_lasting)) for f, is_lasting in frames]
        return Readout((w, h), matches, self._options)

    def _search(self, flat: Grid, frame: _MemoryFrame, *, local: bool) -> tuple[Grid, NDArray[np.int64]]:
        """Return the cosines (n, k) and the cells (n, k) of the frame that are most similar to each key of (n, c).

        local: whether only cells within the search radius count.
        """
        searched = frame.searched_cells()
        h, w, c = frame.keys.shape
        keys, k = frame.keys.reshape(h * w, c)[searched], max(1, self._options.top_k // 2)
        if not local:
            cosines, best = _largest(flat @ keys.T, k)
            return cosines, searched[best]
        rows, columns = np.divmod(searched, w)  # rows ascend, so the cells within reach of a row are one slice
        reach_x, reach_y = self._options.search_radius * w, self._options.search_radius * h
        far_x = np.where(np.abs(np.arange(w)[:, None] - columns) > reach_x, _OUT_OF_REACH, np.float32(0))
        found = []
        for top in range(0, h, _ROWS_AT_ONCE):
            own = np.arange(top, min(top + _ROWS_AT_ONCE, h))
            a, b = np.searchsorted(rows, [own[0] - reach_y, own[-1] + reach_y + 1e-9], side="left")
            b = max(b, min(a + k, len(searched)))
            a = min(a, b - min(k, b))
            cosines = (flat[own[0] * w : (own[-1] + 1) * w] @ keys[a:b].T).reshape(len(own), w, b - a)
            cosines += np.where(np.abs(own[:, None] - rows[a:b]) > reach_y, _OUT_OF_REACH, np.float32(0))[:, None]
            cosines += far_x[:, a:b]
            largest, best = _largest(cosines.reshape(-1, b - a), k)
            found.append((largest, searched[a + best]))
        cosines, cells = (np.concatenate(part) for part in zip(*found, strict=True))
        return cosines, cells

    def add_anchor(self, object_id: int, keys: Grid, share: Grid) -> None:
        """Remember a frame on which the mask of an object was given.

        Args:
            object_id: The object.
            keys: (h, w, c) float32 of `make_keys`.
            share: (h, w) float32 in [0, 1]: how much of each cell is the object's.
        """
        frame = self._anchors[-1] if self._anchors and self._anchors[-1].keys is keys else None
        if frame is None:
            frame = _MemoryFrame(keys)
            self._anchors.append(frame)
        frame.labels[object_id] = np.asarray(share, np.float32).ravel()
        frame.cells = None
        mean = (keys * np.asarray(share, np.float32)[..., None]).sum(axis=(0, 1))
        self._mean_features[object_id] = np.asarray(mean / (np.linalg.norm(mean) + 1e-6), np.float32)
        own = [f for f in self._anchors if object_id in f.labels]
        if len(own) > self._options.max_anchors:  # the first is kept for ever, of the others the latest
            own[1].labels.pop(object_id)
            own[1].cells = None
            self._anchors = [f for f in self._anchors if f.labels]

    def look_alikes(self, object_id: int) -> set[int]:
        """Return the ids of all objects that look like this one, itself included: votes cannot tell them apart."""
        own = self._mean_features[object_id]
        threshold = self._options.look_alike_cosine
        return {object_id} | {k for k, other in self._mean_features.items() if float(own @ other) >= threshold}

    def add(self, keys: Grid, shares: Mapping[int, Grid], *, is_reliable: bool) -> None:
        """Remember a frame with the masks that the tracker found in it.

        Args:
            keys: (h, w, c) float32 of `make_keys`.
            shares: By object id, (h, w) float32 in [0, 1]. Only objects whose masks are reliable.
            is_reliable: Whether all objects are among them, so that the frame may become a long-term one.
        """
        if not shares:
            return
        frame = _MemoryFrame(keys, {k: np.asarray(share, np.float32).ravel() for k, share in shares.items()})
        if self._options.max_recent:
            self._recent = [*self._recent, frame][-self._options.max_recent :]
        self._since_long_term += 1
        if not is_reliable or not self._options.max_long_term or self._since_long_term < self._stride:
            return
        self._long_term.append(frame)
        self._since_long_term = 0
        if len(self._long_term) > self._options.max_long_term:  # drop every other one and take half as many from now on
            self._long_term = self._long_term[1::2]
            self._stride *= 2

    def state_dict(self) -> dict[str, Any]:
        """Return the memory as plain data and arrays."""
        frames = list({id(f): f for f in self._anchors + self._recent + self._long_term}.values())
        index = {id(frame): i for i, frame in enumerate(frames)}
        return {
            "mean": self._mean,
            "frames": [{"keys": f.keys, "labels": {str(k): v for k, v in f.labels.items()}} for f in frames],
            "anchors": [index[id(frame)] for frame in self._anchors],
            "recent": [index[id(frame)] for frame in self._recent],
            "long_term": [index[id(frame)] for frame in self._long_term],
            "stride": self._stride,
            "since_long_term": self._since_long_term,
            "mean_features": {str(k): v for k, v in self._mean_features.items()},
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue from the result of `state_dict`, with the same options."""
        frames = [_MemoryFrame(f["keys"], {int(k): v for k, v in f["labels"].items()}) for f in state["frames"]]
        self._mean = state["mean"]
        self._anchors = [frames[i] for i in state["anchors"]]
        self._recent = [frames[i] for i in state["recent"]]
        self._long_term = [frames[i] for i in state["long_term"]]
        self._stride, self._since_long_term = state["stride"], state["since_long_term"]
        self._mean_features = {int(k): v for k, v in state["mean_features"].items()}


def _largest(rows: Grid, k: int) -> tuple[Grid, NDArray[np.int64]]:
    """Return the k largest values of each row, in descending order, and their columns; all where there are fewer.

    `rows` is overwritten. k passes of argmax, which is vectorised, are four times faster than numpy's partition for the
    small k that is used here.
    """
    k = min(k, rows.shape[1])
    columns = np.empty((len(rows), k), np.int64)
    largest = np.empty((len(rows), k), np.float32)
    every = np.arange(len(rows))
    for i in range(k):
        columns[:, i] = rows.argmax(axis=1)
        largest[:, i] = rows[every, columns[:, i]]
        rows[every, columns[:, i]] = -np.inf
    return largest, columns
