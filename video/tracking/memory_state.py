"""What the tracker with a memory knows: of an object, and of a frame that no look has settled yet."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from video.masks import Mask, iou
from video.optical_flow import Field
from video.tracking.appearance import ColorModel
from video.tracking.memory_bank import Grid
from video.tracking.motion import ConstantVelocity
from video.types import Observation


@dataclass(frozen=True, eq=False)
class MemoryObject:
    """One tracked object.

    Args:
        mask: (H, W) bool, where it is or was seen last.
        full_share: The share of a feature cell that counts as all of it; below 1 for objects smaller than a cell.
        motion: How it moves.
        region: While it should be on or beside another object, (H, W) bool: the pixels that it may take.
        visible: Whether it is visible.
        score: In [0, 1].
        colors: Its colours at the last look; None while it is lost.
        area: Its area in pixels at the last look.
        whole_area: Its area in pixels when it was last fully visible.
    """

    mask: Mask
    full_share: float
    motion: ConstantVelocity
    region: Mask | None = None
    visible: bool = True
    score: float = 1.0
    colors: ColorModel | None = None
    area: int = 0
    whole_area: float = 0.0

    @classmethod
    def from_state(cls, state: Mapping[str, Any]) -> MemoryObject:
        """Build an object from `dataclasses.asdict` of one."""
        colors = None if state["colors"] is None else ColorModel(**state["colors"])
        return cls(**{**state, "motion": ConstantVelocity.from_state(state["motion"]), "colors": colors})

    def likely_place(self) -> Mask:
        """Return (H, W) bool: where to search for the object."""
        return self.mask if self.region is None else self.motion.predict_mask()

    def agreement(self, other: MemoryObject) -> float:
        """Return how far two places of an object agree, in [0, 1]: the IoU of the masks, 1 if neither is visible."""
        if self.visible and other.visible:
            return iou(self.mask, other.mask)
        return float(self.visible == other.visible)


@dataclass(eq=False)
class PendingFrame:
    """A frame since the last look.

    Args:
        number: How many frames the tracker was given before it.
        image: (H, W, 3) uint8 RGB.
        small: The same at the size of the flow.
        to_previous: The flow from this frame to the one before, (h, w, 2); None where nothing leads on.
        from_previous: The flow from the frame before to this one.
        confidence: Of `to_previous`, (h, w) in [0, 1].
        was_looked_at: Whether a look at it contradicted flow: after the looks before it, it is looked at again.
        observations: What is known of the objects on it, by object id.
    """

    number: int
    image: NDArray[np.uint8]
    small: NDArray[np.uint8]
    to_previous: Field | None
    from_previous: Field | None
    confidence: Grid | None
    was_looked_at: bool = False
    observations: dict[int, Observation] = field(default_factory=dict)

    @classmethod
    def from_state(cls, state: Mapping[str, Any]) -> PendingFrame:
        """Build a frame from the result of `state_dict`."""
        observations = {
            int(k): Observation(mask, float(score), bool(visible))
            for k, (mask, score, visible) in state["observations"].items()
        }
        return cls(**{**state, "observations": observations})

    def state_dict(self) -> dict[str, Any]:
        """Return the frame as plain data and arrays."""
        observations = {str(k): [o.mask, o.score, o.visible] for k, o in self.observations.items()}
        return vars(self) | {"observations": observations}


def objects_from_state(state: Mapping[str, Any]) -> dict[int, MemoryObject]:
    """Return objects by id from the result of `objects_to_state`."""
    return {int(k): MemoryObject.from_state(o) for k, o in state.items()}


def objects_to_state(objects: Mapping[int, MemoryObject]) -> dict[str, Any]:
    """Return objects by id as plain data and arrays."""
    return {str(k): asdict(o) for k, o in objects.items()}
