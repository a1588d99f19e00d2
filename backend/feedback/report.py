"""What people corrected: by label, by expression, over time; and a page with pictures of the worst."""

from __future__ import annotations

import base64
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import cv2
import jinja2
import numpy as np
from numpy.typing import NDArray

from backend.feedback.compare import RegionFate
from backend.feedback.store import StoredCorrection
from backend.labelstudio.timeline import clip_frame_of_editor, editor_frame_count

if TYPE_CHECKING:
    from video.io.reader import Clip

_WIDE_PX = 480
_OURS, _THEIRS = (245, 140, 25), (35, 165, 55)  # RGB
Opened = Callable[[StoredCorrection], "Clip | None"]


@dataclass(frozen=True)
class ReportLine:
    """One line of a table: how often each fate was met, mean IoU of what can be compared, strokes for each region."""

    name: str
    regions: int
    fates: dict[RegionFate, int]
    iou: float | None
    strokes: float

    @property
    def kept(self) -> float:
        """Share of what was answered that stayed as it was; what a person added was not answered."""
        answered = self.regions - self.fates[RegionFate.ADDED]
        return self.fates[RegionFate.KEPT] / answered if answered else 0.0


@dataclass(frozen=True)
class WorstCorrection:
    """One of the worst, for the page. picture: a JPEG as a data address, "" where the video cannot be had."""

    row: StoredCorrection
    picture: str


def tables(rows: Sequence[StoredCorrection]) -> dict[str, list[ReportLine]]:
    """By label, expression, day (UTC) and model version; in each the ones with most regions first, days in order."""
    by: dict[str, Callable[[StoredCorrection], str]] = {
        "label": lambda row: row.correction.label or "(none)",
        "expression": lambda row: row.correction.words or "(drawn by hand)",
        "day": lambda row: datetime.fromtimestamp(row.at, UTC).strftime("%Y-%m-%d"),
        "model": lambda row: row.model_version or "(not known)",
    }
    return {name: _grouped(rows, key, in_order=name == "day") for name, key in by.items()}


def line(name: str, rows: Sequence[StoredCorrection]) -> ReportLine:
    """All of these in one line."""
    found = [row.correction for row in rows]
    ious = [c.iou for c in found if c.iou is not None and c.fate is not RegionFate.ADDED]
    return ReportLine(
        name=name,
        regions=len(found),
        fates={fate: sum(c.fate is fate for c in found) for fate in RegionFate},
        iou=float(np.mean(ious)) if ious else None,
        strokes=float(np.mean([c.strokes for c in found])) if found else 0.0,
    )


def _grouped(
    rows: Sequence[StoredCorrection], key: Callable[[StoredCorrection], str], *, in_order: bool
) -> list[ReportLine]:
    names = {key(row) for row in rows}
    found = [line(name, [row for row in rows if key(row) == name]) for name in names]
    return sorted(found, key=lambda one: (one.name,) if in_order else (-one.regions, one.name))


def worst(rows: Iterable[StoredCorrection], count: int) -> list[StoredCorrection]:
    """The corrections that cost most: by strokes, then by how far off the answer was."""
    costly = [r for r in rows if r.correction.strokes and r.correction.fate is not RegionFate.ADDED]
    return sorted(costly, key=lambda r: (-r.correction.strokes, r.correction.iou or 0.0, r.at))[:count]


def picture(row: StoredCorrection, clip: Clip) -> NDArray[np.uint8]:
    """(h, 480, 3) uint8 RGB: the editor frame on which before and after differ most, ours orange, theirs green."""
    frame = min(max(1, row.correction.worst or 1), editor_frame_count(clip.duration_s, row.fps))
    image = clip.frame(int(clip_frame_of_editor(clip.times, frame, row.fps)[frame - 1]))
    h = max(1, round(image.shape[0] * _WIDE_PX / image.shape[1]))
    small = np.ascontiguousarray(cv2.resize(image, (_WIDE_PX, h), interpolation=cv2.INTER_AREA))
    for box, colour in ((row.correction.before, _OURS), (row.correction.after, _THEIRS)):
        if box is not None:
            x0, y0, x1, y1 = (round(c * side) for c, side in zip(box, (_WIDE_PX, h, _WIDE_PX, h), strict=True))
            cv2.rectangle(small, (x0, y0), (x1, y1), colour, 2)
    return np.asarray(small, np.uint8)


def page(rows: Sequence[StoredCorrection], opened: Opened, *, most: int = 12) -> str:
    """HTML, self-contained: the tables, and pictures of the worst. opened: the clip of a row, None where it is gone."""
    bad = [WorstCorrection(row, _coded(row, opened)) for row in worst(rows, most)]
    template = Path(__file__).with_name("report.html.j2").read_text(encoding="utf-8")
    environment = jinja2.Environment(autoescape=True, undefined=jinja2.StrictUndefined)
    return environment.from_string(template).render(
        total=line("all", rows), tables=tables(rows), bad=bad, fates=list(RegionFate), when=_when
    )


def _coded(row: StoredCorrection, opened: Opened) -> str:
    clip = opened(row)
    if clip is None:
        return ""
    ok, coded = cv2.imencode(".jpg", picture(row, clip)[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, 80])
    if not ok:
        raise RuntimeError("OpenCV could not write a JPEG")
    return "data:image/jpeg;base64," + base64.b64encode(coded.tobytes()).decode()


def _when(at: float) -> str:
    return datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%d %H:%M")
