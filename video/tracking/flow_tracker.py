"""Following masks through the frames: carried by optical flow, re-fitted by a segmenter, checked by their looks.

A tracker never guesses: when what it holds no longer looks like the object it says so and stops. This one stays
stopped until it is started again; the one that remembers (`video.tracking.memory_tracker`) may find the object by
itself.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import cv2
import numpy as np
from numpy.typing import NDArray

from video.masks import Mask, box_of, iou, main_parts, pad_box, resize_map, resize_mask, rim_prior
from video.optical_flow import Field, OpticalFlow, resize_flow, warp
from video.shots import CutDetector
from video.tracking.appearance import ColorModel
from video.tracking.distractors import ContactPlace, ContactTracker
from video.tracking.motion import middle
from video.tracking.state import Resumable
from video.types import Observation, Prompt, Segmenter

_REMEMBERED = 40  # frames for which the whole extent of an object that is partly hidden is kept


@dataclass(frozen=True)
class FlowTrackerOptions:
    """Lengths are pixels.

    work_side_px: frames are shrunk to this short side while they are tracked. flow_side_px: the same for the
    flow. refit_every: frames between two calls of the segmenter (1 = every frame); flow alone carries the
    mask between. least_score: below it an object is lost.
    """

    work_side_px: int = 480
    flow_side_px: int = 270
    refit_every: int = 1
    least_fit: float = 0.5
    least_score: float = 0.35

    def __post_init__(self) -> None:
        if self.refit_every < 1:
            raise ValueError(f"refit_every must be at least 1, got {self.refit_every}")
        if not 0 <= self.least_score < 1:
            raise ValueError(f"least_score must be in [0, 1), got {self.least_score}")


@dataclass(frozen=True, eq=False)
class _Subject:
    """One object as the tracker holds it.

    mask: what is seen of it, at work size. extent: what would be seen if nothing hid it; `hidden_for` frames ago the
    two were last the same. first, recent: its looks then and lately. purity: share of its pixels that were likelier its
    own than its surroundings' at the start. contact: how it moves, and whether it touches something of its colours.
    assurance: what is left of the trust in flow that no segmenter confirmed.
    """

    mask: Mask
    extent: Mask
    first: ColorModel
    recent: ColorModel
    purity: float
    contact: ContactTracker
    since_refit: int = 0
    assurance: float = 1.0
    hidden_for: int = 0
    lost: bool = False
    score: float = 1.0


class FlowTracker(Resumable):
    """`Tracker` by DIS flow and a segmenter. Holds one frame and one mask per object, whatever the clip's length."""

    name = "dis-flow"

    def __init__(self, segmenter: Segmenter, *, options: FlowTrackerOptions | None = None) -> None:
        self._options = options or FlowTrackerOptions()
        self._segmenter = segmenter
        self._flow = OpticalFlow(short_side_px=self._options.flow_side_px)
        self._subjects: dict[int, _Subject] = {}
        self._image: NDArray[np.uint8] | None = None
        self._grey: NDArray[np.uint8] | None = None
        self._size = (0, 0)
        self._watch = CutDetector()
        self._before_cut: dict[int, _Subject] = {}
        self._grey_before_cut: NDArray[np.uint8] | None = None

    def step(self, image: NDArray[np.uint8]) -> dict[int, Observation]:
        """See `Tracker.step`. Raises ValueError when a frame has another size than the one before.

        At a cut everything is lost; where it was a flash of light, things go on from before it.
        """
        h, w = image.shape[:2]
        if self._image is not None and (w, h) != self._size:
            raise ValueError(f"frames must keep their size: {self._size[0]}x{self._size[1]}, then {w}x{h}")
        self._size = (w, h)
        before, self._grey = self._grey, self._flow.prepare(image)
        self._image = _shrink(image, self._options.work_side_px)
        goes_on = self._watch.step(image)
        if goes_on == "cut":
            self._before_cut, self._grey_before_cut = dict(self._subjects), before
            self._subjects = {k: _lost(s, score=0.0) for k, s in self._subjects.items()}
        elif goes_on == "back":
            self._subjects |= self._before_cut
            before = self._grey_before_cut
        alive = [k for k, s in self._subjects.items() if not s.lost]
        if before is not None and alive:
            back, _, sure = self._flow.both(self._grey, before)
            self._advance(alive, back, sure)
        return {k: self._observe(s) for k, s in self._subjects.items()}

    def start(self, object_id: int, mask: Mask) -> Observation:
        """See `Tracker.start`. Raises ValueError before the first frame, on another size, and on an empty mask."""
        if self._image is None:
            raise ValueError("step() must take a frame before start()")
        if (mask.shape[1], mask.shape[0]) != self._size:
            raise ValueError(f"mask must have the frame's size {self._size}, got {mask.shape[1]}x{mask.shape[0]}")
        small = resize_mask(mask, (self._image.shape[1], self._image.shape[0]))
        looks = ColorModel.of(self._image, small)
        if looks is None:
            raise ValueError("a track cannot start from an empty mask")
        purity = looks.purity(self._image, small)
        self._subjects[object_id] = _Subject(small, small, looks, looks, purity, ContactTracker.of(small))
        self._before_cut.pop(object_id, None)
        return Observation(mask.copy(), 1.0, True)

    def _observe(self, subject: _Subject) -> Observation:
        if subject.lost:
            return Observation(np.zeros((self._size[1], self._size[0]), np.bool_), subject.score, False)
        return Observation(resize_mask(subject.mask, self._size), subject.score, True)

    def _advance(self, alive: list[int], back: Field, sure: NDArray[np.float32]) -> None:
        assert self._image is not None
        soft = {k: warp(self._subjects[k].mask.astype(np.float32), back) for k in alive}
        carried = {k: s >= 0.5 for k, s in soft.items()}
        trusted = cv2.resize(sure, self._image.shape[1::-1], interpolation=cv2.INTER_LINEAR)
        places = {k: p for k in alive if (p := self._move(k, carried, back, sure)) is not None}
        # What comes out from behind something does so as fast as things move here: look that far around.
        speed_px = min(20.0, float(np.quantile(np.linalg.norm(resize_flow(back, self._work_size()), axis=-1), 0.99)))
        alone = [k for k in alive if k not in places]
        # A graph cut of what touches something of its colours takes that along.
        fitted = carried | {k: self._refit(self._subjects[k], k, carried, speed_px) for k in alone}
        for k, mask in exclusive(fitted, soft).items():
            trust = float(trusted[carried[k]].mean()) if carried[k].any() else 0.0
            confirmed = fitted[k] is not carried[k]
            if k in places:
                trust, confirmed = places[k].trust, True
            judged = self._judge(self._subjects[k], mask, carried[k], trust, confirmed=confirmed)
            if k in alone and not judged.lost:
                judged = replace(judged, contact=judged.contact.seen(judged.mask))
            self._subjects[k] = judged

    def _move(
        self, object_id: int, carried: dict[int, Mask], back: Field, sure: NDArray[np.float32]
    ) -> ContactPlace | None:
        """One object's extent, a frame on; its place instead of what flow carried where it is in contact."""
        assert self._image is not None
        subject = self._subjects[object_id]
        extent = move_rigidly(subject.extent, carried[object_id], back, sure)
        own = subject.first.typical(self._image)
        contact, found = subject.contact.step(own, middle(extent) - middle(subject.extent))
        if found is not None:
            extent, carried[object_id] = found.mask, found.mask & own
        self._subjects[object_id] = replace(subject, extent=extent | carried[object_id], contact=contact)
        return found

    def _work_size(self) -> tuple[int, int]:
        assert self._image is not None
        return self._image.shape[1], self._image.shape[0]

    def _uncovered(self, subject: _Subject, mask: Mask, others: Mask) -> Mask:
        """What the object may have come out with from behind something: within its extent, in its colours."""
        assert self._image is not None
        return subject.extent & ~mask & ~others & (subject.first.likelihood(self._image) > 0.6)

    def _refit(self, subject: _Subject, object_id: int, carried: dict[int, Mask], speed_px: float) -> Mask:
        """The carried mask, or the segmenter's where that is its turn and agrees with it."""
        assert self._image is not None
        mask = carried[object_id]
        if subject.since_refit + 1 < self._options.refit_every or mask.sum() < 12:
            return mask
        others = np.zeros_like(mask)
        for other, theirs in carried.items():
            others |= theirs if other != object_id else False
        # ... but no farther than an object of this size can be told from its neighbours.
        prior = rim_prior(mask, least_px=3.0 + min(speed_px, 0.1 * float(np.sqrt(mask.sum()))))
        prior[subject.extent & ~mask] = np.maximum(prior[subject.extent & ~mask], 0.2)
        more = self._uncovered(subject, mask, others)
        prior[more] = 0.6
        prior[others & ~mask] = 0.0
        expected = mask | more
        box = box_of(expected)
        if box is None:
            return mask
        found = self._segmenter.segment(self._image, Prompt(prior=prior, box=pad_box(box, 0.15, least=0.01)))
        found = [c for c in found if c.score >= self._options.least_fit]
        best = max(found, key=lambda c: iou(c.mask, expected), default=None)
        if best is None or iou(best.mask, expected) < 0.6:
            return mask
        looks = ColorModel.of(self._image, best.mask)
        plain = ColorModel.of(self._image, mask)
        if looks is None or plain is None or subject.first.similarity(looks) < subject.first.similarity(plain) - 0.1:
            return mask
        return best.mask

    def _assurance(self, subject: _Subject, trust: float, *, confirmed: bool) -> float:
        """What flow alone carries is the less sure the longer no segmenter finds an outline there."""
        if confirmed:
            return min(1.0, subject.assurance + 0.25)
        if subject.since_refit + 1 < self._options.refit_every:
            return subject.assurance  # nobody was asked
        return subject.assurance * trust

    def _judge(self, subject: _Subject, mask: Mask, carried: Mask, trust: float, *, confirmed: bool) -> _Subject:
        assert self._image is not None
        assurance = self._assurance(subject, trust, confirmed=confirmed)
        mask = main_parts(mask)
        turn = 0 if subject.since_refit + 1 >= self._options.refit_every else subject.since_refit + 1
        looks = ColorModel.of(self._image, mask)
        # Hidden or gone: what is left is a sliver of what there was.
        if looks is None or mask.sum() < 12 or looks.area < 0.02 * subject.first.area:
            return _lost(subject, score=0.0)
        alike = max(subject.first.similarity(looks), 0.9 * subject.recent.similarity(looks))
        kept = min(1.0, iou(mask, carried) / 0.9)
        # A histogram of a frame's larger part is much like any other; whose colours the single pixels have tells more.
        pure = min(1.0, (subject.first.purity(self._image, mask) + 0.05) / (0.9 * subject.purity + 0.05))
        score = float(np.clip(alike * (0.6 + 0.4 * trust) * (0.7 + 0.3 * kept) * pure * np.sqrt(assurance), 0, 1))
        if score < self._options.least_score:
            return _lost(subject, score=score)
        recent = looks if alike > 0.7 and trust > 0.5 else subject.recent
        extent, hidden_for = subject.extent, subject.hidden_for + 1
        if iou(mask, extent) > 0.85 or hidden_for > _REMEMBERED:
            extent, hidden_for = mask, 0
        return replace(
            subject,
            mask=mask,
            extent=extent,
            recent=recent,
            since_refit=turn,
            assurance=assurance,
            hidden_for=hidden_for,
            score=score,
        )


def _lost(subject: _Subject, *, score: float) -> _Subject:
    return replace(subject, mask=np.zeros_like(subject.mask), lost=True, score=score)


def move_rigidly(extent: Mask, seen: Mask, back: Field, sure: NDArray[np.float32]) -> Mask:
    """An object's extent, moved as the part of it that is seen moved: turned, scaled and shifted as a whole.

    seen: (h, w) bool, now. back: flow from now to before, sure: its trust, both at any resolution. Where too little is
    seen to tell, only the shift is taken; where nothing is, the extent stays.
    """
    h, w = extent.shape
    flow = resize_flow(back, (w, h))
    trusted = resize_map(sure, (w, h))
    rows, columns = np.nonzero(seen)
    if len(rows) == 0:
        return extent
    best = np.argsort(-trusted[rows, columns], kind="stable")[: max(1, len(rows) // 2)]
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


def exclusive(masks: dict[int, Mask], soft: dict[int, NDArray[np.float32]]) -> dict[int, Mask]:
    """A pixel that several claim goes to the one whose carried mask is surest there."""
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
