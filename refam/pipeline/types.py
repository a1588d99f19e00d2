"""The pipeline's inputs and outputs: targets and their prompts, options, and the tracks that come back."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import overload

import numpy as np
from numpy.typing import NDArray

from refam.pipeline.errors import PipelineError as PipelineError
from refam.pipeline.errors import PromptError as PromptError
from refam.version import __version__
from video import masks
from video.keyframes import KEYFRAME_IOU
from video.tracking.schedule import LookSchedule
from video.types import Keyframe, MaskTrack, Rle


@dataclass(frozen=True)
class FramePrompt:
    """Points, a box and a mask that a person drew on one frame, for one object.

    A box or a mask is all of the object. Points alone, which may all be off the object, correct the mask that words or
    other frames lead to (`refam.pipeline.corrections`); where there is none they outline the object.

    Args:
        frame: The frame of the clip, counted from 0.
        points: (x, y) as fractions of the frame, from the top left.
        labels: 1 for a point on the object, 0 for one off it; one for each point.
        box: x0, y0, x1, y1 as fractions of the frame.
        mask: The object to the pixel, in the frame's size.

    Raises:
        ValueError: For a prompt that is empty, or out of range.
    """

    frame: int
    points: tuple[tuple[float, float], ...] = ()
    labels: tuple[int, ...] = ()
    box: tuple[float, float, float, float] | None = None
    mask: Rle | None = None

    def __post_init__(self) -> None:
        if not isinstance(self.frame, int | np.integer) or self.frame < 0:
            raise ValueError(f"FramePrompt.frame must be a whole number, 0 or more, got {self.frame!r}")
        if not self.points and self.box is None and self.mask is None:
            raise ValueError("a FramePrompt needs a point or a box or a mask")
        if len(self.labels) != len(self.points):
            raise ValueError(f"{len(self.points)} points but {len(self.labels)} labels")
        if any(label not in (0, 1) for label in self.labels):
            raise ValueError(f"labels must be 0 (not on the object) or 1 (on it), got {self.labels}")
        if any(not 0 <= c <= 1 for point in self.points for c in point):
            raise ValueError(f"points must be fractions of the frame in [0, 1], got {self.points}")
        if self.box is not None:
            x0, y0, x1, y1 = self.box
            if not (0 <= x0 < x1 <= 1 and 0 <= y0 < y1 <= 1):
                raise ValueError(f"box must be x0, y0, x1, y1 in fractions of the frame with area, got {self.box}")
        if self.mask is not None and masks.area(self.mask) == 0:
            raise ValueError(f"the mask on frame {self.frame} is empty: it must hold at least one pixel")

    @property
    def is_positive(self) -> bool:
        """Whether it says where the object is, not only where it is not."""
        return self.box is not None or self.mask is not None or 1 in self.labels


@dataclass(frozen=True)
class Target:
    """One object to find: by words, by prompts, or by both. Prompts overrule the words.

    Args:
        label: What the object is called in the output.
        words: A referring expression, for example "the dog on the left".
        prompts: What a person drew, on any frames.

    Raises:
        ValueError: Without words and without a prompt that says where the object is.
    """

    label: str
    words: str | None = None
    prompts: tuple[FramePrompt, ...] = ()

    def __post_init__(self) -> None:
        if not (self.words and self.words.strip()) and not self.prompts:
            raise ValueError(f"target {self.label!r} needs words or a point or a box or a mask")
        if not (self.words and self.words.strip()) and not any(p.is_positive for p in self.prompts):
            raise ValueError(
                f"target {self.label!r} has points that are off the object only: without words, at least one point "
                "must be on the object (label 1), or give a box or a mask"
            )


class MaskSequence(Sequence[NDArray[np.bool_]]):
    """The masks of a track, each decoded when it is indexed: (H, W) bool. `numpy.stack` makes one array of them."""

    def __init__(self, rles: Sequence[Rle]) -> None:
        self._rles = rles

    def __repr__(self) -> str:
        if not self._rles:
            return "MaskSequence(0 masks)"
        width, height = self._rles[0].size
        return f"MaskSequence({len(self)} masks, each ({height}, {width}) bool)"

    def __len__(self) -> int:
        return len(self._rles)

    @overload
    def __getitem__(self, row: int) -> NDArray[np.bool_]: ...

    @overload
    def __getitem__(self, row: slice) -> MaskSequence: ...

    def __getitem__(self, row: int | slice) -> NDArray[np.bool_] | MaskSequence:
        return MaskSequence(self._rles[row]) if isinstance(row, slice) else masks.decode(self._rles[row])

    def __iter__(self) -> Iterator[NDArray[np.bool_]]:
        return map(masks.decode, self._rles)


@dataclass(frozen=True, eq=False)
class TrackResult:
    """The track of one target, with its keyframes and its score.

    The arrays of the track (`frames`, `boxes`, `masks`, `visible`) have one row for each frame, in order: row i is
    frame `result.frames[i]` of the clip. Two results are equal only if they are the same object.

    Attributes:
        target: What was asked for.
        track: The object's masks and boxes; visible nowhere where the object was not found.
        keyframes: The boxes from which all others follow by linear interpolation.
        score: In [0, 1]; the probability that nothing needs correction, where that was calibrated.
        anchor_frame: The frame of the clip from which tracking started.
        notes: Sentences for people.
        features: What the score is made of: those of refam.pipeline.confidence; and `presence`, how likely the video
            has what the words name (1 where that is not known, or a person drew the object).
        interpolated: The frames that were not looked at; their masks are interpolated.
        read_errors: Where the clip could not be read any further. The same question may find more another time.
        disagreements: The frames on which the words point away from the track.
        instance: Which of the objects of its target it is, from 1: words may mean several ("the two dogs").
    """

    target: Target
    track: MaskTrack
    keyframes: tuple[Keyframe, ...]
    score: float
    anchor_frame: int
    notes: tuple[str, ...]
    features: Mapping[str, float] = field(default_factory=dict)
    interpolated: tuple[int, ...] = ()
    read_errors: tuple[str, ...] = ()
    disagreements: tuple[int, ...] = ()
    instance: int = 1

    def __repr__(self) -> str:
        seen = self.track.frames[self.track.visible].tolist()
        where = f"found on {len(seen)} of {len(self.track.frames)} frames"
        span = f" ({seen[0]} to {seen[-1]})" if seen else ""
        number = f", instance {self.instance}" if self.instance > 1 else ""
        return f"{type(self).__name__}({self.label!r}{number}, {where}{span}, score={self.score:.2f})"

    @property
    def label(self) -> str:
        """What the object is called."""
        return self.target.label

    @property
    def frames(self) -> NDArray[np.int64]:
        """(n,) int64: the frames of the clip, counted from 0."""
        return self.track.frames

    @property
    def boxes(self) -> NDArray[np.float64]:
        """(n, 4) float64: x0, y0, x1, y1 as fractions of the frame; zeros where the object is not visible."""
        return self.track.boxes

    @property
    def masks(self) -> MaskSequence:
        """n masks, (H, W) bool each, decoded when indexed; empty where the object is not visible."""
        return MaskSequence(self.track.rles)

    @property
    def visible(self) -> NDArray[np.bool_]:
        """(n,) bool: whether the object is visible."""
        return self.track.visible


def target_positions(results: Sequence[TrackResult]) -> list[int]:
    """Return for each result the position of its target among the targets.

    Args:
        results: Of one run: in the order of the targets, and of each target instance 1 first.
    """
    return [position - 1 for position in itertools.accumulate(int(result.instance == 1) for result in results)]


@dataclass(frozen=True)
class PipelineOptions:
    """What may be tuned.

    Args:
        grounded_frames: How many frames of the clip the words are grounded in.
        candidate_tracks: How many things that the words may mean are followed over these frames, at most, to find the
            one that is meant. 0: the frame whose mask fits best decides alone.
        keyframe_iou: How well boxes that are interpolated between keyframes fit the track, at least.
        redetect_rounds: How often the gaps of a track are searched again.
        min_evidence: An object with less evidence is not drawn. In [0, 1].
        min_presence: An object that is less likely to be in the video at all is not drawn, where that is known. In
            [0, 1].
        score_model_dir: A folder with a score model that was fitted here; see refam.pipeline.confidence.
        schedule: When a segmenter with features (SAM2) looks at frames of the video. None: `LookSchedule()`, or every
            frame for a segmenter that is fast where it runs.
        refit_every: Frames of the video between two refits by a segmenter without features (GrabCut). None: every
            frame, or every fifth for a segmenter that is slow where it runs.
    """

    grounded_frames: int = 8
    candidate_tracks: int = 5
    keyframe_iou: float = KEYFRAME_IOU
    redetect_rounds: int = 2
    min_evidence: float = 0.15
    min_presence: float = 0.2
    score_model_dir: Path | None = None
    schedule: LookSchedule | None = None
    refit_every: int | None = None


def model_version(backbone: str, segmenter: str, suffix: str = "") -> str:
    """Return what a prediction was made with: package, backbone, segmenter with tracker, and quality."""
    return f"refam-{__version__}/{backbone}/{segmenter}{suffix}"
