"""How honest a tracker is: what "lost" and the scores are worth where it is known what is hidden.

A frame on which less than 5 % of an object is seen is hidden; on one with less than 30 % nobody is blamed for either
answer. "lost" is right on hidden frames; a mask is right with an IoU of 0.5 with what is seen.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass

import numpy as np
from scipy.optimize import minimize

from backend.benchmarks.davis_clips import HIDDEN, PARTLY
from video.tracking.postprocess import platt_scale

BINS = (0.0, 0.2, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.001)


@dataclass(frozen=True, eq=False)
class Seen:
    """One clip under one tracker, per frame: J, score, whether it is called visible, share of the object in sight."""

    name: str
    j: np.ndarray
    score: np.ndarray
    visible: np.ndarray
    share: np.ndarray


def tell_honesty(title, rows):
    """rows: kind of interruption -> one `Seen` per clip."""
    print(
        f"{title}\n  hidden by  frames hidden  lost  precision recall  wrong masks  back on it at the end", flush=True
    )
    for kind, seen in rows.items():
        share, visible, j = (np.concatenate([getattr(s, k) for s in seen]) for k in ("share", "visible", "j"))
        hidden, clear = share < HIDDEN, share >= PARTLY
        lost = ~visible
        right, judged = (lost & hidden).sum(), (lost & (hidden | clear)).sum()
        wrong = (visible & (hidden | (clear & (j < 0.5)))).sum()
        back = sum(bool(s.visible[-1] and s.j[-1] >= 0.5) for s in seen)
        print(
            f"  {kind:9s} {len(share):7d} {hidden.sum():6d} {lost.sum():5d}  {right / max(1, judged):9.2f}"
            f" {right / max(1, hidden.sum()):6.2f}  {wrong:11d}  {back} of {len(seen)}"
        )
    tell_scores([s for seen in rows.values() for s in seen])


def tell_fit(title, rows):
    """rows: as above, more than one clip in each. What scores would be worth on clips that they were not fitted on."""
    seen = [s for of_kind in rows.values() for s in of_kind]
    score, overlap = pairs(seen)
    clip = np.concatenate([[s.name.split("+")[0]] * len(pairs([s])[0]) for s in seen])
    weight, bias = fit(score, overlap)
    apart = np.empty_like(score)
    for name in set(clip):
        others = clip != name
        apart[~others] = platt_scale(score[~others], *fit(score[others], overlap[others]))
    now = platt_scale(score, weight, bias)
    print(f"{title}: {len(score)} frames of {len(set(clip))} clips; weight {weight:.3f}, bias {bias:.3f}")
    print("  calibration error (expected, of IoU): ", end="")
    for name, of in (("raw", score), ("told", now), ("told, each clip by a fit without it", apart)):
        print(f"{name} {calibration_error(of, overlap):.3f}", end="; ")
    for bar in (0.5, 0.8):
        low = now < bar
        print(f"told below {bar}: {low.sum()} frames, {(low & (overlap < 0.8)).sum()} of them under IoU 0.8", end="; ")
    print(f"in all {(overlap < 0.8).sum()} are under it", flush=True)


def fit(score, overlap):
    """(weight >= 0, bias) by the least cross entropy of the IoUs."""

    def loss(theta):
        p = np.clip(platt_scale(score, *theta), 1e-9, 1 - 1e-9)
        return -(overlap * np.log(p) + (1 - overlap) * np.log1p(-p)).mean()

    return tuple(minimize(loss, (0.5, 0.0), method="L-BFGS-B", bounds=[(0, None), (None, None)]).x)


def tell_scores(seen):
    """The mean IoU that each score stands for, and how far the two are apart."""
    score, overlap = pairs(seen)
    print("  score     frames  mean score  mean IoU   (frames called visible)")
    for low, high in itertools.pairwise(BINS):
        of = (score >= low) & (score < high)
        if of.any():
            print(f"  {low:.1f}-{min(high, 1):.1f}  {of.sum():7d}  {score[of].mean():10.2f}  {overlap[of].mean():8.2f}")
    print(f"  calibration error (expected, of IoU): {calibration_error(score, overlap):.3f}", flush=True)


def pairs(seen):
    """(scores, IoUs) of all frames that are called visible; the first frames, which are given, are not among them."""
    visible = [s.visible & (np.arange(len(s.j)) > 0) for s in seen]
    return (
        np.concatenate([s.score[v] for s, v in zip(seen, visible, strict=True)]),
        np.concatenate([np.where(s.share > 0, s.j, 0)[v] for s, v in zip(seen, visible, strict=True)]),
    )


def calibration_error(score, overlap, bins=10):
    """Mean distance of mean score and mean IoU over bins of as many frames each."""
    order = np.argsort(score, kind="stable")
    parts = [p for p in np.array_split(order, bins) if len(p)]
    return float(sum(len(p) * abs(score[p].mean() - overlap[p].mean()) for p in parts) / max(1, len(order)))
