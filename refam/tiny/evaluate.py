"""How well a backbone grounds scenes whose truth is known: `python -m refam.tiny.evaluate`.

The held-out set is frozen: 1000 scenes from seed 20261122, a third each square, 4:3 and 16:9. Blocks, noise level and
draws were chosen on other scenes (`--choose`, seed 7). Training used seeds below 10 000 000 of another generator.
"""

from __future__ import annotations

import argparse
import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import cv2
import numpy as np
from numpy.typing import NDArray

from refam.attention import attention_modules
from refam.backbones import Backbone, load_backbone, preset_for
from refam.grounder import Grounder, GroundingOptions
from refam.tiny.language import KINDS, Referral, referral_scene
from refam.tiny.scenes import draw
from video.types import Heatmap

HELD_OUT_SEED = 20261122
CHOICE_SEED = 7
EXTENTS = ((64.0, 64.0), (85.0, 64.0), (114.0, 64.0))
_PIXELS_PER_UNIT = 2


@dataclass(frozen=True, eq=False)
class Case:
    """One picture (h, w, 3) uint8 with an expression; masks: (K, h, w) bool of all things."""

    picture: NDArray[np.uint8]
    masks: NDArray[np.bool_]
    referral: Referral


@dataclass(frozen=True)
class Verdict:
    """One judged case. hit: the peak lies on the target; iou: of the target and the map's Otsu mask."""

    kind: str
    hit: bool
    iou: float
    confidence: float


def cases(count: int, seed: int) -> Iterator[Case]:
    """The same scenes for the same seed."""
    rng = np.random.default_rng(seed)
    for i in range(count):
        extent = EXTENTS[i % len(EXTENTS)]
        scene, referral = referral_scene(rng, extent)
        size = (int(extent[0] * _PIXELS_PER_UNIT), int(extent[1] * _PIXELS_PER_UNIT))
        picture, masks = draw(scene, size)
        yield Case(picture, masks, referral)


def verdict(case: Case, heatmap: Heatmap) -> Verdict:
    """Point and mask against the truth."""
    h, w = case.masks.shape[1:]
    target = case.masks[case.referral.target]
    x, y = heatmap.peak
    fine = cv2.resize(heatmap.grid, (w, h), interpolation=cv2.INTER_CUBIC)
    _, mask = cv2.threshold(np.clip(fine * 255, 0, 255).astype(np.uint8), 0, 1, cv2.THRESH_OTSU)
    iou = float((target & (mask > 0)).sum() / max(1, (target | (mask > 0)).sum()))
    hit = bool(target[min(h - 1, int(y * h)), min(w - 1, int(x * w))])
    return Verdict(case.referral.kind, hit, iou, heatmap.confidence)


def judge(grounder: Grounder, judged: Sequence[Case]) -> list[Verdict]:
    """One grounding per case, each with noise of its own."""
    return [
        verdict(c, grounder.ground([c.picture], [c.referral.text], indices=[i])[0][0]) for i, c in enumerate(judged)
    ]


def interval(hits: int, count: int) -> tuple[float, float]:
    """Wilson's 95 % interval of a share."""
    z, p = 1.96, hits / count
    centre, spread = p + z * z / (2 * count), z * float(np.sqrt(p * (1 - p) / count + z * z / (4 * count * count)))
    return (centre - spread) / (1 + z * z / count), (centre + spread) / (1 + z * z / count)


GROUPS: dict[str, tuple[str, ...]] = {
    "all": tuple(KINDS),
    "colour is unique": ("colour",),
    "only shape, size or texture": ("shape", "size", "texture"),
    "- shape": ("shape",),
    "- size": ("size",),
    "- texture": ("texture",),
    "colour and shape together": ("colour+shape",),
    "place": ("place",),
}


def table(verdicts: Sequence[Verdict]) -> str:
    """Markdown: point accuracy with its interval and mean IoU, for each kind of expression."""
    lines = ["| what tells it apart | scenes | point accuracy | 95 % interval | IoU (Otsu) |", "|---|---|---|---|---|"]
    for name, kinds in GROUPS.items():
        some = [v for v in verdicts if v.kind in kinds]
        if some:
            hits = sum(v.hit for v in some)
            low, high = interval(hits, len(some))
            iou = np.mean([v.iou for v in some])
            lines.append(f"| {name} | {len(some)} | {hits / len(some):.3f} | {low:.3f} - {high:.3f} | {iou:.3f} |")
    return "\n".join(lines)


def choose(backbone: Backbone, judged: Sequence[Case]) -> str:
    """Point accuracy for runs of neighbouring blocks, noise levels and ways to sum token maps, best first."""
    n_blocks = len(attention_modules(backbone.pipeline.transformer))
    runs = [tuple(range(a, b)) for a, b in itertools.combinations(range(n_blocks + 1), 2)]
    preset, rows = backbone.preset, []
    for noise, blocks, (balanced, smooth) in itertools.product(
        (0.5, 0.7, 0.8), runs, ((False, 0.0), (False, 1.5), (True, 0.0), (True, 1.5))
    ):
        tried = replace(preset, noise=noise, blocks=blocks, balanced=balanced, smooth_tokens=smooth, draws=1)
        backbone.preset = tried
        rows.append((float(np.mean([v.hit for v in judge(Grounder(backbone), judged)])), tried))
    backbone.preset = preset
    rows.sort(key=lambda row: -row[0])
    return "\n".join(
        f"{hits:.3f}  noise {p.noise}  blocks {p.blocks}  balanced {p.balanced}  smooth {p.smooth_tokens}"
        for hits, p in rows[:15]
    )


ABLATIONS = {
    "as it ships": GroundingOptions(),
    "without the spatial bias": GroundingOptions(spatial_bias=False),
    "without following edges": GroundingOptions(edge_aware=False),
    "without magnets": GroundingOptions(magnets=False),
    "without the stop-word filter": GroundingOptions(stop_filter=False),
    "without either": GroundingOptions(magnets=False, stop_filter=False),
}


def main() -> None:
    """Print the table of the held-out set (or what is asked for)."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--backbone", default="tiny", help="a preset, a pipeline directory or a hub id")
    parser.add_argument("--count", type=int, default=1000)
    parser.add_argument("--choose", action="store_true", help="search blocks and noise level on other scenes")
    parser.add_argument("--ablate", action="store_true", help="what each part of the method is worth")
    asked = parser.parse_args()
    backbone = load_backbone(replace(preset_for("tiny"), source=preset_for(asked.backbone).source), device="auto")
    preset = backbone.preset
    print(f"{backbone.name}: blocks {preset.blocks}, noise {preset.noise}, {preset.draws} draws")
    if asked.choose:
        print(choose(backbone, list(cases(asked.count, CHOICE_SEED))))
        return
    judged = list(cases(asked.count, HELD_OUT_SEED))
    for name, options in ABLATIONS.items() if asked.ablate else [("", GroundingOptions())]:
        print(f"\n{name}\n" if name else "")
        print(table(judge(Grounder(backbone, options), judged)))


if __name__ == "__main__":
    main()
