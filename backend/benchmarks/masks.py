"""From heatmap to mask: J, F and J&F of what is made of a heatmap, way by way, on the same pictures.

    python -m backend.benchmarks.masks [--scenes 100] [--davis DAVIS_DIR] [--sam2 DIR --cache DIR]

Scenes are held-out drawn ones, their heatmaps what the small model makes of the words. DAVIS_DIR holds
JPEGImages/<clip>/*.jpg and Annotations/<clip>/*.png; the small model knows no photographs, so there a heatmap is the
true mask blurred and shifted, with a blob elsewhere that reaches up to 0.95 of its height (seed fixed); in "davis, in
part" it is also dim on about half of the object, as attention is that looks at a head. Groups of rows:

    way       how the shipped segmenter compares with the naive way: one click at the maximum, the first mask
    + or -    SAM2 with one part more than it ships with, or one less

    several   words for four things asked of one scene: each map by itself, and without half of what the others show

The last column is the paired difference in J&F to the first row of its group, with its 95 % interval.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import torch

from refam.evaluation.grounding_scores import format_gain
from refam.heatmap_regions import find_regions
from refam.segmenters.grabcut import GrabCutSegmenter
from refam.segmenters.prompts import expand_prompt, point_prompt, prior_coverage, soft_dice, stability_score
from refam.segmenters.sam2 import Sam2Segmenter, resize_logits
from video import masks, metrics
from video.heatmap_fusion import contrast_heatmaps
from video.types import Prompt

SEED = 20261123
LEAST_PX = 80  # of a thing that is judged: less is hidden by others
SHORT_SIDE = 54  # cells of a synthetic heatmap


@dataclass(frozen=True, eq=False)
class Case:
    image: np.ndarray
    heatmap: np.ndarray
    truth: np.ndarray


@dataclass(frozen=True, eq=False)
class Answer:
    """mask (H, W) at the image's size, guess and stability as the model gave them; kind of question it answers."""

    mask: np.ndarray
    guess: float
    steady: float
    kind: str


def scenes(n):
    from refam.grounder import load_grounder
    from refam.tiny import heldout

    grounder = load_grounder("tiny", device="cpu")
    for i, case in enumerate(heldout.held_out_scenes(n, heldout.HELD_OUT_SEED)):
        (heatmaps,) = grounder.ground([case.picture], [case.referral.text], indices=[i])
        if heatmaps[0].grid.max() > 0:
            yield Case(case.picture, heatmaps[0].grid, case.truth)


def davis(root, *, frames, in_part):
    rng = np.random.default_rng(SEED)
    for clip in sorted(p.name for p in (root / "JPEGImages").iterdir()):
        files = sorted((root / "JPEGImages" / clip).glob("*.jpg"))[::3][:40]
        for file in [files[i] for i in np.linspace(0, len(files) - 1, frames).round().astype(int)]:
            image = np.ascontiguousarray(cv2.imread(str(file))[..., ::-1])
            truth = cv2.imread(str(root / "Annotations" / clip / f"{file.stem}.png"), 0) > 127
            if truth.any():
                yield Case(image, synthetic(truth, rng, in_part=in_part), truth)


def synthetic(truth, rng, *, in_part):
    """The true mask as a heatmap might show it."""
    h, w = truth.shape
    size = (round(SHORT_SIDE * w / h), SHORT_SIDE)
    seen = masks.resize_map(truth, size)
    side = float(np.sqrt(seen.sum()))
    y, x = np.mgrid[0 : size[1], 0 : size[0]]
    lit = seen
    if in_part:
        angle = rng.uniform(0, 2 * np.pi)
        along = np.cos(angle) * x + np.sin(angle) * y
        lit = seen * np.where(along >= np.quantile(along[seen > 0.5], rng.uniform(0.35, 0.6)), 1, 0.35)
    grid = cv2.GaussianBlur(lit.astype(np.float32), (0, 0), max(1.2, rng.uniform(0.12, 0.35) * side))
    angle, away = rng.uniform(0, 2 * np.pi), rng.uniform(0, 0.2) * side
    shift = np.array([[1, 0, np.cos(angle) * away], [0, 1, np.sin(angle) * away]], np.float32)
    grid = cv2.warpAffine(grid / grid.max(), shift, size, borderMode=cv2.BORDER_REPLICATE)
    far = cv2.distanceTransform((seen < 0.05).astype(np.uint8), cv2.DIST_L2, 5)
    rows, columns = np.nonzero(far >= min(0.5 * side, 0.6 * far.max()))
    k = rng.integers(len(rows))
    blob = np.exp(-0.5 * (np.hypot(y - rows[k], x - columns[k]) / (rng.uniform(0.2, 0.4) * side)) ** 2)
    grid = np.maximum(grid, rng.uniform(0.4, 0.95) * blob) + rng.normal(0, 0.03, grid.shape)
    return (grid / grid.max()).clip(0, 1).astype(np.float32)


# --- ways ------------------------------------------------------------------------------------------------------------


def best(found, shape):
    return found[0].mask if found else np.zeros(shape, bool)


def peak_of(heatmap):
    y, x = np.unravel_index(int(heatmap.argmax()), heatmap.shape)
    return (x + 0.5) / heatmap.shape[1], (y + 0.5) / heatmap.shape[0]


def answers(segmenter, case):
    """What SAM2 says to the shipped questions and to those that were tried and left out."""
    level = next(
        p for p in masks.components(case.heatmap >= 0.5) if p[np.unravel_index(case.heatmap.argmax(), p.shape)]
    )
    middle, box = masks.deepest_point(level), masks.pad_box(masks.box_of(level), 0.05)
    modes = [masks.deepest_point(r.mask) for r in find_regions(case.heatmap)[1:4]]
    shipped = expand_prompt(Prompt(prior=case.heatmap))
    asked = [("peak" if i == 0 else "pair" if len(q.points) > 1 else "middle", q) for i, q in enumerate(shipped)]
    asked.append(("box", Prompt(points=np.array([middle]), labels=np.array([1]), box=box)))
    own = np.where(level, case.heatmap, np.minimum(case.heatmap, 0.25))
    dense = np.clip(0.5 + 1.5 * (own - 0.5), 0, 1).astype(np.float32)
    asked.append(("dense", Prompt(points=np.array([middle]), labels=np.array([1]), prior=dense)))
    if modes:
        asked.append(("no", point_prompt([middle], modes)))
    size = (case.image.shape[1], case.image.shape[0])
    out = []
    for kind, question in asked:
        for logits, guess in segmenter._decode(segmenter._embed(case.image), question):
            out.append(Answer(resize_logits(logits, size) > 0, guess, stability_score(torch.as_tensor(logits)), kind))
    return out


def rank(answer, case):
    return answer.guess * np.sqrt(answer.steady * prior_coverage(case.heatmap, answer.mask))


SHIPPED = ("peak", "middle", "pair")
SAM2_WAYS: dict[str, tuple[tuple[str, ...], Callable]] = {
    "as it ships": (SHIPPED, rank),
    "- only the peak": (("peak",), rank),
    "- no pairs": (("peak", "middle"), rank),
    "- guess alone decides": (SHIPPED, lambda a, _: a.guess),
    "- guess and overlap decide": (SHIPPED, lambda a, c: a.guess * soft_dice(c.heatmap, a.mask)),
    "- no stability": (SHIPPED, lambda a, c: a.guess**2 * prior_coverage(c.heatmap, a.mask)),
    "+ the heatmap's box": ((*SHIPPED, "box"), rank),
    "+ the heatmap as a dense prompt": ((*SHIPPED, "dense"), rank),
    "+ no on its other modes": ((*SHIPPED, "no"), rank),
}


def several(n, segmenter):
    """Both ways to read maps of four things in one scene, as the group of a table."""
    from refam.grounder import load_grounder
    from refam.tiny.scenes import draw_clip

    grounder = load_grounder("tiny", device="cpu")
    ways: dict[str, list[tuple[float, float]]] = {}
    for seed in range(SEED, SEED + n):
        clip = draw_clip(seed, size=(228, 128), n_frames=1, count=4)
        alone = grounder.ground([clip.frames[0]], list(clip.expressions), indices=[seed])
        for way, maps in (("each by itself", alone), ("without half of the others", contrast_heatmaps(alone))):
            for k, (heatmap,) in enumerate(maps):
                truth = clip.masks[k, 0]
                if truth.sum() >= LEAST_PX:
                    found = segmenter.segment(clip.frames[0], Prompt(prior=heatmap.grid))
                    ways.setdefault(way, []).append(judge(best(found, truth.shape), truth))
    return {f"{segmenter.name}, four things at once": ways}


def judge(found, truth):
    return metrics.region_similarity(found, truth), metrics.boundary_accuracy(found, truth)


def measure(cases, segmenters):
    """{group: {way: [(J, F) per case]}}."""
    rows: dict[str, dict[str, list[tuple[float, float]]]] = {}
    for case in cases:
        for segmenter in segmenters:
            group = rows.setdefault(segmenter.name, {})
            naive = segmenter.segment(case.image, point_prompt([peak_of(case.heatmap)]))
            shipped = segmenter.segment(case.image, Prompt(prior=case.heatmap))
            first = best(naive, case.truth.shape)
            if isinstance(segmenter, Sam2Segmenter):
                said = answers(segmenter, case)
                first = next(a.mask for a in said if a.kind == "peak")
                group.setdefault("click at the maximum, surest mask", []).append(
                    judge(best(naive, case.truth.shape), case.truth)
                )
                for way, (kinds, key) in SAM2_WAYS.items():
                    chosen = max((a for a in said if a.kind in kinds), key=lambda a: key(a, case))
                    tried = rows.setdefault(f"{segmenter.name}, part by part", {})
                    tried.setdefault(way, []).append(judge(chosen.mask, case.truth))
            group.setdefault("click at the maximum, first mask", []).append(judge(first, case.truth))
            group.setdefault("as it ships", []).append(judge(best(shipped, case.truth.shape), case.truth))
    return rows


def table(name, rows):
    lines = [f"\n{name}", "", "| | J | F | J&F | gain |", "|---|---|---|---|---|"]
    for group, ways in rows.items():
        order = sorted(ways, key=lambda w: w not in ("click at the maximum, first mask", "each by itself"))
        base = [(j + f) / 2 for j, f in ways[order[0]]]
        lines.append(f"| **{group}**, {len(base)} pictures | | | | |")
        for way in order:
            both = [(j + f) / 2 for j, f in ways[way]]
            gain = (
                ""
                if way == order[0]
                else format_gain(metrics.estimate_mean([a - b for a, b in zip(both, base, strict=True)]))
            )
            j, f = np.mean(ways[way], axis=0)
            lines.append(f"| {way} | {j:.3f} | {f:.3f} | {np.mean(both):.3f} | {gain} |")
    return "\n".join(lines)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--scenes", type=int, default=100)
    parser.add_argument("--davis", type=Path)
    parser.add_argument("--frames", type=int, default=8, help="of each clip")
    parser.add_argument("--sam2")
    parser.add_argument("--cache", type=Path, help="a folder that keeps SAM2's embeddings for the next run")
    args = parser.parse_args()
    segmenters = [GrabCutSegmenter()]
    if args.sam2:
        segmenters.append(Sam2Segmenter.load(args.sam2, cache=args.cache, cache_mb=50_000))
    if args.scenes:
        print(table("Held-out scenes, words", measure(scenes(args.scenes), segmenters)), flush=True)
        print(table("Scenes of four things", several(args.scenes // 2, segmenters[0])), flush=True)
    for in_part in (False, True) if args.davis else ():
        name = "davis, in part" if in_part else "davis"
        cases = davis(args.davis, frames=args.frames, in_part=in_part)
        print(table(name, measure(cases, segmenters)), flush=True)


if __name__ == "__main__":
    main()
