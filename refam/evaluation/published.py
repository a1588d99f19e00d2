"""What the paper reports, to stand beside what was measured here: percent, on the weights and data that it used.

Source: "RefAM: Attention Magnets for Zero-Shot Referral Segmentation", arXiv 2509.22650: its tables on Ref-DAVIS17
(methods, and the ablation of magnets AM, noun phrases NP and spatial bias SB) and on RefCOCO, RefCOCO+ and RefCOCOg.
"""

from __future__ import annotations

from refam.evaluation.grounding_scores import ABLATION, OFF, SHIPPED
from refam.grounding import GroundingOptions

Figures = tuple[float | None, float | None, float | None, float | None]

REF_DAVIS17: dict[str, Figures] = {
    "none": (50.0, 46.8, 53.2, 52.5),
    "NP": (53.1, 49.5, 56.7, 60.2),
    "NP + SB": (54.4, 50.9, 57.6, 59.8),
    "AM + NP": (55.1, 52.2, 58.0, 67.2),
    "AM + NP + SB": (57.6, 54.5, 60.6, 68.9),
}
"""J&F, J, F and point accuracy of the ablation's rows; "AM + NP + SB" is RefAM."""

OVERALL_IOU: dict[str, dict[str, float]] = {
    "refcoco": {"val": 46.91, "testA": 52.30, "testB": 43.88},
    "refcoco+": {"val": 38.57, "testA": 42.66, "testB": 34.90},
    "refcocog": {"val": 45.53, "test": 44.45},
}
"""RefAM's oIoU."""

ROWS: dict[str, GroundingOptions] = {
    "none": OFF,
    "NP": ABLATION["NP"],
    "NP + SB": ABLATION["NP + SB"],
    "AM + NP": ABLATION["AM + NP"],
    "AM + NP + SB": ABLATION["AM + NP + SB"],
    "as it ships": SHIPPED,
}
"""The ablation's rows as this project's switches; "as it ships" has sinks and edges besides."""


def published(dataset: str, split: str, row: str) -> tuple[Figures, float | None]:
    """(J&F, J, F, point accuracy) and oIoU as printed; None for what the paper does not report."""
    whole = row if row in REF_DAVIS17 else "AM + NP + SB"
    if dataset == "ref-davis17" and split in ("val", "valid"):
        return REF_DAVIS17[whole], None
    if whole == "AM + NP + SB":
        return (None, None, None, None), OVERALL_IOU.get(dataset, {}).get(split)
    return (None, None, None, None), None
