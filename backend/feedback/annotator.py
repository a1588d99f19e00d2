"""A simulated annotator who mends a track in the editor's own terms, and counts every stroke.

One stroke each: moving or resizing the box on a frame that shows it (this sets or adds a keyframe), deleting a
keyframe, hiding the object from a frame on, letting it be seen again. Switching a hidden object on and placing its box
are two. Asking again (a change in the text field and Enter) is one as well: done where a long stretch is still wrong
after a stroke, and not any more once it has not helped; where it made things worse, Ctrl+Z takes the answer back, which
is one, too. Scrubbing and looking cost nothing, and every box is placed
perfectly: what is compared is how many have to be.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from backend.labelstudio.edits import UserKeyframe, read_user_keyframes
from video.keyframes import fewest_keyframes, interpolate, spans
from video.masks import box_iou, box_of
from video.types import Keyframe

GOOD_IOU = 0.8  # of a box with the truth; a worse one is corrected
COST = {"move": 1, "delete": 1, "hide": 1, "resume": 1, "show": 2, "ask": 1, "undo": 1}
LONG = 12  # frames that are wrong in a row; fewer are mended by hand

Keyframes = list[dict[str, Any]]  # a region's `sequence`
Rerun = Callable[[tuple[UserKeyframe, ...]], Keyframes]


@dataclass(frozen=True, eq=False)
class EditorTruth:
    """Where an object really is, by editor frame. boxes: (n, 4) normalised xyxy; visible: (n,) bool."""

    boxes: NDArray[np.float64]
    visible: NDArray[np.bool_]

    def __post_init__(self) -> None:
        n = len(self.visible)
        if self.boxes.shape != (n, 4) or self.visible.dtype != np.bool_ or n == 0:
            raise ValueError(f"boxes (n, 4) and visible (n,) bool are needed, got {self.boxes.shape}, {n}")

    @classmethod
    def of_masks(cls, masks: NDArray[np.bool_]) -> EditorTruth:
        """The boxes of masks (n, H, W) bool; hidden where a mask is empty. One mask for each editor frame."""
        boxes = [box_of(mask) for mask in masks]
        corners = np.array([box or (0.0, 0.0, 0.0, 0.0) for box in boxes], np.float64).reshape(-1, 4)
        return cls(corners, np.array([box is not None for box in boxes], np.bool_))


@dataclass
class StrokeCount:
    """Strokes by kind. left: frames that are still wrong when the annotator gave up; 0 where all is right."""

    kinds: Counter[str] = field(default_factory=Counter)
    left: int = 0
    wrong_at_first: int = 0

    @property
    def strokes(self) -> int:
        """All of them, at what each costs."""
        return sum(COST[kind] * count for kind, count in self.kinds.items())


def mend(first: Keyframes, truth: EditorTruth, *, rerun: Rerun | None, most: int) -> StrokeCount:
    """Corrects a region's sequence until every frame is right, or `most` strokes are spent.

    first: the sequence as it was answered ([] for an object that was not found). rerun: what comes back when the
    annotator asks again after a stroke; without it the strokes themselves are all that changes.
    """
    sequence, tally, asking = list(first), StrokeCount(), rerun is not None
    wrong, ious = verdict(sequence, truth)
    tally.wrong_at_first = int(wrong.sum())
    while wrong.any() and tally.strokes < most:
        kind, row = next_stroke(sequence, truth, wrong, ious, clear=asking)
        sequence, spent = stroked(sequence, truth, kind, row)
        tally.kinds += spent
        wrong, ious = verdict(sequence, truth)
        found = read_user_keyframes({"value": {"sequence": sequence}})
        fixed = tuple(f for f in found if isinstance(f, UserKeyframe))
        # A deleted keyframe alone says nothing that the backend could go by.
        if asking and rerun is not None and fixed and max((b - a + 1 for a, b in spans(wrong)), default=0) >= LONG:
            before, mended_so_far = int(wrong.sum()), sequence
            sequence = rerun(fixed)
            tally.kinds["ask"] += 1
            wrong, ious = verdict(sequence, truth)
            asking = int(wrong.sum()) < before
            if int(wrong.sum()) > before:
                sequence = mended_so_far
                tally.kinds["undo"] += 1
                wrong, ious = verdict(sequence, truth)
    tally.left = int(wrong.sum())
    return tally


def by_hand(truth: EditorTruth) -> int:
    """Strokes of the best that a person could do alone: the fewest keyframes on true boxes, and hiding the object.

    The optimum of `video.keyframes` under linear interpolation, each frame within `GOOD_IOU`. One stroke per keyframe,
    one to hide the object where it goes before the end, one more to switch it on again. After the last keyframe a box
    stays, so where the clip ends with the object in sight its last frame needs none.
    """
    n, strokes = len(truth.visible), 0
    for number, (first, last) in enumerate(spans(truth.visible)):
        boxes = truth.boxes[first : last + 1]
        ends = [last - first]
        if last == n - 1:
            ends = [k for k in range(len(boxes)) if (box_iou(boxes[k : k + 1], boxes[k:]) >= GOOD_IOU).all()]
        strokes += min(_fewest(boxes[: k + 1]) for k in ends) + (last < n - 1) + (number > 0)
    return strokes


def _fewest(boxes: NDArray[np.float64]) -> int:
    seen = np.ones(len(boxes), np.bool_)
    return len(fewest_keyframes(boxes, seen, positions=np.arange(len(boxes)), tolerance_iou=GOOD_IOU))


def verdict(sequence: Sequence[Mapping[str, Any]], truth: EditorTruth) -> tuple[NDArray[np.bool_], NDArray[np.float64]]:
    """(n,) bool: which frames a person would correct; (n,) float64: IoU with the truth, 0 where either is hidden."""
    boxes, seen = drawn(sequence, len(truth.visible))
    both = seen & truth.visible
    ious = np.where(both, box_iou(boxes, truth.boxes), 0.0)
    return np.where(both, ious < GOOD_IOU, seen != truth.visible), ious


def drawn(sequence: Sequence[Mapping[str, Any]], n: int) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """What the editor draws of a sequence: boxes (n, 4) normalised xyxy, visible (n,) bool."""
    keyframes = [
        Keyframe(
            frame=int(item["frame"]) - 1,
            box=(
                item["x"] / 100,
                item["y"] / 100,
                (item["x"] + item["width"]) / 100,
                (item["y"] + item["height"]) / 100,
            ),
            enabled=bool(item["enabled"]),
            score=1.0,
        )
        for item in sorted(sequence, key=lambda item: int(item["frame"]))
    ]
    return interpolate(keyframes, np.arange(n))


def next_stroke(
    sequence: Sequence[Mapping[str, Any]],
    truth: EditorTruth,
    wrong: NDArray[np.bool_],
    ious: NDArray[np.float64],
    *,
    clear: bool = False,
) -> tuple[str, int]:
    """(kind, row): the longest stretch that is wrong is mended first, at its worst frame.

    clear: who is going to ask again mends a long stretch where the object is seen best, for it is followed from there.
    An object drawn where there is none is hidden from the stretch's beginning on, and one that is missing is shown from
    there on: by letting it be seen again where it was hidden too early, else by placing it.
    """
    _, seen = drawn(sequence, len(truth.visible))
    kinds = np.where(seen & truth.visible, "move", np.where(seen, "hide", "show"))
    stretches = [(b - a, a, b, kind) for kind in COST for a, b in spans(wrong & (kinds == kind))]
    _, a, b, kind = max(stretches, key=lambda s: (s[0], -s[1]))
    best = a + int(np.prod(truth.boxes[a : b + 1, 2:] - truth.boxes[a : b + 1, :2], axis=1).argmax())
    long = clear and b - a + 1 >= LONG
    if kind == "move":
        return kind, best if long else a + int(ious[a : b + 1].argmin())
    if kind == "show":
        if any(item["frame"] == a and not item["enabled"] for item in sequence) and truth.visible[a - 1]:
            return "resume", a  # hidden too early
        return kind, best if long else a
    return kind, a


def stroked(
    sequence: Sequence[Mapping[str, Any]], truth: EditorTruth, kind: str, row: int
) -> tuple[Keyframes, Counter[str]]:
    """The sequence as the editor has it after the strokes that mend a frame (0-based row), and those strokes."""
    items = {int(item["frame"]): dict(item) for item in sequence}
    if kind == "hide":
        spent = _hide_from(items, truth, row)
    elif kind == "resume":
        items[row] = {**_item(row - 1, drawn(list(items.values()), row)[0][row - 1], enabled=True)}
        spent = Counter({kind: 1})
    else:
        items[row + 1] = _item(row, truth.boxes[row], enabled=True)
        spent = Counter({kind: 1})
    return [items[frame] for frame in sorted(items)], spent


def _hide_from(items: dict[int, dict[str, Any]], truth: EditorTruth, row: int) -> Counter[str]:
    """Hides the object from a row to the end of the stretch without it; what was drawn after it stays so."""
    n = len(truth.visible)
    boxes, seen = drawn(list(items.values()), n)
    end = row
    while end < n and not truth.visible[end]:
        end += 1
    within = [frame for frame in items if row < frame <= end]  # rows row..end - 1, counted from 1
    for frame in within:
        del items[frame]
    spent = Counter({"delete": len(within)})
    if row > 0 and seen[row - 1]:
        items[row] = _item(row - 1, boxes[row - 1], enabled=False)
        spent["hide"] = 1
        if end < n and seen[end] and end + 1 not in items:
            items[end + 1] = _item(end, boxes[end], enabled=True)
            spent["resume"] = 1
    return spent


def _item(row: int, box: NDArray[np.float64], *, enabled: bool) -> dict[str, Any]:
    x0, y0, x1, y1 = (float(c) * 100 for c in box)
    return {"frame": row + 1, "enabled": enabled, "x": x0, "y": y0, "width": x1 - x0, "height": y1 - y0, "rotation": 0}
