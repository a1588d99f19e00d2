"""Mean IoU (J) of tracks that start from the first frame's true mask, box or a click, on clips laid out as DAVIS.

    python -m tests.bench.bench_tracking --root DAVIS_DIR [--sam2 DIR] [--start box] [--clips blackswan camel]

DAVIS_DIR holds JPEGImages/<clip>/*.jpg and Annotations/<clip>/*.png. Every third frame is scored unless --every says
otherwise; every frame is tracked unless --step says otherwise.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import cv2
import numpy as np

from refam.segmenters import load_segmenter
from tests.video.clips import ArrayClip
from video import masks
from video.propagate import propagate
from video.tracking import FlowTrackerOptions
from video.types import Prompt


def read_clip(root, name, *, step, most):
    files = sorted((root / "JPEGImages" / name).glob("*.jpg"))[::step][:most]
    frames = np.stack([cv2.imread(str(f))[..., ::-1] for f in files])
    truth = [cv2.imread(str(root / "Annotations" / name / f"{f.stem}.png"), 0) > 127 for f in files]
    return frames, np.stack(truth)


def first_mask(segmenter, image, truth, start):
    if start == "mask":
        return truth
    point = np.array([masks.deepest_point(truth)])
    prompt = Prompt(box=masks.box_of(truth)) if start == "box" else Prompt(points=point, labels=np.array([1]))
    found = segmenter.segment(image, prompt)
    return found[0].mask if found else None


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--root", type=Path, required=True)
    parser.add_argument("--sam2", help="directory or hub id; GrabCut without it")
    parser.add_argument("--start", choices=("mask", "box", "click"), default="box")
    parser.add_argument("--clips", nargs="*")
    parser.add_argument("--every", type=int, default=3)
    parser.add_argument("--refit-every", type=int, help="frames; as the segmenter wishes without it")
    parser.add_argument("--step", type=int, default=1)
    parser.add_argument("--most", type=int, default=1000, help="frames of a clip")
    args = parser.parse_args()
    segmenter = load_segmenter(args.sam2)
    refit_every = args.refit_every or getattr(segmenter, "refit_every", 1)
    options = FlowTrackerOptions(refit_every=refit_every)
    means = []
    for name in args.clips or sorted(p.name for p in (args.root / "JPEGImages").iterdir()):
        frames, truth = read_clip(args.root, name, step=args.step, most=args.most)
        begin = time.perf_counter()
        mask = first_mask(segmenter, frames[0], truth[0], args.start)
        if mask is None:
            means.append(0.0)
            print(f"{name:16s} J 0.000 (nothing at the prompt)", flush=True)
            continue
        track = propagate(ArrayClip(frames), 0, mask, segmenter, options=options)
        spent_s = time.perf_counter() - begin
        scored = [masks.iou(masks.decode(track.rles[i]), truth[i]) for i in range(0, len(frames), args.every)]
        means.append(float(np.mean(scored)))
        print(
            f"{name:16s} J {means[-1]:.3f}  first {scored[0]:.2f}  last {scored[-1]:.2f}  "
            f"visible {int(track.visible.sum())}/{len(frames)}  score {track.scores.mean():.2f}  "
            f"{spent_s / len(frames):.2f} s a frame",
            flush=True,
        )
    how = f"{segmenter.name}, start from {args.start}, re-fitted every {refit_every}"
    print(f"{how}: mean J {np.mean(means):.3f} over {len(means)} clips")


if __name__ == "__main__":
    main()
