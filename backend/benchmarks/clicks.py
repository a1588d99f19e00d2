"""From one click to a mask: IoU with the true mask, of the segmenter's best mask and of the one that is chosen.

    make bench-clicks DAVIS=DIR SAM2=DIR [ARGS="--every 15 --clips camel"]

DAVIS holds JPEGImages/<clip>/*.jpg and Annotations/<clip>/*.png. On the first frame of each clip (with `--every`, on
each n-th) the object is clicked on at its deepest point and at ten points drawn at random, one click at a time. The
mask with the highest score is compared with that of `refam.pipeline.click_masks`, which also looks at the frames around
and prompts the segmenter a second time, and with the best of the segmenter's masks for the click, by the truth.

Prints for each clip, and for all clicks, the mean IoU and the share of masks with an IoU below 0.5; and the CPU-seconds
that the choice took, without the image encoder.
"""

from __future__ import annotations

import argparse
import time
import zlib
from pathlib import Path

import numpy as np

from backend.benchmarks.davis_clips import clip_names, read_clip
from refam.evaluation.synthetic import ArrayClip
from refam.pipeline.click_masks import choose_click_mask
from refam.segmenters.sam2 import Sam2Segmenter
from video import masks
from video.types import Prompt

RANDOM_CLICKS = 10
COLUMNS = ("highest score", "chosen", "best of its masks")


def parse_arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--davis", type=Path, required=True)
    parser.add_argument("--sam2", required=True)
    parser.add_argument("--clips", nargs="+", metavar="CLIP")
    parser.add_argument("--every", type=int, metavar="N", help="click on each n-th frame; on the first one by default")
    parser.add_argument("--cache", type=Path, help="a folder for SAM2's features, to run it again")
    return parser.parse_args()


def clicks_on(truth, seed):
    """Return the object's deepest point and random points on it, normalised (x, y)."""
    h, w = truth.shape
    rows, columns = np.nonzero(truth)
    some = np.random.default_rng(seed).choice(len(rows), RANDOM_CLICKS, replace=len(rows) < RANDOM_CLICKS)
    return [masks.deepest_point(truth), *(((columns[i] + 0.5) / w, (rows[i] + 0.5) / h) for i in some)]


def judge(clip, frame, truth, click, segmenter):
    """Return the IoU of each column's mask, and the CPU-seconds of the choice."""
    image = clip.frame(frame)
    candidates = segmenter.segment(image, Prompt(points=np.array([click]), labels=np.ones(1, np.int64)))
    begin = time.process_time()
    chosen = choose_click_mask(clip, frame, image, click, segmenter)
    spent_s = time.process_time() - begin
    ious = [masks.iou(c.mask, truth) for c in candidates] or [0.0]
    return [ious[0], masks.iou(chosen.mask, truth) if chosen else 0.0, max(ious)], spent_s


def print_row(name, ious):
    """Print the mean IoU and the share below 0.5 of each column; ious: (n, 3)."""
    cells = "".join(f"{mean:11.3f} {low:6.3f}" for mean, low in zip(ious.mean(0), (ious < 0.5).mean(0), strict=True))
    print(f"{name:28s}{len(ious):5d}{cells}", flush=True)


def main():
    args = parse_arguments()
    segmenter = Sam2Segmenter.load(args.sam2, device="cpu", cache=args.cache, cache_mb=20000)
    print(f"{'clip':28s}{'n':>5s}" + "".join(f"{name:>18s}" for name in COLUMNS) + "   (mean IoU, share below 0.5)")
    deepest, at_random, seconds = [], [], []
    for name in args.clips or clip_names(args.davis):
        clip = read_clip(args.davis, name, step=1, max_frames=100_000)
        video, rows = ArrayClip(clip.frames), []
        for frame in range(0, len(clip.frames), args.every or len(clip.frames)):
            if not clip.truth[frame].any():
                continue
            for k, click in enumerate(clicks_on(clip.truth[frame], zlib.crc32(f"{name} {frame}".encode()))):
                ious, spent_s = judge(video, frame, clip.truth[frame], click, segmenter)
                rows.append(ious)
                (at_random if k else deepest).append(ious)
                seconds.append(spent_s)
        if rows:
            print_row(name, np.array(rows))
    print_row("all, at the deepest point", np.array(deepest))
    print_row("all, at random points", np.array(at_random))
    print_row("all", np.array(deepest + at_random))
    print(f"the choice takes {np.median(seconds):.2f} CPU-seconds (median), at most {np.max(seconds):.2f}")


if __name__ == "__main__":
    main()
