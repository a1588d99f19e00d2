"""How well a backbone grounds scenes whose truth is known, and what each part of the method is worth there."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from refam.grounding import GroundingOptions, GroundingTrace
from refam.tiny.heldout import GROUPS, Case
from video import metrics
from video.types import Prompt, Segmenter

if TYPE_CHECKING:
    from refam.grounder import Grounder

Progress = Callable[[float], None]
OFF = GroundingOptions(
    magnets=False, stop_filter=False, noun_phrase=False, spatial_bias=False, sinks=False, edge_aware=False
)
SHIPPED = GroundingOptions()
ABLATION: dict[str, GroundingOptions] = {
    "none: every word's map, as coarse as the tokens": OFF,
    "NP": replace(OFF, noun_phrase=True),
    "NP + SB": replace(OFF, noun_phrase=True, spatial_bias=True),
    "AM: magnets, stop words dropped": replace(OFF, magnets=True, stop_filter=True),
    "AM + NP": replace(OFF, magnets=True, stop_filter=True, noun_phrase=True),
    "AM + NP + SB": replace(OFF, magnets=True, stop_filter=True, noun_phrase=True, spatial_bias=True),
    "AM + NP + SB + GAS": replace(OFF, magnets=True, stop_filter=True, noun_phrase=True, spatial_bias=True, sinks=True),
    "as it ships": SHIPPED,  # and the map follows the picture's edges
    "- without magnets": replace(SHIPPED, magnets=False),
    "- without the stop-word filter": replace(SHIPPED, stop_filter=False),
    "- without either": replace(SHIPPED, magnets=False, stop_filter=False),
    "- without NP": replace(SHIPPED, noun_phrase=False),
    "- without SB": replace(SHIPPED, spatial_bias=False),
    "- without GAS": replace(SHIPPED, sinks=False),
}
"""The paper's ablation (AM: attention magnets; NP: noun phrase; SB: spatial bias; GAS: sinks), then one part off."""


@dataclass(frozen=True)
class GroundingScore:
    """One judged heatmap. hit: its peak lies on what is meant. j, f: of the mask that the segmenter makes of it.

    inter, union: pixels, of that mask and the truth. confidence: as the heatmap says; signs: what it is judged by.
    """

    kind: str
    hit: bool
    j: float
    f: float
    inter: int
    union: int
    confidence: float
    signs: tuple[float, ...]


def verdict(case: Case, found: GroundingTrace, segmenter: Segmenter) -> GroundingScore:
    """Point and mask against the truth. Where the heatmap is flat, or no outline fits it, the mask is empty."""
    heatmap, truth = found.heatmap, case.truth
    something = bool(heatmap.grid.max() > 0)
    outlines = segmenter.segment(case.picture, Prompt(prior=heatmap.grid)) if something else []
    mask: NDArray[np.bool_] = outlines[0].mask if outlines else np.zeros_like(truth)
    return GroundingScore(
        kind=case.referral.kind,
        hit=something and metrics.point_hit(heatmap.peak, truth),
        j=metrics.region_similarity(mask, truth),
        f=metrics.boundary_accuracy(mask, truth),
        inter=int((mask & truth).sum()),
        union=int((mask | truth).sum()),
        confidence=heatmap.confidence,
        signs=tuple(found.signs.tolist()),
    )


def judge(
    grounder: Grounder,
    judged: Sequence[Case],
    rows: Mapping[str, GroundingOptions],
    segmenter: Segmenter,
    *,
    progress: Progress = lambda share: None,
) -> dict[str, list[GroundingScore]]:
    """Verdicts by row, in the order of the cases. Each case has noise of its own, the same in every row.

    Rows that need the same forward pass share it, and rows that end in the same heatmap share its mask.
    """
    out: dict[str, list[GroundingScore]] = {name: [] for name in rows}
    for i, case in enumerate(judged):
        readings = {}
        verdicts: dict[bytes, GroundingScore] = {}
        for name, options in rows.items():
            key = needs(options)
            if key not in readings:
                looking = replace(options, sinks=any(o.sinks for o in rows.values() if needs(o) == key))
                (reading,) = grounder.read([case.picture], [case.referral.text], indices=[i], options=looking)
                readings[key] = reading[0]
            found = grounder.ground_maps(readings[key], case.picture, options=options)
            alike = found.heatmap.grid.tobytes()
            if alike not in verdicts:
                verdicts[alike] = verdict(case, found, segmenter)
            # The same map may be more or less sure of itself, depending on the switches that led to it.
            one = replace(verdicts[alike], confidence=found.heatmap.confidence, signs=tuple(found.signs.tolist()))
            out[name].append(one)
        progress((i + 1) / len(judged))
    return out


def needs(options: GroundingOptions) -> tuple[object, ...]:
    """What the maps depend on: rows with the same need share a forward pass. (One that looks for sinks serves both.)"""
    return (options.magnets, options.seed)


# --- tables ----------------------------------------------------------------------------------------------------------


def by_kind(verdicts: Sequence[GroundingScore]) -> str:
    """Markdown: point accuracy, J and F with their intervals for each kind of expression, then RefCOCO's measures."""
    lines = [
        "| what tells it apart | scenes | point accuracy | J | F |",
        "|---|---|---|---|---|",
    ]
    for name, kinds in GROUPS.items():
        some = [v for v in verdicts if v.kind in kinds]
        if some:
            hits, j, f = estimates(some)
            lines.append(f"| {name} | {len(some)} | {hits} | {j} | {f} |")
    ious = [v.j for v in verdicts]
    reach = ", ".join(f"P@{x} {metrics.precision_at(ious, x):.3f}" for x in (0.5, 0.7, 0.9))
    overall = sum(v.inter for v in verdicts) / max(1, sum(v.union for v in verdicts))
    both = float(np.mean([(v.j + v.f) / 2 for v in verdicts]))
    lines += ["", f"J&F {both:.3f}, oIoU {overall:.3f}, mIoU {np.mean(ious):.3f}, {reach}"]
    return "\n".join(lines)


def estimates(verdicts: Sequence[GroundingScore]) -> tuple[metrics.Estimate, metrics.Estimate, metrics.Estimate]:
    """Point accuracy (Wilson), J and F (Student)."""
    return (
        metrics.share([v.hit for v in verdicts]),
        metrics.mean([v.j for v in verdicts], within=(0, 1)),
        metrics.mean([v.f for v in verdicts], within=(0, 1)),
    )


def ablation(rows: Mapping[str, Sequence[GroundingScore]], against: str) -> str:
    """Markdown: each row's figures and its paired difference to the row `against`; then point accuracy by kind."""
    lines = [
        f"| | point accuracy | J | F | point accuracy against {against!r} |",
        "|---|---|---|---|---|",
    ]
    for name, verdicts in rows.items():
        hits, j, f = estimates(verdicts)
        lines.append(f"| {name} | {hits} | {j} | {f} | {_gain(verdicts, rows[against]) if name != against else ''} |")
    groups = {n: k for n, k in GROUPS.items() if any(v.kind in k for v in rows[against])}
    counts = [sum(v.kind in kinds for v in rows[against]) for kinds in groups.values()]
    heads = (f"{n.removeprefix('- ')} ({count})" for n, count in zip(groups, counts, strict=True))
    lines += ["", "| point accuracy | " + " | ".join(heads) + " |"]
    lines.append("|---" * (len(groups) + 1) + "|")
    for name, verdicts in rows.items():
        cells = (f"{np.mean([v.hit for v in verdicts if v.kind in kinds]):.3f}" for kinds in groups.values())
        lines.append(f"| {name} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def _gain(verdicts: Sequence[GroundingScore], against: Sequence[GroundingScore]) -> str:
    """The paired difference: both judged the same scenes, so what they share in luck falls out."""
    return signed(metrics.mean([float(a.hit) - float(b.hit) for a, b in zip(verdicts, against, strict=True)]))


def signed(gain: metrics.Estimate) -> str:
    """A difference with its interval."""
    said = f" ({gain.low:+.3f} to {gain.high:+.3f})" if np.isfinite(gain.low) else ""
    return f"{gain.value:+.3f}{said}"
