"""Whether confidence means something: of the heatmaps that say 0.8, do about 80 % point at what is meant?"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from refam.calibration import Calibration, fit_calibration
from refam.evaluation.grounding_scores import SHIPPED, GroundingScore, Progress
from refam.tiny.heldout import CHOICE_SEED, Case, cases
from video import metrics

if TYPE_CHECKING:
    from refam.grounder import Grounder

BINS = 10


def expected_error(said: NDArray[np.float64], hits: NDArray[np.bool_]) -> float:
    """Expected calibration error: |what is said - what is so|, the mean over ten equal bins weighed by their counts.

    said: (n,) in [0, 1]; hits: (n,) bool. Source: Naeini et al., "Obtaining Well Calibrated Probabilities Using
    Bayesian Binning", AAAI 2015.
    """
    if len(said) == 0 or len(said) != len(hits):
        raise ValueError(f"as many figures as hits are needed, and some: got {len(said)} and {len(hits)}")
    return sum(abs(said[b].mean() - hits[b].mean()) * len(b) for b in _bins(said)) / len(said)


def _bins(said: NDArray[np.float64]) -> list[NDArray[np.int64]]:
    which = np.minimum((said * BINS).astype(int), BINS - 1)
    return [b for k in range(BINS) if len(b := np.flatnonzero(which == k))]


def reliability(said: NDArray[np.float64], hits: NDArray[np.bool_]) -> str:
    """Markdown: for each tenth of the confidences, what was said and what was so."""
    lines = ["| confidence | heatmaps | said, mean | on the object |", "|---|---|---|---|"]
    for b in _bins(said):
        low = min(int(said[b[0]] * BINS), BINS - 1) / BINS
        lines.append(
            f"| {low:.1f} - {low + 1 / BINS:.1f} | {len(b)} | {said[b].mean():.3f} | {metrics.share(hits[b])} |"
        )
    return "\n".join(lines)


def report(grounder: Grounder, verdicts: Sequence[GroundingScore]) -> str:
    """The error of the raw contrast and, where the grounder is calibrated, of its confidence; then the table."""
    hits = np.array([v.hit for v in verdicts])
    raw, said = np.array([v.signs[0] for v in verdicts]), np.array([v.confidence for v in verdicts])
    lines = [f"expected calibration error, raw contrast: {expected_error(raw, hits):.3f}"]
    made = grounder.calibration()
    if made is None:
        lines.append("this backbone is not calibrated for these settings: `refam eval calibrate` does it")
    else:
        lines.append(
            f"expected calibration error, calibrated (on {made.scenes} other scenes): {expected_error(said, hits):.3f}"
        )
    return "\n".join([*lines, "", reliability(said, hits)])


def calibrate(grounder: Grounder, count: int, *, progress: Progress) -> Calibration:
    """Fits the grounder's confidence on scenes that are not the held-out ones."""
    signs, hits = [], []
    for i, case in enumerate(cases(count, CHOICE_SEED)):
        found, hit = _look(grounder, case, i)
        signs.append(found)
        hits.append(hit)
        progress((i + 1) / count)
    return fit_calibration(np.array(signs), np.array(hits), made_with=grounder.settings(SHIPPED), seed=CHOICE_SEED)


def _look(grounder: Grounder, case: Case, index: int) -> tuple[NDArray[np.float64], bool]:
    (maps,) = grounder.read([case.picture], [case.referral.text], indices=[index])
    found = grounder.ground_maps(maps[0], case.picture)
    return found.signs, metrics.point_hit(found.heatmap.peak, case.truth)
