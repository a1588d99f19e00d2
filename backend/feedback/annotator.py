"""A simulated annotator who corrects a track in Label Studio's editor and counts every stroke.

One stroke each: moving or resizing the box on a frame that shows it (which sets a keyframe), deleting a keyframe,
hiding the object from a frame on, showing it again where it was hidden. Showing an object and placing its box are two.
Running the model again is one stroke, too: the annotator does so while a long span is still wrong after a stroke, until
it does not help any more; an answer that made things worse is undone, which is another stroke. Scrubbing and looking
cost nothing, and every box is placed perfectly: what is measured is how many have to be placed.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from backend.labelstudio.controls.video_rectangle import interpolate_boxes
from backend.labelstudio.edits import UserKeyframe, read_user_keyframes
from video.keyframes import find_runs, select_keyframes
from video.masks import box_iou, box_of

GOOD_IOU = 0.8  # of a box with the truth; a worse one is corrected
STROKE_COST = {"move": 1, "delete": 1, "hide": 1, "resume": 1, "show": 2, "rerun": 1, "undo": 1}
USUAL_ASPECT = 16 / 9  # of a frame whose shape is not known
RERUN_FRAMES = 12  # wrong frames in a row for which the model is run again; fewer are corrected by hand

KeyframeItems = list[dict[str, Any]]  # the `sequence` of a region: its keyframes
Rerun = Callable[[tuple[UserKeyframe, ...]], KeyframeItems]


@dataclass(frozen=True, eq=False)
class EditorTruth:
    """Where an object really is, by editor frame.

    Attributes:
        boxes: (n, 4) float64, normalised xyxy.
        visible: (n,) bool.
    """

    boxes: NDArray[np.float64]
    visible: NDArray[np.bool_]

    def __post_init__(self) -> None:
        n = len(self.visible)
        if self.boxes.shape != (n, 4) or self.visible.dtype != np.bool_ or n == 0:
            raise ValueError(f"boxes (n, 4) and visible (n,) bool are needed, got {self.boxes.shape}, {n}")

    @classmethod
    def from_masks(cls, masks: NDArray[np.bool_]) -> EditorTruth:
        """Return the boxes of masks (n, H, W) bool, one for each editor frame; an empty mask is a hidden object."""
        boxes = [box_of(mask) for mask in masks]
        corners = np.array([box or (0.0, 0.0, 0.0, 0.0) for box in boxes], np.float64).reshape(-1, 4)
        return cls(corners, np.array([box is not None for box in boxes], np.bool_))


@dataclass
class StrokeCount:
    """The strokes that a correction took.

    Attributes:
        kinds: Number of strokes of each kind, as in `STROKE_COST`.
        frames_left: Frames that are still wrong at the end; 0 unless the annotator gave up.
        frames_wrong_at_first: Frames that were wrong before the first stroke.
    """

    kinds: Counter[str] = field(default_factory=Counter)
    frames_left: int = 0
    frames_wrong_at_first: int = 0

    @property
    def strokes(self) -> int:
        """The sum over all kinds, each at its cost."""
        return sum(STROKE_COST[kind] * count for kind, count in self.kinds.items())


def correct_sequence(first: KeyframeItems, truth: EditorTruth, *, rerun: Rerun | None, max_strokes: int) -> StrokeCount:
    """Correct a region's sequence until every frame is right or `max_strokes` are spent.

    Args:
        first: The sequence that the model predicted; [] for an object that was not found.
        truth: Where the object is.
        rerun: Returns the sequence that the model predicts from the annotator's keyframes; None if the annotator
            corrects by hand alone.
        max_strokes: The number of strokes after which the annotator gives up.

    Returns:
        The strokes by kind.
    """
    sequence, count, reruns_help = list(first), StrokeCount(), rerun is not None
    wrong, ious = find_wrong_frames(sequence, truth)
    count.frames_wrong_at_first = int(wrong.sum())
    while wrong.any() and count.strokes < max_strokes:
        kind, row = choose_stroke(sequence, truth, wrong, ious, rerun_follows=reruns_help)
        sequence, strokes = apply_stroke(sequence, truth, kind, row)
        count.kinds += strokes
        wrong, ious = find_wrong_frames(sequence, truth)
        edits = read_user_keyframes({"value": {"sequence": sequence}})
        keyframes = tuple(edit for edit in edits if isinstance(edit, UserKeyframe))
        longest = max((last - first_row + 1 for first_row, last in find_runs(wrong)), default=0)
        # A deleted keyframe alone holds nothing that the model could start from.
        if reruns_help and rerun is not None and keyframes and longest >= RERUN_FRAMES:
            wrong_before, sequence_before = int(wrong.sum()), sequence
            sequence = rerun(keyframes)
            count.kinds["rerun"] += 1
            wrong, ious = find_wrong_frames(sequence, truth)
            reruns_help = int(wrong.sum()) < wrong_before
            if int(wrong.sum()) > wrong_before:
                sequence = sequence_before
                count.kinds["undo"] += 1
                wrong, ious = find_wrong_frames(sequence, truth)
    count.frames_left = int(wrong.sum())
    return count


def fewest_manual_strokes(truth: EditorTruth) -> int:
    """Return the fewest strokes that a person needs without a prediction, with every frame within `GOOD_IOU`.

    These are the fewest keyframes under linear interpolation (`video.keyframes.select_keyframes`), one stroke to hide
    the object where it disappears before the end, and one more to show it again. A box stays after the last keyframe,
    so the last frame needs none if the object is still visible there.
    """
    n, strokes = len(truth.visible), 0
    for number, (first, last) in enumerate(find_runs(truth.visible)):
        boxes = truth.boxes[first : last + 1]
        ends = [last - first]
        if last == n - 1:
            ends = [k for k in range(len(boxes)) if (box_iou(boxes[k : k + 1], boxes[k:]) >= GOOD_IOU).all()]
        strokes += min(_count_keyframes(boxes[: k + 1]) for k in ends) + (last < n - 1) + (number > 0)
    return strokes


def _count_keyframes(boxes: NDArray[np.float64]) -> int:
    visible = np.ones(len(boxes), np.bool_)
    return len(select_keyframes(boxes, visible, positions=np.arange(len(boxes)), tolerance_iou=GOOD_IOU))


def find_wrong_frames(
    sequence: Sequence[Mapping[str, Any]], truth: EditorTruth
) -> tuple[NDArray[np.bool_], NDArray[np.float64]]:
    """Compare a sequence with the truth.

    Returns:
        (n,) bool: the frames that a person would correct; and (n,) float64: the IoU with the truth, 0 where either is
        hidden.
    """
    boxes, visible = interpolate_sequence(sequence, len(truth.visible))
    both = visible & truth.visible
    ious = np.where(both, box_iou(boxes, truth.boxes), 0.0)
    return np.where(both, ious < GOOD_IOU, visible != truth.visible), ious


def interpolate_sequence(
    sequence: Sequence[Mapping[str, Any]], n: int, *, aspect: float = USUAL_ASPECT
) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """Interpolate a sequence as the editor draws it.

    Args:
        sequence: A region's keyframes in any order.
        n: Number of editor frames.
        aspect: Width of the frame divided by its height; of no account where no box is rotated.

    Returns:
        Boxes (n, 4) float64, normalised xyxy, zeros where hidden; and visibility (n,) bool.
    """
    boxes, visible = interpolate_boxes(sequence, n, "a region", aspect=aspect)
    return np.where(visible[:, None], boxes, 0.0), visible


def choose_stroke(
    sequence: Sequence[Mapping[str, Any]],
    truth: EditorTruth,
    wrong: NDArray[np.bool_],
    ious: NDArray[np.float64],
    *,
    rerun_follows: bool = False,
) -> tuple[str, int]:
    """Choose the next stroke: in the longest wrong span, on its worst frame.

    A box where there is no object is hidden from the span's first frame on. A missing object is shown from there on: by
    showing it again if it was hidden too early, else by placing its box.

    Args:
        sequence: The region's keyframes.
        truth: Where the object is.
        wrong: (n,) bool of `find_wrong_frames`.
        ious: (n,) float64 of `find_wrong_frames`.
        rerun_follows: The annotator will run the model again, and so corrects a long span where the object is largest,
            which is where the model tracks it from.

    Returns:
        The kind of stroke and its 0-based frame.
    """
    _, visible = interpolate_sequence(sequence, len(truth.visible))
    kinds = np.where(visible & truth.visible, "move", np.where(visible, "hide", "show"))
    wrong_spans = [(b - a, a, b, kind) for kind in STROKE_COST for a, b in find_runs(wrong & (kinds == kind))]
    _, a, b, kind = max(wrong_spans, key=lambda span: (span[0], -span[1]))
    largest = a + int(np.prod(truth.boxes[a : b + 1, 2:] - truth.boxes[a : b + 1, :2], axis=1).argmax())
    at_largest = rerun_follows and b - a + 1 >= RERUN_FRAMES
    if kind == "move":
        return kind, largest if at_largest else a + int(ious[a : b + 1].argmin())
    if kind == "show":
        if any(item["frame"] == a and not item["enabled"] for item in sequence) and truth.visible[a - 1]:
            return "resume", a  # hidden too early
        return kind, largest if at_largest else a
    return kind, a


def apply_stroke(
    sequence: Sequence[Mapping[str, Any]], truth: EditorTruth, kind: str, row: int
) -> tuple[KeyframeItems, Counter[str]]:
    """Return the sequence after the strokes that correct one frame (0-based), and these strokes by kind."""
    items = {int(item["frame"]): dict(item) for item in sequence}
    if kind == "hide":
        strokes = _hide_from(items, truth, row)
    elif kind == "resume":
        items[row] = {**_item(row - 1, interpolate_sequence(list(items.values()), row)[0][row - 1], enabled=True)}
        strokes = Counter({kind: 1})
    else:
        items[row + 1] = _item(row, truth.boxes[row], enabled=True)
        strokes = Counter({kind: 1})
    return [items[frame] for frame in sorted(items)], strokes


def _hide_from(items: dict[int, dict[str, Any]], truth: EditorTruth, row: int) -> Counter[str]:
    """Hide the object from a row to the end of the span without it, and keep what was drawn after that span."""
    n = len(truth.visible)
    boxes, visible = interpolate_sequence(list(items.values()), n)
    end = row
    while end < n and not truth.visible[end]:
        end += 1
    within = [frame for frame in items if row < frame <= end]  # rows row..end - 1, counted from 1
    for frame in within:
        del items[frame]
    strokes = Counter({"delete": len(within)})
    if row > 0 and visible[row - 1]:
        items[row] = _item(row - 1, boxes[row - 1], enabled=False)
        strokes["hide"] = 1
        if end < n and visible[end] and end + 1 not in items:
            items[end + 1] = _item(end, boxes[end], enabled=True)
            strokes["resume"] = 1
    return strokes


def _item(row: int, box: NDArray[np.float64], *, enabled: bool) -> dict[str, Any]:
    x0, y0, x1, y1 = (float(c) * 100 for c in box)
    return {"frame": row + 1, "enabled": enabled, "x": x0, "y": y0, "width": x1 - x0, "height": y1 - y0, "rotation": 0}
