"""Compare the joined track of two passes with the forward pass alone: `make bench-joining [DAVIS=DIR]`.

Each object is known on the first and the last frame and tracked in both directions by optical flow with GrabCut, which
refits the mask on every third frame. The clips are drawn ones with three objects each, or clips in the layout of DAVIS
(every third frame, at most 14).

Prints, over the frames between the known ones:

1. J of the joined track and of the forward pass alone, and how well the score detects frames with J < 0.8, with and
   without the agreement of the passes.
2. For known frames that are 4, 8 and 16 apart whose passes contradict each other: box IoU of the joined track and of
   linear interpolation between the known boxes (which the tracker does up to 8 frames).
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np

import video.tracking.propagate as propagate_module
from backend.benchmarks.davis_clips import clip_names, read_clip
from refam.evaluation.synthetic import ArrayClip
from refam.segmenters.grabcut import GrabCutSegmenter
from refam.tiny.scenes import draw_clip
from video import masks
from video.metrics import auroc, region_similarity
from video.tracking import bidirectional
from video.tracking.bidirectional import join_passes
from video.tracking.flow_tracker import FlowTrackerOptions


def drawn_clips(count):
    """Yield (frames, truth) of drawn clips: (N, H, W, 3) uint8 RGB and (objects, N, H, W) bool."""
    for number in range(count):
        clip = draw_clip(5_000 + number, size=(320, 180), n_frames=40, fps=24.0, speed=0.9)
        yield np.asarray(clip.frames), np.asarray(clip.masks)


def davis_clips(root, *, step=3, max_frames=14):
    """Yield (frames, truth) as `drawn_clips` does, with one object each."""
    for name in clip_names(root):
        clip = read_clip(root, name, step=step, max_frames=max_frames)
        yield clip.frames, clip.truth[None]


def score_frames(frames, truth):
    """Yield (J, score, score without agreement, J of the forward pass) of each frame between the known ones."""
    for mask_truth, forward, backward in track_both_ways(frames, truth):
        for i, (mask, score, visible) in list(enumerate(join_passes(forward, backward)))[1:-1]:
            if mask_truth[i].any():
                unweighted = (forward if mask is forward[i][0] else backward)[i][1]
                j, forward_j = (region_similarity(masks.decode(m), mask_truth[i]) for m in (mask, forward[i][0]))
                yield j, score * visible, unweighted * visible, forward_j


def track_both_ways(frames, truth):
    """Return (truth, forward pass, backward pass) of each object that is visible on the first and the last frame."""
    passes, last = [], len(frames) - 1
    objects = [t for t in truth if t[0].any() and t[last].any()]

    def record_passes(forward, backward):
        passes.append((forward, backward))
        return join_passes(forward, backward)

    starts = [propagate_module.TrackStart("object", {0: t[0], last: t[last]}) for t in objects]
    propagate_module.join_passes = record_passes
    try:
        options = FlowTrackerOptions(refit_every=3)
        propagate_module.propagate_all(ArrayClip(frames), starts, GrabCutSegmenter(), options=options)
    finally:
        propagate_module.join_passes = join_passes
    return [(mask_truth, *pair) for mask_truth, pair in zip(objects, passes, strict=True)]


def interpolation_table(clips):
    """Yield the lines of a Markdown table about known frames that are 4, 8 and 16 apart."""
    yield "\n| frames apart | frames between, contradicted | box IoU, joined | straight | of all joined |"
    yield "|---|---|---|---|---|"
    clips, shipped_limit = list(clips), bidirectional._MAX_INTERPOLATED_FRAMES
    for distance in (4, 8, 16):
        rows = []
        for frames, truth in clips:
            for first in range(0, len(frames) - distance, max(distance, 8)):
                window = slice(first, first + distance + 1)
                for mask_truth, forward, backward in track_both_ways(frames[window], truth[:, window]):
                    tracks = []
                    for bidirectional._MAX_INTERPOLATED_FRAMES in (0, distance):
                        tracks.append(join_passes(forward, backward))
                    differ = any(a[0] != b[0] for a, b in zip(*tracks, strict=True))
                    for i in range(1, distance):
                        if mask_truth[i].any():
                            rows.append((differ, *(observed_box_iou(mask_truth[i], track[i]) for track in tracks)))
        bidirectional._MAX_INTERPOLATED_FRAMES = shipped_limit
        table = np.array(rows)
        contradicted = table[table[:, 0] > 0]
        means = " | ".join(f"{v:.3f}" for v in contradicted[:, 1:].mean(0)) if len(contradicted) else "- | -"
        yield f"| {distance} | {len(contradicted)} of {len(table)} | {means} | {table[:, 1].mean():.3f} |"


def observed_box_iou(truth, observation):
    """Return the IoU of the boxes of a true mask and of an observation, 0 where the object is not visible."""
    mask, _, visible = observation
    box = masks.rle_box(mask) if visible else None
    return 0.0 if box is None else float(masks.box_iou(np.array([box]), np.array([masks.box_of(truth)]))[0])


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--davis", type=Path, help="clips in the layout of DAVIS, instead of drawn ones")
    parser.add_argument("--limit", type=int, default=10, help="how many drawn clips")
    args = parser.parse_args()
    clips = davis_clips(args.davis) if args.davis else drawn_clips(args.limit)
    j, score, unweighted, forward_j = np.array([row for clip in clips for row in score_frames(*clip)]).T
    print(f"{len(j)} frames: J {j.mean():.3f}, of the forward pass alone {forward_j.mean():.3f}")
    for name, values in (("score", score), ("score without agreement", unweighted)):
        print(
            f"{name}: AUROC of J < 0.8 {auroc(values, j >= 0.8)}, mean distance from J {np.abs(values - j).mean():.3f}"
        )
    clips = davis_clips(args.davis, step=1, max_frames=33) if args.davis else drawn_clips(args.limit)
    for line in interpolation_table(clips):
        print(line)


if __name__ == "__main__":
    main()
