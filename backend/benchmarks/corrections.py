"""Measure corrections by one point: errors are put into true masks, and one point at each is to mend it.

    make bench-corrections DAVIS=DIR [SAM2=DIR] [ARGS="--step 15 --cache DIR"]

DAVIS holds JPEGImages/<clip>/*.jpg and Annotations/<clip>/*.png. On every `--step`-th frame these errors are made, each
one connected part:

    blob added        an ellipse on the outline, a tenth to six tenths of the object's area
    neighbour added   what the segmenter finds beside the object: up to three times its area, touching it
    part added        what the segmenter finds within the object, if the object is only the rest
    limb missing      what a morphological opening takes from the object
    side missing      a tenth to almost half of the object, beyond a straight cut
    part missing      what the segmenter finds within the object

The point is the deepest one of the error: off the object for an addition, on it for what is missing. Prints for each
kind of error the mean IoU with the truth without a correction and after it, the share of cases in which it rises, and
the number in which it falls by more than 0.02:

    refined       as it ships (`refam.segmenters.refinement`)
    mask prompt   the segmenter's own best answer to the mask and the points
    anew          for what is missing: the segmenter's best answer to the point alone

The errors of segments are made by SAM2, if its directory is given, for both segmenters. `--cache` keeps its embeddings.
"""

from __future__ import annotations

import argparse
import itertools
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from backend.benchmarks.davis_clips import clip_names
from refam.segmenters.grabcut import GrabCutSegmenter
from refam.segmenters.refinement import refine_mask
from refam.segmenters.sam2 import Sam2Segmenter
from video import masks
from video.types import Prompt

SEED = 20261129
LEAST_PX = 50  # of an error
MOST_FALL = 0.02  # of the IoU
_TRIES = 8  # random points at which the segmenter is asked for an error


@dataclass(frozen=True, eq=False)
class Case:
    """A true mask with an error.

    Attributes:
        image: (H, W, 3) uint8 RGB.
        kind: What kind of error it is.
        truth: (H, W) bool.
        error: (H, W) bool, one connected part: what is wrongly added to the truth, or missing from it.
    """

    image: np.ndarray
    kind: str
    truth: np.ndarray
    error: np.ndarray

    @property
    def is_addition(self):
        return bool((self.error & ~self.truth).any())

    @property
    def mask(self):
        return self.truth | self.error if self.is_addition else self.truth & ~self.error

    @property
    def points(self):
        return np.array([masks.deepest_point(self.error)])

    @property
    def labels(self):
        return np.array([0 if self.is_addition else 1])


# --- errors ----------------------------------------------------------------------------------------------------------


def add_blob(image, truth, rng, segmenter):
    """Return an ellipse around a random point of the outline, without the object."""
    edge = np.argwhere(masks.boundary(truth))
    y, x = edge[rng.integers(len(edge))]
    area, ratio = truth.sum() * rng.uniform(0.1, 0.6), rng.uniform(1, 2.5)
    axes = 2 * np.sqrt(area * ratio / np.pi), 2 * np.sqrt(area / ratio / np.pi)
    ellipse = np.zeros(truth.shape, np.uint8)
    cv2.ellipse(ellipse, ((float(x), float(y)), axes, rng.uniform(0, 180)), 1, -1)
    return largest_part((ellipse > 0) & ~truth)


def add_neighbour(image, truth, rng, segmenter):
    """Return what the segmenter finds at a point beside the object, if that touches the object; else None."""
    size, distance = np.sqrt(truth.sum()), masks.distance_to(truth)
    beside = np.argwhere((distance > 0.04 * size) & (distance < 0.5 * size))

    def is_neighbour(mask, error):
        touches = (error & (distance < 3)).any()
        return (mask & truth).sum() < 0.1 * mask.sum() and touches and 0.05 <= error.sum() / truth.sum() <= 3

    return random_segment(image, beside, ~truth, rng, segmenter, is_neighbour)


def cut_limb(image, truth, rng, segmenter):
    """Return one of the three largest parts that an opening takes from the object; None if all are small."""
    depth = cv2.distanceTransform(np.pad(truth, 1).astype(np.uint8), cv2.DIST_L2, 5).max()
    radius = int(rng.uniform(0.35, 0.7) * depth)
    kernel = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * radius + 1, 2 * radius + 1))
    trunk = largest_part(cv2.morphologyEx(truth.astype(np.uint8), cv2.MORPH_OPEN, kernel) > 0)
    limbs = masks.components(truth & ~trunk, least_px=int(0.03 * truth.sum()))[:3]
    return limbs[rng.integers(len(limbs))] if limbs else None


def cut_side(image, truth, rng, segmenter):
    """Return what lies beyond a straight line through the object."""
    h, w = truth.shape
    y, x = np.mgrid[0:h, 0:w]
    angle = rng.uniform(0, 2 * np.pi)
    along = np.cos(angle) * x + np.sin(angle) * y
    return largest_part(truth & (along >= np.quantile(along[truth], 1 - rng.uniform(0.1, 0.45))))


def cut_part(image, truth, rng, segmenter):
    """Return what the segmenter finds within the object; None if it finds no part of it."""

    def is_part(mask, error):
        return (mask & truth).sum() > 0.9 * mask.sum() and 0.05 <= error.sum() / truth.sum() <= 0.6

    return random_segment(image, np.argwhere(truth), truth, rng, segmenter, is_part)


def random_segment(image, pixels, within, rng, segmenter, is_wanted):
    """Return the largest part, within a mask, of a wanted segment at one of the pixels (n, 2); None if none is."""
    h, w = within.shape
    for _ in range(_TRIES if len(pixels) else 0):
        y, x = pixels[rng.integers(len(pixels))]
        click = Prompt(points=np.array([[(x + 0.5) / w, (y + 0.5) / h]]), labels=np.array([1]))
        found = [(c.mask, largest_part(c.mask & within)) for c in segmenter.segment(image, click)]
        if wanted := [error for mask, error in found if is_wanted(mask, error)]:
            return wanted[rng.integers(len(wanted))]
    return None


def largest_part(mask):
    parts = masks.components(mask, most=1)
    return parts[0] if parts else mask


ERRORS: dict[str, Callable] = {
    "blob added": add_blob,
    "neighbour added": add_neighbour,
    "limb missing": cut_limb,
    "side missing": cut_side,
    "part missing": cut_part,
}


def make_cases(root: Path, segmenter, *, step: int) -> Iterator[Case]:
    """Yield the errors of each kind on every step-th frame of each clip."""
    rng = np.random.default_rng(SEED)
    for clip in clip_names(root):
        for file in sorted((root / "JPEGImages" / clip).glob("*.jpg"))[::step]:
            image = np.ascontiguousarray(cv2.imread(str(file))[..., ::-1])
            truth = cv2.imread(str(root / "Annotations" / clip / f"{file.stem}.png"), 0) > 127
            if not truth.any():
                continue
            for kind, make_error in ERRORS.items():
                error = make_error(image, truth, rng, segmenter)
                if error is None or error.sum() < LEAST_PX:
                    continue
                yield Case(image, kind, truth, error)
                if make_error is cut_part:
                    yield Case(image, "part added", truth & ~error, error)


# --- corrections -----------------------------------------------------------------------------------------------------


def refine(segmenter, case):
    return refine_mask(segmenter, case.image, case.mask, case.points, case.labels).mask


def prompt_with_mask(segmenter, case):
    prior, box = case.mask.astype(np.float32), masks.pad_box(masks.box_of(case.mask), 0.1)
    return first_answer(segmenter, case, Prompt(points=case.points, labels=case.labels, prior=prior, box=box))


def begin_anew(segmenter, case):
    if case.is_addition:
        return None
    return first_answer(segmenter, case, Prompt(points=case.points, labels=case.labels))


def first_answer(segmenter, case, prompt):
    candidates = segmenter.segment(case.image, prompt)
    return candidates[0].mask if candidates else np.zeros_like(case.truth)


WAYS: dict[str, Callable] = {"refined": refine, "mask prompt": prompt_with_mask, "anew": begin_anew}


def print_table(name: str, scores: dict[str, dict[str, list[tuple[float, float]]]]) -> None:
    """Print a table. scores: way -> kind of error -> the IoU before and after of each case."""
    print(f"\n{name}\n\n| | errors | IoU before | after | rises | falls by more than {MOST_FALL} | largest fall |")
    print("|---|---|---|---|---|---|---|")
    for way, kinds in scores.items():
        for kind, pairs in [*kinds.items(), ("all", list(itertools.chain(*kinds.values())))]:
            before, after = np.array(pairs).T
            gain = after - before
            print(
                f"| {way}, {kind} | {len(pairs)} | {before.mean():.3f} | {after.mean():.3f} | {(gain > 0).mean():.3f} "
                f"| {(gain < -MOST_FALL).sum()} | {max(0.0, -gain.min()):.3f} |"
            )


def main() -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--davis", type=Path, required=True)
    parser.add_argument("--sam2")
    parser.add_argument("--step", type=int, default=15)
    parser.add_argument("--cache", type=Path, help="a folder that keeps SAM2's embeddings for the next run")
    args = parser.parse_args()
    segmenters: list[GrabCutSegmenter | Sam2Segmenter] = [GrabCutSegmenter()]
    if args.sam2:
        segmenters.insert(0, Sam2Segmenter.load(args.sam2, cache=args.cache, cache_mb=50_000))
    scores: dict[str, dict[str, dict[str, list[tuple[float, float]]]]] = {s.name: {} for s in segmenters}
    for case in make_cases(args.davis, segmenters[0], step=args.step):
        for segmenter in segmenters:
            for way, correct in WAYS.items():
                if (mask := correct(segmenter, case)) is not None:
                    pair = masks.iou(case.mask, case.truth), masks.iou(mask, case.truth)
                    scores[segmenter.name].setdefault(way, {}).setdefault(case.kind, []).append(pair)
    for name, table in scores.items():
        print_table(name, table)


if __name__ == "__main__":
    main()
