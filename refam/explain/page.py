"""One self-contained page: no script, nothing fetched, light and dark."""

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

from refam.explain.steps import ExplainedRegion, Explanation
from refam.text.expression import TokenRole
from video.masks import area, encode, resize_map
from video.types import Candidate, Heatmap

_QUALITY = 88


def _uri(kind: str, ending: str, pixels: NDArray[np.uint8], setting: int) -> str:
    ok, data = cv2.imencode(ending, pixels, [setting, _QUALITY])
    if not ok:
        raise RuntimeError(f"OpenCV could not write a picture of shape {pixels.shape} as {ending}")
    return f"data:image/{kind};base64,{base64.b64encode(data.tobytes()).decode('ascii')}"


def encode_photo(image: NDArray[np.uint8], *, width: int) -> str:
    """(H, W, 3) uint8 RGB -> a JPEG at most `width` pixels wide."""
    h, w = image.shape[:2]
    if w > width:
        image = np.asarray(cv2.resize(image, (width, round(h * width / w)), interpolation=cv2.INTER_AREA), np.uint8)
    return _uri("jpeg", ".jpg", np.asarray(cv2.cvtColor(image, cv2.COLOR_RGB2BGR), np.uint8), cv2.IMWRITE_JPEG_QUALITY)


def encode_dimmed_photo(image: NDArray[np.uint8], *, width: int) -> str:
    """The picture in dim greys, for heat to lie on."""
    grey = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY).astype(np.float32)
    dim = np.clip(18 + 0.52 * grey, 0, 255).astype(np.uint8)
    return encode_photo(np.repeat(dim[..., None], 3, 2), width=width)


@cache
def _scale() -> NDArray[np.float32]:
    """(256, 4) float32 BGRA: nothing, then violet, orange, light yellow; even steps for the eye."""
    ramp = np.linspace(0.28, 1, 256) * 255
    colours = cv2.applyColorMap(ramp.round().astype(np.uint8)[:, None], cv2.COLORMAP_INFERNO)[:, 0].astype(np.float32)
    alpha = 235 * np.clip(np.linspace(0, 1, 256) * 1.6, 0, 1) ** 0.9
    return np.concatenate([colours, alpha[:, None].astype(np.float32)], 1)


def encode_heat(grid: NDArray[np.float32], *, width: int, height: int) -> str:
    """(h, w) float32 in [0, 1] -> a see-through WebP of this size."""
    fine = np.clip(resize_map(grid, (width, height)), 0, 1)
    rgba = _scale()[(fine * 255).round().astype(int)].astype(np.uint8)
    return _uri("webp", ".webp", rgba, cv2.IMWRITE_WEBP_QUALITY)


def outline_path(mask: NDArray[np.bool_]) -> str:
    """(H, W) bool -> an SVG path in pixels, holes included (fill-rule evenodd); empty for an empty mask."""
    found, _ = cv2.findContours(mask.astype(np.uint8), cv2.RETR_CCOMP, cv2.CHAIN_APPROX_TC89_L1)
    parts = []
    for contour in found:
        points = contour[:, 0].astype(float) + 0.5
        if len(points) > 2:
            parts.append("M" + "L".join(f"{x:.1f} {y:.1f}" for x, y in points) + "Z")
    return "".join(parts)


_WIDE_PX, _SMALL_PX, _FILM_PX = 1120, 420, 240
_STAYED = 0.02  # of the diagonal: a peak that went less far has not moved
_CHART = (880, 120)  # the drawing area of the line over time, in its own units

ROLES: dict[str, str] = {
    "content": "looked for",
    "head": "the thing itself",
    "place": "says where",
    "size": "says how large",
    "stop": "left out",
    "other": "said of another thing, left out",
    "magnet": "magnet, appended",
    "end": "end of text",
    "unknown": "not known to this model",
}
"""What each role means, in the words of the page."""


@dataclass(frozen=True, eq=False)
class ExplainedFrame:
    """One planned frame: image (H, W, 3) uint8 RGB, and where the words point in it after its neighbours voted."""

    time_s: float
    image: NDArray[np.uint8]
    heatmap: Heatmap


def render_page(
    found: Explanation,
    *,
    source: str,
    time_s: float,
    candidates: Sequence[Candidate],
    moments: Sequence[ExplainedFrame],
    facts: Sequence[tuple[str, str]],
) -> str:
    """HTML. source: what the video is called. time_s: of the explained frame. facts: name and value, for the end.

    candidates: masks of the explained frame, best first. moments: planned frames in order, the explained one among
    them or not. Whatever is in the words is escaped.
    """
    h, w = found.image.shape[:2]
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    size = (_SMALL_PX, max(1, round(_SMALL_PX * h / w)))
    return environment.get_template("page.html.j2").render(
        text=found.expression.text,
        source=source,
        frame=found.heatmap.frame,
        time_s=time_s,
        width=w,
        height=h,
        photo=encode_photo(found.image, width=_WIDE_PX),
        ground=encode_dimmed_photo(found.image, width=_SMALL_PX * 2),
        result=_picture(found.heatmap, size),
        confidence=found.heatmap.confidence,
        calibrated_on=found.calibrated_on,
        words=[_word(word, size) for word in found.words],
        roles=[(role, ROLES[role]) for role in ROLES if role in {_role(word) for word in found.words}],
        steps=[_step(i, step, size) for i, step in enumerate(found.steps)],
        ignored=found.expression.ignored,
        note=found.expression.note,
        cues=[cue.text for cue in found.expression.cues],
        choice=[_choice(c) for c in found.choice],
        candidates=[_candidate(c) for c in candidates],
        chart=_chart(moments, found.heatmap.frame, time_s),
        film=[_moment(m, w / h) for m in moments],
        columns=_columns(len(found.steps)),
        facts=facts,
    )


def _role(word: Any) -> str:
    return word.role.value if word.known or word.role not in (TokenRole.CONTENT, TokenRole.HEAD) else "unknown"


def _picture(heatmap: Heatmap, size: tuple[int, int]) -> dict[str, Any]:
    return {
        "heat": encode_heat(heatmap.grid, width=size[0], height=size[1]),
        "x": heatmap.peak[0],
        "y": heatmap.peak[1],
        "flat": bool(heatmap.grid.max() <= 0),
    }


def _word(word: Any, size: tuple[int, int]) -> dict[str, Any]:
    role = _role(word)
    return {
        "word": word.word,
        "role": role,
        "means": ROLES[role],
        "share": word.share,
        "heat": encode_heat(word.grid, width=size[0], height=size[1]),
        "used": role in ("content", "head"),
    }


def _step(index: int, step: Any, size: tuple[int, int]) -> dict[str, Any]:
    if index == 0:
        change = "where it starts"
    elif step.moved < _STAYED:
        change = "the peak stays"
    else:
        change = f"the peak moves by {step.moved:.0%} of the diagonal"
    return {
        "number": index + 1,
        "name": step.name,
        "sentence": step.sentence,
        "change": change,
        "moved": index > 0 and step.moved >= _STAYED,
        "contrast": step.contrast,
        **_picture(step.heatmap, size),
    }


def _choice(choice: ExplainedRegion) -> dict[str, Any]:
    h, w = choice.mask.shape
    return {"path": outline_path(choice.mask), "width": w, "height": h, "peak": choice.peak, "weight": choice.weight}


def _candidate(candidate: Candidate) -> dict[str, Any]:
    return {
        "path": outline_path(candidate.mask),
        "score": candidate.score,
        "area": area(encode(candidate.mask)) / candidate.mask.size,
    }


def _columns(count: int) -> int:
    """So that rows are even: five in one row, seven in four and three."""
    return count if count <= 5 else -(-count // 2)


def _moment(moment: ExplainedFrame, aspect: float) -> dict[str, Any]:
    return {
        "ground": encode_dimmed_photo(moment.image, width=_FILM_PX),
        "time_s": moment.time_s,
        "frame": moment.heatmap.frame,
        "confidence": moment.heatmap.confidence,
        **_picture(moment.heatmap, (_FILM_PX, max(1, round(_FILM_PX / aspect)))),
    }


def _chart(moments: Sequence[ExplainedFrame], frame: int, time_s: float) -> dict[str, Any]:
    """The line's points in the chart's own units, y down; now: where the explained frame is."""
    width, height = _CHART
    times = [*(m.time_s for m in moments), time_s]
    first, span = min(times), max(times) - min(times)

    def x(at_s: float) -> float:
        return round(width * (at_s - first) / span, 1) if span > 0 else width / 2

    points = [
        {
            "x": x(m.time_s),
            "y": round(height * (1 - m.heatmap.confidence), 1),
            "time_s": m.time_s,
            "confidence": m.heatmap.confidence,
            "here": m.heatmap.frame == frame,
        }
        for m in moments
    ]
    return {"width": width, "height": height, "points": points, "now": x(time_s)}
