"""One self-contained HTML page: no script, nothing fetched, light and dark."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import cv2
import jinja2
import numpy as np
from numpy.typing import NDArray

from refam.explain.steps import ExplainedRegion, ExplainedStep, Explanation, WordMap
from refam.text.tokens import TokenRole
from video.masks import area, encode, resize_map
from video.types import Candidate, Heatmap

_WIDE_PX, _SMALL_PX, _FILM_PX = 1120, 420, 240
_MIN_MOVE = 0.02  # of the diagonal; a peak that moved less is said to stay
_CHART = (880, 120)  # width and height of the chart's drawing area, in its own units
_QUALITY = 88  # of JPEG and WebP

ROLE_TEXTS: dict[str, str] = {
    "content": "looked for",
    "head": "the thing itself",
    "quantity": "says how many",
    "place": "says where",
    "size": "says how large",
    "motion": "says which way it moves or faces, left out",
    "stop": "left out",
    "filler": "names nothing, left out",
    "other": "said of another thing, left out",
    "magnet": "magnet, appended",
    "end": "end of text",
    "unknown": "not known to this model",
}
"""What each role means, in the words of the page."""


@dataclass(frozen=True, eq=False)
class ExplainedFrame:
    """One frame that is planned for grounding.

    Attributes:
        time_s: Its time.
        image: (H, W, 3) uint8 RGB.
        heatmap: Heatmap of the words, after fusion with the neighbouring frames.
    """

    time_s: float
    image: NDArray[np.uint8]
    heatmap: Heatmap


def render_page(
    explanation: Explanation,
    *,
    source: str,
    time_s: float,
    candidates: Sequence[Candidate],
    frames: Sequence[ExplainedFrame],
    facts: Sequence[tuple[str, str]],
    pixel_aspect: float = 1.0,
) -> str:
    """Render the page; whatever the words contain is escaped.

    Args:
        explanation: Explanation of one frame.
        source: What the video is called.
        time_s: Time of the explained frame.
        candidates: Masks of the explained frame, best first.
        frames: Those that are planned for grounding, in order; the explained one may be among them.
        facts: Names and values for the end of the page.
        pixel_aspect: Width of the images' pixels divided by their height.

    Returns:
        HTML.
    """
    h, w = explanation.image.shape[:2]
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    size = (_SMALL_PX, max(1, round(_SMALL_PX * h / w)))
    roles = {_role_of(word) for word in explanation.words}
    return environment.get_template("page.html.j2").render(
        text=explanation.expression.text,
        source=source,
        frame=explanation.heatmap.frame,
        time_s=time_s,
        width=w,
        height=h,
        aspect=w * pixel_aspect / h,
        photo=encode_photo(explanation.image, width=_WIDE_PX),
        ground=encode_dimmed_photo(explanation.image, width=_SMALL_PX * 2),
        result=_heatmap_fields(explanation.heatmap, size),
        confidence=explanation.heatmap.confidence,
        calibrated_on=explanation.calibrated_on,
        words=[_word_fields(word, size) for word in explanation.words],
        roles=[(role, text) for role, text in ROLE_TEXTS.items() if role in roles],
        steps=[_step_fields(i, step, size) for i, step in enumerate(explanation.steps)],
        ignored=explanation.expression.ignored,
        note=explanation.expression.note,
        cues=[cue.text for cue in explanation.expression.cues],
        regions=[_region_fields(region) for region in explanation.regions],
        candidates=[_candidate_fields(candidate) for candidate in candidates],
        chart=_chart_fields(frames, explanation.heatmap.frame, time_s),
        film=[_frame_fields(frame, w / h) for frame in frames],
        columns=_count_columns(len(explanation.steps)),
        facts=facts,
    )


# --- the fields of the template ---------------------------------------------------------------------------------------


def _role_of(word: WordMap) -> str:
    return word.role.value if word.known or word.role not in (TokenRole.CONTENT, TokenRole.HEAD) else "unknown"


def _heatmap_fields(heatmap: Heatmap, size: tuple[int, int]) -> dict[str, Any]:
    return {
        "heat": encode_heat(heatmap.grid, width=size[0], height=size[1]),
        "x": heatmap.peak[0],
        "y": heatmap.peak[1],
        "flat": bool(heatmap.grid.max() <= 0),
    }


def _word_fields(word: WordMap, size: tuple[int, int]) -> dict[str, Any]:
    role = _role_of(word)
    return {
        "word": word.word,
        "role": role,
        "means": ROLE_TEXTS[role],
        "share": word.share,
        "heat": encode_heat(word.grid, width=size[0], height=size[1]),
        "used": role in ("content", "head"),
    }


def _step_fields(index: int, step: ExplainedStep, size: tuple[int, int]) -> dict[str, Any]:
    if index == 0:
        change = "where it starts"
    elif step.moved < _MIN_MOVE:
        change = "the peak stays"
    else:
        change = f"the peak moves by {step.moved:.0%} of the diagonal"
    return {
        "number": index + 1,
        "name": step.name,
        "sentence": step.sentence,
        "change": change,
        "moved": index > 0 and step.moved >= _MIN_MOVE,
        "contrast": step.contrast,
        **_heatmap_fields(step.heatmap, size),
    }


def _region_fields(region: ExplainedRegion) -> dict[str, Any]:
    h, w = region.mask.shape
    return {
        "path": outline_path(region.mask),
        "width": w,
        "height": h,
        "peak": region.peak,
        "weight": region.weight,
    }


def _candidate_fields(candidate: Candidate) -> dict[str, Any]:
    return {
        "path": outline_path(candidate.mask),
        "score": candidate.score,
        "area": area(encode(candidate.mask)) / candidate.mask.size,
    }


def _count_columns(count: int) -> int:
    """The columns that make rows even: five in one row, seven in four and three."""
    return count if count <= 5 else -(-count // 2)


def _frame_fields(frame: ExplainedFrame, aspect: float) -> dict[str, Any]:
    return {
        "ground": encode_dimmed_photo(frame.image, width=_FILM_PX),
        "time_s": frame.time_s,
        "frame": frame.heatmap.frame,
        "confidence": frame.heatmap.confidence,
        **_heatmap_fields(frame.heatmap, (_FILM_PX, max(1, round(_FILM_PX / aspect)))),
    }


def _chart_fields(frames: Sequence[ExplainedFrame], explained_frame: int, time_s: float) -> dict[str, Any]:
    """The points of the line in the chart's own units, y down; "now" is where the explained frame is."""
    width, height = _CHART
    times = [*(frame.time_s for frame in frames), time_s]
    first, span = min(times), max(times) - min(times)

    def x(at_s: float) -> float:
        return round(width * (at_s - first) / span, 1) if span > 0 else width / 2

    points = [
        {
            "x": x(frame.time_s),
            "y": round(height * (1 - frame.heatmap.confidence), 1),
            "time_s": frame.time_s,
            "confidence": frame.heatmap.confidence,
            "here": frame.heatmap.frame == explained_frame,
        }
        for frame in frames
    ]
    return {"width": width, "height": height, "points": points, "now": x(time_s)}


# --- pictures as data URIs and paths ----------------------------------------------------------------------------------


def encode_photo(image: NDArray[np.uint8], *, width: int) -> str:
    """Encode an image (H, W, 3) uint8 RGB as a JPEG data URI of at most this width."""
    h, w = image.shape[:2]
    if w > width:
        image = np.asarray(cv2.resize(image, (width, round(h * width / w)), interpolation=cv2.INTER_AREA), np.uint8)
    bgr = np.asarray(cv2.cvtColor(image, cv2.COLOR_RGB2BGR), np.uint8)
    return _encode_data_uri("jpeg", ".jpg", bgr, cv2.IMWRITE_JPEG_QUALITY)


def encode_dimmed_photo(image: NDArray[np.uint8], *, width: int) -> str:
    """Encode an image (H, W, 3) uint8 RGB in dim greys, as a background for heat."""
    grey = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY).astype(np.float32)
    dimmed = np.clip(18 + 0.52 * grey, 0, 255).astype(np.uint8)
    return encode_photo(np.repeat(dimmed[..., None], 3, 2), width=width)


def encode_heat(grid: NDArray[np.float32], *, width: int, height: int) -> str:
    """Encode a heatmap (h, w) float32 in [0, 1] as a transparent WebP data URI of this size."""
    fine = np.clip(resize_map(grid, (width, height)), 0, 1)
    bgra = _heat_colours()[(fine * 255).round().astype(int)].astype(np.uint8)
    return _encode_data_uri("webp", ".webp", bgra, cv2.IMWRITE_WEBP_QUALITY)


def outline_path(mask: NDArray[np.bool_]) -> str:
    """Return the outline of a mask (H, W) as an SVG path in pixels.

    Holes are included, for fill-rule evenodd. The path of an empty mask is empty.
    """
    contours, _ = cv2.findContours(mask.astype(np.uint8), cv2.RETR_CCOMP, cv2.CHAIN_APPROX_TC89_L1)
    paths = []
    for contour in contours:
        points = contour[:, 0].astype(float) + 0.5
        if len(points) > 2:
            paths.append("M" + "L".join(f"{x:.1f} {y:.1f}" for x, y in points) + "Z")
    return "".join(paths)


@cache
def _heat_colours() -> NDArray[np.float32]:
    """(256, 4) float32 BGRA: transparent, violet, orange, light yellow, in steps that look even."""
    ramp = np.linspace(0.28, 1, 256) * 255
    colours = cv2.applyColorMap(ramp.round().astype(np.uint8)[:, None], cv2.COLORMAP_INFERNO)[:, 0].astype(np.float32)
    alpha = 235 * np.clip(np.linspace(0, 1, 256) * 1.6, 0, 1) ** 0.9
    return np.concatenate([colours, alpha[:, None].astype(np.float32)], 1)


def _encode_data_uri(kind: str, extension: str, pixels: NDArray[np.uint8], quality_flag: int) -> str:
    ok, data = cv2.imencode(extension, pixels, [quality_flag, _QUALITY])
    if not ok:
        raise RuntimeError(f"OpenCV could not write a picture of shape {pixels.shape} as {extension}")
    return f"data:image/{kind};base64,{base64.b64encode(data.tobytes()).decode('ascii')}"
