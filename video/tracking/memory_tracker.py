"""A tracker with a memory: the features of a frame are matched against past ones, and a segmenter refines the masks.

That is a *look* at the frame. An image encoder takes seconds on a CPU, so optical flow carries the masks over the
frames between two looks; `video.tracking.schedule` says when to look. A look that contradicts what flow has carried is
followed by looks at the frames before it, so the last frames are held until a look has settled them.

The memory yields a probability map per object: (h, w) float32 in [0, 1] on the grid of the features, how much of each
cell is the object's.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any, Protocol

import cv2
import numpy as np
from numpy.typing import NDArray

from video.masks import Mask, iou, main_parts, resize_map, resize_mask
from video.optical_flow import Field, OpticalFlow, warp
from video.shots import CutDetector
from video.tracking.appearance import ColorModel
from video.tracking.flow_tracker import assign_shared_pixels
from video.tracking.mask_evidence import (
    MaskEvidence,
    drop_new_far_parts,
    drop_unlikely_parts,
    keep_main_part,
    prompt_from_probability,
    weigh_candidate,
)
from video.tracking.memory_bank import Grid, MemoryBank, MemoryBankOptions, Readout
from video.tracking.memory_state import (
    MIN_FLOW_PX,
    MemoryObject,
    PendingFrame,
    objects_from_state,
    objects_to_state,
)
from video.tracking.motion import ConstantVelocity, centroid, exclusive_regions
from video.tracking.schedule import FlowEvidence, LookPlan, LookSchedule
from video.tracking.settling import settle_between_looks
from video.types import FeatureSource, Observation, Segmenter

_MIN_MASK_PX = 4  # smaller masks that a look finds count as lost
# Blurred or over another background, an object's features change, on composed clips to a cosine of 0.6.
_CONTINUITY_GAIN = 0.15  # of cosine, for a mask with the object's colours and area
_SAME_PLACE_IOU = 0.3  # of the masks that are found near the last place and anywhere: from it on they are one thing
_BETTER_BY = 0.1  # of score: by so much the mask that is found anywhere must be better
_MAX_SHRINKAGE = 0.98  # of a whole object from one look to the next, as it goes away from the camera


class SegmenterWithFeatures(Segmenter, FeatureSource, Protocol):
    """The segmenter that `MemoryTracker` needs."""


@dataclass(frozen=True)
class MemoryTrackerOptions:
    """Options of `MemoryTracker`. The defaults were set on DAVIS-dev and on drawn clips.

    Args:
        schedule: When to look. Flow carries the masks between.
        search_radius: How far from its last place an object is searched, in parts of its size.
        unknown_cosine: A mask whose mean cosine to the memory of an object is at most this is not the object.
        known_cosine: From this mean cosine on a mask surely is the object.
        min_score: An object with a lower score is lost.
        redetect_score: A lost object is found again from this score on.
        memorize_score: A mask enters the memory from this score on.
        sure_score: An object with a lower score near its last place is searched in the whole frame, too.
        flow_side_px: The short side of the images for optical flow.
        memory: Options of the memory.
    """

    schedule: LookSchedule = field(default_factory=LookSchedule)
    search_radius: float = 1.0
    unknown_cosine: float = 0.5
    known_cosine: float = 0.8
    min_score: float = 0.45
    redetect_score: float = 0.55
    memorize_score: float = 0.6
    sure_score: float = 0.8
    flow_side_px: int = 270
    memory: MemoryBankOptions = field(default_factory=MemoryBankOptions)

    def __post_init__(self) -> None:
        if not 0 <= self.min_score <= self.redetect_score <= 1:
            raise ValueError(f"0 <= min_score <= redetect_score <= 1 must hold, got {self}")
        if not -1 <= self.unknown_cosine < self.known_cosine <= 1:
            raise ValueError(
                f"-1 <= unknown_cosine < known_cosine <= 1 must hold, got {self.unknown_cosine} and {self.known_cosine}"
            )
        if self.search_radius <= 0:
            raise ValueError(f"search_radius must be above 0, got {self.search_radius}")


class MemoryTracker:
    """A `RevisingTracker` over a segmenter with features. It finds a lost object again where the memory is sure of it.

    It holds the frames since the last look, at most `LookSchedule.max_stride`, one mask per object on each, and a
    `MemoryBank`, whatever the length of the clip. The features are computed once per look, whatever the number of
    objects.

    Args:
        segmenter: Computes the features and refines the masks.
        options: The schedule of looks, and thresholds.
    """

    name = "memory"

    def __init__(self, segmenter: SegmenterWithFeatures, *, options: MemoryTrackerOptions | None = None) -> None:
        self._options = options or MemoryTrackerOptions()
        self._segmenter = segmenter
        self._flow = OpticalFlow(short_side_px=self._options.flow_side_px)
        self._memory = MemoryBank(self._options.memory)
        self._objects: dict[int, MemoryObject] = {}
        self._n_frames = 0
        self._image: NDArray[np.uint8] | None = None  # of the frame that is processed, as the following
        self._keys: Grid | None = None  # once they are needed
        self._grey: NDArray[np.uint8] | None = None  # of the frame that was given last
        self._cuts = CutDetector()
        self._objects_before_cut: dict[int, MemoryObject] = {}
        self._grey_before_cut: NDArray[np.uint8] | None = None
        # The frames since the last look, how many of them are processed, and what the tracker knew at that look.
        self._pending: list[PendingFrame] = []
        self._n_processed = 0
        self._plan = LookPlan()
        self._objects_at_look: dict[int, MemoryObject] = {}
        self._revised: dict[int, dict[int, Observation]] = {}

    def step(self, image: NDArray[np.uint8]) -> dict[int, Observation]:
        """Process the next frame; see `Tracker.step`. What it returns may be revised, see `revisions`.

        After a cut every object is searched in the whole frame, since its last place tells nothing there.

        Raises:
            ValueError: If the frame has another size than the one before.
        """
        if self._image is not None and image.shape != self._image.shape:
            (h0, w0), (h1, w1) = self._image.shape[:2], image.shape[:2]
            raise ValueError(f"frames must keep their size: {w0}x{h0}, then {w1}x{h1}")
        grey_before, self._grey = self._grey, self._flow.prepare(image)
        continuity = self._cuts.step(image)
        self._n_frames += 1
        if not self._objects:
            self._image, self._keys = image, None
            return {}
        if continuity != "same":
            self.finish()
            grey_before = self._handle_cut(grey_before, is_back=continuity == "back")
        self._pending.append(self._prepare(image, self._grey, grey_before))
        while self._n_processed < len(self._pending):
            self._process(self._pending[self._n_processed], is_same_shot=continuity == "same")
        return {k: self._observe(o) for k, o in self._objects.items()}

    def revisions(self) -> dict[int, dict[int, Observation]]:
        """Return what later frames have changed since the last call; see `RevisingTracker.revisions`."""
        revised, self._revised = self._revised, {}
        return {self._n_frames - 1 - number: observations for number, observations in revised.items()}

    def finish(self) -> None:
        """Look at the last frame, so that no mask remains that only flow has carried; see `RevisingTracker.finish`."""
        while self._pending:
            self._image, self._keys = self._pending[-1].image, None
            self._look()
            while self._n_processed < len(self._pending):
                self._process(self._pending[self._n_processed], is_same_shot=True)

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
        self.finish()
        keys = self._current_keys()
        share = resize_map(mask, (keys.shape[1], keys.shape[0]))
        # An object smaller than a cell would never win a vote: its best cell counts as all its own.
        full_share = float(np.clip(share.max(), 1e-3, 1.0))
        self._memory.add_anchor(object_id, keys, share / full_share)
        self._objects[object_id] = MemoryObject(mask.copy(), full_share, ConstantVelocity(mask.copy()))
        self._objects_before_cut.pop(object_id, None)
        self._plan = LookPlan()
        self._settle_objects()
        return Observation(mask.copy(), 1.0, True)

    def state_dict(self) -> dict[str, Any]:
        """See `video.tracking.state.Resumable`."""
        return {
            "memory": self._memory.state_dict(),
            "objects": objects_to_state(self._objects),
            "n_frames": self._n_frames,
            "image": self._image,
            "grey": self._grey,
            "cuts": self._cuts.state_dict(),
            "objects_before_cut": objects_to_state(self._objects_before_cut),
            "grey_before_cut": self._grey_before_cut,
            "pending": [frame.state_dict() for frame in self._pending],
            "n_processed": self._n_processed,
            "plan": asdict(self._plan),
            "objects_at_look": objects_to_state(self._objects_at_look),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """See `video.tracking.state.Resumable`."""
        self._memory.load_state_dict(state["memory"])
        self._objects = objects_from_state(state["objects"])
        self._n_frames, self._image, self._keys = state["n_frames"], state["image"], None
        self._cuts.load_state_dict(state["cuts"])
        self._objects_before_cut = objects_from_state(state["objects_before_cut"])
        self._grey, self._grey_before_cut = state["grey"], state["grey_before_cut"]
        self._pending = [PendingFrame.from_state(frame) for frame in state["pending"]]
        self._n_processed, self._plan = state["n_processed"], LookPlan(**state["plan"])
        self._objects_at_look = objects_from_state(state["objects_at_look"])

    def _prepare(
        self, image: NDArray[np.uint8], grey: NDArray[np.uint8], grey_before: NDArray[np.uint8] | None
    ) -> PendingFrame:
        flows = (None, None, None) if grey_before is None else self._flow.bidirectional(grey, grey_before)
        return PendingFrame(self._n_frames - 1, image, _resize(image, grey.shape), *flows)

    def _process(self, frame: PendingFrame, *, is_same_shot: bool) -> None:
        """Carry the objects to a pending frame, and look at it if that is due."""
        self._image, self._keys = frame.image, None
        self._predict(is_same_shot=is_same_shot)
        evidence: list[FlowEvidence] = []
        if frame.to_previous is not None and frame.confidence is not None:
            evidence = self._warp_masks(frame.to_previous, frame.confidence, frame.small)
        self._n_processed += 1
        frame.observations = {k: self._observe(o) for k, o in self._objects.items()}
        if frame.was_looked_at or self._plan.is_due(self._n_processed, evidence, self._options.schedule):
            self._look()
        else:
            self._observe_motion()

    def _observe_motion(self) -> None:
        self._objects = {k: o.with_motion_observed() for k, o in self._objects.items()}

    def _look(self) -> None:
        """Read the memory on the frame that was processed last, and settle the frames since the last look.

        If what flow carried there is wrong, the tracker goes back to the last look, to look at frames between.
        """
        carried, schedule, n = dict(self._objects), self._options.schedule, self._n_processed
        memory = self._memory.copy()
        self._read_memory()
        agreement = min((o.agreement(self._objects[k]) for k, o in carried.items()), default=1.0)
        if agreement < schedule.wrong_iou and n > 1:
            self._pending[n - 1].was_looked_at = True
            self._memory, self._objects, self._n_processed = memory, dict(self._objects_at_look), 0
            self._plan = self._plan.after_wrong_look(n)
            return
        self._observe_motion()
        self._revise(self._pending[:n])
        has_lost = any(not o.visible for o in self._objects.values())
        self._plan = self._plan.after_look(agreement, has_lost=has_lost, frames=n, schedule=schedule)
        del self._pending[:n]
        self._n_processed = 0
        self._settle_objects()

    def _settle_objects(self) -> None:
        """Note what is known at a look: the colours and areas that carried masks are compared with."""
        assert self._image is not None
        assert self._grey is not None  # all frames have one size, so that any grey one tells that of the flow
        small = _resize(self._image, self._grey.shape)
        size = (small.shape[1], small.shape[0])
        for k, o in self._objects.items():
            colors = ColorModel.of(small, resize_mask(o.mask, size)) if o.visible else None
            area = int(o.mask.sum())
            whole_area = max(area, _MAX_SHRINKAGE * o.whole_area) if o.visible else o.whole_area
            self._objects[k] = replace(o, colors=colors, area=area, whole_area=whole_area)
        self._objects_at_look = dict(self._objects)

    def _revise(self, frames: list[PendingFrame]) -> None:
        """Settle the frames up to a look: each takes the shape between what flow carries to it from both looks."""
        frames[-1].observations = {k: self._observe(o) for k, o in self._objects.items()}
        settle_between_looks(frames)
        self._revised |= {frame.number: frame.observations for frame in frames}

    def _observe(self, o: MemoryObject) -> Observation:
        mask = o.mask.copy() if o.visible else np.zeros_like(o.mask)
        return Observation(mask, o.score, o.visible)

    def _current_keys(self) -> Grid:
        """Return the keys of the current frame; its features are computed once."""
        assert self._image is not None
        if self._keys is None:
            self._keys = self._memory.make_keys(self._segmenter.features(self._image))
        return self._keys

    def _warp_masks(self, backward: Field, confidence: Grid, small: NDArray[np.uint8]) -> list[FlowEvidence]:
        """Carry every visible mask with the flow; scores fall a little where the flow is unreliable.

        Args:
            backward: The flow to the frame before, (h, w, 2).
            confidence: Of the flow, (h, w).
            small: The frame at the size of the flow, (h, w, 3) uint8 RGB.

        Returns:
            What is known of each carried mask.
        """
        evidence = []
        for k, o in self._objects.items():
            if not o.visible:
                continue
            mask = main_parts(warp(o.mask.astype(np.float32), backward) >= 0.5, before=o.mask)
            if mask.sum() < MIN_FLOW_PX:
                self._objects[k] = replace(o, visible=False, score=0.0)
                evidence.append(FlowEvidence(0.0, 0.0, 0.0, 0.0))
                continue
            on_small = resize_mask(mask, (small.shape[1], small.shape[0]))
            reliability = float(confidence[on_small].mean()) if on_small.any() else 1.0
            colors = ColorModel.of(small, on_small)
            similarity = 1.0 if colors is None or o.colors is None else colors.similarity(o.colors)
            motion = float(np.linalg.norm(centroid(mask) - centroid(o.mask)) / np.sqrt(o.mask.sum()))
            evidence.append(FlowEvidence(reliability, motion, float(mask.sum()) / max(1, o.area), similarity))
            self._objects[k] = replace(o, mask=mask, score=o.score * (0.9 + 0.1 * reliability))
        return evidence

    def _handle_cut(self, before: NDArray[np.uint8] | None, *, is_back: bool) -> NDArray[np.uint8] | None:
        """Mark every object as lost at a cut; after a flash of light, restore the objects from before it.

        Returns the grey frame from which the flow leads on, None at a cut.
        """
        self._plan = LookPlan()
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
        """Find every object on the current frame by the memory, and remember the frame where that is reliable."""
        keys = self._current_keys()
        readout = self._memory.read(keys)
        found, probabilities = self._find(readout, self._objects, self._objects.keys())
        self._search_everywhere(readout, found, probabilities)
        soft = {k: np.asarray(e.mask * np.float32(self._score(e)), np.float32) for k, e in found.items()}
        separate = assign_shared_pixels({k: e.mask for k, e in found.items()}, soft)
        reliable: dict[int, Grid] = {}
        for k, o in self._objects.items():
            best = found.get(k)
            mask = drop_unlikely_parts(separate[k], probabilities[k]) if k in separate else None
            if mask is not None and o.visible:
                mask = drop_new_far_parts(mask, o.mask, o.whole_area)
            score = self._score(best)
            threshold = self._options.min_score if o.visible else self._options.redetect_score
            if mask is None or mask.sum() < _MIN_MASK_PX or score < threshold:
                self._objects[k] = replace(o, visible=False, score=score)
                continue
            self._objects[k] = replace(o, mask=mask, visible=True, score=score)
            if best is not None and score >= self._options.memorize_score and not best.has_other_colors:
                reliable[k] = np.minimum(resize_map(mask, (keys.shape[1], keys.shape[0])) / o.full_share, 1.0)
        self._memory.add(keys, reliable, is_reliable=len(reliable) == len(self._objects))

    def _search_everywhere(
        self, readout: Readout, found: dict[int, MaskEvidence], probabilities: dict[int, Grid]
    ) -> None:
        """Search the whole frame for what is badly found near its last place, and put what is better into `found`.

        Of an object that moves by about its own size only a part is near its last place: elsewhere in the frame is the
        rest. What is not found near it at all is lost, and searched in the whole frame from the next look on: at once,
        the look-alike behind which it is would be taken for it.
        """
        doubtful = {
            k
            for k, o in self._objects.items()
            if o.visible
            and o.region is None
            and self._options.min_score <= self._score(found.get(k)) < self._options.sure_score
        }
        if not doubtful:
            return
        as_lost = {k: replace(self._objects[k], visible=False) for k in doubtful}
        anywhere, whole_frame = self._find(readout, {**self._objects, **as_lost}, doubtful)
        for k, new in anywhere.items():
            if self._is_better(new, found[k]):
                probabilities[k], found[k] = whole_frame[k], new

    def _is_better(self, new: MaskEvidence, old: MaskEvidence) -> bool:
        """Whether a mask found anywhere shows more of what was found near the last place."""
        return self._score(new) >= self._score(old) + _BETTER_BY and iou(new.mask, old.mask) >= _SAME_PLACE_IOU

    def _find(
        self, readout: Readout, objects: Mapping[int, MemoryObject], wanted: Collection[int]
    ) -> tuple[dict[int, MaskEvidence], dict[int, Grid]]:
        """Return the best mask of each wanted object that the segmenter finds, and all objects' probability maps."""
        probabilities = self._probabilities(readout, objects)
        evidence = {
            # Among look-alikes any may be the most similar: the probability maps tell them apart.
            k: self._best_mask(o, probabilities[k], readout.similarity(self._memory.look_alikes(k)))
            for k, o in objects.items()
            if k in wanted
        }
        return {k: e for k, e in evidence.items() if e is not None}, probabilities

    def _probabilities(self, readout: Readout, objects: Mapping[int, MemoryObject]) -> dict[int, Grid]:
        """Return the probability map of each object.

        A visible object is searched near its last place, a lost one wherever no visible one is. Between look-alikes the
        votes are split; the last place of each decides, and while they cross the expected one.
        """
        located = [k for k, o in objects.items() if o.visible or o.region is not None]
        share = {k: readout.share(k) for k in located}
        radius = self._options.search_radius
        near = {k: objects[k].proximity(readout.size, radius) for k in located}
        zero = np.zeros(readout.size[::-1], np.float32)
        any_of = sum(share.values(), zero)
        # How the votes are split between look-alikes is random, so the place counts for most.
        claims = {k: (share[k] + 0.25 * any_of) * near[k] ** 4 for k in located}
        total = sum(claims.values(), zero) + 1e-9
        probabilities = {k: near[k] * np.minimum(any_of * claims[k] / total, 1) for k in located}
        taken = np.max([probabilities[k] for k in located], axis=0) >= 0.5 if located else zero > 0
        lasting = {k: readout.share(k, lasting_only=True) for k in objects}
        for k in objects.keys() - located:
            look_alikes = self._memory.look_alikes(k)
            # Votes for its look-alikes are votes for it where they are not. In another shot the surroundings are not in
            # the memory, so that the votes alone would claim them.
            votes = np.minimum(sum((lasting[a] for a in look_alikes), zero), 1)
            likely = votes * self._familiarity(readout.similarity(look_alikes))
            probabilities[k] = keep_main_part(np.where(taken, np.float32(0), likely))
        return probabilities

    def _best_mask(self, o: MemoryObject, probability: Grid, similarity: Grid) -> MaskEvidence | None:
        """Return the segmenter's mask that agrees best with a probability map; None if there is none."""
        assert self._image is not None
        if probability.max() < 0.5:
            return None
        candidates = self._segmenter.segment(self._image, prompt_from_probability(probability))
        if o.region is not None:
            candidates = [replace(c, mask=c.mask & o.region) for c in candidates]
        evidence = [weigh_candidate(c, probability, similarity, o.full_share) for c in candidates]
        best = max(evidence, key=lambda e: e.fit + 0.2 * e.segmenter_score - o.excess(e.mask), default=None)
        if best is None:
            return None
        assert self._grey is not None
        return o.compare_with_last_look(best, _resize(self._image, self._grey.shape))

    def _score(self, evidence: MaskEvidence | None) -> float:
        """Return the score of a mask, in [0, 1]; 0 for none.

        Loose continuity only keeps what would be lost otherwise: an occluder that grows out of the object has it, too,
        and what scores lower for its features is searched in the whole frame.
        """
        if evidence is None:
            return 0.0
        score = self._score_with(evidence, evidence.continuity)
        is_lost = score < self._options.min_score
        return self._score_with(evidence, evidence.loose_continuity) if is_lost else score

    def _score_with(self, evidence: MaskEvidence, continuity: float) -> float:
        similarity = evidence.similarity + _CONTINUITY_GAIN * continuity
        return evidence.fit * float(self._familiarity(np.float32(similarity)))

    def _familiarity(self, similarity: Grid | np.float32) -> Grid:
        """Map cosines to [0, 1]: 0 up to `unknown_cosine`, 1 from `known_cosine` on, linear between."""
        low, high = self._options.unknown_cosine, self._options.known_cosine
        return np.asarray(np.clip((similarity - low) / (high - low), 0, 1), np.float32)


def _resize(image: NDArray[np.uint8], shape: tuple[int, ...]) -> NDArray[np.uint8]:
    """Return an image, (H, W, 3) uint8 RGB, at another (h, w), that of the optical flow."""
    return np.asarray(cv2.resize(image, shape[::-1], interpolation=cv2.INTER_AREA), np.uint8)
