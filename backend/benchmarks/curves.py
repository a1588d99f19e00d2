"""Track composed clips that become harder step by step: J&F against speed and against occlusion.

    make bench-curves DAVIS=DIR SAM2=DIR [ARGS="--features DIR --out curves.png"]

DAVIS holds JPEGImages/<clip>/*.jpg and Annotations/<clip>/*.png; objects are cut out of some of these clips and move
over others, 20 frames of 640x360 (see `backend.benchmarks.compose`). The object is known by one click on the first
frame.

1. Speed: how far the object moves between two frames, in widths of its own.
2. Occlusion: the share of the object that a bar hides at its worst, for a fifth of the frames; at a speed of 0.05.

Prints J&F and looks at each quality (`--methods` adds others of `make bench-track`), and draws them with `--out`.
"""

from __future__ import annotations

import argparse
import tempfile
from dataclasses import dataclass, replace
from pathlib import Path

import cv2
import numpy as np

from backend.benchmarks.compose import read_background, read_cutout
from backend.benchmarks.davis_clips import AnnotatedClip, add_input_arguments, clip_names
from backend.benchmarks.track import FPS, METHODS, evaluate, load_segmenter
from refam.evaluation.composed import Composition, compose
from refam.pipeline.quality import Quality

FRAMES, OBJECT_SIZE, CALM_SPEED = 20, 0.2, 0.05
SPEEDS = (0.02, 0.05, 0.1, 0.2, 0.4)
HIDDEN = (0.0, 0.25, 0.5, 0.75, 1.0)
COLOURS = ((60, 140, 60), (200, 110, 20), (40, 40, 200), (150, 60, 150), (120, 120, 120))  # BGR, one for each method
_PLOT_PX, _MARGIN_PX = (300, 220), (52, 34, 16, 46)  # size of a plot; left, top, right, bottom


@dataclass(frozen=True, eq=False)
class Curve:
    """J&F against what makes a clip harder.

    Attributes:
        title: What becomes harder.
        values: How hard each point is.
        scores: Method -> J&F of each point.
    """

    title: str
    values: tuple
    scores: dict


def make_clips(davis, names, composition):
    """Return one composed clip for each name: its object over the next clip, the one after is the bar's texture."""
    clips = []
    for k, name in enumerate(names):
        others = [other for other in names[k + 1 :] + names[:k] if other != name]
        behind, before = (read_background(davis, other) for other in (others[0], others[1 % len(others)]))
        made = compose(read_cutout(davis, name), behind, replace(composition, seed=k), texture=before[0])
        clips.append(AnnotatedClip(f"{name} over {others[0]}", made.frames, made.truth, made.share))
    return clips


def measure(title, davis, names, compositions, segmenter, methods):
    """Print and return the curve over the compositions, (value, `Composition`) each."""
    print(f"\n{title}, {len(names)} clips of {FRAMES} frames each")
    print(f"{'':>6s} " + " ".join(f"{method:>8s} looks" for method in methods))
    scores = {method: [] for method in methods}
    for value, composition in compositions:
        clips = make_clips(davis, names, composition)
        cells = []
        for method in methods:
            outcomes = [evaluate(method, clip, segmenter, "click", fps=FPS) for clip in clips]
            scores[method].append(float(np.mean([outcome.jf for outcome in outcomes])))
            share = sum(outcome.looks for outcome in outcomes) / (FRAMES * len(clips))
            cells.append(f"{scores[method][-1]:8.3f} {share:5.2f}")
        print(f"{value:6.2f} " + " ".join(cells), flush=True)
    return Curve(title, tuple(value for value, _ in compositions), scores)


def draw(curves):
    """Return an image, (H, W, 3) uint8 BGR, with a plot of each curve beside the other; points are equally spaced."""
    left, top, right, bottom = _MARGIN_PX
    w, h = _PLOT_PX
    image = np.full((h + top + bottom, len(curves) * (w + left + right), 3), 255, np.uint8)

    def write(text, x, y, colour=(0, 0, 0)):
        cv2.putText(image, text, (round(x), round(y)), cv2.FONT_HERSHEY_SIMPLEX, 0.42, colour, 1, cv2.LINE_AA)

    for number, curve in enumerate(curves):
        x0 = number * (w + left + right) + left
        xs = np.linspace(x0 + 14, x0 + w - 14, len(curve.values))
        for level in np.linspace(0, 1, 6):
            y = round(top + (1 - level) * h)
            cv2.line(image, (x0, y), (x0 + w, y), (220, 220, 220), 1)
            write(f"{level:.1f}", x0 - 30, y + 4)
        for x, value in zip(xs, curve.values, strict=True):
            write(f"{value:g}", x - 10, top + h + 16)
        write("J&F", x0 - 44, top - 14)
        write(curve.title, x0, top + h + 36)
        for k, (method, scores) in enumerate(curve.scores.items()):
            points = np.stack([xs, top + (1 - np.array(scores)) * h], axis=1).round().astype(np.int32)
            cv2.polylines(image, [points], False, COLOURS[k % len(COLOURS)], 2, cv2.LINE_AA)
            for point in points.tolist():
                cv2.circle(image, point, 3, COLOURS[k % len(COLOURS)], -1, cv2.LINE_AA)
            write(method, x0 + 20 + 70 * k, top - 14, COLOURS[k % len(COLOURS)])
    return image


def parse_arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_input_arguments(parser)
    parser.add_argument("--methods", nargs="+", choices=METHODS, default=[str(quality) for quality in Quality])
    parser.add_argument("--clips", nargs="+", help="objects and backgrounds, at least two; by default the first three")
    parser.add_argument("--speeds", nargs="*", type=float, default=SPEEDS)
    parser.add_argument("--hidden", nargs="*", type=float, default=HIDDEN)
    parser.add_argument("--out", type=Path, help="PNG file to draw the curves into")
    args = parser.parse_args()
    if args.clips and len(args.clips) < 2:
        parser.error("--clips needs at least two clips: one's object moves over the other")
    return args


def main():
    args = parse_arguments()
    names = args.clips or clip_names(args.davis)[:3]
    base = Composition(frames=FRAMES, object_size=OBJECT_SIZE, speed=CALM_SPEED)
    fast = [(speed, replace(base, speed=speed)) for speed in args.speeds]
    hidden = [(share, replace(base, occluder="bar" if share else None, covered=share)) for share in args.hidden]
    with tempfile.TemporaryDirectory() as temporary:
        segmenter = load_segmenter(
            args.sam2, args.features or Path(temporary), make_clips(args.davis, names, base)[0].frames[0]
        )
        tables = (("speed, object widths a frame", fast), ("share of the object hidden at its worst", hidden))
        curves = [
            measure(title, args.davis, names, compositions, segmenter, args.methods)
            for title, compositions in tables
            if compositions
        ]
    if args.out:
        cv2.imwrite(str(args.out), draw(curves))


if __name__ == "__main__":
    main()
