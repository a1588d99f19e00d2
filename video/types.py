"""The types that travel between the stages. Each checks itself once and prints shapes, never pixels.

Coordinates: (x, y), x to the right and y down; *normalised* means fractions of the frame in [0, 1].
Boxes are xyxy. Frames are 0-based indices in presentation order, after rotation.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from hashlib import sha256
from typing import Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float32] | NDArray[np.float64]

DEFAULT_FPS = 24.0  # frames per second of pictures that come without times of their own


def _require(ok: bool, message: str) -> None:
    if not ok:
        raise ValueError(message)


@dataclass(frozen=True, eq=False)
class Heatmap:
    """Where the words point in one frame.

    grid: (h, w) float32 in [0, 1], its maximum 1 unless it is zero everywhere.
    peak: normalised (x, y) of the strongest place.
    confidence: in [0, 1]; how much of the evidence is in one place.
    """

    frame: int
    grid: NDArray[np.float32]
    peak: tuple[float, float]
    confidence: float

    def __post_init__(self) -> None:
        _require(self.grid.ndim == 2, f"Heatmap.grid must be (h, w), got shape {self.grid.shape}")
        _require(self.grid.dtype == np.float32, f"Heatmap.grid must be float32, got {self.grid.dtype}")
        _require(bool(np.isfinite(self.grid).all()), "Heatmap.grid holds values that are not finite")
        low, high = float(self.grid.min()), float(self.grid.max())
        _require(low >= -1e-6 and high <= 1 + 1e-6, f"Heatmap.grid must lie in [0, 1], got [{low}, {high}]")
        _require(all(0 <= c <= 1 for c in self.peak), f"Heatmap.peak must be normalised, got {self.peak}")
        _require(0 <= self.confidence <= 1, f"Heatmap.confidence must be in [0, 1], got {self.confidence}")

    def __repr__(self) -> str:
        h, w = self.grid.shape
        x, y = self.peak
        return f"Heatmap(frame={self.frame}, {w}x{h}, peak=({x:.3f}, {y:.3f}), confidence={self.confidence:.3f})"


@dataclass(frozen=True, eq=False)
class Prompt:
    """What a segmenter is told about one frame. At least one of points, box and prior must be there.

    points: (k, 2) normalised (x, y); labels: (k,) 1 = on the object, 0 = not.
    box: normalised xyxy.
    prior: (h, w) float32 in [0, 1] at any resolution: a heatmap, or the last frame's mask warped to this one.
    """

    points: FloatArray = field(default_factory=lambda: np.zeros((0, 2), np.float32))
    labels: NDArray[np.int64] = field(default_factory=lambda: np.zeros(0, np.int64))
    box: tuple[float, float, float, float] | None = None
    prior: NDArray[np.float32] | None = None

    def __post_init__(self) -> None:
        _require(
            self.points.ndim == 2 and self.points.shape[1] == 2,
            f"Prompt.points must be (k, 2), got {self.points.shape}",
        )
        _require(len(self.labels) == len(self.points), f"{len(self.points)} points but {len(self.labels)} labels")
        _require(
            len(self.points) > 0 or self.box is not None or self.prior is not None,
            "an empty prompt: give a point, a box or a prior",
        )
        if self.box is not None:
            x0, y0, x1, y1 = self.box
            _require(
                0 <= x0 < x1 <= 1 and 0 <= y0 < y1 <= 1, f"Prompt.box must be normalised xyxy with area, got {self.box}"
            )

    def __repr__(self) -> str:
        prior = None if self.prior is None else self.prior.shape
        return f"Prompt(points={len(self.points)}, box={self.box}, prior={prior})"


@dataclass(frozen=True, eq=False)
class Candidate:
    """One mask that could be meant. mask: (H, W) bool at frame size; score: in [0, 1], comparable within one call."""

    frame: int
    mask: NDArray[np.bool_]
    score: float

    def __post_init__(self) -> None:
        _require(
            self.mask.ndim == 2 and self.mask.dtype == np.bool_,
            f"Candidate.mask must be (H, W) bool, got {self.mask.shape} {self.mask.dtype}",
        )
        _require(0 <= self.score <= 1, f"Candidate.score must be in [0, 1], got {self.score}")

    def __repr__(self) -> str:
        h, w = self.mask.shape
        return f"Candidate(frame={self.frame}, {w}x{h}, area={self.mask.mean():.4f}, score={self.score:.3f})"


class Segmenter(Protocol):
    """Turns a prompt on one image into ranked masks."""

    @property
    def name(self) -> str:
        """Said in the model version, e.g. "grabcut" or "sam2-hiera-tiny"."""
        ...

    def segment(self, image: NDArray[np.uint8], prompt: Prompt, *, frame: int = 0) -> list[Candidate]:
        """image: (H, W, 3) uint8 RGB. Returns candidates, best first; empty when nothing fits the prompt."""
        ...


@runtime_checkable
class FeatureSource(Protocol):
    """What a segmenter may offer beside masks: features that are alike where the picture shows the same thing."""

    def features(self, image: NDArray[np.uint8]) -> NDArray[np.float32]:
        """image: (H, W, 3) uint8 RGB -> (h, w, c) float32 over the whole frame, a grid of one size for any frame."""
        ...


@dataclass(frozen=True, eq=False)
class Observation:
    """What a tracker says of one object in one frame. mask: (H, W) bool, empty when not visible; score: [0, 1]."""

    mask: NDArray[np.bool_]
    score: float
    visible: bool

    def __repr__(self) -> str:
        return f"Observation(area={self.mask.mean():.4f}, score={self.score:.2f}, visible={self.visible})"


class Tracker(Protocol):
    """Frames come one by one, in either direction of time; objects may be started on any of them."""

    name: str

    def step(self, image: NDArray[np.uint8]) -> dict[int, Observation]:
        """Takes the next frame, (H, W, 3) uint8 RGB, and says where every object that was started is."""
        ...

    def start(self, target: int, mask: NDArray[np.bool_]) -> Observation:
        """Holds the target to this mask (H, W) on the frame of the last `step`, as often as wanted."""
        ...


@runtime_checkable
class TrackerSource(Protocol):
    """What a segmenter may offer whose model follows masks by itself."""

    @property
    def tracker_name(self) -> str:
        """Of every tracker it makes."""
        ...

    def tracker(self) -> Tracker:
        """A new one, that has seen nothing; several may be at work in turns."""
        ...


@dataclass(frozen=True)
class Rle:
    """A mask as COCO's compressed run-length code (pycocotools). size: (width, height) in pixels."""

    size: tuple[int, int]
    counts: bytes

    def __repr__(self) -> str:
        return f"Rle({self.size[0]}x{self.size[1]}, {len(self.counts)} bytes, {sha256(self.counts).hexdigest()[:16]})"


@dataclass(frozen=True, eq=False)
class MaskTrack:
    """One object through the frames it was followed on, in ascending order; frames may be missing.

    frames: (n,) int64. rles: n masks. boxes: (n, 4) float64 normalised xyxy, zeros where not visible.
    scores: (n,) in [0, 1]. visible: (n,) bool; where False the mask is empty: the object is hidden or lost there.
    """

    label: str
    size: tuple[int, int]
    frames: NDArray[np.int64]
    rles: tuple[Rle, ...]
    boxes: NDArray[np.float64]
    scores: NDArray[np.float64]
    visible: NDArray[np.bool_]

    def __post_init__(self) -> None:
        n = len(self.frames)
        _require(n > 0, "a MaskTrack needs at least one frame")
        _require(bool((np.diff(self.frames) > 0).all()), "MaskTrack.frames must ascend")
        _require(len(self.rles) == n, f"{n} frames but {len(self.rles)} masks")
        _require(self.boxes.shape == (n, 4), f"MaskTrack.boxes must be ({n}, 4), got {self.boxes.shape}")
        _require(self.scores.shape == (n,) and self.visible.shape == (n,), "MaskTrack.scores and .visible must be (n,)")
        _require(bool(((self.boxes >= 0) & (self.boxes <= 1)).all()), "MaskTrack.boxes must be normalised")
        _require(all(r.size == self.size for r in self.rles), f"every mask must have the track's size {self.size}")

    def __repr__(self) -> str:
        w, h = self.size
        return (
            f"MaskTrack({self.label!r}, {w}x{h}, frames {self.frames[0]}..{self.frames[-1]}, "
            f"visible on {int(self.visible.sum())} of {len(self.frames)}, mean score {self.scores.mean():.2f})"
        )


@dataclass(frozen=True)
class Keyframe:
    """A box a person can correct; between keyframes boxes are interpolated linearly.

    frame: 0-based clip frame. box: normalised xyxy. enabled False: the object is hidden after this frame,
    until the next keyframe.
    """

    frame: int
    box: tuple[float, float, float, float]
    enabled: bool
    score: float
