"""Compare trackers: J, F and seconds per frame of each, on the same clips.

    make bench-track DAVIS=DIR [SAM2=DIR] [ARGS="--clips camel --start box"]

DAVIS holds JPEGImages/<clip>/*.jpg and Annotations/<clip>/*.png. From one click on the first frame (or `--start`),
each tracker sees every third frame (`--step`). It asks the segmenter on each of them, on every third and on every fifth
(`--looks`); the memory tracker does so at least, and more often where its schedule says so:

    flow-only  optical flow warps the mask, without the segmenter
    flow       optical flow warps the mask, the segmenter refits it
    box        a box tracker (OpenCV's TrackerMIL, the only one of its trackers that needs no weights: NanoTrack,
               DaSiamRPN and ViT come as ONNX files), whose box prompts the segmenter
    features   the feature memory alone, thresholded, without the segmenter
    memory     the feature memory, refined by the segmenter (the default for segmenters with features)

The segmenter is GrabCut, and SAM2 if a directory is given. SAM2's embeddings are computed once, outside of the timed
part; their cost is measured separately and added for each frame that the tracker passed to the segmenter.

Prints a table of J, F, J&F and seconds. `--lost` prints how well lost objects are reported and `--score` how well
scores are calibrated instead, see `backend.benchmarks.lost_frames`.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import cv2
import numpy as np

from backend.benchmarks.davis_clips import (
    clip_names,
    first_mask,
    insert_other_clip,
    occlude_with_bar,
    occlude_with_object,
    read_clip,
)
from backend.benchmarks.lost_frames import TrackEvaluation, print_lost_scores, print_score_fit
from refam.evaluation.synthetic import ArrayClip
from refam.segmenters.grabcut import GrabCutSegmenter
from refam.segmenters.sam2 import Sam2Segmenter
from video import masks
from video.metrics import boundary_accuracy, region_similarity
from video.tracking.flow_tracker import FlowTracker, FlowTrackerOptions
from video.tracking.memory_tracker import MemoryTracker, MemoryTrackerOptions
from video.tracking.propagate import propagate
from video.tracking.schedule import LookSchedule
from video.types import Candidate, Observation, Prompt


class CountingSegmenter:
    """A segmenter that counts the images it is used on.

    With `alone` it does not segment: the prior of the prompt, thresholded, is the mask.
    """

    def __init__(self, inner, *, alone=False):
        self.name, self.images = inner.name, 0
        self._inner, self._alone, self._last = inner, alone, None
        if hasattr(inner, "features"):
            self.features = lambda image: self._count(image).features(image)

    def _count(self, image):
        self.images += image is not self._last
        self._last = image
        return self._inner

    def segment(self, image, prompt, *, frame=0):
        if not self._alone:
            return self._count(image).segment(image, prompt, frame=frame)
        if prompt.prior is None or not hasattr(self, "features"):
            return []
        mask = masks.resize_map(prompt.prior, (image.shape[1], image.shape[0])) >= 0.5
        return [Candidate(frame=frame, mask=mask, score=1.0)] if mask.any() else []


class BoxTracker:
    """A `Tracker` that prompts the segmenter with TrackerMIL's box; between two refits the mask moves with the box."""

    name = "box"

    def __init__(self, segmenter, *, refit_every):
        self._segmenter, self._refit_every, self._since_refit = segmenter, refit_every, 0
        self._image, self._tracked = None, {}

    def step(self, image):
        self._image = image
        self._since_refit += 1
        refit = self._since_refit >= self._refit_every
        self._since_refit = 0 if refit else self._since_refit
        observations = {}
        for k, (follower, box, mask) in self._tracked.items():
            cv2.setRNGSeed(0)
            _, (x, y, w, h) = follower.update(np.ascontiguousarray(image[..., ::-1]))
            shift = np.array([[1, 0, x - box[0]], [0, 1, y - box[1]]], np.float64)
            mask = cv2.warpAffine(mask.astype(np.uint8), shift, mask.shape[::-1], flags=cv2.INTER_NEAREST) > 0
            if refit:
                scale = np.array([mask.shape[1], mask.shape[0]] * 2)
                corners = np.clip(np.array([x, y, x + w, y + h]) / scale, 0, 1)
                candidates = [] if min(corners[2:] - corners[:2]) <= 0 else self._segment(image, corners)
                mask = candidates[0].mask if candidates else np.zeros_like(mask)
            self._tracked[k] = (follower, (x, y), mask)
            observations[k] = Observation(mask, float(mask.any()), bool(mask.any()))
        return observations

    def _segment(self, image, corners):
        return self._segmenter.segment(image, Prompt(box=tuple(corners.tolist())))

    def start(self, object_id, mask):
        x0, y0, x1, y1 = masks.box_of(mask)
        h, w = mask.shape
        box = (round(x0 * w), round(y0 * h), round((x1 - x0) * w), round((y1 - y0) * h))
        cv2.setRNGSeed(0)  # it learns from random patches
        follower = cv2.TrackerMIL.create()
        follower.init(np.ascontiguousarray(self._image[..., ::-1]), box)
        self._tracked[object_id] = (follower, box[:2], mask)
        self._since_refit = 0
        return Observation(mask, 1.0, True)


SHORT_FRAMES = 11  # frames of an occluded clip when scores are fitted


@dataclass(frozen=True)
class Variant:
    """A tracker of the comparison.

    Attributes:
        make: (segmenter, refit interval in frames) -> the tracker.
        alone: Whether it works without the segmenter's masks.
        needs_features: Whether the segmenter has to have features.
    """

    make: Callable
    alone: bool = False
    needs_features: bool = False


def _flow(segmenter, interval):
    return FlowTracker(segmenter, options=FlowTrackerOptions(refit_every=interval))


def _memory(segmenter, interval):
    return MemoryTracker(segmenter, options=MemoryTrackerOptions(schedule=LookSchedule(max_stride=interval)))


VARIANTS = {
    "flow-only": Variant(_flow, alone=True),
    "flow": Variant(_flow),
    "box": Variant(lambda segmenter, interval: BoxTracker(segmenter, refit_every=interval)),
    "features": Variant(_memory, alone=True, needs_features=True),
    "memory": Variant(_memory, needs_features=True),
}


def track_clip(clip, segmenter, variant, interval, start):
    """Track the object of one clip.

    Returns:
        The evaluation, F of each frame, the seconds that the tracker took, and on how many images it used the
        segmenter.
    """
    mask = first_mask(segmenter, clip.frames[0], clip.truth[0], start)
    n = len(clip.frames)
    if mask is None:
        return TrackEvaluation(clip.name, np.zeros(n), np.zeros(n), np.zeros(n, bool), clip.share), np.zeros(n), 0.0, 0
    counting = CountingSegmenter(segmenter, alone=variant.alone)
    begin = time.perf_counter()
    track = propagate(
        ArrayClip(clip.frames), 0, mask, counting, make_tracker=lambda: variant.make(counting, interval)
    )  # forward only: the mask is on the first frame
    spent_s = time.perf_counter() - begin
    decoded = [masks.decode(r) for r in track.rles]
    j, f = (
        np.array([measure(m, t) for m, t in zip(decoded, clip.truth, strict=True)])
        for measure in (region_similarity, boundary_accuracy)
    )
    return TrackEvaluation(clip.name, j, track.scores, track.visible, clip.share), f, spent_s, counting.images


def print_table(clips, segmenters, names, intervals, start):
    """Print J, F and seconds of each segmenter, tracker and refit interval."""
    print(f"{'segmenter':20s} {'tracker':10s} looks every    J     F    J&F   s a frame, of it the encoder")
    for segmenter, encoder_s in segmenters:
        for name in names:
            variant = VARIANTS[name]
            if variant.needs_features and not hasattr(segmenter, "features"):
                continue
            for interval in intervals[:1] if variant.alone and not variant.needs_features else intervals:
                rows = [track_clip(clip, segmenter, variant, interval, start) for clip in clips]
                j = np.mean([evaluation.j.mean() for evaluation, _, _, _ in rows])
                f = np.mean([row.mean() for _, row, _, _ in rows])
                frames = sum(len(clip.frames) for clip in clips)
                encoded_s = encoder_s * sum(row[3] for row in rows) / frames
                tracked_s = sum(row[2] for row in rows) / frames
                print(
                    f"{segmenter.name:20s} {name:10s} {interval:11d}  {j:.3f} {f:.3f} {(j + f) / 2:.3f}"
                    f"   {tracked_s + encoded_s:7.2f} {encoded_s:7.2f}   "
                    + " ".join(f"{evaluation.name} {evaluation.j.mean():.2f}" for evaluation, _, _, _ in rows),
                    flush=True,
                )


def evaluate_lost(clips, segmenter, names, interval, start):
    """Print how well trackers report lost objects, on clips with cuts and with occlusions."""
    pairs = list(zip(clips, clips[1:] + clips[:1], strict=True))
    clip_sets = {"cut": insert_other_clip, "bar": occlude_with_bar, "object": occlude_with_object}
    for name in names:
        if VARIANTS[name].needs_features and not hasattr(segmenter, "features"):
            continue
        rows = {
            kind: [track_clip(build(a, b), segmenter, VARIANTS[name], interval, start)[0] for a, b in pairs]
            for kind, build in clip_sets.items()
        }
        print_lost_scores(f"{segmenter.name}, {name}, looks every {interval}", rows)


def evaluate_scores(clips, segmenter, names, interval, start):
    """Print the calibration of the scores, on clips as they are, reversed, and with occlusions."""
    short = [
        replace(c, frames=c.frames[:SHORT_FRAMES], truth=c.truth[:SHORT_FRAMES], share=c.share[:SHORT_FRAMES])
        for c in clips
    ]
    pairs = list(zip(short, short[1:] + short[:1], strict=True))
    clip_sets = {
        "whole": clips,
        "backward": [replace(c, frames=c.frames[::-1], truth=c.truth[::-1], share=c.share[::-1]) for c in clips],
        "bar": [occlude_with_bar(a, b) for a, b in pairs],
        "object": [occlude_with_object(a, b) for a, b in pairs],
    }
    for name in names:
        if VARIANTS[name].needs_features and not hasattr(segmenter, "features"):
            continue
        rows = {
            kind: [track_clip(clip, segmenter, VARIANTS[name], interval, start)[0] for clip in some]
            for kind, some in clip_sets.items()
        }
        print_score_fit(f"{segmenter.name}, {name}, looks every {interval}", rows)


def parse_arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--davis", type=Path, required=True)
    parser.add_argument("--sam2", help="directory or hub id")
    parser.add_argument("--cache", type=Path, help="directory for SAM2's embeddings; without it a temporary one")
    parser.add_argument("--segmenters", nargs="+", choices=("grabcut", "sam2"), default=["grabcut", "sam2"])
    parser.add_argument("--start", choices=("mask", "box", "click"), default="click")
    parser.add_argument("--variants", nargs="+", choices=tuple(VARIANTS), default=list(VARIANTS))
    parser.add_argument("--looks", nargs="+", type=int, default=[1, 3, 5], help="frames between two looks at most")
    parser.add_argument("--clips", nargs="*")
    parser.add_argument("--step", type=int, default=3, help="use every n-th frame of a clip")
    parser.add_argument("--most", type=int, default=1000, help="most frames of a clip")
    parser.add_argument("--lost", action="store_true", help="evaluate lost frames instead, with the first of --looks")
    parser.add_argument("--score", action="store_true", help="fit the scores instead, with the first of --looks")
    return parser.parse_args()


def main():
    args = parse_arguments()
    names = args.clips or clip_names(args.davis)
    clips = [read_clip(args.davis, name, step=args.step, max_frames=args.most) for name in names]
    print(f"{len(clips)} clips, {sum(len(c.frames) for c in clips)} frames, every {args.step}., from a {args.start}")
    with tempfile.TemporaryDirectory() as temporary:
        segmenters = [(GrabCutSegmenter(), 0.0)] if "grabcut" in args.segmenters else []
        if args.sam2 and "sam2" in args.segmenters:
            segmenters.append(load_cached_sam2(args, clips, args.cache or Path(temporary)))
        if args.lost:
            for segmenter, _ in segmenters:
                evaluate_lost(clips, segmenter, args.variants, args.looks[0], args.start)
        elif args.score:
            for segmenter, _ in segmenters:
                evaluate_scores(clips, segmenter, args.variants, args.looks[0], args.start)
        else:
            print_table(clips, segmenters, args.variants, args.looks, args.start)


def load_cached_sam2(args, clips, cache):
    """Return SAM2 with the embeddings of all clips in its cache, and the seconds that one embedding takes."""
    plain = Sam2Segmenter.load(args.sam2)
    plain.features(clips[0].frames[0])  # the first pass is slower than all others
    begin = time.perf_counter()
    for frame in clips[0].frames[1:4]:
        plain.features(frame)
    encoder_s = (time.perf_counter() - begin) / len(clips[0].frames[1:4])
    cached = Sam2Segmenter.load(args.sam2, cache=cache, cache_mb=50_000)
    for clip in clips:
        for frame in clip.frames:
            cached.features(frame)
    return cached, encoder_s


if __name__ == "__main__":
    main()
