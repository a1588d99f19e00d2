"""Which frames a person would have to correct, and which of them `refam label` names.

    make bench-review DAVIS=DIR [SAM2=DIR] [ARGS="--features DIR --clips camel --step 3"]

DAVIS is laid out as for `make bench-track`. Each clip's object is known by one click on the first frame and tracked at
the default quality. A frame has to be corrected if its box has an IoU below 0.8 with the truth's, if the object is in
sight and was not found, or if it was found and is not in sight.

Prints, for each way of naming frames, how many it names, how many of those have to be corrected (precision) and how
many of all frames that have to be corrected are among them (recall):

    sheet           the frames that the tiles of needs_a_look.jpg name: their own, or from one to another
    score < LIMIT   frames with a lower score, or without a mask; the notes name those below 0.88, and tracks.json, the
                    keyframes and the overlay show scores
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

import numpy as np

from backend.benchmarks.davis_clips import add_input_arguments, clip_names, read_clip
from backend.benchmarks.track import FPS, load_segmenter, track_as_label_does
from refam.pipeline.quality import Quality
from video import masks
from video.tracking.expected_iou import DOUBTFUL_IOU
from video.visualize.review_sheet import frames_to_review

BOX_IOU = 0.8  # under which a person corrects a box
LIMITS = (0.8, 0.85, DOUBTFUL_IOU, 0.9)


def needs_correction(track, truth):
    """Return which frames have to be corrected.

    Args:
        track: The `MaskTrack`, None if nothing was found.
        truth: (N, H, W) bool, the true masks.

    Returns:
        (N,) bool.
    """
    wrong = []
    for frame, mask in enumerate(truth):
        box = masks.box_of(mask)
        found = track is not None and bool(track.visible[frame])
        if box is None or not found:
            wrong.append(found if box is None else True)
        else:
            wrong.append(float(masks.box_iou(track.boxes[frame], np.array(box))) < BOX_IOU)
    return np.array(wrong)


def named_frames(track, n_frames, *, fps):
    """Return by each way of naming frames which it names, (N,) bool each; all frames if nothing was found."""
    if track is None:
        return dict.fromkeys(("sheet", *(f"score < {limit}" for limit in LIMITS)), np.ones(n_frames, bool))
    sheet = {frame for item in frames_to_review([track], np.arange(n_frames) / fps) for frame in item.named}
    named = {"sheet": np.array([frame in sheet for frame in range(n_frames)])}
    return named | {f"score < {limit}": ~track.visible | (track.scores < limit) for limit in LIMITS}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_input_arguments(parser)
    parser.add_argument("--clips", nargs="+", help="all by default")
    parser.add_argument("--step", type=int, default=3, help="use every n-th frame of a clip")
    args = parser.parse_args()
    names = args.clips or clip_names(args.davis)
    wrong, named = [], []
    with tempfile.TemporaryDirectory() as temporary:
        first = read_clip(args.davis, names[0], step=1, max_frames=1).frames[0]
        segmenter = load_segmenter(args.sam2, args.features or Path(temporary), first)
        for name in names:
            clip = read_clip(args.davis, name, step=args.step)
            fps = FPS / args.step
            track = track_as_label_does(Quality.NORMAL, clip, segmenter, "click", fps=fps)
            wrong.append(needs_correction(track, clip.truth))
            named.append(named_frames(track, len(clip.truth), fps=fps))
            print(f"{name}: {wrong[-1].sum()} of {len(clip.truth)} frames have to be corrected", flush=True)
    bad = np.concatenate(wrong)
    print(f"\n{segmenter.name}: {bad.sum()} of {len(bad)} frames have to be corrected")
    print(f"{'named by':12s} frames  precision  recall")
    for way in named[0]:
        chosen = np.concatenate([frames[way] for frames in named])
        hits = (chosen & bad).sum()
        precision = f"{hits / chosen.sum():9.2f}" if chosen.any() else f"{'-':>9s}"
        recall = f"{hits / bad.sum():6.2f}" if bad.any() else f"{'-':>6s}"
        print(f"{way:12s} {chosen.sum():6d}  {precision}  {recall}")


if __name__ == "__main__":
    main()
