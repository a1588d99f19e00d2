"""What it is worth to know where the forward and the backward pass agree: `make bench-joining [DAVIS=DIR]`.

Objects are known on the first and the last frame and followed by flow with GrabCut, looking every third frame: drawn
clips of three things, or clips laid out as DAVIS (every third frame, 14 of each). Per frame between: J of the track
that is joined and of the forward pass alone; and how well the score tells frames with J < 0.8, with agreement and
without. Then known frames that are nearer: IoU of the boxes between where the two passes contradict each other, as they
are joined and taken straight from the one to the other, which is what the track does up to 8 frames.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np

import video.tracking.propagate as propagating
from backend.benchmarks.davis_clips import clip_names, read_clip
from backend.feedback.score_evaluation import auroc
from refam.evaluation.synthetic import ArrayClip
from refam.segmenters.grabcut import GrabCutSegmenter
from refam.tiny.scenes import draw_clip
from video import masks
from video.metrics import region_similarity
from video.tracking import bidirectional as joining
from video.tracking.bidirectional import join_passes
from video.tracking.flow_tracker import FlowTrackerOptions


def drawn_clips(count):
    for number in range(count):
        clip = draw_clip(5_000 + number, size=(320, 180), n_frames=40, fps=24.0, speed=0.9)
        yield np.asarray(clip.frames), np.asarray(clip.masks)


def davis_clips(root, *, step=3, most=14):
    for name in clip_names(root):
        clip = read_clip(root, name, step=step, most=most)
        yield clip.frames, clip.truth[None]


def rows(frames, truth):
    """Per frame between: J, score, the score without agreement, J of the forward pass alone."""
    for true, forward, backward in followed(frames, truth):
        for i, (mask, score, visible) in list(enumerate(join_passes(forward, backward)))[1:-1]:
            if true[i].any():
                plain = (forward if mask is forward[i][0] else backward)[i][1]
                j, forward = (region_similarity(masks.decode(m), true[i]) for m in (mask, forward[i][0]))
                yield j, score * visible, plain * visible, forward


def followed(frames, truth):
    """(truth, forward pass, backward pass) of each object that is seen on the first and the last frame."""
    passes, last = [], len(frames) - 1
    objects = [t for t in truth if t[0].any() and t[last].any()]

    def watched(forward, backward):
        passes.append((forward, backward))
        return join_passes(forward, backward)

    starts = [propagating.TrackStart("object", {0: t[0], last: t[last]}) for t in objects]
    propagating.join_passes = watched
    try:
        options = FlowTrackerOptions(refit_every=3)
        propagating.propagate_all(ArrayClip(frames), starts, GrabCutSegmenter(), options=options)
    finally:
        propagating.join_passes = join_passes
    return [(true, *found) for true, found in zip(objects, passes, strict=True)]


def near(clips):
    """Markdown: known frames 4, 8 and 16 apart whose passes contradict each other on every frame between."""
    yield "\n| frames apart | frames between, contradicted | box IoU, joined | straight | of all joined |"
    yield "|---|---|---|---|---|"
    clips, bridged = list(clips), joining._NEAR
    for apart in (4, 8, 16):
        found = []
        for frames, truth in clips:
            for first in range(0, len(frames) - apart, max(apart, 8)):
                piece = slice(first, first + apart + 1)
                for true, forward, backward in followed(frames[piece], truth[:, piece]):
                    ways = []
                    for joining._NEAR in (0, apart):
                        ways.append(join_passes(forward, backward))
                    changed = any(a[0] != b[0] for a, b in zip(*ways, strict=True))
                    for row in range(1, apart):
                        if true[row].any():
                            found.append((changed, *(box_iou_with(true[row], way[row]) for way in ways)))
        joining._NEAR = bridged
        table = np.array(found)
        some = table[table[:, 0] > 0]
        means = " | ".join_passes(f"{v:.3f}" for v in some[:, 1:].mean(0)) if len(some) else "- | -"
        yield f"| {apart} | {len(some)} of {len(table)} | {means} | {table[:, 1].mean():.3f} |"


def box_iou_with(true, seen):
    """IoU of the boxes; 0 where the object is not seen."""
    mask, _, visible = seen
    box = masks.rle_box(mask) if visible else None
    return 0.0 if box is None else float(masks.box_iou(np.array([box]), np.array([masks.box_of(true)]))[0])


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--davis", type=Path)
    parser.add_argument("--limit", type=int, default=10, help="how many drawn clips")
    args = parser.parse_args()
    clips = davis_clips(args.davis) if args.davis else drawn_clips(args.limit)
    j, score, plain, forward = np.array([row for clip in clips for row in rows(*clip)]).T
    print(f"{len(j)} frames: J {j.mean():.3f}, of the forward pass alone {forward.mean():.3f}")
    for name, of in (("score", score), ("score without agreement", plain)):
        print(f"{name}: AUROC of J < 0.8 {auroc(of, j >= 0.8)}, mean distance from J {np.abs(of - j).mean():.3f}")
    clips = davis_clips(args.davis, step=1, most=33) if args.davis else drawn_clips(args.limit)
    for line in near(clips):
        print(line)


if __name__ == "__main__":
    main()
