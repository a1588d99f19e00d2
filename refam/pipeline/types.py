"""What the pipeline is asked and what it answers. All of it is data; nothing here computes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from refam import __version__
from video import masks
from video.errors import UserError
from video.types import Keyframe, MaskTrack, Rle


class PipelineError(UserError):
    """Nothing could be said about any target, in a sentence for people."""


class PromptError(UserError):
    """What was asked for cannot be meant; a sentence for people."""


@dataclass(frozen=True)
class FramePrompt:
    """What a person drew on one frame. Normalised (x, y) and xyxy; frame: 0-based clip frame.

    labels: 1 = on the object, 0 = not; one for each point. mask: the object to the pixel, in the frame's size.
    Points that are off the object may stand alone: they correct what is known of it from words or other frames.
    """

    frame: int
    points: tuple[tuple[float, float], ...] = ()
    labels: tuple[int, ...] = ()
    box: tuple[float, float, float, float] | None = None
    mask: Rle | None = None

    def __post_init__(self) -> None:
        if self.frame < 0:
            raise ValueError(f"FramePrompt.frame must be 0 or more, got {self.frame}")
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
    def places(self) -> bool:
        """Whether it says where the object is, not only where it is not."""
        return self.box is not None or self.mask is not None or 1 in self.labels


@dataclass(frozen=True)
class Target:
    """One object to find: by words, by what a person drew, or both (the drawing wins on its frames)."""

    label: str
    words: str | None = None
    prompts: tuple[FramePrompt, ...] = ()

    def __post_init__(self) -> None:
        if not (self.words and self.words.strip()) and not self.prompts:
            raise ValueError(f"target {self.label!r} needs words or a point or a box or a mask")
        if not (self.words and self.words.strip()) and not any(p.places for p in self.prompts):
            raise ValueError(
                f"target {self.label!r} has points that are off the object only: without words, at least one point "
                "must be on the object (label 1), or give a box or a mask"
            )


@dataclass(frozen=True)
class TrackResult:
    """What became of one target. anchor: the clip frame tracking started from.

    score: in [0, 1]. notes: sentences for people. signs: what the score is made of, see refam.pipeline.confidence.
    between: the track's frames that nobody looked at, interpolated from those around them. stopped: where the clip
    could no longer be read on the way; the notes say so too, and the same question may have more of an answer later.
    elsewhere: frames on which the words point away from the track.
    """

    target: Target
    track: MaskTrack
    keyframes: tuple[Keyframe, ...]
    score: float
    anchor: int
    notes: tuple[str, ...]
    signs: Mapping[str, float] = field(default_factory=dict)
    between: tuple[int, ...] = ()
    stopped: tuple[str, ...] = ()
    elsewhere: tuple[int, ...] = ()


@dataclass(frozen=True)
class PipelineOptions:
    """What may be tuned.

    planned_frames: how many frames are grounded. tolerance_iou: of the keyframes. rescues: how often windows
    where the object was lost are searched again. least_score: an object surer than this is drawn, else
    refused. needs: a folder with what was fitted here for the score, see refam.pipeline.confidence. look_every: the
    segmenter
    looks at every look_every-th frame of the video; None: as often as it asks for itself.
    """

    planned_frames: int = 8
    tolerance_iou: float = 0.9
    rescues: int = 2
    least_score: float = 0.15
    needs: Path | None = None
    look_every: int | None = None


def model_version(backbone: str, segmenter: str, tail: str = "") -> str:
    """What made a prediction: package, backbone, segmenter with tracker, and quality."""
    return f"refam-{__version__}/{backbone}/{segmenter}{tail}"
