"""Track the same clips at each quality and by other trackers: J, F, looks and CPU seconds side by side.

    make bench-track DAVIS=DIR [SAM2=DIR] [ARGS="--features DIR --clips camel --step 1 --start mask"]

DAVIS holds JPEGImages/<clip>/*.jpg and Annotations/<clip>/*.png, one object a clip; `make compose` writes such clips.
An object is known by one click on the first frame, at the deepest point of its mask (or by that mask: `--start mask`).

    fast, normal, best    what `refam label` does at this quality
    box                   OpenCV's TrackerMIL, whose box SAM2 outlines on each frame: the only one of OpenCV's trackers
                          that needs no weights of its own (NanoTrack, DaSiamRPN and ViT come as ONNX files)
    flow                  optical flow carries the first mask, without any look

The trackers see every third frame and then every frame (`--step`). The segmenter is SAM2, or GrabCut without SAM2=.
Without `--features` features are computed once in a run; with it they are kept in that folder for the next run. Either
way each look costs in the table what the encoder was measured to take in the same run.

Prints, for each method: J, F and J&F, the mean over clips; looks (images that the encoder was given) and frames; CPU
seconds a frame, and the encoder's part of them; the worst clip. Then J&F and looks of each clip.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from backend.benchmarks.davis_clips import (
    MOST_FRAMES,
    VideoInMemory,
    add_input_arguments,
    clip_names,
    first_mask,
    read_clip,
    read_clips,
)
from backend.benchmarks.metering import MeteredSegmenter, load_metered_sam2, why_not_cropped
from refam.model import Model
from refam.pipeline.quality import Quality
from refam.pipeline.roi import RegionOfInterest
from refam.pipeline.types import FramePrompt, PipelineError, Target
from refam.segmenters.grabcut import GrabCutSegmenter
from video import masks
from video.metrics import boundary_accuracy, region_similarity
from video.tracking.flow_tracker import FlowTracker
from video.tracking.propagate import propagate
from video.types import Observation, Prompt

METHODS = (*(str(quality) for quality in Quality), "box", "flow")
FPS = 24.0  # of the clips when every frame is used


class BoxTracker:
    """A `Tracker`: the segmenter outlines the box of OpenCV's TrackerMIL on every frame."""

    name = "box"

    def __init__(self, segmenter):
        self._segmenter = segmenter
        self._image, self._followers = None, {}

    def step(self, image):
        self._image = image
        observations = {}
        for k, follower in self._followers.items():
            cv2.setRNGSeed(0)
            _, (x, y, w, h) = follower.update(np.ascontiguousarray(image[..., ::-1]))
            size = np.array(image.shape[1::-1] * 2)
            corners = np.clip(np.array([x, y, x + w, y + h]) / size, 0, 1)
            mask = np.zeros(image.shape[:2], bool)
            if (corners[2:] > corners[:2]).all():
                found = self._segmenter.segment(image, Prompt(box=tuple(corners.tolist())))
                mask = found[0].mask if found else mask
            observations[k] = Observation(mask, float(mask.any()), bool(mask.any()))
        return observations

    def start(self, object_id, mask):
        x0, y0, x1, y1 = masks.box_of(mask)
        h, w = mask.shape
        box = (round(x0 * w), round(y0 * h), round((x1 - x0) * w), round((y1 - y0) * h))
        cv2.setRNGSeed(0)  # it learns from random patches
        follower = cv2.TrackerMIL.create()
        follower.init(np.ascontiguousarray(self._image[..., ::-1]), box)
        self._followers[object_id] = follower
        return Observation(mask, 1.0, True)


class NoSegmenter:
    """A segmenter that finds nothing, so that flow keeps its mask."""

    name = "none"

    def segment(self, image, prompt, *, frame=0):
        return []


@dataclass(frozen=True, eq=False)
class Outcome:
    """What one method did on one clip.

    Attributes:
        name: The clip's name.
        j: (N,) float, J of each frame.
        f: (N,) float, F of each frame.
        looks: Images that the encoder was given.
        encoder_s: CPU seconds of these looks.
        other_s: CPU seconds of everything else.
    """

    name: str
    j: np.ndarray
    f: np.ndarray
    looks: int
    encoder_s: float
    other_s: float

    @property
    def jf(self):
        return float((self.j.mean() + self.f.mean()) / 2)


def track_as_label_does(quality, clip, segmenter, start, *, fps):
    """Track a clip's object as `refam label` does at a quality; the first frame's click or mask is given.

    Args:
        quality: A `Quality`.
        clip: An `AnnotatedClip`.
        segmenter: The segmenter.
        start: "click" or "mask".
        fps: Frames per second of the clip.

    Returns:
        The `MaskTrack`; None if nothing was found at the click.
    """
    if start == "mask":
        prompt = FramePrompt(0, mask=masks.encode(clip.truth[0]))
    else:
        prompt = FramePrompt(0, points=(masks.deepest_point(clip.truth[0]),), labels=(1,))
    video = VideoInMemory(clip.frames, name=clip.name, fps=fps)
    model = Model(segmenter, no_words, quality=quality)
    region = RegionOfInterest(max_side_px=quality.max_side_px)
    try:
        return model.run(video, [Target("object", prompts=(prompt,))], region=region)[0].track
    except PipelineError:
        return None


def track_with(method, clip, segmenter, start, *, fps):
    """Return the masks of a method on each frame of a clip, (N, H, W) bool; the first frame's click or mask is given.

    Args:
        method: One of `METHODS`.
        clip: An `AnnotatedClip`.
        segmenter: The segmenter.
        start: "click" or "mask".
        fps: Frames per second of the clip.
    """
    if method in list(Quality):
        track = track_as_label_does(Quality(method), clip, segmenter, start, fps=fps)
        if track is None:
            return np.zeros_like(clip.truth)
    else:
        video = VideoInMemory(clip.frames, name=clip.name, fps=fps)
        mask = first_mask(segmenter, clip.frames[0], clip.truth[0], start)
        if mask is None:
            return np.zeros_like(clip.truth)
        trackers = {"box": lambda: BoxTracker(segmenter), "flow": lambda: FlowTracker(NoSegmenter())}
        track = propagate(video, 0, mask, segmenter, make_tracker=trackers[method])
    return np.stack([masks.decode(rle) for rle in track.rles])


def no_words():
    raise RuntimeError("a click needs no words")


def score_masks(tracked, truth):
    """Return J and F of each frame, (N,) float each, of masks and true masks (N, H, W) bool."""
    return tuple(
        np.array([measure(mask, true) for mask, true in zip(tracked, truth, strict=True)])
        for measure in (region_similarity, boundary_accuracy)
    )


def evaluate(method, clip, segmenter, start, *, fps=FPS):
    """Run a method on a clip from its first frame; see `track_with`.

    Returns:
        The `Outcome`.
    """
    looks, encoded_s, begin = segmenter.looks, segmenter.encoder_s, time.process_time()
    tracked = track_with(method, clip, segmenter, start, fps=fps)
    encoded_s = segmenter.encoder_s - encoded_s
    spent_s = time.process_time() - begin - encoded_s
    looks = segmenter.looks - looks
    j, f = score_masks(tracked, clip.truth)
    return Outcome(clip.name, j, f, looks, encoded_s if segmenter.look_s is None else looks * segmenter.look_s, spent_s)


def print_summary(outcomes, frames):
    """Print a row for each method.

    Args:
        outcomes: Method -> one `Outcome` for each clip.
        frames: Frames of all clips.
    """
    print(f"{'method':8s}     J     F   J&F   looks of frames   CPU s a frame, encoder   worst clip")
    for method, rows in outcomes.items():
        j, f = (np.mean([getattr(row, key).mean() for row in rows]) for key in "jf")
        looks = sum(row.looks for row in rows)
        encoder_s = sum(row.encoder_s for row in rows) / frames
        total_s = encoder_s + sum(row.other_s for row in rows) / frames
        worst = min(rows, key=lambda row: row.jf)
        print(
            f"{method:8s} {j:5.3f} {f:5.3f} {(j + f) / 2:5.3f}   {looks:5d} of {frames:5d}   "
            f"{total_s:13.2f} {encoder_s:8.2f}   {worst.name} {worst.jf:.3f}"
        )


def print_clips(outcomes):
    """Print J&F and looks of each clip (row) and method (column)."""
    rows = list(zip(*outcomes.values(), strict=True))
    width = max(len(row[0].name) for row in rows)
    print(f"\n{'J&F, looks':{width}s} " + " ".join(f"{method:>12s}" for method in outcomes) + "   frames")
    for row in rows:
        cells = " ".join(f"{outcome.jf:7.3f} {outcome.looks:4d}" for outcome in row)
        print(f"{row[0].name:{width}s} {cells}   {len(row[0].j):6d}")
    print(flush=True)


def load_segmenter(sam2, features, image, crop_px=None):
    """Return a metered SAM2, or GrabCut if `sam2` is None; see `load_metered_sam2`."""
    if sam2 is None:
        return MeteredSegmenter(GrabCutSegmenter())
    return load_metered_sam2(sam2, image, features=features, crop_px=crop_px)


def parse_arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_input_arguments(parser)
    parser.add_argument("--crop", type=int, help="encode only a square of so many pixels where the object fits into it")
    parser.add_argument("--methods", nargs="+", choices=METHODS, default=METHODS)
    parser.add_argument("--start", choices=("click", "mask"), default="click")
    parser.add_argument("--clips", nargs="+", help="all by default")
    parser.add_argument("--step", nargs="+", type=int, default=[3, 1], help="use every n-th frame of a clip")
    parser.add_argument("--most", type=int, default=MOST_FRAMES, help="most frames of a clip")
    args = parser.parse_args()
    if args.crop is not None and (reason := why_not_cropped(args.sam2, args.crop)):
        parser.error(f"--crop {args.crop}: {reason}")
    return args


def main():
    args = parse_arguments()
    names = args.clips or clip_names(args.davis)
    with tempfile.TemporaryDirectory() as temporary:
        first = read_clip(args.davis, names[0], step=1, max_frames=1).frames[0]
        segmenter = load_segmenter(args.sam2, args.features or Path(temporary), first, args.crop)
        cost = "as measured on each look" if segmenter.look_s is None else f"{segmenter.look_s:.2f} CPU s a look"
        print(f"{segmenter.name}: {cost} in its encoder; from a {args.start}")
        for step in args.step:
            clips = read_clips(args.davis, names, step=step, max_frames=args.most)
            frames = sum(len(clip.frames) for clip in clips)
            print(f"\nevery {step}. frame, {len(clips)} clips, {frames} frames")
            outcomes = {
                method: [evaluate(method, clip, segmenter, args.start, fps=FPS / step) for clip in clips]
                for method in args.methods
            }
            print_summary(outcomes, frames)
            print_clips(outcomes)
            if args.crop:
                print(f"{segmenter.crops} squares of {args.crop} pixels so far\n")


if __name__ == "__main__":
    main()
