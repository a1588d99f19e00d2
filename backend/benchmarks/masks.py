"""Compare methods to turn a heatmap into a mask: J, F and J&F on the same images.

    make bench-masks [ARGS="--scenes 100 --davis DAVIS_DIR --sam2 DIR --cache DIR"]

Scenes are held-out drawn ones with the heatmaps of the small model. DAVIS_DIR holds JPEGImages/<clip>/*.jpg and
Annotations/<clip>/*.png. The small model was not trained on photographs, so a heatmap of DAVIS is the true mask,
blurred and shifted, with a distractor blob of up to 0.95 of its height (fixed seed); in "davis, in part" it is also dim
on about half of the object, like attention to a head. Prints groups of rows:

    the segmenter   as shipped, against one click at the maximum and the first mask
    + or -          SAM2 with one prompt or criterion more than shipped, or one less
    four things     expressions for four objects in a scene: each heatmap alone, and minus half of the others

The last column is the paired difference in J&F from the first row of its group, with its 95 % interval.
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
LEAST_PX = 80  # objects with fewer visible pixels are not scored
SHORT_SIDE = 54  # cells of a synthetic heatmap


@dataclass(frozen=True, eq=False)
class Case:
    image: np.ndarray
    heatmap: np.ndarray
    truth: np.ndarray


@dataclass(frozen=True, eq=False)
class Answer:
    """A mask of SAM2.

    Attributes:
        mask: (H, W) bool, at the size of the image.
        predicted_iou: The IoU that the model predicts.
        stability: The stability score.
        kind: Kind of prompt that it answers.
    """

    mask: np.ndarray
    predicted_iou: float
    stability: float
    kind: str


def scene_cases(n):
    from refam.grounder_loading import load_grounder
    from refam.tiny import heldout

    grounder = load_grounder("tiny", device="cpu")
    for i, case in enumerate(heldout.held_out_scenes(n, heldout.HELD_OUT_SEED)):
        (heatmaps,) = grounder.ground([case.picture], [case.referral.text], indices=[i])
        if heatmaps[0].grid.max() > 0:
            yield Case(case.picture, heatmaps[0].grid, case.truth)


def davis_cases(root, *, frames, in_part):
    rng = np.random.default_rng(SEED)
    for clip in sorted(p.name for p in (root / "JPEGImages").iterdir()):
        files = sorted((root / "JPEGImages" / clip).glob("*.jpg"))[::3][:40]
        for file in [files[i] for i in np.linspace(0, len(files) - 1, frames).round().astype(int)]:
            image = np.ascontiguousarray(cv2.imread(str(file))[..., ::-1])
            truth = cv2.imread(str(root / "Annotations" / clip / f"{file.stem}.png"), 0) > 127
            if truth.any():
                yield Case(image, synthetic_heatmap(truth, rng, in_part=in_part), truth)


def synthetic_heatmap(truth, rng, *, in_part):
    """Return a heatmap as attention might show a true mask."""
    h, w = truth.shape
    size = (round(SHORT_SIDE * w / h), SHORT_SIDE)
    small = masks.resize_map(truth, size)
    side = float(np.sqrt(small.sum()))
    y, x = np.mgrid[0 : size[1], 0 : size[0]]
    visible = small
    if in_part:
        angle = rng.uniform(0, 2 * np.pi)
        along = np.cos(angle) * x + np.sin(angle) * y
        visible = small * np.where(along >= np.quantile(along[small > 0.5], rng.uniform(0.35, 0.6)), 1, 0.35)
    grid = cv2.GaussianBlur(visible.astype(np.float32), (0, 0), max(1.2, rng.uniform(0.12, 0.35) * side))
    angle, away = rng.uniform(0, 2 * np.pi), rng.uniform(0, 0.2) * side
    shift = np.array([[1, 0, np.cos(angle) * away], [0, 1, np.sin(angle) * away]], np.float32)
    grid = cv2.warpAffine(grid / grid.max(), shift, size, borderMode=cv2.BORDER_REPLICATE)
    far = cv2.distanceTransform((small < 0.05).astype(np.uint8), cv2.DIST_L2, 5)
    rows, columns = np.nonzero(far >= min(0.5 * side, 0.6 * far.max()))
    k = rng.integers(len(rows))
    blob = np.exp(-0.5 * (np.hypot(y - rows[k], x - columns[k]) / (rng.uniform(0.2, 0.4) * side)) ** 2)
    grid = np.maximum(grid, rng.uniform(0.4, 0.95) * blob) + rng.normal(0, 0.03, grid.shape)
    return (grid / grid.max()).clip(0, 1).astype(np.float32)


# --- methods ---------------------------------------------------------------------------------------------------------


def best_mask(candidates, shape):
    return candidates[0].mask if candidates else np.zeros(shape, bool)


def peak_point(heatmap):
    y, x = np.unravel_index(int(heatmap.argmax()), heatmap.shape)
    return (x + 0.5) / heatmap.shape[1], (y + 0.5) / heatmap.shape[0]


def sam2_answers(segmenter, case):
    """Return SAM2's masks for the shipped prompts and for those that were tried and dropped."""
    level = next(
        p for p in masks.components(case.heatmap >= 0.5) if p[np.unravel_index(case.heatmap.argmax(), p.shape)]
    )
    middle, box = masks.deepest_point(level), masks.pad_box(masks.box_of(level), 0.05)
    modes = [masks.deepest_point(r.mask) for r in find_regions(case.heatmap)[1:4]]
    shipped = expand_prompt(Prompt(prior=case.heatmap))
    prompts = [("peak" if i == 0 else "pair" if len(q.points) > 1 else "middle", q) for i, q in enumerate(shipped)]
    prompts.append(("box", Prompt(points=np.array([middle]), labels=np.array([1]), box=box)))
    own = np.where(level, case.heatmap, np.minimum(case.heatmap, 0.25))
    dense = np.clip(0.5 + 1.5 * (own - 0.5), 0, 1).astype(np.float32)
    prompts.append(("dense", Prompt(points=np.array([middle]), labels=np.array([1]), prior=dense)))
    if modes:
        prompts.append(("no", point_prompt([middle], modes)))
    size = (case.image.shape[1], case.image.shape[0])
    out = []
    decoded = segmenter._decode(segmenter._embed(case.image), [prompt for _, prompt in prompts])
    for (kind, _), answers in zip(prompts, decoded, strict=True):
        for logits, predicted_iou in answers:
            out.append(
                Answer(resize_logits(logits, size) > 0, predicted_iou, stability_score(torch.as_tensor(logits)), kind)
            )
    return out


def shipped_rank(answer, case):
    return answer.predicted_iou * np.sqrt(answer.stability * prior_coverage(case.heatmap, answer.mask))


SHIPPED = ("peak", "middle", "pair")
SAM2_METHODS: dict[str, tuple[tuple[str, ...], Callable]] = {
    "as it ships": (SHIPPED, shipped_rank),
    "- only the peak": (("peak",), shipped_rank),
    "- no pairs": (("peak", "middle"), shipped_rank),
    "- guess alone decides": (SHIPPED, lambda a, _: a.predicted_iou),
    "- guess and overlap decide": (SHIPPED, lambda a, c: a.predicted_iou * soft_dice(c.heatmap, a.mask)),
    "- no stability": (SHIPPED, lambda a, c: a.predicted_iou**2 * prior_coverage(c.heatmap, a.mask)),
    "+ the heatmap's box": ((*SHIPPED, "box"), shipped_rank),
    "+ the heatmap as a dense prompt": ((*SHIPPED, "dense"), shipped_rank),
    "+ no on its other modes": ((*SHIPPED, "no"), shipped_rank),
}


def compare_contrast(n, segmenter):
    """Score heatmaps of four objects in one scene, alone and contrasted, as one group of the table."""
    from refam.grounder_loading import load_grounder
    from refam.tiny.scenes import draw_clip

    grounder = load_grounder("tiny", device="cpu")
    methods: dict[str, list[tuple[float, float]]] = {}
    for seed in range(SEED, SEED + n):
        clip = draw_clip(seed, size=(228, 128), n_frames=1, count=4)
        alone = grounder.ground([clip.frames[0]], list(clip.expressions), indices=[seed])
        for method, maps in (("each by itself", alone), ("without half of the others", contrast_heatmaps(alone))):
            for k, (heatmap,) in enumerate(maps):
                truth = clip.masks[k, 0]
                if truth.sum() >= LEAST_PX:
                    candidates = segmenter.segment(clip.frames[0], Prompt(prior=heatmap.grid))
                    methods.setdefault(method, []).append(score_mask(best_mask(candidates, truth.shape), truth))
    return {f"{segmenter.name}, four things at once": methods}


def score_mask(mask, truth):
    return metrics.region_similarity(mask, truth), metrics.boundary_accuracy(mask, truth)


def score_cases(cases, segmenters):
    """Return group -> method -> (J, F) of each case."""
    rows: dict[str, dict[str, list[tuple[float, float]]]] = {}
    for case in cases:
        for segmenter in segmenters:
            group = rows.setdefault(segmenter.name, {})
            naive = segmenter.segment(case.image, point_prompt([peak_point(case.heatmap)]))
            shipped = segmenter.segment(case.image, Prompt(prior=case.heatmap))
            first = best_mask(naive, case.truth.shape)
            if isinstance(segmenter, Sam2Segmenter):
                candidates = sam2_answers(segmenter, case)
                first = next(a.mask for a in candidates if a.kind == "peak")
                group.setdefault("click at the maximum, surest mask", []).append(
                    score_mask(best_mask(naive, case.truth.shape), case.truth)
                )
                for method, (kinds, key) in SAM2_METHODS.items():
                    chosen = max((a for a in candidates if a.kind in kinds), key=lambda a: key(a, case))
                    tried = rows.setdefault(f"{segmenter.name}, part by part", {})
                    tried.setdefault(method, []).append(score_mask(chosen.mask, case.truth))
            group.setdefault("click at the maximum, first mask", []).append(score_mask(first, case.truth))
            group.setdefault("as it ships", []).append(score_mask(best_mask(shipped, case.truth.shape), case.truth))
    return rows


def markdown_table(name, rows):
    lines = [f"\n{name}", "", "| | J | F | J&F | gain |", "|---|---|---|---|---|"]
    for group, methods in rows.items():
        order = sorted(methods, key=lambda w: w not in ("click at the maximum, first mask", "each by itself"))
        base = [(j + f) / 2 for j, f in methods[order[0]]]
        lines.append(f"| **{group}**, {len(base)} pictures | | | | |")
        for method in order:
            both = [(j + f) / 2 for j, f in methods[method]]
            gain = (
                ""
                if method == order[0]
                else format_gain(metrics.estimate_mean([a - b for a, b in zip(both, base, strict=True)]))
            )
            j, f = np.mean(methods[method], axis=0)
            lines.append(f"| {method} | {j:.3f} | {f:.3f} | {np.mean(both):.3f} | {gain} |")
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
        print(markdown_table("Held-out scenes, words", score_cases(scene_cases(args.scenes), segmenters)), flush=True)
        print(markdown_table("Scenes of four things", compare_contrast(args.scenes // 2, segmenters[0])), flush=True)
    for in_part in (False, True) if args.davis else ():
        name = "davis, in part" if in_part else "davis"
        cases = davis_cases(args.davis, frames=args.frames, in_part=in_part)
        print(markdown_table(name, score_cases(cases, segmenters)), flush=True)


if __name__ == "__main__":
    main()
