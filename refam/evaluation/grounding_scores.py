"""How well a backbone grounds scenes whose truth is known, how much each part of the method contributes, and whether
the confidence of its heatmaps is calibrated.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from refam.calibration import Calibration, fit_calibration
from refam.grounding import GroundingOptions, GroundingTrace
from refam.tiny.heldout import CHOICE_SEED, GROUPS, HeldOutScene, held_out_scenes
from video import metrics
from video.types import Segmenter

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
"""The paper's ablation (AM: attention magnets; NP: noun phrase; SB: spatial bias; GAS: sinks), then the shipped options
with one part switched off."""
N_BINS = 10  # of the calibration error and its table


@dataclass(frozen=True)
class GroundingScore:
    """The scores of one heatmap.

    Attributes:
        kind: What tells the object apart, as in `refam.tiny.heldout.GROUPS`.
        hit: Whether the peak lies on the object.
        j: Region similarity of the mask that the segmenter makes of the heatmap.
        f: Boundary accuracy of that mask.
        inter: Pixels of the intersection of mask and ground truth.
        union: Pixels of their union.
        confidence: The heatmap's confidence, in [0, 1].
        features: What the confidence is computed from.
    """

    kind: str
    hit: bool
    j: float
    f: float
    inter: int
    union: int
    confidence: float
    features: tuple[float, ...]


def score_heatmap(case: HeldOutScene, trace: GroundingTrace, segmenter: Segmenter) -> GroundingScore:
    """Score a heatmap and its mask. The mask is empty if the heatmap is flat or the segmenter returns none."""
    heatmap, truth = trace.heatmap, case.truth
    has_peak = bool(heatmap.grid.max() > 0)
    candidates = segmenter.segment(case.picture, heatmap.to_prompt()) if has_peak else []
    mask: NDArray[np.bool_] = candidates[0].mask if candidates else np.zeros_like(truth)
    return GroundingScore(
        kind=case.referral.kind,
        hit=has_peak and metrics.point_hit(heatmap.peak, truth),
        j=metrics.region_similarity(mask, truth),
        f=metrics.boundary_accuracy(mask, truth),
        inter=int((mask & truth).sum()),
        union=int((mask | truth).sum()),
        confidence=heatmap.confidence,
        features=tuple(trace.features.tolist()),
    )


def score_cases(
    grounder: Grounder,
    scenes: Sequence[HeldOutScene],
    rows: Mapping[str, GroundingOptions],
    segmenter: Segmenter,
    *,
    progress: Progress = lambda share: None,
) -> dict[str, list[GroundingScore]]:
    """Ground every scene with the options of every row.

    Rows that need the same forward pass share it, and rows that end in the same heatmap share its mask.

    Args:
        grounder: The grounder to evaluate.
        scenes: The scenes; each has noise of its own, the same in every row.
        rows: Name of each row and its options.
        segmenter: Makes masks of the heatmaps.
        progress: Called with the share of scenes that are done, in [0, 1].

    Returns:
        For each row its scores, in the order of the scenes.
    """
    scores: dict[str, list[GroundingScore]] = {name: [] for name in rows}
    for i, case in enumerate(scenes):
        token_maps = {}
        by_heatmap: dict[bytes, GroundingScore] = {}
        for name, options in rows.items():
            key = _forward_pass_key(options)
            if key not in token_maps:
                needs_sinks = any(other.sinks for other in rows.values() if _forward_pass_key(other) == key)
                read_options = replace(options, sinks=needs_sinks)
                (maps,) = grounder.read_token_maps(
                    [case.picture], [case.referral.text], indices=[i], options=read_options
                )
                token_maps[key] = maps[0]
            trace = grounder.compute_heatmap(token_maps[key], case.picture, options=options)
            content = trace.heatmap.grid.tobytes()
            if content not in by_heatmap:
                by_heatmap[content] = score_heatmap(case, trace, segmenter)
            # Equal heatmaps may differ in confidence, which depends on the options that led to them.
            scores[name].append(
                replace(
                    by_heatmap[content], confidence=trace.heatmap.confidence, features=tuple(trace.features.tolist())
                )
            )
        progress((i + 1) / len(scenes))
    return scores


def _forward_pass_key(options: GroundingOptions) -> tuple[object, ...]:
    """Return the options that token maps depend on. (A pass that detects sinks serves rows without them, too.)"""
    return (options.magnets, options.seed, options.reading)


# --- tables ----------------------------------------------------------------------------------------------------------


def kind_table(scores: Sequence[GroundingScore]) -> str:
    """Return Markdown: point accuracy, J and F for each kind of expression, then RefCOCO's measures over all."""
    lines = [
        "| what tells it apart | scenes | point accuracy | J | F |",
        "|---|---|---|---|---|",
    ]
    for name, kinds in GROUPS.items():
        of_kind = [s for s in scores if s.kind in kinds]
        if of_kind:
            hits, j, f = estimate_scores(of_kind)
            lines.append(f"| {name} | {len(of_kind)} | {hits} | {j} | {f} |")
    ious = [s.j for s in scores]
    precision = ", ".join(f"P@{x} {metrics.precision_at(ious, x):.3f}" for x in (0.5, 0.7, 0.9))
    overall = sum(s.inter for s in scores) / max(1, sum(s.union for s in scores))
    both = float(np.mean([(s.j + s.f) / 2 for s in scores]))
    lines += ["", f"J&F {both:.3f}, oIoU {overall:.3f}, mIoU {np.mean(ious):.3f}, {precision}"]
    return "\n".join(lines)


def estimate_scores(
    scores: Sequence[GroundingScore],
) -> tuple[metrics.Estimate, metrics.Estimate, metrics.Estimate]:
    """Return point accuracy (Wilson interval), J and F (Student's t), each with its 95 % interval."""
    return (
        metrics.estimate_share([s.hit for s in scores]),
        metrics.estimate_mean([s.j for s in scores], within=(0, 1)),
        metrics.estimate_mean([s.f for s in scores], within=(0, 1)),
    )


def ablation_table(rows: Mapping[str, Sequence[GroundingScore]], baseline: str) -> str:
    """Return Markdown: each row's scores and its paired difference to the row `baseline`; point accuracy by kind."""
    lines = [
        f"| | point accuracy | J | F | point accuracy against {baseline!r} |",
        "|---|---|---|---|---|",
    ]
    for name, scores in rows.items():
        hits, j, f = estimate_scores(scores)
        gain = paired_gain(scores, rows[baseline], "hit") if name != baseline else ""
        lines.append(f"| {name} | {hits} | {j} | {f} | {gain} |")
    groups = {n: k for n, k in GROUPS.items() if any(s.kind in k for s in rows[baseline])}
    counts = [sum(s.kind in kinds for s in rows[baseline]) for kinds in groups.values()]
    headings = (f"{n.removeprefix('- ')} ({count})" for n, count in zip(groups, counts, strict=True))
    lines += ["", "| point accuracy | " + " | ".join(headings) + " |"]
    lines.append("|---" * (len(groups) + 1) + "|")
    for name, scores in rows.items():
        cells = (f"{np.mean([s.hit for s in scores if s.kind in kinds]):.3f}" for kinds in groups.values())
        lines.append(f"| {name} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def paired_gain(scores: Sequence[GroundingScore], baseline: Sequence[GroundingScore], field: str) -> str:
    """Format the mean difference of a field between two rows on the same scenes, which cancels what they share."""
    differences = [float(getattr(a, field)) - float(getattr(b, field)) for a, b in zip(scores, baseline, strict=True)]
    return format_gain(metrics.estimate_mean(differences))


def format_gain(gain: metrics.Estimate) -> str:
    """Format a difference with its sign and its 95 % interval."""
    interval = f" ({gain.low:+.3f} to {gain.high:+.3f})" if np.isfinite(gain.low) else ""
    return f"{gain.value:+.3f}{interval}"


# --- calibration of the confidence -----------------------------------------------------------------------------------


def expected_calibration_error(confidences: NDArray[np.float64], hits: NDArray[np.bool_]) -> float:
    """Return the mean of |mean confidence - accuracy| over ten equal bins, weighted by their counts.

    Source: Naeini et al., "Obtaining Well Calibrated Probabilities Using Bayesian Binning", AAAI 2015.

    Args:
        confidences: (n,) in [0, 1].
        hits: (n,) bool.

    Raises:
        ValueError: If the arrays are empty or differ in length.
    """
    if len(confidences) == 0 or len(confidences) != len(hits):
        raise ValueError(f"as many figures as hits are needed, and some: got {len(confidences)} and {len(hits)}")
    errors = (abs(confidences[b].mean() - hits[b].mean()) * len(b) for b in _bins(confidences))
    return sum(errors) / len(confidences)


def _bins(confidences: NDArray[np.float64]) -> list[NDArray[np.int64]]:
    """Return the indices in each bin that is not empty."""
    bin_of = np.minimum((confidences * N_BINS).astype(int), N_BINS - 1)
    return [b for k in range(N_BINS) if len(b := np.flatnonzero(bin_of == k))]


def reliability_table(confidences: NDArray[np.float64], hits: NDArray[np.bool_]) -> str:
    """Return Markdown: for each bin of confidences its mean and the accuracy."""
    lines = ["| confidence | heatmaps | said, mean | on the object |", "|---|---|---|---|"]
    for b in _bins(confidences):
        low = min(int(confidences[b[0]] * N_BINS), N_BINS - 1) / N_BINS
        mean = f"{confidences[b].mean():.3f}"
        lines.append(f"| {low:.1f} - {low + 1 / N_BINS:.1f} | {len(b)} | {mean} | {metrics.estimate_share(hits[b])} |")
    return "\n".join(lines)


def confidence_report(grounder: Grounder, scores: Sequence[GroundingScore]) -> str:
    """Return the calibration error of the raw contrast and of the calibrated confidence, and the reliability table."""
    hits = np.array([s.hit for s in scores])
    contrasts, confidences = np.array([s.features[0] for s in scores]), np.array([s.confidence for s in scores])
    lines = [f"expected calibration error, raw contrast: {expected_calibration_error(contrasts, hits):.3f}"]
    fitted = grounder.valid_calibration()
    if fitted is None:
        lines.append("this backbone is not calibrated for these settings: `refam eval calibrate` does it")
    else:
        error = expected_calibration_error(confidences, hits)
        lines.append(f"expected calibration error, calibrated (on {fitted.scenes} other scenes): {error:.3f}")
    return "\n".join([*lines, "", reliability_table(confidences, hits)])


def calibrate_grounder(grounder: Grounder, count: int, *, progress: Progress) -> Calibration:
    """Fit the confidence of a grounder on `count` scenes, none of which is held out for evaluation."""
    features, hits = [], []
    for i, case in enumerate(held_out_scenes(count, CHOICE_SEED)):
        (maps,) = grounder.read_token_maps([case.picture], [case.referral.text], indices=[i])
        trace = grounder.compute_heatmap(maps[0], case.picture)
        features.append(trace.features)
        hits.append(metrics.point_hit(trace.heatmap.peak, case.truth))
        progress((i + 1) / count)
    return fit_calibration(np.array(features), np.array(hits), made_with=grounder.heatmap_settings(), seed=CHOICE_SEED)
