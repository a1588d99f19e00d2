"""What following an object costs and gives: J, F and seconds per frame of each tracker, side by side.

    make bench-track DAVIS=DIR [SAM2=DIR] [ARGS="--clips camel --start box"]

DAVIS holds JPEGImages/<clip>/*.jpg and Annotations/<clip>/*.png. From one click on the first frame (or `--start`),
every third frame (`--step`), with a look by the segmenter at every frame, every third and every fifth (`--looks`):

    flow-only  optical flow carries the mask, nobody outlines it
    flow       optical flow carries the mask, the segmenter refits it
    box        a box follower (OpenCV's TrackerMIL, the only one of its trackers that needs no weights: NanoTrack,
               DaSiamRPN and ViT come as ONNX files), whose box prompts the segmenter
    features   the memory of features alone: its votes for each place, outlined by nobody
    memory     features, outlined by the segmenter (the default where there are features)

with GrabCut, and with SAM2 where a directory is given. SAM2's embeddings are computed once, before the clock runs; what
they cost is measured by itself and added for each frame that a tracker looked at. `--lost` measures honesty instead,
see `backend.benchmarks.lost_frames`.
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

from backend.benchmarks.davis_clips import behind_bar, behind_object, clip_names, first_mask, interrupted, read_clip
from backend.benchmarks.lost_frames import Seen, tell_fit, tell_honesty
from refam.evaluation.synthetic import ArrayClip
from refam.segmenters.grabcut import GrabCutSegmenter
from refam.segmenters.sam2 import Sam2Segmenter
from video import masks
from video.metrics import boundary_accuracy, region_similarity
from video.tracking.flow_tracker import FlowTracker, FlowTrackerOptions
from video.tracking.memory_tracker import MemoryTracker, MemoryTrackerOptions
from video.tracking.propagate import propagate
from video.types import Candidate, Observation, Prompt


class Watched:
    """A segmenter, and on how many pictures it was asked anything. alone: beliefs are taken as they are."""

    def __init__(self, inner, *, alone=False):
        self.name, self.pictures = inner.name, 0
        self._inner, self._alone, self._last = inner, alone, None
        if hasattr(inner, "features"):
            self.features = lambda image: self._look(image).features(image)

    def _look(self, image):
        self.pictures += image is not self._last
        self._last = image
        return self._inner

    def segment(self, image, prompt, *, frame=0):
        if not self._alone:
            return self._look(image).segment(image, prompt, frame=frame)
        if prompt.prior is None or not hasattr(self, "features"):
            return []
        mask = masks.resize_map(prompt.prior, (image.shape[1], image.shape[0])) >= 0.5
        return [Candidate(frame=frame, mask=mask, score=1.0)] if mask.any() else []


class BoxTracker:
    """`Tracker`: TrackerMIL's box as a prompt; between two looks the mask moves with the box."""

    name = "box"

    def __init__(self, segmenter, *, look_every):
        self._segmenter, self._every, self._since = segmenter, look_every, 0
        self._image, self._held = None, {}

    def step(self, image):
        self._image = image
        self._since += 1
        look = self._since >= self._every
        self._since = 0 if look else self._since
        seen = {}
        for k, (follower, box, mask) in self._held.items():
            cv2.setRNGSeed(0)
            _, (x, y, w, h) = follower.update(np.ascontiguousarray(image[..., ::-1]))
            shift = np.array([[1, 0, x - box[0]], [0, 1, y - box[1]]], np.float64)
            mask = cv2.warpAffine(mask.astype(np.uint8), shift, mask.shape[::-1], flags=cv2.INTER_NEAREST) > 0
            if look:
                scale = np.array([mask.shape[1], mask.shape[0]] * 2)
                corners = np.clip(np.array([x, y, x + w, y + h]) / scale, 0, 1)
                found = [] if min(corners[2:] - corners[:2]) <= 0 else self._ask(image, corners)
                mask = found[0].mask if found else np.zeros_like(mask)
            self._held[k] = (follower, (x, y), mask)
            seen[k] = Observation(mask, float(mask.any()), bool(mask.any()))
        return seen

    def _ask(self, image, corners):
        return self._segmenter.segment(image, Prompt(box=tuple(corners.tolist())))

    def start(self, object_id, mask):
        x0, y0, x1, y1 = masks.box_of(mask)
        h, w = mask.shape
        box = (round(x0 * w), round(y0 * h), round((x1 - x0) * w), round((y1 - y0) * h))
        cv2.setRNGSeed(0)  # it learns from random patches
        follower = cv2.TrackerMIL.create()
        follower.init(np.ascontiguousarray(self._image[..., ::-1]), box)
        self._held[object_id] = (follower, box[:2], mask)
        self._since = 0
        return Observation(mask, 1.0, True)


SHORT = 11  # frames of a clip in which something passes in front, where scores are fitted


@dataclass(frozen=True)
class Variant:
    """make: (segmenter, looks) -> a tracker. alone: no outlining. remembers: it needs features."""

    make: Callable
    alone: bool = False
    remembers: bool = False


def _flow(segmenter, every):
    return FlowTracker(segmenter, options=FlowTrackerOptions(refit_every=every))


def _memory(segmenter, every):
    return MemoryTracker(segmenter, options=MemoryTrackerOptions(read_every=every))


VARIANTS = {
    "flow-only": Variant(_flow, alone=True),
    "flow": Variant(_flow),
    "box": Variant(lambda segmenter, every: BoxTracker(segmenter, look_every=every)),
    "features": Variant(_memory, alone=True, remembers=True),
    "memory": Variant(_memory, remembers=True),
}


def follow(clip, segmenter, variant, every, start):
    """(what is seen, J and F per frame, seconds of the tracker, pictures it looked at) of one clip."""
    mask = first_mask(segmenter, clip.frames[0], clip.truth[0], start)
    n = len(clip.frames)
    if mask is None:
        return Seen(clip.name, np.zeros(n), np.zeros(n), np.zeros(n, bool), clip.share), np.zeros(n), 0.0, 0
    watched = Watched(segmenter, alone=variant.alone)
    begin = time.perf_counter()
    track = propagate(
        ArrayClip(clip.frames), 0, mask, watched, make_tracker=lambda: variant.make(watched, every)
    )  # one way only: behind the first frame there is nothing
    spent_s = time.perf_counter() - begin
    found = [masks.decode(r) for r in track.rles]
    j, f = (
        np.array([measure(m, t) for m, t in zip(found, clip.truth, strict=True)])
        for measure in (region_similarity, boundary_accuracy)
    )
    return Seen(clip.name, j, track.scores, track.visible, clip.share), f, spent_s, watched.pictures


def table(clips, segmenters, names, looks, start):
    print(f"{'segmenter':20s} {'tracker':10s} looks every    J     F    J&F   s a frame, of it the encoder")
    for segmenter, encoder_s in segmenters:
        for name in names:
            variant = VARIANTS[name]
            if variant.remembers and not hasattr(segmenter, "features"):
                continue
            for every in looks[:1] if variant.alone and not variant.remembers else looks:
                rows = [follow(clip, segmenter, variant, every, start) for clip in clips]
                j = np.mean([seen.j.mean() for seen, _, _, _ in rows])
                f = np.mean([row.mean() for _, row, _, _ in rows])
                frames = sum(len(clip.frames) for clip in clips)
                encoded_s = encoder_s * sum(row[3] for row in rows) / frames
                tracked_s = sum(row[2] for row in rows) / frames
                print(
                    f"{segmenter.name:20s} {name:10s} {every:11d}  {j:.3f} {f:.3f} {(j + f) / 2:.3f}"
                    f"   {tracked_s + encoded_s:7.2f} {encoded_s:7.2f}   "
                    + " ".join(f"{seen.name} {seen.j.mean():.2f}" for seen, _, _, _ in rows),
                    flush=True,
                )


def honesty(clips, segmenter, names, every, start):
    """With cuts, and with things that pass in front."""
    pairs = list(zip(clips, clips[1:] + clips[:1], strict=True))
    sets = {"cut": interrupted, "bar": behind_bar, "object": behind_object}
    for name in names:
        if VARIANTS[name].remembers and not hasattr(segmenter, "features"):
            continue
        rows = {
            kind: [follow(build(a, b), segmenter, VARIANTS[name], every, start)[0] for a, b in pairs]
            for kind, build in sets.items()
        }
        tell_honesty(f"{segmenter.name}, {name}, looks every {every}", rows)


def score_fit(clips, segmenter, names, every, start):
    """What the scores stand for: clips as they are, backward, and with things that pass in front."""
    short = [replace(c, frames=c.frames[:SHORT], truth=c.truth[:SHORT], share=c.share[:SHORT]) for c in clips]
    pairs = list(zip(short, short[1:] + short[:1], strict=True))
    sets = {
        "whole": clips,
        "backward": [replace(c, frames=c.frames[::-1], truth=c.truth[::-1], share=c.share[::-1]) for c in clips],
        "bar": [behind_bar(a, b) for a, b in pairs],
        "object": [behind_object(a, b) for a, b in pairs],
    }
    for name in names:
        if VARIANTS[name].remembers and not hasattr(segmenter, "features"):
            continue
        rows = {
            kind: [follow(clip, segmenter, VARIANTS[name], every, start)[0] for clip in of] for kind, of in sets.items()
        }
        tell_fit(f"{segmenter.name}, {name}, looks every {every}", rows)


def arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--davis", type=Path, required=True)
    parser.add_argument("--sam2", help="directory or hub id")
    parser.add_argument("--cache", type=Path, help="directory to keep SAM2's embeddings in; a temporary one without it")
    parser.add_argument("--segmenters", nargs="+", choices=("grabcut", "sam2"), default=["grabcut", "sam2"])
    parser.add_argument("--start", choices=("mask", "box", "click"), default="click")
    parser.add_argument("--variants", nargs="+", choices=tuple(VARIANTS), default=list(VARIANTS))
    parser.add_argument("--looks", nargs="+", type=int, default=[1, 3, 5])
    parser.add_argument("--clips", nargs="*")
    parser.add_argument("--step", type=int, default=3, help="see every n-th frame of a clip only")
    parser.add_argument("--most", type=int, default=1000, help="frames of a clip")
    parser.add_argument("--lost", action="store_true", help="measure honesty, with the first of --looks")
    parser.add_argument("--score", action="store_true", help="fit what scores stand for, with the first of --looks")
    return parser.parse_args()


def main():
    args = arguments()
    names = args.clips or clip_names(args.davis)
    clips = [read_clip(args.davis, name, step=args.step, most=args.most) for name in names]
    print(f"{len(clips)} clips, {sum(len(c.frames) for c in clips)} frames, every {args.step}., from a {args.start}")
    with tempfile.TemporaryDirectory() as temporary:
        segmenters = [(GrabCutSegmenter(), 0.0)] if "grabcut" in args.segmenters else []
        if args.sam2 and "sam2" in args.segmenters:
            segmenters.append(_sam2(args, clips, args.cache or Path(temporary)))
        if args.lost:
            for segmenter, _ in segmenters:
                honesty(clips, segmenter, args.variants, args.looks[0], args.start)
        elif args.score:
            for segmenter, _ in segmenters:
                score_fit(clips, segmenter, args.variants, args.looks[0], args.start)
        else:
            table(clips, segmenters, args.variants, args.looks, args.start)


def _sam2(args, clips, cache):
    """(SAM2 with the embeddings of all clips in its cache, seconds that one embedding costs)."""
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
