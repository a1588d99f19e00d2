"""Compose clips with exact masks from the objects of some clips and the backgrounds of others.

    make compose DAVIS=DIR OUT=DIR ARGS="--objects camel cows --backgrounds blackswan libby video.mp4 --seed 1"

DAVIS holds JPEGImages/<clip>/*.jpg and Annotations/<clip>/*.png. Of each kind below one clip of 30 frames of 640x360 is
written in the same layout to OUT, with objects and backgrounds in turn. A background is one of those clips, or a video
file. The clips hold parts of the videos they are made of, and their licences.
"""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np

from backend.benchmarks.davis_clips import clip_names, read_clip
from refam.evaluation.composed import Composition, compose
from refam.evaluation.cutouts import cut_out
from video.io.reader import open_clip

BACKGROUND_FRAMES = 90  # read of each background

KINDS = {
    "slow": Composition(speed=0.01),
    "drift": Composition(speed=0.15, object_size=0.25),
    "fast": Composition(speed=0.3, object_size=0.25),
    "jump": Composition(speed=0.02, jump=2, object_size=0.25),
    "out-and-in": Composition(speed=0.02, outside_frames=0.2),
    "nearer": Composition(speed=0.03, scale=2, object_size=0.22),
    "farther": Composition(speed=0.03, scale=0.5, object_size=0.4),
    "blurred": Composition(speed=0.15, exposure=0.6, defocus_px=2.0, object_size=0.25),
    "turned": Composition(speed=0.03, rotation_deg=30, object_size=0.35),
    "behind-bar": Composition(speed=0.03, occluder="bar", covered=1.0, covered_frames=0.15),
    "behind-object": Composition(speed=0.03, occluder="object", covered=0.8, covered_frames=0.15),
    "shaken": Composition(speed=0.05, shake_px=8),
    "look-alike": Composition(speed=0.05, look_alike="beside", object_size=0.25),
    "crossing": Composition(speed=0.03, look_alike="crossing", object_size=0.22),
}


def read_cutout(davis, name):
    """Return the object of a clip, cut out of the frames on which it is large: enlarged ones would be blurred."""
    clip = read_clip(davis, name, step=1)
    areas = clip.truth.sum(axis=(1, 2))
    large = areas >= areas.max() / 2
    return cut_out(clip.frames[large], clip.truth[large])


def read_background(davis, name):
    """Return up to `BACKGROUND_FRAMES` frames of a clip or of a video file."""
    if (davis / "JPEGImages" / name).is_dir():
        return read_clip(davis, name, step=1, max_frames=BACKGROUND_FRAMES).frames
    clip = open_clip(name)
    return [f for _, frames in clip.batches(range(min(len(clip), BACKGROUND_FRAMES))) for f in frames]


def write_clip(root, name, clip):
    """Write a composed clip in the layout of DAVIS."""
    for folder in ("JPEGImages", "Annotations"):
        (root / folder / name).mkdir(parents=True, exist_ok=True)
    for i, (frame, mask) in enumerate(zip(clip.frames, clip.truth, strict=True)):
        path = root / "JPEGImages" / name / f"{i:05}.jpg"
        cv2.imwrite(str(path), np.ascontiguousarray(frame[..., ::-1]), [cv2.IMWRITE_JPEG_QUALITY, 95])
        cv2.imwrite(str(root / "Annotations" / name / f"{i:05}.png"), mask.astype(np.uint8) * 255)


def parse_arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--davis", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--objects", nargs="+", metavar="CLIP", help="clips whose objects are cut out; all by default")
    parser.add_argument("--backgrounds", nargs="+", metavar="CLIP", help="clips or video files; all clips by default")
    parser.add_argument("--kinds", nargs="+", choices=KINDS, default=list(KINDS))
    parser.add_argument("--seed", type=int, default=0)
    return parser.parse_args()


def main():
    args = parse_arguments()
    names = clip_names(args.davis)
    things = [(name, read_cutout(args.davis, name)) for name in args.objects or names]
    behind = [(name, read_background(args.davis, name)) for name in args.backgrounds or names]
    for k, kind in enumerate(args.kinds):
        name, cutout = things[k % len(things)]
        others = [other for other in behind[k % len(behind) :] + behind[: k % len(behind)] if other[0] != name]
        clip = compose(
            cutout,
            others[0][1],
            replace(KINDS[kind], seed=1000 * args.seed + k),
            occluder=things[(k + 1) % len(things)][1],
            texture=others[-1][1][0],
        )
        write_clip(args.out, f"{kind}-{name}", clip)
        print(
            f"{kind}-{name}: over {Path(others[0][0]).stem}, visible {clip.share.min():.2f} to {clip.share.max():.2f}"
        )


if __name__ == "__main__":
    main()
