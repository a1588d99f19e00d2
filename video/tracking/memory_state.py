"""What the tracker with a memory knows: of an object, and of a frame that no look has settled yet."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from video.masks import Mask, iou, resize_mask
from video.optical_flow import Field
from video.tracking.appearance import ColorModel
from video.tracking.mask_evidence import MaskEvidence
from video.tracking.memory_bank import Grid
from video.tracking.motion import ConstantVelocity, proximity
from video.types import Observation

MIN_FLOW_PX = 12
"""Smaller masks, after warping, count as lost."""
_MAX_GROWTH = 1.3  # of an object's area from one look to the next
_MAX_SUDDEN_GROWTH = 2.0  # of the area of what jumps towards the camera
_SAME_PLACE_IOUS = (0.5, 0.75)  # of a mask and what flow has carried: may be the same thing, and is
_EXCESS_WEIGHT = 0.5  # of what a mask is larger, beside its fit
# Similarities of colours that confirm nothing, and fully: on three composed clips with occluders, masks of the object
# had 0.97 to 1, those of the occluder 0.80 to 0.95.
_CONTINUOUS_COLORS = (0.94, 0.98)
_OTHER_COLORS = 0.85  # below it, something in front of the object may be in the mask


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

    def proximity(self, size: tuple[int, int], radius: float) -> Grid:
        """Return how near each cell of a grid, of (w, h) cells, is to where the object may be; see `motion.proximity`.

        Flow leaves behind what moves by half its size between two frames; its velocity tells where it went.
        """
        places = [] if self.region is not None else [self.mask]
        if self.region is not None or self.motion.is_known:
            places.append(self.motion.predict_mask())
        near = [proximity(place, size, radius) for place in places if place.any()]
        return np.asarray(np.maximum.reduce(near or [proximity(self.mask, size, radius)]), np.float32)

    def with_motion_observed(self) -> MemoryObject:
        """Return the object with the motion that its mask shows, if it is visible and by itself."""
        is_clear = self.visible and self.region is None
        return replace(self, motion=self.motion.observe(self.mask)) if is_clear else self

    def excess(self, mask: Mask) -> float:
        """Return by how much a mask is too large for the object, in [0, 0.5]: it may hold a look-alike beside it.

        Args:
            mask: (H, W) bool. While the object is lost, any size is possible.
        """
        if not self.visible:
            return 0.0
        largest = _MAX_GROWTH * max(float(self.mask.sum()), self.whole_area)
        return _EXCESS_WEIGHT * max(0.0, 1 - largest / max(1.0, float(mask.sum())))

    def compare_with_last_look(self, evidence: MaskEvidence, image: NDArray[np.uint8]) -> MaskEvidence:
        """Return the evidence for a mask with what its colours, area and place, beside those at the last look, say.

        The place is the one to which flow has carried the object, if it is visible.

        Args:
            evidence: The mask and what is known of it.
            image: (h, w, 3) uint8 RGB, of the size at which colours are compared.
        """
        colors = ColorModel.of(image, resize_mask(evidence.mask, (image.shape[1], image.shape[0])))
        if self.colors is None or colors is None:
            return evidence
        similarity, (low, high) = colors.similarity(self.colors), _CONTINUOUS_COLORS
        ratio = float(evidence.mask.sum()) / max(1, self.area)
        growth = max(ratio, 1 / max(ratio, 1e-6))
        has_its_colors = _ramp(similarity, low, high)
        continuity = has_its_colors if growth <= _MAX_GROWTH else 0.0
        loose_continuity = has_its_colors * _ramp(growth, _MAX_SUDDEN_GROWTH, _MAX_GROWTH)
        if self.visible and similarity >= _OTHER_COLORS:
            loose_continuity = max(loose_continuity, _ramp(iou(self.mask, evidence.mask), *_SAME_PLACE_IOUS))
        return replace(
            evidence,
            continuity=continuity,
            loose_continuity=loose_continuity,
            has_other_colors=similarity < _OTHER_COLORS,
        )

    def agreement(self, other: MemoryObject) -> float:
        """Return how far two places of an object agree, in [0, 1]: the IoU of the masks, 1 if neither is visible."""
        if self.visible and other.visible:
            return iou(self.mask, other.mask)
        return float(self.visible == other.visible)


def _ramp(value: float, zero: float, one: float) -> float:
    """Map a value to [0, 1]: 0 at `zero` and before, 1 from `one` on, linear between; `one` may be the smaller."""
    return float(np.clip((value - zero) / (one - zero), 0, 1))


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
