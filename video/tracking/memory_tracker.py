"""A tracker that remembers: each frame's features are matched against a bounded memory, and a segmenter outlines it.

Between two looks (an encoder takes seconds on a CPU) the masks are carried by optical flow.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Protocol

import cv2
import numpy as np
from numpy.typing import NDArray

from video.masks import CRUMB_PX, MAIN_SHARE, Mask, components, deepest_point, main_parts, resize_map
from video.optical_flow import Field, OpticalFlow, warp
from video.shots import CutDetector
from video.tracking.flow_tracker import exclusive
from video.tracking.memory_bank import Grid, MemoryBank, MemoryBankOptions, Readout
from video.tracking.motion import ConstantVelocity, exclusive_regions, nearness
from video.tracking.state import Resumable
from video.types import Candidate, FeatureSource, Observation, Prompt, Segmenter


class SegmenterWithFeatures(Segmenter, FeatureSource, Protocol):
    """What `MemoryTracker` needs."""


@dataclass(frozen=True)
class MemoryTrackerOptions:
    """look_every: frames between two looks at the features (1 = every frame); flow carries the masks between.

    reach: how far from where it was an object is looked for, in parts of its size. strange, familiar: mean cosines to
    what is remembered of an object, at which a mask is surely not, surely its. least_score: below it an object is lost.
    found_score: from it on a lost object counts as found again. sure_score: from it on a frame is remembered.
    """

    look_every: int = 1
    reach: float = 1.0
    strange: float = 0.5
    familiar: float = 0.8
    least_score: float = 0.45
    found_score: float = 0.55
    sure_score: float = 0.6
    flow_side_px: int = 270
    memory: MemoryBankOptions = field(default_factory=MemoryBankOptions)

    def __post_init__(self) -> None:
        if self.look_every < 1:
            raise ValueError(f"look_every must be at least 1, got {self.look_every}")
        if not 0 <= self.least_score <= self.found_score <= 1:
            raise ValueError(f"0 <= least_score <= found_score <= 1 must hold, got {self}")
        if not -1 <= self.strange < self.familiar <= 1:
            raise ValueError(f"-1 <= strange < familiar <= 1 must hold, got {self.strange} and {self.familiar}")
        if self.reach <= 0:
            raise ValueError(f"reach must be above 0, got {self.reach}")


@dataclass(frozen=True, eq=False)
class _Subject:
    """One object as it is held. mask: (H, W) bool, where it is or was last seen; unit: the largest share of a place.

    course: how it moves. room: while it should lie on or beside another one, what is its own to take.
    """

    mask: Mask
    unit: float
    course: ConstantVelocity
    room: Mask | None = None
    visible: bool = True
    score: float = 1.0

    def likely_place(self) -> Mask:
        """(H, W) bool: where to look for it."""
        return self.mask if self.room is None else self.course.expected()


class MemoryTracker(Resumable):
    """`Tracker` over a segmenter with features. Finds a lost object again where it is sure.

    Holds one frame, one mask per object and a `MemoryBank`, whatever the clip's length. The features are computed once
    per look, whatever the number of objects.
    """

    name = "memory"

    def __init__(self, segmenter: SegmenterWithFeatures, *, options: MemoryTrackerOptions | None = None) -> None:
        self._options = options or MemoryTrackerOptions()
        self._segmenter = segmenter
        self._flow = OpticalFlow(short_side_px=self._options.flow_side_px)
        self._memory = MemoryBank(self._options.memory)
        self._subjects: dict[int, _Subject] = {}
        self._image: NDArray[np.uint8] | None = None
        self._grey: NDArray[np.uint8] | None = None
        self._keys: Grid | None = None
        self._since = 0
        self._watch = CutDetector()
        self._before_cut: dict[int, _Subject] = {}
        self._grey_before_cut: NDArray[np.uint8] | None = None

    def step(self, image: NDArray[np.uint8]) -> dict[int, Observation]:
        """See `Tracker.step`. Raises ValueError when a frame has another size than the one before.

        After a cut every object is looked for in the whole frame: where it was tells nothing there.
        """
        if self._image is not None and image.shape != self._image.shape:
            (h0, w0), (h1, w1) = self._image.shape[:2], image.shape[:2]
            raise ValueError(f"frames must keep their size: {w0}x{h0}, then {w1}x{h1}")
        before, self._grey = self._grey, self._flow.prepare(image)
        self._image, self._keys = image, None
        goes_on = self._watch.step(image)
        if not self._subjects:
            return {}
        self._since += 1
        if goes_on != "same":
            before = self._jump(before, back=goes_on == "back")
        self._foresee(goes_on == "same")
        if before is not None and any(s.visible for s in self._subjects.values()):
            back, _, sure = self._flow.both(self._grey, before)
            self._carry(back, sure)
        if self._since >= self._options.look_every:
            self._look()
        for k, s in self._subjects.items():
            if s.visible and s.room is None:
                self._subjects[k] = replace(s, course=s.course.seen(s.mask))
        return {k: self._observe(s) for k, s in self._subjects.items()}

    def start(self, object_id: int, mask: Mask) -> Observation:
        """See `Tracker.start`. Raises ValueError before the first frame, on another size, and on an empty mask."""
        if self._image is None:
            raise ValueError("step() must take a frame before start()")
        if mask.shape != self._image.shape[:2]:
            h, w = self._image.shape[:2]
            raise ValueError(f"mask must have the frame's size {(w, h)}, got {mask.shape[1]}x{mask.shape[0]}")
        if not mask.any():
            raise ValueError("a track cannot start from an empty mask")
        keys = self._keys_now()
        share = resize_map(mask, (keys.shape[1], keys.shape[0]))
        # A thing smaller than a place of the grid would never win a vote: its best place counts as all its own.
        unit = float(np.clip(share.max(), 1e-3, 1.0))
        self._memory.anchor(object_id, keys, share / unit)
        self._subjects[object_id] = _Subject(mask.copy(), unit, ConstantVelocity(mask.copy()))
        self._before_cut.pop(object_id, None)
        self._since = 0
        return Observation(mask.copy(), 1.0, True)

    def _observe(self, subject: _Subject) -> Observation:
        mask = subject.mask.copy() if subject.visible else np.zeros_like(subject.mask)
        return Observation(mask, subject.score, subject.visible)

    def _keys_now(self) -> Grid:
        assert self._image is not None
        if self._keys is None:
            self._keys = self._memory.keys(self._segmenter.features(self._image))
        return self._keys

    def _carry(self, back: Field, sure: Grid) -> None:
        """Every mask that is seen goes with the flow; a little less sure where the flow is not."""
        for k, subject in self._subjects.items():
            if not subject.visible:
                continue
            mask = main_parts(warp(subject.mask.astype(np.float32), back) >= 0.5, before=subject.mask)
            trust = float(resize_map(sure, (mask.shape[1], mask.shape[0]))[mask].mean()) if mask.any() else 0.0
            if mask.sum() < 12:
                self._subjects[k] = replace(subject, visible=False, score=0.0)
            else:
                self._subjects[k] = replace(subject, mask=mask, score=subject.score * (0.9 + 0.1 * trust))

    def _jump(self, before: NDArray[np.uint8] | None, *, back: bool) -> NDArray[np.uint8] | None:
        """At a cut all is lost until it is found again; where a flash of light is over, things go on from before it.

        Returns the frame that flow leads on from.
        """
        self._since = self._options.look_every
        if back:
            self._subjects |= self._before_cut
            self._before_cut = {}
            return self._grey_before_cut
        self._before_cut, self._grey_before_cut = dict(self._subjects), before
        self._subjects = {k: replace(s, visible=False, score=0.0) for k, s in self._subjects.items()}
        return None

    def _foresee(self, goes_on: bool) -> None:
        """Every object's course is a frame further on; across a cut there is none."""
        courses = {k: s.course.later() if goes_on else ConstantVelocity(s.mask) for k, s in self._subjects.items()}
        room = exclusive_regions(courses)
        self._subjects = {k: replace(s, course=courses[k], room=room.get(k)) for k, s in self._subjects.items()}

    def _look(self) -> None:
        keys = self._keys_now()
        view = self._memory.look(keys)
        beliefs = self._beliefs(view)
        sights = {
            # Of things that look alike any may be the closest: which of them it is the beliefs say.
            k: self._sight(s, beliefs[k], view.closeness(self._memory.twins(k)))
            for k, s in self._subjects.items()
        }
        found = {k: s for k, s in sights.items() if s is not None}
        soft = {k: np.asarray(s.mask * np.float32(self._score(s)), np.float32) for k, s in found.items()}
        single = exclusive({k: s.mask for k, s in found.items()}, soft)
        kept: dict[int, Grid] = {}
        for k, subject in self._subjects.items():
            sight, mask = found.get(k), supported(single[k], beliefs[k]) if k in single else None
            score = 0.0 if sight is None else self._score(sight)
            bar = self._options.least_score if subject.visible else self._options.found_score
            if mask is None or mask.sum() < 4 or score < bar:
                self._subjects[k] = replace(subject, visible=False, score=score)
                continue
            self._subjects[k] = replace(subject, mask=mask, visible=True, score=score)
            if score >= self._options.sure_score:
                kept[k] = np.minimum(resize_map(mask, (keys.shape[1], keys.shape[0])) / subject.unit, 1.0)
        self._memory.remember(keys, kept, sure=len(kept) == len(self._subjects))
        self._since = 0

    def _beliefs(self, view: Readout) -> dict[int, Grid]:
        """Per object id (h, w) float32 in [0, 1]: near where it was; of one that was lost, wherever no other is.

        Where targets look alike the votes are split between them; where each of them was decides, and while they cross
        where each of them was going.
        """
        seen = [k for k, s in self._subjects.items() if s.visible or s.room is not None]
        share = {k: view.share(k) for k in seen}
        near = {k: nearness(self._subjects[k].likely_place(), view.size, self._options.reach) for k in seen}
        zero = np.zeros(view.size[::-1], np.float32)
        any_of = sum(share.values(), zero)
        claims = {k: (share[k] + 0.25 * any_of) * near[k] ** 4 for k in seen}  # votes among twins are a lottery
        total = sum(claims.values(), zero) + 1e-9
        beliefs = {k: near[k] * np.minimum(any_of * claims[k] / total, 1) for k in seen}
        taken = np.max([beliefs[k] for k in seen], axis=0) >= 0.5 if seen else zero > 0
        lasting = {k: view.share(k, lasting_only=True) for k in self._subjects}
        for k in self._subjects.keys() - seen:
            twins = self._memory.twins(k)
            # Votes of its twins are votes for it where they are not. And in another shot the surroundings are none that
            # are remembered: votes alone would give them all away.
            votes = np.minimum(sum((lasting[t] for t in twins), zero), 1)
            likely = votes * self._familiarity(view.closeness(twins))
            beliefs[k] = largest_part(np.where(taken, np.float32(0), likely))
        return beliefs

    def _sight(self, subject: _Subject, belief: Grid, closeness: Grid) -> MaskEvidence | None:
        """The mask that agrees best with a belief; None where there is none."""
        assert self._image is not None
        if belief.max() < 0.5:
            return None
        found = self._segmenter.segment(self._image, prompt_of(belief))
        if subject.room is not None:
            found = [replace(c, mask=c.mask & subject.room) for c in found]
        sights = [weigh(c, belief, closeness, subject.unit) for c in found]
        return max(sights, key=lambda s: s.fit + 0.2 * s.guess, default=None)

    def _score(self, sight: MaskEvidence) -> float:
        """In [0, 1]: how much speaks for the mask."""
        return sight.fit * float(self._familiarity(np.float32(sight.closeness)))

    def _familiarity(self, closeness: Grid | np.float32) -> Grid:
        """In [0, 1]: 0 from `strange` down, 1 from `familiar` up."""
        low, high = self._options.strange, self._options.familiar
        return np.asarray(np.clip((closeness - low) / (high - low), 0, 1), np.float32)


_MEANT = 0.5  # mean belief under a smaller part, from which on it is a piece of the object and no crumb


@dataclass(frozen=True, eq=False)
class MaskEvidence:
    """What speaks for a mask. mask: (H, W) bool.

    fit: overlap of the mask with what the memory says of this frame, in [0, 1]. closeness: mean cosine of what is under
    it to what is remembered of the object. guess: the segmenter's score.
    """

    mask: Mask
    fit: float
    closeness: float
    guess: float


def weigh(candidate: Candidate, belief: Grid, closeness: Grid, unit: float) -> MaskEvidence:
    """What speaks for a candidate. closeness: (h, w) cosines to what is remembered of the object.

    unit: the share of a place that counts as all of it.
    """
    h, w = belief.shape
    share = np.minimum(resize_map(candidate.mask, (w, h)) / unit, 1.0)
    total = float(share.sum())
    fit = 2 * float(np.minimum(share, belief).sum()) / max(1e-6, total + float(belief.sum()))
    return MaskEvidence(candidate.mask, fit, float((closeness * share).sum()) / max(1e-6, total), candidate.score)


def largest_part(belief: Grid) -> Grid:
    """The belief without all parts but the one that holds most of it."""
    parts = components(belief >= 0.5)
    if len(parts) < 2:
        return belief
    best = max(parts, key=lambda p: float(belief[p].sum()))
    others = np.logical_or.reduce([p for p in parts if p is not best])
    return np.where(cv2.dilate(others.astype(np.uint8), np.ones((3, 3), np.uint8)) > 0, np.float32(0), belief)


def prompt_of(belief: Grid) -> Prompt:
    """A belief as a mask to be refined, four times finer, and a click where it is deepest."""
    h, w = belief.shape
    prior = np.clip(cv2.resize(belief, (4 * w, 4 * h), interpolation=cv2.INTER_CUBIC), 0, 1)
    # Between the places' middles a belief of one place that is just even may come out below one half.
    point = deepest_point(components(prior >= min(0.5, float(prior.max())))[0])
    return Prompt(points=np.array([point]), labels=np.ones(1, np.int64), prior=np.asarray(prior, np.float32))


def supported(mask: Mask, belief: Grid) -> Mask:
    """The mask without crumbs: its largest part, those that are not much smaller, and those that are believed in.

    What is seen of a thing behind a pole may be a tail on its other side.
    """
    parts = components(mask, least_px=CRUMB_PX)
    if len(parts) < 2:
        return parts[0] if parts else mask
    kept = [p for p in parts if p.sum() >= MAIN_SHARE * parts[0].sum() or _mean_under(p, belief) >= _MEANT]
    return np.asarray(np.logical_or.reduce(kept), np.bool_)


def _mean_under(part: Mask, belief: Grid) -> float:
    share = resize_map(part, (belief.shape[1], belief.shape[0]))
    return float((share * belief).sum() / share.sum())
