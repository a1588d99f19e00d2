"""A tracker by optical flow: flow carries the masks, a segmenter refines them, and their colours are checked.

The tracker does not guess: when a mask no longer looks like its object, the object is lost until it is started again.
`video.tracking.memory_tracker` also finds lost objects again.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from video.masks import Mask, box_of, iou, main_parts, pad_box, resize_map, resize_mask, rim_prior
from video.optical_flow import Field, OpticalFlow, resize_flow, warp
from video.shots import CutDetector
from video.tracking.appearance import ColorModel
from video.tracking.distractors import ContactPlace, ContactTracker
from video.tracking.motion import centroid
from video.types import Observation, Prompt, Segmenter

_MAX_HIDDEN_FRAMES = 40  # frames for which the full extent of a partly hidden object is kept
_MIN_MASK_PX = 12  # an object with a smaller mask is lost


@dataclass(frozen=True)
class FlowTrackerOptions:
    """Options of `FlowTracker`. The defaults were set on DAVIS-dev and on drawn clips.

    Args:
        work_side_px: The short side to which frames are reduced for tracking.
        flow_side_px: The same for the optical flow.
        refit_every: Frames between two calls of the segmenter (1: every frame). Flow carries the masks between.
        min_candidate_score: Candidates of the segmenter with a lower score are ignored.
        min_score: An object with a lower score is lost.
    """

    work_side_px: int = 480
    flow_side_px: int = 270
    refit_every: int = 1
    min_candidate_score: float = 0.5
    min_score: float = 0.35

    def __post_init__(self) -> None:
        if self.refit_every < 1:
            raise ValueError(f"refit_every must be at least 1, got {self.refit_every}")
        if not 0 <= self.min_score < 1:
            raise ValueError(f"min_score must be in [0, 1), got {self.min_score}")


@dataclass(frozen=True, eq=False)
class _FlowObject:
    """One tracked object. Masks are at the work size, (h, w) bool.

    Args:
        mask: What is visible of it.
        extent: What would be visible if nothing hid it.
        first: Its colours at the start.
        recent: Its colours lately.
        purity: The share of its pixels that were likelier its own than its surroundings' at the start.
        contact: How it moves, and whether it touches something of its colours.
        since_refit: Frames since the segmenter was called for it.
        flow_confidence: In [0, 1]; falls while no segmenter confirms what flow carries.
        hidden_for: Frames since `mask` and `extent` were the same.
        lost: Whether it is lost.
        score: In [0, 1].
    """

    mask: Mask
    extent: Mask
    first: ColorModel
    recent: ColorModel
    purity: float
    contact: ContactTracker
    since_refit: int = 0
    flow_confidence: float = 1.0
    hidden_for: int = 0
    lost: bool = False
    score: float = 1.0

    @classmethod
    def from_state(cls, state: Mapping[str, Any]) -> _FlowObject:
        first, recent = ColorModel(**state["first"]), ColorModel(**state["recent"])
        contact = ContactTracker.from_state(state["contact"])
        return cls(**{**state, "first": first, "recent": recent, "contact": contact})


class FlowTracker:
    """A `Tracker` by DIS optical flow and a segmenter.

    It holds one frame and one mask per object, whatever the length of the clip.

    Args:
        segmenter: Refines the masks that flow carries.
        options: Resolutions, intervals and thresholds.
    """

    name = "dis-flow"

    def __init__(self, segmenter: Segmenter, *, options: FlowTrackerOptions | None = None) -> None:
        self._options = options or FlowTrackerOptions()
        self._segmenter = segmenter
        self._flow = OpticalFlow(short_side_px=self._options.flow_side_px)
        self._objects: dict[int, _FlowObject] = {}
        self._image: NDArray[np.uint8] | None = None  # at the work size
        self._grey: NDArray[np.uint8] | None = None
        self._size = (0, 0)
        self._cuts = CutDetector()
        self._objects_before_cut: dict[int, _FlowObject] = {}
        self._grey_before_cut: NDArray[np.uint8] | None = None

    def step(self, image: NDArray[np.uint8]) -> dict[int, Observation]:
        """Process the next frame; see `Tracker.step`.

        At a cut every object is lost; after a flash of light the objects from before it are restored.

        Raises:
            ValueError: If the frame has another size than the one before.
        """
        h, w = image.shape[:2]
        if self._image is not None and (w, h) != self._size:
            raise ValueError(f"frames must keep their size: {self._size[0]}x{self._size[1]}, then {w}x{h}")
        self._size = (w, h)
        before, self._grey = self._grey, self._flow.prepare(image)
        self._image = _shrink(image, self._options.work_side_px)
        continuity = self._cuts.step(image)
        if continuity == "cut":
            self._objects_before_cut, self._grey_before_cut = dict(self._objects), before
            self._objects = {k: _lost(o, score=0.0) for k, o in self._objects.items()}
        elif continuity == "back":
            self._objects |= self._objects_before_cut
            before = self._grey_before_cut
        alive = [k for k, o in self._objects.items() if not o.lost]
        if before is not None and alive:
            backward, _, confidence = self._flow.bidirectional(self._grey, before)
            self._advance(alive, backward, confidence)
        return {k: self._observe(o) for k, o in self._objects.items()}

    def start(self, object_id: int, mask: Mask) -> Observation:
        """Start or correct an object; see `Tracker.start`.

        Raises:
            ValueError: Before the first frame, for a mask of another size than the frame, and for an empty mask.
        """
        if self._image is None:
            raise ValueError("step() must take a frame before start()")
        if (mask.shape[1], mask.shape[0]) != self._size:
            raise ValueError(f"mask must have the frame's size {self._size}, got {mask.shape[1]}x{mask.shape[0]}")
        small = resize_mask(mask, (self._image.shape[1], self._image.shape[0]))
        colors = ColorModel.of(self._image, small)
        if colors is None:
            raise ValueError("a track cannot start from an empty mask")
        purity = colors.purity(self._image, small)
        self._objects[object_id] = _FlowObject(small, small, colors, colors, purity, ContactTracker.of(small))
        self._objects_before_cut.pop(object_id, None)
        return Observation(mask.copy(), 1.0, True)

    def state_dict(self) -> dict[str, Any]:
        """See `video.tracking.state.Resumable`."""
        return {
            "objects": {str(k): asdict(o) for k, o in self._objects.items()},
            "image": self._image,
            "grey": self._grey,
            "size": list(self._size),
            "cuts": self._cuts.state_dict(),
            "objects_before_cut": {str(k): asdict(o) for k, o in self._objects_before_cut.items()},
            "grey_before_cut": self._grey_before_cut,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """See `video.tracking.state.Resumable`."""
        self._objects = {int(k): _FlowObject.from_state(o) for k, o in state["objects"].items()}
        self._image, self._grey = state["image"], state["grey"]
        self._size = (state["size"][0], state["size"][1])
        self._cuts.load_state_dict(state["cuts"])
        before_cut = state["objects_before_cut"].items()
        self._objects_before_cut = {int(k): _FlowObject.from_state(o) for k, o in before_cut}
        self._grey_before_cut = state["grey_before_cut"]

    def _observe(self, o: _FlowObject) -> Observation:
        if o.lost:
            return Observation(np.zeros((self._size[1], self._size[0]), np.bool_), o.score, False)
        return Observation(resize_mask(o.mask, self._size), o.score, True)

    def _advance(self, alive: list[int], backward: Field, confidence: NDArray[np.float32]) -> None:
        """Carry all objects that are not lost to this frame, refine and check them."""
        assert self._image is not None
        soft = {k: warp(self._objects[k].mask.astype(np.float32), backward) for k in alive}
        warped = {k: s >= 0.5 for k, s in soft.items()}
        work_confidence = cv2.resize(confidence, self._image.shape[1::-1], interpolation=cv2.INTER_LINEAR)
        places = {k: p for k in alive if (p := self._move(k, warped, backward, confidence)) is not None}
        # What comes out from behind something does so as fast as things move here: allow for that much around.
        speeds = np.linalg.norm(resize_flow(backward, self._work_size()), axis=-1)
        speed_px = min(20.0, float(np.quantile(speeds, 0.99)))
        # The graph cut of an object that touches something of its colours would take that along.
        alone = [k for k in alive if k not in places]
        refitted = warped | {k: self._refit(self._objects[k], k, warped, speed_px) for k in alone}
        for k, mask in assign_shared_pixels(refitted, soft).items():
            on_mask = float(work_confidence[warped[k]].mean()) if warped[k].any() else 0.0
            is_confirmed = refitted[k] is not warped[k]
            if k in places:
                on_mask, is_confirmed = places[k].confidence, True
            checked = self._check(self._objects[k], mask, warped[k], on_mask, is_confirmed=is_confirmed)
            if k in alone and not checked.lost:
                checked = replace(checked, contact=checked.contact.observe(checked.mask))
            self._objects[k] = checked

    def _move(
        self, object_id: int, warped: dict[int, Mask], backward: Field, confidence: NDArray[np.float32]
    ) -> ContactPlace | None:
        """Move an object's extent by a frame; in a contact, replace the warped mask by the one of its place there."""
        assert self._image is not None
        o = self._objects[object_id]
        extent = move_rigidly(o.extent, warped[object_id], backward, confidence)
        own_colors = o.first.typical_pixels(self._image)
        contact, place = o.contact.step(own_colors, centroid(extent) - centroid(o.extent))
        if place is not None:
            extent, warped[object_id] = place.mask, place.mask & own_colors
        self._objects[object_id] = replace(o, extent=extent | warped[object_id], contact=contact)
        return place

    def _work_size(self) -> tuple[int, int]:
        assert self._image is not None
        return self._image.shape[1], self._image.shape[0]

    def _uncovered(self, o: _FlowObject, mask: Mask, others: Mask) -> Mask:
        """Return the pixels that may have come out from behind something: in the object's extent and colours."""
        assert self._image is not None
        return o.extent & ~mask & ~others & (o.first.likelihood(self._image) > 0.6)

    def _refit(self, o: _FlowObject, object_id: int, warped: dict[int, Mask], speed_px: float) -> Mask:
        """Return the segmenter's mask if it is due and agrees with the warped one, else the warped one itself."""
        assert self._image is not None
        mask = warped[object_id]
        if o.since_refit + 1 < self._options.refit_every or mask.sum() < _MIN_MASK_PX:
            return mask
        others = np.zeros_like(mask)
        for other, other_mask in warped.items():
            others |= other_mask if other != object_id else False
        # The rim is no wider than lets an object of this size be told from its neighbours.
        prior = rim_prior(mask, least_px=3.0 + min(speed_px, 0.1 * float(np.sqrt(mask.sum()))))
        prior[o.extent & ~mask] = np.maximum(prior[o.extent & ~mask], 0.2)
        uncovered = self._uncovered(o, mask, others)
        prior[uncovered] = 0.6
        prior[others & ~mask] = 0.0
        expected = mask | uncovered
        box = box_of(expected)
        if box is None:
            return mask
        candidates = self._segmenter.segment(self._image, Prompt(prior=prior, box=pad_box(box, 0.15, least=0.01)))
        candidates = [c for c in candidates if c.score >= self._options.min_candidate_score]
        best = max(candidates, key=lambda c: iou(c.mask, expected), default=None)
        if best is None or iou(best.mask, expected) < 0.6:
            return mask
        refitted, plain = ColorModel.of(self._image, best.mask), ColorModel.of(self._image, mask)
        if refitted is None or plain is None or o.first.similarity(refitted) < o.first.similarity(plain) - 0.1:
            return mask
        return best.mask

    def _flow_confidence(self, o: _FlowObject, confidence: float, *, is_confirmed: bool) -> float:
        """Return the object's `flow_confidence` after this frame."""
        if is_confirmed:
            return min(1.0, o.flow_confidence + 0.25)
        if o.since_refit + 1 < self._options.refit_every:
            return o.flow_confidence  # no segmenter was called
        return o.flow_confidence * confidence

    def _check(self, o: _FlowObject, mask: Mask, warped: Mask, confidence: float, *, is_confirmed: bool) -> _FlowObject:
        """Score the new mask of an object by its colours and the flow's confidence; below `min_score` it is lost."""
        assert self._image is not None
        flow_confidence = self._flow_confidence(o, confidence, is_confirmed=is_confirmed)
        mask = main_parts(mask)
        is_due = o.since_refit + 1 >= self._options.refit_every
        colors = ColorModel.of(self._image, mask)
        # Hidden or gone: only a sliver is left.
        if colors is None or mask.sum() < _MIN_MASK_PX or colors.area < 0.02 * o.first.area:
            return _lost(o, score=0.0)
        similarity = max(o.first.similarity(colors), 0.9 * o.recent.similarity(colors))
        overlap = min(1.0, iou(mask, warped) / 0.9)
        # The histogram of a large part of a frame is similar to any other; the colours of single pixels tell more.
        purity = min(1.0, (o.first.purity(self._image, mask) + 0.05) / (0.9 * o.purity + 0.05))
        factors = similarity * (0.6 + 0.4 * confidence) * (0.7 + 0.3 * overlap) * purity * np.sqrt(flow_confidence)
        score = float(np.clip(factors, 0, 1))
        if score < self._options.min_score:
            return _lost(o, score=score)
        recent = colors if similarity > 0.7 and confidence > 0.5 else o.recent
        extent, hidden_for = o.extent, o.hidden_for + 1
        if iou(mask, extent) > 0.85 or hidden_for > _MAX_HIDDEN_FRAMES:
            extent, hidden_for = mask, 0
        return replace(
            o,
            mask=mask,
            extent=extent,
            recent=recent,
            since_refit=0 if is_due else o.since_refit + 1,
            flow_confidence=flow_confidence,
            hidden_for=hidden_for,
            score=score,
        )


def _lost(o: _FlowObject, *, score: float) -> _FlowObject:
    return replace(o, mask=np.zeros_like(o.mask), lost=True, score=score)


def move_rigidly(extent: Mask, visible: Mask, backward: Field, confidence: NDArray[np.float32]) -> Mask:
    """Move an object's extent as its visible part moved: rotated, scaled and shifted as a whole.

    Args:
        extent: (h, w) bool, on the frame before.
        visible: (h, w) bool, on this frame. If it is too small, only the shift is taken; if it is empty, the extent
            stays.
        backward: The flow from this frame to the one before, at any resolution.
        confidence: The flow's confidence in [0, 1], at any resolution.

    Returns:
        (h, w) bool, the extent on this frame.
    """
    h, w = extent.shape
    flow = resize_flow(backward, (w, h))
    confidence = resize_map(confidence, (w, h))
    rows, columns = np.nonzero(visible)
    if len(rows) == 0:
        return extent
    best = np.argsort(-confidence[rows, columns], kind="stable")[: max(1, len(rows) // 2)]
    chosen = best[:: max(1, len(best) // 300)]
    now = np.stack([columns[chosen], rows[chosen]], 1).astype(np.float32)
    before = now + flow[rows[chosen], columns[chosen]]
    shift = np.median(now - before, axis=0)
    matrix = np.array([[1, 0, shift[0]], [0, 1, shift[1]]], np.float64)
    if len(now) >= 30 and len(rows) > 0.4 * extent.sum():
        cv2.setRNGSeed(0)  # RANSAC draws from OpenCV's own generator
        found, _ = cv2.estimateAffinePartial2D(before, now, method=cv2.RANSAC, ransacReprojThreshold=1.0)
        if found is not None and 0.9 < np.hypot(found[0, 0], found[1, 0]) < 1.1:
            matrix = np.asarray(found, np.float64)
    moved = cv2.warpAffine(extent.astype(np.float32), matrix, (w, h), flags=cv2.INTER_LINEAR)
    return np.asarray(moved >= 0.5, np.bool_)


def assign_shared_pixels(masks: dict[int, Mask], soft: dict[int, NDArray[np.float32]]) -> dict[int, Mask]:
    """Give each pixel that several masks claim to the one with the greatest soft value there.

    Args:
        masks: By object id, (h, w) bool.
        soft: By object id, (h, w) float32.
    """
    if len(masks) < 2:
        return masks
    keys = list(masks)
    claims = np.stack([np.where(masks[k], soft[k] + 1e-3, 0.0) for k in keys])
    owner = claims.argmax(0)
    return {k: masks[k] & (owner == i) for i, k in enumerate(keys)}


def _shrink(image: NDArray[np.uint8], short_side_px: int) -> NDArray[np.uint8]:
    h, w = image.shape[:2]
    scale = short_side_px / min(h, w)
    if scale >= 1:
        return image
    return np.asarray(cv2.resize(image, (round(w * scale), round(h * scale)), interpolation=cv2.INTER_AREA), np.uint8)
