"""When a tracker looks at a frame with its segmenter, and when flow may carry the masks.

A look costs seconds on a CPU, carrying a mask costs milliseconds. So looks are frequent where the evidence says that
flow may fail, and rare where each look confirms what flow had carried. A look that contradicts flow is followed by
looks at the frames before it.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace


@dataclass(frozen=True)
class LookSchedule:
    """How far flow is trusted. The defaults were chosen by hand, before anything was measured, but for two.

    Args:
        max_stride: Frames from one look to the next at most; 1 looks at every frame.
        confirmed_iou: A look whose mask has at least this IoU with the carried one doubles the stride. Measured on
            DAVIS-dev: at 0.92 drift-chicane gains 0.014 over 0.9, at 0.85 cows loses 0.01.
        wrong_iou: Below this IoU the carried mask was wrong: the frames since the last look are looked at. At 0.8 a
            person would correct a box; at 0.7 legs that flow loses (cows, camel on DAVIS-dev) cost up to 0.005.
        min_flow_confidence: Flow that is less consistent under a mask, in [0, 1], calls for a look.
        max_motion: An object that moves farther in one frame, in parts of its size, calls for a look.
        max_area_ratio: A mask that has grown or shrunk by this factor since the last look calls for a look.
        min_color_similarity: A mask whose colours differ more from those at the last look calls for a look.

    Raises:
        ValueError: For values that are out of range.
    """

    max_stride: int = 16
    confirmed_iou: float = 0.92
    wrong_iou: float = 0.8
    min_flow_confidence: float = 0.5
    max_motion: float = 0.25
    max_area_ratio: float = 1.3
    min_color_similarity: float = 0.85

    def __post_init__(self) -> None:
        if self.max_stride < 1:
            raise ValueError(f"max_stride must be at least 1, got {self.max_stride}")
        if not 0 <= self.wrong_iou <= self.confirmed_iou <= 1:
            raise ValueError(f"0 <= wrong_iou <= confirmed_iou <= 1 must hold, got {self}")

    def calls_for_look(self, evidence: FlowEvidence) -> bool:
        """Return whether flow is not to be trusted any further for one object."""
        return (
            evidence.flow_confidence < self.min_flow_confidence
            or evidence.motion > self.max_motion
            or not 1 / self.max_area_ratio <= evidence.area_ratio <= self.max_area_ratio
            or evidence.color_similarity < self.min_color_similarity
        )


EVERY_FRAME = LookSchedule(max_stride=1)
FAST_SCHEDULE = LookSchedule(
    max_stride=24, confirmed_iou=0.75, wrong_iou=0.6, min_flow_confidence=0.4, max_motion=0.4, max_area_ratio=1.5
)


@dataclass(frozen=True)
class FlowEvidence:
    """What is known of a mask that flow has carried to a frame.

    Args:
        flow_confidence: The mean consistency of the flow under it, in [0, 1].
        motion: How far it moved since the frame before, in parts of its size (the square root of its area).
        area_ratio: Its area over that at the last look.
        color_similarity: Of its colours to those at the last look, in [0, 1].
    """

    flow_confidence: float
    motion: float
    area_ratio: float
    color_similarity: float


@dataclass(frozen=True)
class LookPlan:
    """The stride between looks as it adapts.

    Args:
        stride: Frames from the last look to the next, unless something calls for one before.
        lost_looks: Looks since an object was lost.
    """

    stride: int = 1
    lost_looks: int = 0

    def is_due(self, frames: int, evidence: Iterable[FlowEvidence], schedule: LookSchedule) -> bool:
        """Return whether to look at a frame.

        Args:
            frames: Frames since the last look, this one included.
            evidence: What is known of the visible objects.
            schedule: How far flow is trusted.
        """
        return frames >= min(self.stride, schedule.max_stride) or any(map(schedule.calls_for_look, evidence))

    def after_look(self, agreement: float, *, has_lost: bool, frames: int, schedule: LookSchedule) -> LookPlan:
        """Return the plan after a look that was accepted.

        Args:
            agreement: The least IoU of a carried mask with the one that the look found, in [0, 1].
            has_lost: Whether an object is lost. It is searched on every frame at first, and less often as time goes by.
            frames: Frames since the last look, this one included.
            schedule: How far flow is trusted.
        """
        lost_looks = self.lost_looks + 1 if has_lost else 0
        if agreement >= schedule.confirmed_iou:
            stride = min(2 * max(frames, 1), schedule.max_stride)
        elif agreement >= schedule.wrong_iou:
            stride = max(1, frames)
        else:
            stride = 1
        if has_lost:
            stride = min(stride, max(1, lost_looks // 4))
        return LookPlan(stride, lost_looks)

    def after_wrong_look(self, frames: int) -> LookPlan:
        """Return the plan for the frames before a look that contradicted flow, `frames` after the last look."""
        return replace(self, stride=max(1, frames // 2))
