"""What more looks buy: several draws of noise, several noise levels, frames that vote; and what each costs."""

from __future__ import annotations

import itertools
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from refam.attention import attention_modules
from refam.evaluation.grounding_scores import Progress, estimates, signed, verdict
from refam.grounding import TokenMaps
from refam.tiny.heldout import Case, ClipCase
from video import metrics
from video.heatmap_fusion import MotionLink, chain, fuse_heatmaps
from video.optical_flow import OpticalFlow
from video.types import Heatmap, Segmenter

if TYPE_CHECKING:
    from refam.evaluation.grounding_scores import GroundingScore
    from refam.grounder import Grounder


@dataclass(frozen=True)
class ReadingPlan:
    """How often, and at which noise levels, one frame is looked at: `draws` times at each level."""

    levels: tuple[float, ...]
    draws: int = 1

    def __str__(self) -> str:
        times = f"{self.draws} draw{'s' * (self.draws > 1)}"
        return f"{times} at {self.levels[0]}" if len(self.levels) == 1 else f"{times} at each of {self.levels}"


def tried(level: float) -> list[ReadingPlan]:
    """The first is the least: one look."""
    around = tuple(round(v, 2) for v in (level - 0.2, level - 0.1, level, level + 0.1) if 0 < v < 1)
    return [
        *(ReadingPlan((level,), n) for n in (1, 2, 4, 8)),
        ReadingPlan((around[-3], around[-1])),
        ReadingPlan(around),
    ]


@contextmanager
def looking(grounder: Grounder, *, noise: float, draws: int) -> Iterator[None]:
    """The grounder's backbone with another noise level and number of draws, for the while."""
    preset = grounder.backbone.preset
    grounder.backbone.preset = replace(preset, noise=noise, draws=draws)
    try:
        yield
    finally:
        grounder.backbone.preset = preset


def look(grounder: Grounder, case: Case, index: int, looks: ReadingPlan) -> TokenMaps:
    """The token maps of all looks at one picture; each level with noise of its own."""
    maps = []
    for k, level in enumerate(looks.levels):
        with looking(grounder, noise=level, draws=looks.draws):
            (one,) = grounder.read(
                [case.picture], [case.referral.text], indices=[index], options=replace(grounder.options, seed=k)
            )
        maps.append(one[0])
    draws = np.concatenate([m.draws for m in maps])
    return replace(maps[0], maps=draws.mean(0), draws=draws)


def stills(grounder: Grounder, judged: Sequence[Case], segmenter: Segmenter, *, progress: Progress) -> str:
    """Markdown: each kind of looking on the same scenes, its paired gain over one look, and its seconds a frame.

    Each scene is looked at in all ways before the next, and the median of the seconds is told, so that what else the
    machine does weighs on all ways alike.
    """
    ways = tried(grounder.backbone.preset.noise)
    verdicts: list[list[GroundingScore]] = [[] for _ in ways]
    spent_s: list[list[float]] = [[] for _ in ways]
    for i, case in enumerate(judged):
        for way, judged_so, took_s in zip(ways, verdicts, spent_s, strict=True):
            start = time.perf_counter()
            found = grounder.ground_maps(look(grounder, case, i, way), case.picture)
            took_s.append(time.perf_counter() - start)
            judged_so.append(verdict(case, found, segmenter))
        progress((i + 1) / len(judged))
    lines = ["| looks at a frame | point accuracy | J | gain | gain in J | s a frame |", "|---|---|---|---|---|---|"]
    for way, judged_so, took_s in zip(ways, verdicts, spent_s, strict=True):
        hits, j, _ = estimates(judged_so)
        gains = ["", ""] if judged_so is verdicts[0] else [_gain(judged_so, verdicts[0], of) for of in ("hit", "j")]
        lines.append(f"| {way} | {hits} | {j} | {' | '.join(gains)} | {np.median(took_s):.3f} |")
    return "\n".join(lines)


def _gain(verdicts: Sequence[GroundingScore], first: Sequence[GroundingScore], of: str) -> str:
    return signed(
        metrics.mean([float(getattr(a, of)) - float(getattr(b, of)) for a, b in zip(verdicts, first, strict=True)])
    )


def links_of(clip: ClipCase) -> list[MotionLink]:
    """The motion between planned frames, from every frame between them."""
    flow = OpticalFlow()
    small = [flow.prepare(frame) for frame in clip.frames]
    return [chain(small[a : b + 1], flow) for a, b in itertools.pairwise(clip.planned)]


def votes(grounder: Grounder, clips: Sequence[ClipCase], *, progress: Progress) -> str:
    """Markdown: planned frames each for itself and voting, with one draw and with four.

    "each frame": the mean over clips of the share of planned frames whose peak is on the object. "the surest": the one
    frame that tracking would start from. Seconds are medians over clips.
    """
    level = grounder.backbone.preset.noise
    rows: dict[str, list[tuple[float, bool, float]]] = {}
    for k, clip in enumerate(clips):
        start = time.perf_counter()
        links = links_of(clip)
        motion_s = time.perf_counter() - start
        for draws, name in ((1, "1 draw"), (4, "4 draws")):
            start = time.perf_counter()
            with looking(grounder, noise=level, draws=draws):
                frames = [clip.frames[i] for i in clip.planned]
                numbers = [1000 * k + i for i in clip.planned]
                (heatmaps,) = grounder.ground(frames, [clip.referral.text], indices=numbers)
            alone_s = time.perf_counter() - start
            surest = int(np.argmax([h.confidence for h in heatmaps]))
            agreed = fuse_heatmaps(heatmaps, links)
            voted_s = time.perf_counter() - start + motion_s
            n = len(frames)
            rows.setdefault(f"{name}, each frame for itself", []).append((*_hits(clip, heatmaps, surest), alone_s / n))
            voted = (*_hits(clip, agreed.heatmaps, agreed.anchor), voted_s / n)
            rows.setdefault(f"{name}, frames vote", []).append(voted)
        progress((k + 1) / len(clips))
    lines = ["| | each frame | gain | the surest frame | s a frame |", "|---|---|---|---|---|"]
    first = next(iter(rows.values()))
    return "\n".join([*lines, *(_row(name, found, first) for name, found in rows.items())])


def _hits(clip: ClipCase, heatmaps: Sequence[Heatmap], surest: int) -> tuple[float, bool]:
    hits = [metrics.point_hit(h.peak, c.truth) for h, c in zip(heatmaps, clip.judged(), strict=True)]
    return float(np.mean(hits)), hits[surest]


def _row(name: str, found: Sequence[tuple[float, bool, float]], first: Sequence[tuple[float, bool, float]]) -> str:
    each, surest = metrics.mean([f[0] for f in found], within=(0, 1)), metrics.share([f[1] for f in found])
    gain = "" if found is first else signed(metrics.mean([a[0] - b[0] for a, b in zip(found, first, strict=True)]))
    return f"| {name} | {each} | {gain} | {surest} | {np.median([f[2] for f in found]):.3f} |"


# --- choosing --------------------------------------------------------------------------------------------------------


def choose(grounder: Grounder, judged: Sequence[Case], *, progress: Progress) -> str:
    """Point accuracy for runs of neighbouring blocks, noise levels and ways to sum token maps, the best 15 first."""
    backbone = grounder.backbone
    preset = backbone.preset
    n_blocks = len(attention_modules(backbone.pipeline.transformer))
    runs = [tuple(range(a, b)) for a, b in itertools.combinations(range(n_blocks + 1), 2)]
    sums = ((False, 0.0), (False, 1.5), (True, 0.0), (True, 1.5))
    reads = list(itertools.product((0.5, 0.7, 0.8), runs))
    rows: list[tuple[float, str]] = []
    try:
        for n, (noise, blocks) in enumerate(reads):
            hits: dict[tuple[bool, float], list[bool]] = {way: [] for way in sums}
            for i, case in enumerate(judged):
                backbone.preset = replace(preset, noise=noise, blocks=blocks, draws=1)
                (maps,) = grounder.read([case.picture], [case.referral.text], indices=[i])
                for way in sums:
                    backbone.preset = replace(backbone.preset, balanced=way[0], smooth_tokens=way[1])
                    peak = grounder.ground_maps(maps[0], case.picture).heatmap.peak
                    hits[way].append(metrics.point_hit(peak, case.truth))
            for (balanced, smooth), some in hits.items():
                how = f"noise {noise}  blocks {blocks}  balanced {balanced}  smooth {smooth}"
                rows.append((float(np.mean(some)), how))
            progress((n + 1) / len(reads))
    finally:
        backbone.preset = preset
    rows.sort(key=lambda row: -row[0])
    return "\n".join(f"{share:.3f}  {how}" for share, how in rows[:15])
