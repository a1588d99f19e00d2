"""Compare our keyframes with one box per frame and with Douglas-Peucker, on the boxes of true masks.

    make bench-keyframes [DAVIS=DIR] [SAM2=DIR] [ARGS="--drawn 8 --features DIR"]

DIR holds Annotations/<clip>/*.png. Prints four tables for drawn clips, and for DAVIS where it is given:

1. The number of keyframes for each tolerance. Douglas-Peucker (1973) keeps the frame that is farthest from the line, in
   the four coordinates of the box; its epsilon is the largest, by bisection, with which every frame reaches the IoU.
2. Keyframes of the true boxes, of boxes with one frame in twenty displaced, and of those after
   `video.tracking.box_smoothing.remove_outlier_boxes`.
3. Polygons of masks, rasterised by pycocotools: vertices against the promised IoU.
4. Outlines through time, interpolated vertex by vertex and filled, against the true masks.

With SAM2= also one of tracked objects (from one click on the first frame, every frame, at the default quality): how
many keyframes the track takes, and how many strokes a person then needs (`backend.feedback.annotator`, by hand), by
tolerance; with the boxes of the masks, smoothed, and smoothed with the keyframes fitted, which is what ships at the
tolerance `video.keyframes.KEYFRAME_IOU`.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

import cv2
import numpy as np
from pycocotools import mask as coco

from backend.benchmarks.davis_clips import clip_names, first_mask, load_sam2, read_clip
from backend.feedback.annotator import GOOD_IOU, EditorTruth, correct_sequence, find_wrong_frames
from backend.labelstudio.controls.video_vector import OUTLINE_IOU, VectorKeyframes, vector_sequence
from refam.evaluation.synthetic import ArrayClip
from refam.tiny.scenes import draw_clip
from video import contours
from video.contours import polygon_to_mask
from video.keyframes import KEYFRAME_IOU, find_runs, fit_keyframe_boxes, select_keyframes
from video.masks import box_iou, box_of, encode, iou
from video.tracking.box_smoothing import remove_outlier_boxes, smooth_boxes
from video.tracking.propagate import propagate
from video.types import MaskTrack

TOLERANCES = (0.95, 0.9, 0.85, 0.8, 0.7)


class Clip:
    """The times of n frames, 25 a second."""

    def __init__(self, n):
        self.times, self.duration_s = np.arange(n) / 25, n / 25


def boxes_of(masks):
    """Return (boxes, visible) of the masks: (N, 4) xyxy normalised and (N,) bool."""
    boxes = [box_of(m) for m in masks]
    return np.array([b or (0, 0, 0, 0) for b in boxes], float), np.array([b is not None for b in boxes])


def davis_masks(root):
    for folder in sorted((root / "Annotations").iterdir()):
        yield [cv2.imread(str(f), 0) > 127 for f in sorted(folder.glob("*.png"))]


def drawn_masks(count):
    for seed in range(count):
        yield from draw_clip(seed, size=(640, 360), n_frames=90, speed=0.9).masks


def interpolate_boxes(boxes, rows):
    """Interpolate the boxes linearly between the given rows."""
    at = np.arange(len(boxes))
    return np.stack([np.interp(at, rows, boxes[rows, k]) for k in range(4)], 1)


def douglas_peucker(boxes, epsilon):
    """Return the rows that Douglas-Peucker keeps of one span, the first and the last included."""
    kept, spans = {0, len(boxes) - 1}, [(0, len(boxes) - 1)]
    while spans:
        a, b = spans.pop()
        if b - a < 2:
            continue
        line = boxes[a] + np.linspace(0, 1, b - a + 1)[:, None] * (boxes[b] - boxes[a])
        far = np.linalg.norm(boxes[a : b + 1] - line, axis=1)
        worst = int(far.argmax())
        if far[worst] > epsilon:
            kept.add(a + worst)
            spans += [(a, a + worst), (a + worst, b)]
    return sorted(kept)


def douglas_peucker_within(boxes, tolerance):
    """Return the fewest rows that Douglas-Peucker keeps with an IoU of at least `tolerance` on every row."""
    low, high, best = 0.0, 1.0, list(range(len(boxes)))
    for _ in range(30):
        epsilon = (low + high) / 2
        rows = douglas_peucker(boxes, epsilon)
        if box_iou(interpolate_boxes(boxes, rows), boxes).min() >= tolerance:
            low = epsilon
            best = min(best, rows, key=len)
        else:
            high = epsilon
    return best


def count_keyframes(tracks, tolerance):
    """Return the number of our keyframes, of Douglas-Peucker's and of boxes, and the IoUs of our interpolation."""
    ours, theirs, frames, ious = 0, 0, 0, []
    for boxes, visible in tracks:
        for a, b in find_runs(visible):
            part = boxes[a : b + 1]
            n = len(part)
            rows = [
                r for r, _ in select_keyframes(part, np.ones(n, bool), positions=np.arange(n), tolerance_iou=tolerance)
            ]
            ours, theirs, frames = ours + len(rows), theirs + len(douglas_peucker_within(part, tolerance)), frames + n
            ious.append(box_iou(interpolate_boxes(part, rows), part))
    return ours, theirs, frames, np.concatenate(ious)


def outlier_table(tracks, tolerance=0.9):
    """Yield a Markdown table: keyframes, and the IoU with the true box on the displaced frames and on the others."""
    rng = np.random.default_rng(0)
    counts, displaced_ious, other_ious = [0, 0, 0], [[], [], []], [[], [], []]
    for boxes, visible in tracks:
        n = len(boxes)
        displaced = np.flatnonzero(rng.random(n) < 1 / 20)
        noisy = boxes.copy()
        side = boxes[displaced, 2:] - boxes[displaced, :2]
        noisy[displaced] += np.tile(side * rng.uniform(-0.5, 0.5, side.shape), 2)
        other = np.setdiff1d(np.flatnonzero(visible), displaced)
        variants = boxes, noisy, remove_outlier_boxes(noisy, visible, np.arange(n) / 25.0, tolerance_iou=tolerance)
        for k, variant in enumerate(variants):
            counts[k] += len(select_keyframes(variant, visible, positions=np.arange(n), tolerance_iou=tolerance))
            ious = box_iou(variant, boxes)
            displaced_ious[k].append(ious[displaced[visible[displaced]]])
            other_ious[k].append(ious[other])
    yield "| boxes | keyframes | IoU on the displaced frames | on the others |\n|---|---|---|---|"
    for name, count, a, b in zip(
        ("true", "displaced", "outliers removed"), counts, displaced_ious, other_ious, strict=True
    ):
        yield f"| {name} | {count} | {np.concatenate(a).mean():.3f} | {np.concatenate(b).mean():.3f} |"


def sample_masks(root, count):
    """Yield masks, (H, W) bool: every tenth frame of drawn clips, or every twentieth of DAVIS."""
    if root:
        yield from (cv2.imread(str(f), 0) > 127 for f in sorted((root / "Annotations").glob("*/*.png"))[::20])
        return
    for seed in range(count):
        for masks in draw_clip(seed, size=(640, 360), n_frames=30, speed=0.9).masks:
            yield from (mask for mask in masks[::10] if mask.any())


def polygon_table(masks):
    """Yield a Markdown table: vertices of an object's polygons, and the IoU of the filled polygons."""
    yield "| promised IoU | vertices | most | IoU mean | IoU least |\n|---|---|---|---|---|"
    shipped = contours._POLYGON_IOU
    for promised in (shipped, 0.97, 0.98):
        contours._POLYGON_IOU = promised
        counts, ious = [], []
        for mask in masks:
            polygons = contours.mask_to_polygons(mask)
            filled = coco.decode(coco.merge(coco.frPyObjects([p.ravel().tolist() for p in polygons], *mask.shape))) > 0
            counts.append(sum(map(len, polygons)))
            ious.append((filled & mask).sum() / (filled | mask).sum())
        yield f"| {promised} | {np.mean(counts):.1f} | {max(counts)} | {np.mean(ious):.3f} | {min(ious):.3f} |"
    contours._POLYGON_IOU = shipped


def outline_table(objects):
    """Yield a Markdown table: keyframes of outlines for each tolerance, and the IoU with the masks."""
    yield "| tolerance (IoU) | one per frame | keyframes | vertices mean | IoU with the mask, mean | tenth percentile |"
    yield "|---|---|---|---|---|---|"
    for tolerance in (0.9, OUTLINE_IOU, 0.8):
        frames, keys, counts, ious = 0, 0, [], []
        for masks in objects:
            n, (h, w) = len(masks), masks[0].shape
            boxes, visible = boxes_of(masks)
            rles = tuple(map(encode, masks))
            track = MaskTrack("", (w, h), np.arange(n), rles, boxes, visible.astype(float), visible)
            sequence, _ = vector_sequence(track, Clip(n), fps=25.0, tolerance_iou=tolerance)
            frames, keys = frames + int(visible.sum()), keys + len(sequence)
            counts.append(len(sequence[0]["vertices"]))
            line = VectorKeyframes(sequence)
            ious += [
                iou(polygon_to_mask(line.points(i + 1) * (w, h), (w, h)), masks[i]) for i in np.flatnonzero(visible)
            ]
        low = np.percentile(ious, 10)
        yield f"| {tolerance} | {frames} | {keys} | {np.mean(counts):.0f} | {np.mean(ious):.3f} | {low:.3f} |"


# --- tracked objects -------------------------------------------------------------------------------------------------


def tracked_table(davis, sam2, features):
    """Yield a Markdown table of keyframes and strokes for the tracks of DAVIS' objects."""
    with tempfile.TemporaryDirectory() as temporary:
        segmenter = load_sam2(sam2, features or Path(temporary))
        objects = []
        for name in clip_names(davis):
            clip = read_clip(davis, name, step=1)
            mask = first_mask(segmenter, clip.frames[0], clip.truth[0], "click")
            objects.append((propagate(ArrayClip(clip.frames), 0, mask, segmenter), EditorTruth.from_masks(clip.truth)))
    yield "| boxes | tolerance (IoU) | keyframes | frames for each | strokes | box IoU, mean | frames below 0.8 |"
    yield "|---|---|---|---|---|---|---|"
    for name, smooths, fits in (("of the masks", False, False), ("smoothed", True, False), ("fitted", True, True)):
        for tolerance in sorted({*TOLERANCES, KEYFRAME_IOU}, reverse=True):
            keyframes, frames, strokes, ious, low = 0, 0, 0, [], []
            for track, truth in objects:
                n = len(truth.visible)
                sequence = track_sequence(track, n, tolerance, smooths=smooths, fits=fits)
                count = correct_sequence(sequence, truth, rerun=None, max_strokes=200)
                _, iou = find_wrong_frames(sequence, truth)
                keyframes, frames, strokes = keyframes + len(sequence), frames + n, strokes + count.strokes
                ious.append(iou[truth.visible].mean())
                low.append((iou[truth.visible] < GOOD_IOU).mean())
            yield (
                f"| {name} | {tolerance} | {keyframes} | {frames / keyframes:.1f} | {strokes} | {np.mean(ious):.3f} | "
                f"{100 * np.mean(low):.1f} % |"
            )


def track_sequence(track, n, tolerance, *, smooths, fits):
    """Return a region's sequence for a track on n frames, 24 a second."""
    positions = np.arange(n) / 24.0
    boxes = remove_outlier_boxes(track.boxes, track.visible, positions)
    boxes = smooth_boxes(boxes, track.visible, positions) if smooths else boxes
    options = {"positions": positions, "tolerance_iou": tolerance}
    chosen = select_keyframes(boxes, track.visible, **options)
    rows = [row for row, _ in chosen]
    corners = fit_keyframe_boxes(boxes, track.visible, chosen, **options) if fits else boxes[rows]
    sides = 100 * np.concatenate([corners[:, :2], corners[:, 2:] - corners[:, :2]], axis=1)
    return [
        {"frame": row + 1, "enabled": enabled, **dict(zip(("x", "y", "width", "height"), box, strict=True))}
        for (row, enabled), box in zip(chosen, sides.tolist(), strict=True)
    ]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--davis", type=Path)
    parser.add_argument("--drawn", type=int, default=8, help="clips of three objects each")
    parser.add_argument("--sam2", help="directory or hub id")
    parser.add_argument("--features", type=Path, help="directory where SAM2's features are kept (8 MB a frame)")
    args = parser.parse_args()
    sources = {f"{args.drawn} drawn clips": list(drawn_masks(args.drawn))}
    if args.davis:
        sources["DAVIS clips"] = list(davis_masks(args.davis))
    for name, objects in sources.items():
        tracks = [boxes_of(masks) for masks in objects]
        print(f"{name}: {len(tracks)} objects\n")
        print("| tolerance (IoU) | one per frame | Douglas-Peucker | ours | IoU mean | IoU least |")
        print("|---|---|---|---|---|---|")
        for tolerance in TOLERANCES:
            ours, theirs, frames, ious = count_keyframes(tracks, tolerance)
            print(f"| {tolerance} | {frames} | {theirs} | {ours} | {ious.mean():.3f} | {ious.min():.3f} |")
        masks = list(sample_masks(args.davis if name.startswith("DAVIS") else None, args.drawn))
        print("", *outlier_table(tracks), "", *polygon_table(masks), "", *outline_table(objects), "", sep="\n")
    if args.davis and args.sam2:
        print(*tracked_table(args.davis, args.sam2, args.features), sep="\n")


if __name__ == "__main__":
    main()
