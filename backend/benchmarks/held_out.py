"""Judge the tracker's constants on clips that did not choose them, each clip left out once.

    make bench-held-out DAVIS=DIR SAM2=DIR [ARGS="--features DIR --step 3"]

Every constant takes two other values, one at a time. For each clip the setting (the defaults among them) is chosen that
has the highest mean J&F on the other clips; its J&F on this clip is what a choice by these clips is worth elsewhere.
The tracker starts from the first frame's true mask, so that nothing but the tracker is judged.

Prints the mean J&F of each setting, the setting that is chosen without each clip, and three means over the clips: of
the defaults, of the settings chosen without the clip, and of the best setting for all of them.
"""

from __future__ import annotations

import argparse
import tempfile
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from unittest.mock import patch

import numpy as np

from backend.benchmarks.davis_clips import VideoInMemory, add_input_arguments, clip_names, load_sam2, read_clips
from backend.benchmarks.track import FPS, score_masks
from video import masks
from video.tracking import memory_tracker
from video.tracking.memory_bank import MemoryBankOptions
from video.tracking.memory_tracker import MemoryTracker, MemoryTrackerOptions
from video.tracking.propagate import propagate

DEFAULTS = "defaults"
OTHER_VALUES = {
    "search_radius": (0.7, 1.4),
    "unknown_cosine": (0.4, 0.6),
    "known_cosine": (0.7, 0.9),
    "min_score": (0.35, 0.55),
    "redetect_score": (0.5, 0.65),
    "memorize_score": (0.5, 0.7),
    "sure_score": (0.7, 0.9),
    "memory.search_radius": (0.12, 0.27),
    "memory.top_k": (6, 16),
    "memory.temperature": (0.06, 0.16),
    "memory.max_long_term": (2, 8),
    "_CONTINUITY_GAIN": (0.0, 0.3),
    "_BETTER_BY": (0.05, 0.2),
}
"""Of the tracker's options, of its memory's, and of the constants of `video.tracking.memory_tracker`."""


def settings():
    """Return name -> (option, value), the defaults first."""
    others = {f"{option} {value:g}": (option, value) for option, values in OTHER_VALUES.items() for value in values}
    return {DEFAULTS: ("search_radius", MemoryTrackerOptions().search_radius)} | others


def track(clip, segmenter, option, value, *, fps):
    """Return J&F of a clip, tracked from its first true mask with one option set."""
    options, is_constant = MemoryTrackerOptions(), option.startswith("_")
    if option.startswith("memory."):
        options = replace(options, memory=replace(MemoryBankOptions(), **{option.removeprefix("memory."): value}))
    elif not is_constant:
        options = replace(options, **{option: value})
    video = VideoInMemory(clip.frames, name=clip.name, fps=fps)
    with patch.object(memory_tracker, option, value) if is_constant else nullcontext():
        made = propagate(
            video, 0, clip.truth[0], segmenter, make_tracker=lambda: MemoryTracker(segmenter, options=options)
        )
    j, f = score_masks(np.stack([masks.decode(rle) for rle in made.rles]), clip.truth)
    return float((j.mean() + f.mean()) / 2)


def choose_without(scores, left_out):
    """Return the index of the setting with the highest mean on all clips but one; the first of those alike.

    Args:
        scores: (settings, clips) float.
        left_out: Index of the clip.
    """
    return int(np.argmax(np.delete(scores, left_out, axis=1).mean(1)))


def parse_arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_input_arguments(parser, is_sam2_required=True)
    parser.add_argument("--clips", nargs="+", help="all by default")
    parser.add_argument("--step", type=int, default=3, help="use every n-th frame of a clip")
    return parser.parse_args()


def main():
    args = parse_arguments()
    names = args.clips or clip_names(args.davis)
    clips = read_clips(args.davis, names, step=args.step)
    tried, rows = settings(), []
    with tempfile.TemporaryDirectory() as temporary:
        segmenter = load_sam2(args.sam2, args.features or Path(temporary))
        print(f"{'J&F':26s}  mean  " + " ".join(f"{name[:12]:>12s}" for name in names))
        for label, (option, value) in tried.items():
            row = [track(clip, segmenter, option, value, fps=FPS / args.step) for clip in clips]
            rows.append(row)
            print(f"{label:26s} {np.mean(row):5.3f}  " + " ".join(f"{score:12.3f}" for score in row), flush=True)
    scores, labels = np.array(rows), list(tried)
    chosen = [choose_without(scores, i) for i in range(len(clips))]
    for i, name in enumerate(names):
        print(f"without {name}: {labels[chosen[i]]}, on it {scores[chosen[i], i]:.3f} (defaults {scores[0, i]:.3f})")
    best = int(scores.mean(1).argmax())
    held_out = scores[chosen, range(len(clips))].mean()
    print(
        f"defaults {scores[0].mean():.3f}; each clip left out {held_out:.3f}; {labels[best]} {scores[best].mean():.3f}"
    )


if __name__ == "__main__":
    main()
