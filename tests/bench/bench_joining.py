"""What it is worth to know where the forward and the backward pass agree: `make bench-joining [DAVIS=DIR]`.

Objects are known on the first and the last frame and followed by flow with GrabCut, looking every third frame: drawn
clips of three things, or clips laid out as DAVIS (every third frame, 14 of each). Per frame between: J of the track
that is joined and of the forward pass alone; and how well the score tells frames with J < 0.8, with agreement and
without.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np

import video.propagate as propagating
from backend.loop.unsure import auroc
from refam.grabcut import GrabCutSegmenter
from refam.tiny.scenes import draw_clip
from tests.bench.davis import clip_names, read_clip
from tests.video.clips import ArrayClip
from video import masks
from video.joining import join
from video.metrics import region_similarity
from video.tracking import FlowTrackerOptions


def drawn_clips(count):
    for number in range(count):
        clip = draw_clip(5_000 + number, size=(320, 180), n_frames=40, fps=24.0, speed=0.9)
        yield np.asarray(clip.frames), np.asarray(clip.masks)


def davis_clips(root):
    for name in clip_names(root):
        clip = read_clip(root, name, step=3, most=14)
        yield clip.frames, clip.truth[None]


def rows(frames, truth):
    """Per frame between: J, score, the score without agreement, J of the forward pass alone."""
    passes = []

    def watched(ahead, behind):
        passes.append((ahead, behind))
        return join(ahead, behind)

    last = len(frames) - 1
    objects = [t for t in truth if t[0].any() and t[last].any()]
    starts = [propagating.Start("object", {0: t[0], last: t[last]}) for t in objects]
    propagating.join = watched
    try:
        options = FlowTrackerOptions(refit_every=3)
        propagating.propagate_all(ArrayClip(frames), starts, GrabCutSegmenter(), options=options)
    finally:
        propagating.join = join
    for true, (ahead, behind) in zip(objects, passes, strict=True):
        for i, (mask, score, visible) in list(enumerate(join(ahead, behind)))[1:-1]:
            if true[i].any():
                plain = (ahead if mask is ahead[i][0] else behind)[i][1]
                j, forward = (region_similarity(masks.decode(m), true[i]) for m in (mask, ahead[i][0]))
                yield j, score * visible, plain * visible, forward


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


if __name__ == "__main__":
    main()
