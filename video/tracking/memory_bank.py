"""A bounded memory of what objects and their surroundings looked like, and what of it is in a new frame.

Labels are propagated as in space-time memory networks without any training: each place of a new frame looks up the
most similar places of the remembered frames and takes over their labels (Oh et al. 2019, "Video Object Segmentation
using Space-Time MemoryBank Networks"; Jabri et al. 2020, "Space-Time Correspondence as a Contrastive Random Walk").
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, field

import cv2
import numpy as np
from numpy.typing import NDArray

Grid = NDArray[np.float32]
_BAND = 8  # rows that are looked up at once among the places in their reach
_FAR = np.float32(-4.0)  # added to the cosine of what is out of reach: no vote then


@dataclass(frozen=True)
class MemoryBankOptions:
    """How much is remembered, and how it is looked up.

    recent, sure: frames kept beside the anchors: the last ones, and ones spread over all of the past. anchors: frames
    kept that a target was started on, the first of them for ever. radius: how far a thing may have moved since a
    recent frame, in parts of the frame. nearest: places of the past that vote for one of the present, at most half
    of them from one page.
    temperature: of their votes' softmax over cosines. twin: from this cosine of their mean features on, where they
    were started, two targets look alike.
    """

    recent: int = 3
    sure: int = 4
    anchors: int = 3
    radius: float = 0.19
    nearest: int = 10
    temperature: float = 0.1
    twin: float = 0.8

    def __post_init__(self) -> None:
        if self.recent < 0 or self.sure < 0 or self.anchors < 1 or self.nearest < 1:
            raise ValueError(f"recent and sure must be at least 0, anchors and nearest at least 1, got {self}")
        if not (0 < self.radius <= 1 and self.temperature > 0):
            raise ValueError(f"radius must be in (0, 1] and temperature above 0, got {self}")


@dataclass(eq=False)
class _Page:
    """One remembered frame. keys: (h, w, c), unit vectors. labels: target -> (h * w,) float32 share of each place."""

    keys: Grid
    labels: dict[int, Grid] = field(default_factory=dict)
    kept: NDArray[np.int64] | None = None

    def places(self) -> NDArray[np.int64]:
        """The places that are looked at: all on or near an object, every other one of the rest."""
        if self.kept is None:
            h, w = self.keys.shape[:2]
            on = np.any([label >= 0.1 for label in self.labels.values()], axis=0).reshape(h, w)
            reach = max(3, round(0.2 * min(h, w))) | 1
            near = cv2.dilate(on.astype(np.uint8), np.ones((reach, reach), np.uint8)) > 0
            near[::2, ::2] = True
            self.kept = np.flatnonzero(near)
        return self.kept


@dataclass(frozen=True, eq=False)
class Readout:
    """A new frame as the memory sees it: for each page the most similar places of each of the frame's.

    Each entry is (page, is it a lasting one, (n, k) cosines, (n, k) indices of its places), n = h * w.
    """

    size: tuple[int, int]
    found: list[tuple[_Page, bool, Grid, NDArray[np.int64]]]
    options: MemoryBankOptions

    def share(self, target: int, *, lasting_only: bool = False) -> Grid:
        """(h, w) float32 in [0, 1]: how much of each place is the target's, by the votes of the memory.

        lasting_only: without the recent pages, which only know what is near where it was.
        """
        w, h = self.size
        pages = [f for f in self.found if target in f[0].labels and (f[1] or not lasting_only)]
        if not pages:
            return np.zeros((h, w), np.float32)
        cosines = np.concatenate([c for _, _, c, _ in pages], axis=1)
        labels = np.concatenate([p.labels[target][at] for p, _, _, at in pages], axis=1)
        cosines, best = _largest(cosines, self.options.nearest)
        labels = np.take_along_axis(labels, best, axis=1)
        votes = np.exp((cosines - cosines.max(axis=1, keepdims=True)) / self.options.temperature)
        return np.asarray((votes * labels).sum(axis=1) / votes.sum(axis=1), np.float32).reshape(h, w)

    def closeness(self, targets: Collection[int]) -> Grid:
        """(h, w) float32: the greatest cosine of each place to a place of these targets on a lasting page; else -1.

        Votes only weigh the object against its surroundings then; this tells whether either is there at all. What the
        tracker remembered by itself counts too, so a wrong mask that was remembered vouches for the next: a bar over
        DAVIS's blackswan is taken for it. Without those pages that was called lost, but so were 13 of 18 frames of
        drift-chicane, which turns (J 0.91 with them, 0.25 without).
        """
        w, h = self.size
        best = np.full(w * h, -1, np.float32)
        for page, lasting, cosines, at in self.found:
            for target in page.labels.keys() & set(targets) if lasting else ():
                own = np.where(page.labels[target][at] >= 0.5, cosines, np.float32(-1))
                best = np.maximum(best, own.max(axis=1))
        return best.reshape(h, w)


class MemoryBank:
    """Pages of three kinds: anchors, recent ones, and sure ones spread over the past. Their number is bounded."""

    def __init__(self, options: MemoryBankOptions | None = None) -> None:
        self._options = options or MemoryBankOptions()
        self._middle: Grid | None = None
        self._anchors: list[_Page] = []
        self._recent: list[_Page] = []
        self._sure: list[_Page] = []
        self._stride, self._since = 1, 0
        self._looks: dict[int, Grid] = {}

    def __len__(self) -> int:
        return len(self._anchors) + len(self._recent) + len(self._sure)

    def keys(self, features: Grid) -> Grid:
        """(h, w, c) -> (h, w, c) of unit length about the first frame's mean: what is common to all tells nothing."""
        if self._middle is None:
            self._middle = np.asarray(features.mean(axis=(0, 1)), np.float32)
        centred = features - self._middle
        return np.asarray(centred / (np.linalg.norm(centred, axis=-1, keepdims=True) + 1e-6), np.float32)

    def look(self, keys: Grid) -> Readout:
        """What of the memory is in a frame whose keys, (h, w, c), these are."""
        h, w = keys.shape[:2]
        flat = keys.reshape(h * w, -1)
        pages = [(p, True) for p in self._anchors + self._sure] + [(p, False) for p in self._recent]
        found = [(p, lasting, *self._search(flat, p, local=not lasting)) for p, lasting in pages]
        return Readout((w, h), found, self._options)

    def _search(self, flat: Grid, page: _Page, *, local: bool) -> tuple[Grid, NDArray[np.int64]]:
        kept = page.places()
        h, w, c = page.keys.shape
        keys, wanted = page.keys.reshape(h * w, c)[kept], max(1, self._options.nearest // 2)
        if not local:
            cosines, best = _largest(flat @ keys.T, wanted)
            return cosines, kept[best]
        rows, columns = np.divmod(kept, w)  # ascending rows: those in reach of some rows stand together
        reach_x, reach_y = self._options.radius * w, self._options.radius * h
        far_x = np.where(np.abs(np.arange(w)[:, None] - columns) > reach_x, _FAR, np.float32(0))
        found = []
        for top in range(0, h, _BAND):
            own = np.arange(top, min(top + _BAND, h))
            a, b = np.searchsorted(rows, [own[0] - reach_y, own[-1] + reach_y + 1e-9], side="left")
            b = max(b, min(a + wanted, len(kept)))
            a = min(a, b - min(wanted, b))
            cosines = (flat[own[0] * w : (own[-1] + 1) * w] @ keys[a:b].T).reshape(len(own), w, b - a)
            cosines += np.where(np.abs(own[:, None] - rows[a:b]) > reach_y, _FAR, np.float32(0))[:, None]
            cosines += far_x[:, a:b]
            some, best = _largest(cosines.reshape(-1, b - a), wanted)
            found.append((some, kept[a + best]))
        cosines, at = (np.concatenate(part) for part in zip(*found, strict=True))
        return cosines, at

    def anchor(self, target: int, keys: Grid, share: Grid) -> None:
        """Keeps a frame on which somebody said where the target is. share: (h, w) of each place."""
        page = self._anchors[-1] if self._anchors and self._anchors[-1].keys is keys else None
        if page is None:
            page = _Page(keys)
            self._anchors.append(page)
        page.labels[target] = np.asarray(share, np.float32).ravel()
        page.kept = None
        mean = (keys * np.asarray(share, np.float32)[..., None]).sum(axis=(0, 1))
        self._looks[target] = np.asarray(mean / (np.linalg.norm(mean) + 1e-6), np.float32)
        own = [p for p in self._anchors if target in p.labels]
        if len(own) > self._options.anchors:  # the first is kept for ever, of the others the last
            own[1].labels.pop(target)
            own[1].kept = None
            self._anchors = [p for p in self._anchors if p.labels]

    def twins(self, target: int) -> set[int]:
        """The target and all that look like it. Which of them a place votes for is a lottery."""
        own = self._looks[target]
        return {target} | {k for k, other in self._looks.items() if float(own @ other) >= self._options.twin}

    def remember(self, keys: Grid, shares: dict[int, Grid], *, sure: bool) -> None:
        """Keeps a frame as it was understood. shares: target -> (h, w), only of targets that were seen well enough."""
        if not shares:
            return
        page = _Page(keys, {k: np.asarray(share, np.float32).ravel() for k, share in shares.items()})
        if self._options.recent:
            self._recent = [*self._recent, page][-self._options.recent :]
        self._since += 1
        if not sure or not self._options.sure or self._since < self._stride:
            return
        self._sure.append(page)
        self._since = 0
        if len(self._sure) > self._options.sure:  # every other one goes, and the next ones come half as often
            self._sure = self._sure[1::2]
            self._stride *= 2


def _largest(rows: Grid, k: int) -> tuple[Grid, NDArray[np.int64]]:
    """The k largest of each row, the largest first, and where they are; all where there are fewer.

    `rows` is spoilt. k passes of argmax, which processors do many numbers at a time, are four times faster than
    numpy's partition for the small k there is here.
    """
    k = min(k, rows.shape[1])
    at = np.empty((len(rows), k), np.int64)
    largest = np.empty((len(rows), k), np.float32)
    every = np.arange(len(rows))
    for i in range(k):
        at[:, i] = rows.argmax(axis=1)
        largest[:, i] = rows[every, at[:, i]]
        rows[every, at[:, i]] = -np.inf
    return largest, at
