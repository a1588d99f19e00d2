"""J and F of tracks that start from the first frame's true mask, box or a click, on clips laid out as DAVIS.

    python -m tests.bench.bench_tracking --root DAVIS_DIR [--sam2 DIR --cache DIR] [--start click] [--clips camel ...]

DAVIS_DIR holds JPEGImages/<clip>/*.jpg and Annotations/<clip>/*.png. `--step 3` lets the tracker see every third frame
only, which makes motion three times as fast. Each variant is one row of the table:

    flow      optical flow carries the mask, the segmenter refits it
    flow-only the same without a segmenter
    features  the memory of features alone: its votes for each place, outlined by no segmenter
    memory    features, outlined by the segmenter (the default where there are features)

`--lost` measures honesty instead: in the middle of each clip the picture cuts to the next clip for some frames and
comes back. It prints how well "not visible" and low scores foretell an object that is absent or a bad mask.
"""

from __future__ import annotations

import argparse
import itertools
import time
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from refam.grabcut import GrabCutSegmenter
from refam.sam2 import Sam2Segmenter
from tests.video.clips import ArrayClip
from video import masks
from video.metrics import boundary_accuracy, region_similarity
from video.propagate import propagate
from video.remembering import MemoryTracker, MemoryTrackerOptions
from video.tracking import FlowTracker, FlowTrackerOptions
from video.types import Candidate, Prompt

ABSENT = 6  # frames of another clip in the middle of one, with --lost
BINS = (0.0, 0.2, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.001)


class NoSegmenter:
    """Takes the belief as it is: what is left is flow, or features, alone."""

    name = "none"

    def __init__(self, source=None):
        self._source = source

    def features(self, image):
        return self._source.features(image)

    def segment(self, image, prompt, *, frame=0):
        if self._source is None or prompt.prior is None:
            return []
        mask = masks.resize_map(prompt.prior, (image.shape[1], image.shape[0])) >= 0.5
        return [Candidate(frame=frame, mask=mask, score=1.0)] if mask.any() else []


def read_clip(root, name, *, step, most):
    files = sorted((root / "JPEGImages" / name).glob("*.jpg"))[::step][:most]
    frames = np.stack([cv2.imread(str(f))[..., ::-1] for f in files])
    truth = [cv2.imread(str(root / "Annotations" / name / f"{f.stem}.png"), 0) > 127 for f in files]
    return frames, np.stack(truth)


def with_absence(frames, truth, others):
    """The clip with `ABSENT` frames of another one put into its middle."""
    middle = len(frames) // 2
    size = (frames.shape[2], frames.shape[1])
    strange = np.stack([cv2.resize(f, size, interpolation=cv2.INTER_AREA) for f in others[:ABSENT]])
    nothing = np.zeros((len(strange), *truth.shape[1:]), bool)
    return (
        np.concatenate([frames[:middle], strange, frames[middle:]]),
        np.concatenate([truth[:middle], nothing, truth[middle:]]),
    )


def first_mask(segmenter, image, truth, start):
    if start == "mask":
        return truth
    point = np.array([masks.deepest_point(truth)])
    prompt = Prompt(box=masks.box_of(truth)) if start == "box" else Prompt(points=point, labels=np.array([1]))
    found = segmenter.segment(image, prompt)
    return found[0].mask if found else None


def make(variant, segmenter, refit_every):
    flow, memory = FlowTrackerOptions(refit_every=refit_every), MemoryTrackerOptions(look_every=refit_every)
    return {
        "flow": lambda: FlowTracker(segmenter, options=flow),
        "flow-only": lambda: FlowTracker(NoSegmenter(), options=flow),
        "features": lambda: MemoryTracker(NoSegmenter(segmenter), options=memory),
        "memory": lambda: MemoryTracker(segmenter, options=memory),
    }[variant]


@dataclass
class Row:
    """One clip under one tracker: per scored frame J, F, score, whether it is called visible, whether it is there."""

    j: np.ndarray
    f: np.ndarray
    score: np.ndarray
    visible: np.ndarray
    present: np.ndarray
    frame_s: float = 0.0


def measure(frames, truth, mask, segmenter, tracker, every):
    begin = time.perf_counter()
    track = propagate(ArrayClip(frames), 0, mask, segmenter, make_tracker=tracker)
    spent_s = time.perf_counter() - begin
    at = np.arange(0, len(frames), every)
    seen = [masks.decode(track.rles[i]) for i in at]
    return Row(
        np.array([region_similarity(m, truth[i]) for m, i in zip(seen, at, strict=True)]),
        np.array([boundary_accuracy(m, truth[i]) for m, i in zip(seen, at, strict=True)]),
        track.scores[at],
        track.visible[at],
        truth[at].any(axis=(1, 2)),
        spent_s / len(frames),
    )


def tell_lost(variant, rows):
    """How well "not visible" tells an absent object or a bad mask, and what a score is worth."""
    one = Row(*(np.concatenate([getattr(r, k) for r in rows]) for k in ("j", "f", "score", "visible", "present")))
    called = ~one.visible
    absent = ~one.present
    wrong = absent | (one.j < 0.5)  # what a person would have to mend, or an object that is not there
    silent = (absent & one.visible).sum() + (one.present & one.visible & (one.j < 0.5)).sum()
    right = (called & absent).sum()
    back = [r.visible[-1] and r.j[-1] > 0.5 for r in rows]
    print(
        f"{variant}: called lost {called.sum()} of {len(called)} frames, absent {absent.sum()}, "
        f"absent or IoU < 0.5 {wrong.sum()}\n"
        f"  lost: precision {right / max(1, called.sum()):.2f} (absent), recall {right / max(1, absent.sum()):.2f}; "
        f"guesses that are wrong: {silent}; at the end back on it: {sum(back)} of {len(back)} clips"
    )
    print("  score      frames  mean IoU   (frames called visible)")
    for low, high in itertools.pairwise(BINS):
        of = one.visible & (one.score >= low) & (one.score < high)
        if of.any():
            print(f"  {low:.1f}-{min(high, 1):.1f}    {of.sum():6d}  {np.where(one.present, one.j, 0)[of].mean():.2f}")


def arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--root", type=Path, required=True)
    parser.add_argument("--sam2", help="directory or hub id; GrabCut without it")
    parser.add_argument("--cache", type=Path, help="directory for SAM2's embeddings, by the content of the frames")
    parser.add_argument("--start", choices=("mask", "box", "click"), default="click")
    parser.add_argument("--variants", nargs="+", default=None)
    parser.add_argument("--clips", nargs="*")
    parser.add_argument("--every", type=int, default=1, help="score every n-th of the frames that are tracked")
    parser.add_argument("--refit-every", type=int, default=1, help="frames between two uses of the segmenter")
    parser.add_argument("--step", type=int, default=1, help="track every n-th frame of the clip only")
    parser.add_argument("--most", type=int, default=1000, help="frames of a clip")
    parser.add_argument("--lost", action="store_true", help="with an absence in the middle")
    return parser.parse_args()


def main():
    args = arguments()
    segmenter = Sam2Segmenter.load(args.sam2, cache=args.cache) if args.sam2 else GrabCutSegmenter()
    variants = args.variants or (["flow-only", "flow", "features", "memory"] if args.sam2 else ["flow-only", "flow"])
    names = args.clips or sorted(p.name for p in (args.root / "JPEGImages").iterdir())
    clips = [read_clip(args.root, name, step=args.step, most=args.most) for name in names]
    if args.lost:
        clips = [with_absence(*clip, clips[(i + 1) % len(clips)][0]) for i, clip in enumerate(clips)]
    print(f"{segmenter.name}, start from {args.start}, every {args.step}. frame, refit every {args.refit_every}")
    for variant in variants:
        rows = []
        for name, (frames, truth) in zip(names, clips, strict=True):
            mask = first_mask(segmenter, frames[0], truth[0], args.start)
            if mask is None:
                zeros = np.zeros(len(truth[:: args.every]))
                rows.append(Row(zeros, zeros, zeros, zeros > 0, truth[:: args.every].any(axis=(1, 2))))
            else:
                tracker = make(variant, segmenter, args.refit_every)
                rows.append(measure(frames, truth, mask, segmenter, tracker, args.every))
            row = rows[-1]
            print(
                f"  {variant:10s} {name:14s} J {row.j.mean():.3f} F {row.f.mean():.3f} last J {row.j[-1]:.2f} "
                f"visible {row.visible.sum()}/{len(row.visible)}  {row.frame_s:.2f} s a frame",
                flush=True,
            )
        j, f = (np.mean([getattr(r, k).mean() for r in rows]) for k in ("j", "f"))
        spent = np.mean([r.frame_s for r in rows])
        print(f"{variant:10s} J {j:.3f} F {f:.3f} J&F {(j + f) / 2:.3f}  {spent:.2f} s a frame", flush=True)
        if args.lost:
            tell_lost(variant, rows)


if __name__ == "__main__":
    main()
