"""Report corrections: tables by label, expression, day and model, and a page with pictures of the most costly ones."""

from __future__ import annotations

import base64
import contextlib
import logging
from collections.abc import Callable, Iterable, Iterator, Sequence
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
from backend.labelstudio.timeline import clip_frame_of_editor, editor_frame_count, frame_aspect
from backend.media.store import MediaError, MediaStore
from backend.settings import Settings
from video.errors import Skipped, UserError
from video.images import encode_jpeg
from video.io.display import resize_image
from video.io.probe import ClipError

if TYPE_CHECKING:
    from video.io.reader import Clip

log = logging.getLogger("refam.loop")

_WIDTH_PX = 480  # of a picture on the page
_BEFORE_RGB, _AFTER_RGB = (245, 140, 25), (35, 165, 55)  # orange and green
OpenClip = Callable[[StoredCorrection], "Clip"]


@dataclass(frozen=True)
class ReportLine:
    """One line of a table.

    Attributes:
        name: What the corrections of the line have in common.
        regions: Number of regions.
        fates: Number of regions of each fate.
        iou: Mean IoU of the regions that can be compared; None if there are none.
        strokes: Mean strokes of a region.
    """

    name: str
    regions: int
    fates: dict[RegionFate, int]
    iou: float | None
    strokes: float

    @property
    def kept(self) -> float:
        """The share of predicted regions that were kept; those that a person added were not predicted."""
        predicted = self.regions - self.fates[RegionFate.ADDED]
        return self.fates[RegionFate.KEPT] / predicted if predicted else 0.0


@dataclass(frozen=True)
class CorrectionPicture:
    """A correction and its picture: a JPEG as a data URL, "" if the video cannot be read."""

    row: StoredCorrection
    picture: str


def summary_tables(corrections: Sequence[StoredCorrection]) -> dict[str, list[ReportLine]]:
    """Group corrections by label, expression, day (UTC) and model version.

    Returns:
        The lines of each table: days in order, in the others the groups with most regions first.
    """
    keys: dict[str, Callable[[StoredCorrection], str]] = {
        "label": lambda row: row.correction.label or "(none)",
        "expression": lambda row: row.correction.words or "(drawn by hand)",
        "day": lambda row: datetime.fromtimestamp(row.at, UTC).strftime("%Y-%m-%d"),
        "model": lambda row: row.model_version or "(not known)",
    }
    return {name: _group(corrections, key, by_name=name == "day") for name, key in keys.items()}


def summarize(name: str, corrections: Sequence[StoredCorrection]) -> ReportLine:
    """Summarize corrections in one line."""
    regions = [stored.correction for stored in corrections]
    ious = [c.iou for c in regions if c.iou is not None and c.fate is not RegionFate.ADDED]
    return ReportLine(
        name=name,
        regions=len(regions),
        fates={fate: sum(c.fate is fate for c in regions) for fate in RegionFate},
        iou=float(np.mean(ious)) if ious else None,
        strokes=float(np.mean([c.strokes for c in regions])) if regions else 0.0,
    )


def _group(
    corrections: Sequence[StoredCorrection], key: Callable[[StoredCorrection], str], *, by_name: bool
) -> list[ReportLine]:
    names = {key(row) for row in corrections}
    lines = [summarize(name, [row for row in corrections if key(row) == name]) for name in names]
    return sorted(lines, key=lambda line: (line.name,) if by_name else (-line.regions, line.name))


def most_costly(corrections: Iterable[StoredCorrection], count: int) -> list[StoredCorrection]:
    """Return the predictions that cost most strokes; among equals, those with the lowest IoU first."""
    costly = [r for r in corrections if r.correction.strokes and r.correction.fate is not RegionFate.ADDED]
    return sorted(costly, key=lambda r: (-r.correction.strokes, r.correction.iou or 0.0, r.at))[:count]


def draw_correction(stored: StoredCorrection, clip: Clip) -> NDArray[np.uint8]:
    """Draw the editor frame on which before and after differ most, the predicted box orange, the person's green.

    Returns:
        (h, 480, 3) uint8 RGB.
    """
    frame = min(max(1, stored.correction.worst or 1), editor_frame_count(clip.duration_s, stored.fps))
    image = clip.frame(int(clip_frame_of_editor(clip.times, frame, stored.fps)[frame - 1]))
    h = max(1, round(_WIDTH_PX / frame_aspect(clip, (image.shape[1], image.shape[0]))))
    small = np.ascontiguousarray(resize_image(image, (_WIDTH_PX, h)))
    for box, colour in ((stored.correction.before, _BEFORE_RGB), (stored.correction.after, _AFTER_RGB)):
        if box is not None:
            x0, y0, x1, y1 = (round(c * side) for c, side in zip(box, (_WIDTH_PX, h, _WIDTH_PX, h), strict=True))
            cv2.rectangle(small, (x0, y0), (x1, y1), colour, 2)
    return np.asarray(small, np.uint8)


def render_page(
    corrections: Sequence[StoredCorrection], open_clip: OpenClip, *, max_pictures: int = 12, skipped: Skipped = None
) -> str:
    """Render a self-contained HTML page: the tables, and pictures of the most costly corrections.

    Args:
        corrections: The corrections to report.
        open_clip: Returns the clip of a correction, or raises MediaError or ClipError; see `open_videos`.
        max_pictures: The most pictures to show.
        skipped: If given, it gets a sentence for each task whose video cannot be read; its corrections have no picture.
    """
    problems: dict[int | None, str] = {}
    costly = [
        CorrectionPicture(row, _encode_picture(row, open_clip, problems))
        for row in most_costly(corrections, max_pictures)
    ]
    if skipped is not None:
        skipped += problems.values()
    template = Path(__file__).with_name("report.html.j2").read_text(encoding="utf-8")
    environment = jinja2.Environment(autoescape=True, undefined=jinja2.StrictUndefined)
    return environment.from_string(template).render(
        total=summarize("all", corrections),
        tables=summary_tables(corrections),
        costly=costly,
        fates=list(RegionFate),
        format_time=_format_time,
    )


@contextlib.contextmanager
def open_videos(settings: Settings) -> Iterator[OpenClip]:
    """Yield a function that opens the video of a correction. Downloaded files are kept until the block ends."""
    from video.io.reader import open_clip

    media = MediaStore(settings)
    clips: dict[str, Clip | UserError] = {}
    with contextlib.ExitStack() as files:

        def open_video(stored: StoredCorrection) -> Clip:
            if stored.video not in clips:
                try:
                    path = files.enter_context(media.local_file(stored.video, task_id=stored.task))
                    clips[stored.video] = open_clip(path)
                except (MediaError, ClipError) as error:
                    clips[stored.video] = error
            clip = clips[stored.video]
            if isinstance(clip, UserError):
                raise clip
            return clip

        yield open_video


def _encode_picture(stored: StoredCorrection, open_clip: OpenClip, problems: dict[int | None, str]) -> str:
    """Return the picture, or "" and a sentence by its task in `problems` if the video cannot be read."""
    try:
        drawn = draw_correction(stored, open_clip(stored))
    except (MediaError, ClipError) as error:
        log.warning("task %s: %s", stored.task, error)
        problems.setdefault(stored.task, f"task {stored.task}: its corrections have no picture: {error}")
        return ""
    return "data:image/jpeg;base64," + base64.b64encode(encode_jpeg(drawn, quality=80)).decode()


def _format_time(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d %H:%M")
