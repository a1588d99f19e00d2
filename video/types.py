"""The data types that the stages pass to each other, and the interfaces of segmenters and trackers.

Every type validates itself once, on construction, and its repr prints shapes instead of pixels.

Conventions: points are (x, y), x to the right and y down. *Normalised* coordinates are fractions of the frame, in
[0, 1]. Boxes are xyxy. Frames are 0-based indices in presentation order. Pictures are rotated as players show them.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from hashlib import sha256
from typing import Any, NamedTuple, Protocol, runtime_checkable

import numpy as np
from numpy.typing import ArrayLike, NDArray

FloatArray = NDArray[np.float32] | NDArray[np.float64]

DEFAULT_FPS = 24.0  # frame rate of image sequences, which have no timestamps


def _require(ok: bool, message: str) -> None:
    if not ok:
        raise ValueError(message)


@dataclass(frozen=True)
class Presence:
    """Whether a frame shows what was asked for at all.

    Args:
        probability: In [0, 1].
        weakest: The word that the frame bears out least.
    """

    probability: float
    weakest: str

    def __post_init__(self) -> None:
        _require(0 <= self.probability <= 1, f"Presence.probability must be in [0, 1], got {self.probability}")


@dataclass(frozen=True)
class MaskChoice:
    """Which of the masks that fit a heatmap is meant.

    Args:
        whole_bias: The one whose score times its `video.masks.wholeness` with this bias is highest. 0 takes the one
            that fits best; attention that is strongest on a part of its object, as on a face, needs more.
        mode_level: In (0, 1]: masks are looked for at all modes of the heatmap that are at least so high, as a share of
            the highest; 1 looks at the highest alone. Where words fit many things, as "the dancer" before an audience,
            the highest may be any of them, and the largest is the likeliest to be meant.

    Raises:
        ValueError: If one is out of range.
    """

    whole_bias: float = 0.0
    mode_level: float = 1.0

    def __post_init__(self) -> None:
        _require(self.whole_bias >= 0, f"MaskChoice.whole_bias must not be negative, got {self.whole_bias}")
        _require(0 < self.mode_level <= 1, f"MaskChoice.mode_level must be in (0, 1], got {self.mode_level}")


class Mode(NamedTuple):
    """One mode of a heatmap.

    Attributes:
        x, y: Of its maximum, normalised.
        probability: That what was asked for is there, in [0, 1].
    """

    x: float
    y: float
    probability: float


@dataclass(frozen=True, eq=False)
class Heatmap:
    """Where the words point in one frame.

    Args:
        frame: The frame's index in the clip.
        grid: (h, w) float32 in [0, 1]. The maximum is 1 unless the grid is zero everywhere.
        peak: Normalised (x, y) of the maximum.
        confidence: In [0, 1]: how concentrated the heatmap is; where that was calibrated, the probability that the peak
            is right.
        presence: Whether the frame shows what was asked for; None where that is not known.
        mask_choice: Which of the masks that fit it is meant.
        modes: For words that mean several objects, whether one is at each mode; empty where that is not known.
    """

    frame: int
    grid: NDArray[np.float32]
    peak: tuple[float, float]
    confidence: float
    presence: Presence | None = None
    mask_choice: MaskChoice = MaskChoice()
    modes: tuple[Mode, ...] = ()

    def __post_init__(self) -> None:
        _require(self.grid.ndim == 2, f"Heatmap.grid must be (h, w), got shape {self.grid.shape}")
        _require(self.grid.dtype == np.float32, f"Heatmap.grid must be float32, got {self.grid.dtype}")
        _require(bool(np.isfinite(self.grid).all()), "Heatmap.grid holds values that are not finite")
        low, high = float(self.grid.min()), float(self.grid.max())
        _require(low >= -1e-6 and high <= 1 + 1e-6, f"Heatmap.grid must lie in [0, 1], got [{low}, {high}]")
        _require(all(0 <= c <= 1 for c in self.peak), f"Heatmap.peak must be normalised, got {self.peak}")
        _require(0 <= self.confidence <= 1, f"Heatmap.confidence must be in [0, 1], got {self.confidence}")

    @property
    def certainty(self) -> float:
        """How likely the frame shows what was asked for: its presence, or the confidence where that is not known."""
        return self.confidence if self.presence is None else self.presence.probability

    def to_prompt(self) -> Prompt:
        """Return the prompt with which a segmenter outlines what the heatmap points at."""
        return Prompt(prior=self.grid, mask_choice=self.mask_choice)

    def __repr__(self) -> str:
        h, w = self.grid.shape
        x, y = self.peak
        return f"Heatmap(frame={self.frame}, {w}x{h}, peak=({x:.3f}, {y:.3f}), confidence={self.confidence:.3f})"


@dataclass(frozen=True, eq=False)
class Prompt:
    """The input of a segmenter on one frame: points, a box or a prior, at least one of them.

    Args:
        points: (k, 2) normalised (x, y).
        labels: (k,) int64, 1 for a point on the object, 0 for a point on the background.
        box: Normalised xyxy around the object.
        prior: Mask prompt, (h, w) float32 in [0, 1] at any resolution: a heatmap, or the previous frame's mask warped
            to this frame.
        mask_choice: For a heatmap as the prior: which of the masks that fit it is meant.
    """

    points: FloatArray = field(default_factory=lambda: np.zeros((0, 2), np.float32))
    labels: NDArray[np.int64] = field(default_factory=lambda: np.zeros(0, np.int64))
    box: tuple[float, float, float, float] | None = None
    prior: NDArray[np.float32] | None = None
    mask_choice: MaskChoice = MaskChoice()

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
    """One mask that a segmenter proposes for a prompt.

    Args:
        frame: The frame's index in the clip.
        mask: (H, W) bool at the frame's size.
        score: In [0, 1]. Scores are comparable within one call only.
    """

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
        """The name that enters the model version, e.g. "grabcut" or "sam2-hiera-tiny"."""
        ...

    def segment(self, image: NDArray[np.uint8], prompt: Prompt, *, frame: int = 0) -> list[Candidate]:
        """Segment the object that the prompt points at.

        Args:
            image: (H, W, 3) uint8 RGB.
            prompt: What is known of the object on this image.
            frame: The image's index in the clip, copied to the candidates.

        Returns:
            Candidates, best first. Empty when no mask fits the prompt.
        """
        ...


@runtime_checkable
class FeatureSource(Protocol):
    """A segmenter that also offers image features, which are similar where images show the same thing."""

    def features(self, image: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Return the features of an image.

        Args:
            image: (H, W, 3) uint8 RGB.

        Returns:
            (h, w, c) float32 that cover the whole frame. The grid has the same size for frames of any size.
        """
        ...


@dataclass(frozen=True, eq=False)
class Observation:
    """The output of a tracker for one object on one frame.

    Args:
        mask: (H, W) bool; empty when the object is not visible.
        score: In [0, 1].
        visible: Whether the object is visible.
    """

    mask: NDArray[np.bool_]
    score: float
    visible: bool

    def __repr__(self) -> str:
        return f"Observation(area={self.mask.mean():.4f}, score={self.score:.2f}, visible={self.visible})"


class Tracker(Protocol):
    """Tracks masks through frames that come one by one, in either direction of time."""

    name: str

    def step(self, image: NDArray[np.uint8]) -> dict[int, Observation]:
        """Process the next frame.

        Args:
            image: (H, W, 3) uint8 RGB.

        Returns:
            The observation of every object that was started, by its id.
        """
        ...

    def start(self, object_id: int, mask: NDArray[np.bool_]) -> Observation:
        """Start an object, or correct one that was started, with its mask on the frame of the last `step`.

        Args:
            object_id: Any number; `step` returns the object under it.
            mask: (H, W) bool at the frame's size.

        Returns:
            The observation of the object on that frame.
        """
        ...


@runtime_checkable
class RevisingTracker(Protocol):
    """A `Tracker` whose later frames may correct what it said about earlier ones."""

    def revisions(self) -> dict[int, dict[int, Observation]]:
        """Return what has changed since the last call.

        Returns:
            By how many frames ago a frame was, 0 for that of the last `step`: its observations, by object id, of the
            objects whose observation replaces the one before.
        """
        ...

    def finish(self) -> None:
        """Settle all frames: no frame will follow, or what comes next has nothing to do with them."""
        ...


@runtime_checkable
class TrackerSource(Protocol):
    """A segmenter whose model also tracks masks."""

    @property
    def tracker_name(self) -> str:
        """The name of the trackers it makes."""
        ...

    def make_tracker(self) -> Tracker:
        """Return a new tracker without objects. Several trackers may be in use at the same time."""
        ...


@dataclass(frozen=True)
class Rle:
    """A mask in COCO's compressed run-length encoding (pycocotools).

    Args:
        size: (width, height) in pixels.
        counts: The compressed run lengths, ASCII.
    """

    size: tuple[int, int]
    counts: bytes

    def __repr__(self) -> str:
        return f"Rle({self.size[0]}x{self.size[1]}, {len(self.counts)} bytes, {sha256(self.counts).hexdigest()[:16]})"


class EncodedObservation(NamedTuple):
    """An `Observation` whose mask is run-length encoded."""

    mask: Rle
    score: float
    visible: bool


@dataclass(frozen=True, eq=False)
class MaskTrack:
    """One object through the frames of a clip: a row for each frame, in ascending order; frames may be missing.

    Args:
        label: The object's label.
        size: (width, height) of every mask in pixels.
        frames: (n,) int64, ascending.
        rles: n masks.
        boxes: (n, 4) float64 normalised xyxy; zeros where the object is not visible.
        scores: (n,) float64 in [0, 1].
        visible: (n,) bool. Where False the mask is empty: the object is hidden, lost or outside the frame.
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

    def row_of(self, frame: int) -> int | None:
        """Return the row of a frame of the clip, or None where the track has no such frame."""
        row = int(np.searchsorted(self.frames, frame))
        return row if row < len(self.frames) and self.frames[row] == frame else None

    def replace_rows(
        self,
        rows: Sequence[int],
        *,
        rles: Sequence[Rle] | None = None,
        boxes: ArrayLike | None = None,
        scores: ArrayLike | None = None,
        visible: ArrayLike | None = None,
    ) -> MaskTrack:
        """Return a copy of the track with other values on some rows.

        Args:
            rows: k indices into `frames`.
            rles: k masks. As for the following, None keeps the values of the track.
            boxes: (k, 4) normalised xyxy.
            scores: (k,) in [0, 1].
            visible: (k,) bool.

        Raises:
            ValueError: If the number of values differs from the number of rows.
        """
        if not len(rows):
            return self
        masks = list(self.rles)
        if rles is not None:
            for row, rle in zip(rows, rles, strict=True):
                masks[row] = rle
        return replace(
            self,
            rles=tuple(masks),
            boxes=_with_rows(self.boxes, rows, boxes),
            scores=_with_rows(self.scores, rows, scores),
            visible=_with_rows(self.visible, rows, visible),
        )

    def fill(self, other: MaskTrack, frames: Collection[int] | NDArray[np.int64]) -> MaskTrack:
        """Return a copy of the track with the rows of another one on these frames.

        Args:
            other: A track of masks of the same size. Frames that it does not have keep their rows.
            frames: Frames of the clip.

        Raises:
            ValueError: If this track lacks one of the frames that `other` has.
        """
        source = np.flatnonzero(np.isin(other.frames, np.asarray(list(frames), np.int64)))
        rows = [self.row_of(int(frame)) for frame in other.frames[source]]
        known = [row for row in rows if row is not None]
        _require(len(known) == len(rows), f"the track {self.label!r} does not have all frames that are to be filled")
        return self.replace_rows(
            known,
            rles=[other.rles[row] for row in source],
            boxes=other.boxes[source],
            scores=other.scores[source],
            visible=other.visible[source],
        )

    def to_dict(self) -> dict[str, Any]:
        """Return the track as plain lists and numbers, ready for JSON. Masks are COCO's compressed text."""
        return {
            "label": self.label,
            "size": self.size,
            "frames": self.frames.tolist(),
            "rles": [rle.counts.decode("ascii") for rle in self.rles],
            "boxes": self.boxes.tolist(),
            "scores": self.scores.tolist(),
            "visible": self.visible.tolist(),
        }

    @classmethod
    def from_dict(cls, content: Mapping[str, Any]) -> MaskTrack:
        """Build a track from the result of `to_dict`, also after a way through JSON."""
        width, height = content["size"]
        size = int(width), int(height)
        return cls(
            label=content["label"],
            size=size,
            frames=np.array(content["frames"], np.int64),
            rles=tuple(Rle(size, counts.encode("ascii")) for counts in content["rles"]),
            boxes=np.array(content["boxes"], np.float64).reshape(-1, 4),
            scores=np.array(content["scores"], np.float64),
            visible=np.array(content["visible"], np.bool_),
        )


def _with_rows(column: NDArray[Any], rows: Sequence[int], values: ArrayLike | None) -> NDArray[Any]:
    """Return a copy of a column of a track with these values on these rows."""
    if values is None:
        return column
    new = np.asarray(values)
    _require(new.shape == (len(rows), *column.shape[1:]), f"{len(rows)} rows but values of shape {new.shape}")
    out = column.copy()
    out[np.asarray(rows)] = new
    return out


@dataclass(frozen=True)
class Keyframe:
    """A box that a person can correct. Between keyframes, boxes are interpolated linearly.

    Args:
        frame: The frame's index in the clip.
        box: Normalised xyxy.
        enabled: False where the object is hidden after this frame, until the next keyframe.
        score: In [0, 1].
    """

    frame: int
    box: tuple[float, float, float, float]
    enabled: bool
    score: float
