"""What further readings of a frame gain and cost: more noise draws, more noise levels, and fusion over frames."""

from __future__ import annotations

import itertools
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from refam.attention_layouts import attention_modules
from refam.evaluation.grounding_scores import Progress, estimate_scores, format_gain, paired_gain, score_heatmap
from refam.grounding import TokenMaps
from refam.tiny.heldout import HeldOutClip, HeldOutScene
from video import metrics
from video.heatmap_fusion import MotionLink, compose_link, fuse_heatmaps
from video.optical_flow import OpticalFlow
from video.types import Heatmap, Segmenter

if TYPE_CHECKING:
    from refam.evaluation.grounding_scores import GroundingScore
    from refam.grounder import Grounder


@dataclass(frozen=True)
class ReadingPlan:
    """How a frame is read: `draws` noise draws at each of the noise `levels`."""

    levels: tuple[float, ...]
    draws: int = 1

    def __str__(self) -> str:
        draws = f"{self.draws} draw{'s' * (self.draws > 1)}"
        return f"{draws} at {self.levels[0]}" if len(self.levels) == 1 else f"{draws} at each of {self.levels}"


def reading_plans(level: float) -> list[ReadingPlan]:
    """Return the plans to compare around a noise level; the first is a single draw."""
    around = tuple(round(v, 2) for v in (level - 0.2, level - 0.1, level, level + 0.1) if 0 < v < 1)
    return [
        *(ReadingPlan((level,), n) for n in (1, 2, 4, 8)),
        ReadingPlan((around[-3], around[-1])),
        ReadingPlan(around),
    ]


@contextmanager
def _override_preset(grounder: Grounder, *, noise: float, draws: int) -> Iterator[None]:
    """Set the noise level and the number of draws while the block runs."""
    preset = grounder.backbone.preset
    grounder.backbone.preset = replace(preset, noise=noise, draws=draws)
    try:
        yield
    finally:
        grounder.backbone.preset = preset


def read_with_plan(grounder: Grounder, case: HeldOutScene, index: int, plan: ReadingPlan) -> TokenMaps:
    """Read one picture as a plan says and average all draws; each level has noise of its own."""
    maps = []
    for k, level in enumerate(plan.levels):
        with _override_preset(grounder, noise=level, draws=plan.draws):
            (frame_maps,) = grounder.read_token_maps(
                [case.picture], [case.referral.text], indices=[index], options=replace(grounder.options, seed=k)
            )
        maps.append(frame_maps[0])
    draws = np.concatenate([m.draws for m in maps])
    return replace(maps[0], maps=draws.mean(0), draws=draws)


def plan_table(grounder: Grounder, scenes: Sequence[HeldOutScene], segmenter: Segmenter, *, progress: Progress) -> str:
    """Return Markdown: each reading plan on the same scenes, its paired gain over one draw, and its seconds a frame.

    Every scene is read with all plans before the next one, and seconds are medians, so that other load on the machine
    affects all plans alike.
    """
    plans = reading_plans(grounder.backbone.preset.noise)
    scores: list[list[GroundingScore]] = [[] for _ in plans]
    seconds: list[list[float]] = [[] for _ in plans]
    for i, case in enumerate(scenes):
        for plan, plan_scores, plan_seconds in zip(plans, scores, seconds, strict=True):
            start = time.perf_counter()
            trace = grounder.compute_heatmap(read_with_plan(grounder, case, i, plan), case.picture)
            plan_seconds.append(time.perf_counter() - start)
            plan_scores.append(score_heatmap(case, trace, segmenter))
        progress((i + 1) / len(scenes))
    lines = ["| looks at a frame | point accuracy | J | gain | gain in J | s a frame |", "|---|---|---|---|---|---|"]
    for plan, plan_scores, plan_seconds in zip(plans, scores, seconds, strict=True):
        hits, j, _ = estimate_scores(plan_scores)
        is_first = plan_scores is scores[0]
        gains = ["", ""] if is_first else [paired_gain(plan_scores, scores[0], field) for field in ("hit", "j")]
        lines.append(f"| {plan} | {hits} | {j} | {' | '.join(gains)} | {np.median(plan_seconds):.3f} |")
    return "\n".join(lines)


def _motion_links(clip: HeldOutClip) -> list[MotionLink]:
    """Return the motion between planned frames, chained over every frame between them."""
    flow = OpticalFlow()
    small = [flow.prepare(frame) for frame in clip.frames]
    return [compose_link(small[a : b + 1], flow) for a, b in itertools.pairwise(clip.planned)]


def fusion_table(grounder: Grounder, clips: Sequence[HeldOutClip], *, progress: Progress) -> str:
    """Return Markdown: planned frames read alone and fused, with one draw and with four.

    "each frame" is the mean over clips of the share of planned frames whose peak lies on the object; "the surest
    frame" is the one that tracking would start from. Seconds are medians over clips.
    """
    level = grounder.backbone.preset.noise
    rows: dict[str, list[tuple[float, bool, float]]] = {}
    for k, clip in enumerate(clips):
        start = time.perf_counter()
        links = _motion_links(clip)
        motion_s = time.perf_counter() - start
        for draws, name in ((1, "1 draw"), (4, "4 draws")):
            start = time.perf_counter()
            with _override_preset(grounder, noise=level, draws=draws):
                frames = [clip.frames[i] for i in clip.planned]
                indices = [1000 * k + i for i in clip.planned]
                (heatmaps,) = grounder.ground(frames, [clip.referral.text], indices=indices)
            alone_s = time.perf_counter() - start
            surest = int(np.argmax([h.confidence for h in heatmaps]))
            fusion = fuse_heatmaps(heatmaps, links)
            fused_s = time.perf_counter() - start + motion_s
            n = len(frames)
            alone = (*_hits(clip, heatmaps, surest), alone_s / n)
            rows.setdefault(f"{name}, each frame for itself", []).append(alone)
            fused = (*_hits(clip, fusion.heatmaps, fusion.anchor), fused_s / n)
            rows.setdefault(f"{name}, frames vote", []).append(fused)
        progress((k + 1) / len(clips))
    lines = ["| | each frame | gain | the surest frame | s a frame |", "|---|---|---|---|---|"]
    first = next(iter(rows.values()))
    return "\n".join([*lines, *(_fusion_row(name, row, first) for name, row in rows.items())])


def _hits(clip: HeldOutClip, heatmaps: Sequence[Heatmap], surest: int) -> tuple[float, bool]:
    hits = [metrics.point_hit(h.peak, c.truth) for h, c in zip(heatmaps, clip.planned_scenes(), strict=True)]
    return float(np.mean(hits)), hits[surest]


def _fusion_row(name: str, row: Sequence[tuple[float, bool, float]], first: Sequence[tuple[float, bool, float]]) -> str:
    each, surest = (
        metrics.estimate_mean([r[0] for r in row], within=(0, 1)),
        metrics.estimate_share([r[1] for r in row]),
    )
    gain = (
        ""
        if row is first
        else format_gain(metrics.estimate_mean([a[0] - b[0] for a, b in zip(row, first, strict=True)]))
    )
    return f"| {name} | {each} | {gain} | {surest} | {np.median([r[2] for r in row]):.3f} |"


# --- search ----------------------------------------------------------------------------------------------------------


def search_readings(grounder: Grounder, scenes: Sequence[HeldOutScene], *, progress: Progress) -> str:
    """Return the 15 best combinations of neighbouring blocks, noise level and token weighting, by point accuracy."""
    backbone = grounder.backbone
    preset = backbone.preset
    n_blocks = len(attention_modules(backbone.pipeline.transformer))
    block_ranges = [tuple(range(a, b)) for a, b in itertools.combinations(range(n_blocks + 1), 2)]
    weightings = ((False, 0.0), (False, 1.5), (True, 0.0), (True, 1.5))  # balanced, smooth_tokens
    readings = list(itertools.product((0.5, 0.7, 0.8), block_ranges))
    rows: list[tuple[float, str]] = []
    try:
        for n, (noise, blocks) in enumerate(readings):
            hits: dict[tuple[bool, float], list[bool]] = {weighting: [] for weighting in weightings}
            for i, case in enumerate(scenes):
                backbone.preset = replace(preset, noise=noise, blocks=blocks, draws=1)
                (maps,) = grounder.read_token_maps([case.picture], [case.referral.text], indices=[i])
                for weighting in weightings:
                    balanced, smooth = weighting
                    backbone.preset = replace(backbone.preset, balanced=balanced, smooth_tokens=smooth)
                    peak = grounder.compute_heatmap(maps[0], case.picture).heatmap.peak
                    hits[weighting].append(metrics.point_hit(peak, case.truth))
            for (balanced, smooth), scene_hits in hits.items():
                reading = f"noise {noise}  blocks {blocks}  balanced {balanced}  smooth {smooth}"
                rows.append((float(np.mean(scene_hits)), reading))
            progress((n + 1) / len(readings))
    finally:
        backbone.preset = preset
    rows.sort(key=lambda row: -row[0])
    return "\n".join(f"{share:.3f}  {reading}" for share, reading in rows[:15])
