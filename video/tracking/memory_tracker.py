"""A tracker with a memory: the features of each frame are matched against past ones, and a segmenter refines the masks.

On frames between two readings of the memory (an image encoder takes seconds on a CPU) optical flow carries the masks.

The memory yields a probability map per object: (h, w) float32 in [0, 1] on the grid of the features, how much of each
cell is the object's.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any, Protocol

import cv2
import numpy as np
from numpy.typing import NDArray

from video.masks import CRUMB_PX, MAIN_SHARE, Mask, components, deepest_point, main_parts, resize_map
from video.optical_flow import Field, OpticalFlow, warp
from video.shots import CutDetector
from video.tracking.flow_tracker import assign_shared_pixels
from video.tracking.memory_bank import Grid, MemoryBank, MemoryBankOptions, Readout
from video.tracking.motion import ConstantVelocity, exclusive_regions, proximity
from video.types import Candidate, FeatureSource, Observation, Prompt, Segmenter

_MIN_FLOW_PX, _MIN_MASK_PX = 12, 4  # smaller masks, after warping and after a reading, count as lost
_MIN_PART_PROBABILITY = 0.5  # mean probability from which on a small part of a mask belongs to the object


class SegmenterWithFeatures(Segmenter, FeatureSource, Protocol):
    """The segmenter that `MemoryTracker` needs."""


@dataclass(frozen=True)
class MemoryTrackerOptions:
    """Options of `MemoryTracker`. The defaults were set on DAVIS-dev and on drawn clips.

    Args:
        read_every: Frames between two readings of the memory (1: every frame). Flow carries the masks between.
        search_radius: How far from its last place an object is searched, in parts of its size.
        unknown_cosine: A mask whose mean cosine to the memory of an object is at most this is not the object.
        known_cosine: From this mean cosine on a mask surely is the object.
        min_score: An object with a lower score is lost.
        redetect_score: A lost object is found again from this score on.
        memorize_score: A mask enters the memory from this score on.
        flow_side_px: The short side of the images for optical flow.
        memory: Options of the memory.
    """

    read_every: int = 1
    search_radius: float = 1.0
    unknown_cosine: float = 0.5
    known_cosine: float = 0.8
    min_score: float = 0.45
    redetect_score: float = 0.55
    memorize_score: float = 0.6
    flow_side_px: int = 270
    memory: MemoryBankOptions = field(default_factory=MemoryBankOptions)

    def __post_init__(self) -> None:
        if self.read_every < 1:
            raise ValueError(f"read_every must be at least 1, got {self.read_every}")
        if not 0 <= self.min_score <= self.redetect_score <= 1:
            raise ValueError(f"0 <= min_score <= redetect_score <= 1 must hold, got {self}")
        if not -1 <= self.unknown_cosine < self.known_cosine <= 1:
            raise ValueError(
                f"-1 <= unknown_cosine < known_cosine <= 1 must hold, got {self.unknown_cosine} and {self.known_cosine}"
            )
        if self.search_radius <= 0:
            raise ValueError(f"search_radius must be above 0, got {self.search_radius}")


@dataclass(frozen=True, eq=False)
class _MemoryObject:
    """One tracked object.

    Args:
        mask: (H, W) bool, where it is or was seen last.
        full_share: The share of a feature cell that counts as all of it; below 1 for objects smaller than a cell.
        motion: How it moves.
        region: While it should be on or beside another object, (H, W) bool: the pixels that it may take.
        visible: Whether it is visible.
        score: In [0, 1].
    """

    mask: Mask
    full_share: float
    motion: ConstantVelocity
    region: Mask | None = None
    visible: bool = True
    score: float = 1.0

    @classmethod
    def from_state(cls, state: Mapping[str, Any]) -> _MemoryObject:
        return cls(**{**state, "motion": ConstantVelocity.from_state(state["motion"])})

    def likely_place(self) -> Mask:
        """Return (H, W) bool: where to search for the object."""
        return self.mask if self.region is None else self.motion.predict_mask()


class MemoryTracker:
    """A `Tracker` over a segmenter with features. It finds a lost object again where the memory is sure of it.

    It holds one frame, one mask per object and a `MemoryBank`, whatever the length of the clip. The features are
    computed once per reading, whatever the number of objects.

    Args:
        segmenter: Computes the features and refines the masks.
        options: Intervals and thresholds.
    """

    name = "memory"

    def __init__(self, segmenter: SegmenterWithFeatures, *, options: MemoryTrackerOptions | None = None) -> None:
        self._options = options or MemoryTrackerOptions()
        self._segmenter = segmenter
        self._flow = OpticalFlow(short_side_px=self._options.flow_side_px)
        self._memory = MemoryBank(self._options.memory)
        self._objects: dict[int, _MemoryObject] = {}
        self._image: NDArray[np.uint8] | None = None
        self._grey: NDArray[np.uint8] | None = None
        self._keys: Grid | None = None  # of the frame, once they are needed
        self._since_reading = 0
        self._cuts = CutDetector()
        self._objects_before_cut: dict[int, _MemoryObject] = {}
        self._grey_before_cut: NDArray[np.uint8] | None = None

    def step(self, image: NDArray[np.uint8]) -> dict[int, Observation]:
        """Process the next frame; see `Tracker.step`.

        After a cut every object is searched in the whole frame, since its last place tells nothing there.

        Raises:
            ValueError: If the frame has another size than the one before.
        """
        if self._image is not None and image.shape != self._image.shape:
            (h0, w0), (h1, w1) = self._image.shape[:2], image.shape[:2]
            raise ValueError(f"frames must keep their size: {w0}x{h0}, then {w1}x{h1}")
        before, self._grey = self._grey, self._flow.prepare(image)
        self._image, self._keys = image, None
        continuity = self._cuts.step(image)
        if not self._objects:
            return {}
        self._since_reading += 1
        if continuity != "same":
            before = self._handle_cut(before, is_back=continuity == "back")
        self._predict(is_same_shot=continuity == "same")
        if before is not None and any(o.visible for o in self._objects.values()):
            backward, _, confidence = self._flow.bidirectional(self._grey, before)
            self._warp_masks(backward, confidence)
        if self._since_reading >= self._options.read_every:
            self._read_memory()
        for k, o in self._objects.items():
            if o.visible and o.region is None:
                self._objects[k] = replace(o, motion=o.motion.observe(o.mask))
        return {k: self._observe(o) for k, o in self._objects.items()}

    def start(self, object_id: int, mask: Mask) -> Observation:
        """Start or correct an object; see `Tracker.start`.

        Raises:
            ValueError: Before the first frame, for a mask of another size than the frame, and for an empty mask.
        """
        if self._image is None:
            raise ValueError("step() must take a frame before start()")
        if mask.shape != self._image.shape[:2]:
            h, w = self._image.shape[:2]
            raise ValueError(f"mask must have the frame's size {(w, h)}, got {mask.shape[1]}x{mask.shape[0]}")
        if not mask.any():
            raise ValueError("a track cannot start from an empty mask")
        keys = self._current_keys()
        share = resize_map(mask, (keys.shape[1], keys.shape[0]))
        # An object smaller than a cell would never win a vote: its best cell counts as all its own.
        full_share = float(np.clip(share.max(), 1e-3, 1.0))
        self._memory.add_anchor(object_id, keys, share / full_share)
        self._objects[object_id] = _MemoryObject(mask.copy(), full_share, ConstantVelocity(mask.copy()))
        self._objects_before_cut.pop(object_id, None)
        self._since_reading = 0
        return Observation(mask.copy(), 1.0, True)

    def state_dict(self) -> dict[str, Any]:
        """See `video.tracking.state.Resumable`."""
        return {
            "memory": self._memory.state_dict(),
            "objects": {str(k): asdict(o) for k, o in self._objects.items()},
            "image": self._image,
            "grey": self._grey,
            "since_reading": self._since_reading,
            "cuts": self._cuts.state_dict(),
            "objects_before_cut": {str(k): asdict(o) for k, o in self._objects_before_cut.items()},
            "grey_before_cut": self._grey_before_cut,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """See `video.tracking.state.Resumable`."""
        self._memory.load_state_dict(state["memory"])
        self._objects = {int(k): _MemoryObject.from_state(o) for k, o in state["objects"].items()}
        self._image, self._grey, self._keys = state["image"], state["grey"], None
        self._since_reading = state["since_reading"]
        self._cuts.load_state_dict(state["cuts"])
        before_cut = state["objects_before_cut"].items()
        self._objects_before_cut = {int(k): _MemoryObject.from_state(o) for k, o in before_cut}
        self._grey_before_cut = state["grey_before_cut"]

    def _observe(self, o: _MemoryObject) -> Observation:
        mask = o.mask.copy() if o.visible else np.zeros_like(o.mask)
        return Observation(mask, o.score, o.visible)

    def _current_keys(self) -> Grid:
        """Return the keys of the current frame; its features are computed once."""
        assert self._image is not None
        if self._keys is None:
            self._keys = self._memory.make_keys(self._segmenter.features(self._image))
        return self._keys

    def _warp_masks(self, backward: Field, confidence: Grid) -> None:
        """Carry every visible mask with the flow; scores fall a little where the flow is unreliable."""
        for k, o in self._objects.items():
            if not o.visible:
                continue
            mask = main_parts(warp(o.mask.astype(np.float32), backward) >= 0.5, before=o.mask)
            on_mask = resize_map(confidence, (mask.shape[1], mask.shape[0]))[mask]
            reliability = float(on_mask.mean()) if mask.any() else 0.0
            if mask.sum() < _MIN_FLOW_PX:
                self._objects[k] = replace(o, visible=False, score=0.0)
            else:
                self._objects[k] = replace(o, mask=mask, score=o.score * (0.9 + 0.1 * reliability))

    def _handle_cut(self, before: NDArray[np.uint8] | None, *, is_back: bool) -> NDArray[np.uint8] | None:
        """Mark every object as lost at a cut; after a flash of light, restore the objects from before it.

        Returns the grey frame from which the flow leads on, None at a cut.
        """
        self._since_reading = self._options.read_every
        if is_back:
            self._objects |= self._objects_before_cut
            self._objects_before_cut = {}
            return self._grey_before_cut
        self._objects_before_cut, self._grey_before_cut = dict(self._objects), before
        self._objects = {k: replace(o, visible=False, score=0.0) for k, o in self._objects.items()}
        return None

    def _predict(self, *, is_same_shot: bool) -> None:
        """Advance the motion of every object by a frame; across a cut no motion is known."""
        motions = {
            k: o.motion.advance() if is_same_shot else ConstantVelocity(o.mask) for k, o in self._objects.items()
        }
        regions = exclusive_regions(motions)
        self._objects = {k: replace(o, motion=motions[k], region=regions.get(k)) for k, o in self._objects.items()}

    def _read_memory(self) -> None:
        """Find every object by the memory, and remember the frame where that is reliable."""
        keys = self._current_keys()
        readout = self._memory.read(keys)
        probabilities = self._probabilities(readout)
        evidence = {
            # Among look-alikes any may be the most similar: the probability maps tell them apart.
            k: self._best_mask(o, probabilities[k], readout.similarity(self._memory.look_alikes(k)))
            for k, o in self._objects.items()
        }
        found = {k: e for k, e in evidence.items() if e is not None}
        soft = {k: np.asarray(e.mask * np.float32(self._score(e)), np.float32) for k, e in found.items()}
        separate = assign_shared_pixels({k: e.mask for k, e in found.items()}, soft)
        reliable: dict[int, Grid] = {}
        for k, o in self._objects.items():
            best = found.get(k)
            mask = drop_unlikely_parts(separate[k], probabilities[k]) if k in separate else None
            score = 0.0 if best is None else self._score(best)
            threshold = self._options.min_score if o.visible else self._options.redetect_score
            if mask is None or mask.sum() < _MIN_MASK_PX or score < threshold:
                self._objects[k] = replace(o, visible=False, score=score)
                continue
            self._objects[k] = replace(o, mask=mask, visible=True, score=score)
            if score >= self._options.memorize_score:
                reliable[k] = np.minimum(resize_map(mask, (keys.shape[1], keys.shape[0])) / o.full_share, 1.0)
        self._memory.add(keys, reliable, is_reliable=len(reliable) == len(self._objects))
        self._since_reading = 0

    def _probabilities(self, readout: Readout) -> dict[int, Grid]:
        """Return the probability map of each object.

        A visible object is searched near its last place, a lost one wherever no visible one is. Between look-alikes the
        votes are split; the last place of each decides, and while they cross the expected one.
        """
        located = [k for k, o in self._objects.items() if o.visible or o.region is not None]
        share = {k: readout.share(k) for k in located}
        radius = self._options.search_radius
        near = {k: proximity(self._objects[k].likely_place(), readout.size, radius) for k in located}
        zero = np.zeros(readout.size[::-1], np.float32)
        any_of = sum(share.values(), zero)
        # How the votes are split between look-alikes is random, so the place counts for most.
        claims = {k: (share[k] + 0.25 * any_of) * near[k] ** 4 for k in located}
        total = sum(claims.values(), zero) + 1e-9
        probabilities = {k: near[k] * np.minimum(any_of * claims[k] / total, 1) for k in located}
        taken = np.max([probabilities[k] for k in located], axis=0) >= 0.5 if located else zero > 0
        lasting = {k: readout.share(k, lasting_only=True) for k in self._objects}
        for k in self._objects.keys() - located:
            look_alikes = self._memory.look_alikes(k)
            # Votes for its look-alikes are votes for it where they are not. In another shot the surroundings are not in
            # the memory, so that the votes alone would claim them.
            votes = np.minimum(sum((lasting[a] for a in look_alikes), zero), 1)
            likely = votes * self._familiarity(readout.similarity(look_alikes))
            probabilities[k] = keep_main_part(np.where(taken, np.float32(0), likely))
        return probabilities

    def _best_mask(self, o: _MemoryObject, probability: Grid, similarity: Grid) -> MaskEvidence | None:
        """Return the segmenter's mask that agrees best with a probability map; None if there is none."""
        assert self._image is not None
        if probability.max() < 0.5:
            return None
        candidates = self._segmenter.segment(self._image, prompt_from_probability(probability))
        if o.region is not None:
            candidates = [replace(c, mask=c.mask & o.region) for c in candidates]
        evidence = [weigh_candidate(c, probability, similarity, o.full_share) for c in candidates]
        return max(evidence, key=lambda e: e.fit + 0.2 * e.segmenter_score, default=None)

    def _score(self, evidence: MaskEvidence) -> float:
        """Return the score of a mask, in [0, 1]."""
        return evidence.fit * float(self._familiarity(np.float32(evidence.similarity)))

    def _familiarity(self, similarity: Grid | np.float32) -> Grid:
        """Map cosines to [0, 1]: 0 up to `unknown_cosine`, 1 from `known_cosine` on, linear between."""
        low, high = self._options.unknown_cosine, self._options.known_cosine
        return np.asarray(np.clip((similarity - low) / (high - low), 0, 1), np.float32)


@dataclass(frozen=True, eq=False)
class MaskEvidence:
    """A candidate mask and what speaks for it.

    Args:
        mask: (H, W) bool.
        fit: In [0, 1]: the overlap (Dice) of the mask with the probability map.
        similarity: The mean cosine of the features under the mask to the memory of the object.
        segmenter_score: The segmenter's score, in [0, 1].
    """

    mask: Mask
    fit: float
    similarity: float
    segmenter_score: float


def weigh_candidate(candidate: Candidate, probability: Grid, similarity: Grid, full_share: float) -> MaskEvidence:
    """Compare a candidate with the memory.

    Args:
        candidate: The mask and its score.
        probability: (h, w) float32 in [0, 1], the object's probability map.
        similarity: (h, w) float32, the cosine of each cell to the memory of the object.
        full_share: The share of a cell that counts as all of it.
    """
    h, w = probability.shape
    share = np.minimum(resize_map(candidate.mask, (w, h)) / full_share, 1.0)
    total = float(share.sum())
    fit = 2 * float(np.minimum(share, probability).sum()) / max(1e-6, total + float(probability.sum()))
    return MaskEvidence(candidate.mask, fit, float((similarity * share).sum()) / max(1e-6, total), candidate.score)


def keep_main_part(probability: Grid) -> Grid:
    """Return a probability map without all its connected parts but the one with the largest sum."""
    parts = components(probability >= 0.5)
    if len(parts) < 2:
        return probability
    main = max(parts, key=lambda p: float(probability[p].sum()))
    others = np.logical_or.reduce([p for p in parts if p is not main])
    return np.where(cv2.dilate(others.astype(np.uint8), np.ones((3, 3), np.uint8)) > 0, np.float32(0), probability)


def prompt_from_probability(probability: Grid) -> Prompt:
    """Turn a probability map into a mask prompt, four times finer, and a point where the object is thickest."""
    h, w = probability.shape
    prior = np.clip(cv2.resize(probability, (4 * w, 4 * h), interpolation=cv2.INTER_CUBIC), 0, 1)
    # A single cell of just 0.5 may be interpolated to values below 0.5 everywhere.
    point = deepest_point(components(prior >= min(0.5, float(prior.max())))[0])
    return Prompt(points=np.array([point]), labels=np.ones(1, np.int64), prior=np.asarray(prior, np.float32))


def drop_unlikely_parts(mask: Mask, probability: Grid) -> Mask:
    """Return a mask without its small parts of low probability.

    A small part may belong to the object: of a dog behind a pole, the tail may be all that is visible on the other
    side.

    Args:
        mask: (H, W) bool.
        probability: (h, w) float32 in [0, 1].
    """
    parts = components(mask, least_px=CRUMB_PX)
    if len(parts) < 2:
        return parts[0] if parts else mask
    kept = [
        part
        for part in parts
        if part.sum() >= MAIN_SHARE * parts[0].sum() or _mean_under(part, probability) >= _MIN_PART_PROBABILITY
    ]
    return np.asarray(np.logical_or.reduce(kept), np.bool_)


def _mean_under(part: Mask, probability: Grid) -> float:
    share = resize_map(part, (probability.shape[1], probability.shape[0]))
    return float((share * probability).sum() / share.sum())
