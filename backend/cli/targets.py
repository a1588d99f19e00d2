"""Parse the prompts of `refam label`: words, points, boxes and masks become targets of the pipeline."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image, UnidentifiedImageError

from refam.pipeline.types import FramePrompt, PromptError, Target
from video.masks import Mask, encode
from video.types import Rle

Box = tuple[float, float, float, float]
UNNAMED = "object"  # the label of an object without words


@dataclass(frozen=True)
class PromptOptions:
    """The values of --point, --not-point, --box and --mask: see `parse_point`, `parse_box` and `parse_mask`."""

    points: Sequence[str] = ()
    not_points: Sequence[str] = ()
    boxes: Sequence[str] = ()
    masks: Sequence[str] = ()


def parse_point(text: str, *, option: str = "--point") -> tuple[tuple[float, float], int]:
    """Parse `x,y@frame` into (x, y), normalised, and the 0-based clip frame. Raises PromptError."""
    (x, y), frame = _numbers(text, 2, "x,y@frame")
    _require(0 <= x <= 1 and 0 <= y <= 1, f"{option} {text}: x and y are fractions of the frame, from 0 to 1")
    return (x, y), frame


def parse_box(text: str) -> tuple[Box, int]:
    """Parse `x,y,w,h@frame`, x and y of the top left corner, into a normalised xyxy box and the 0-based clip frame.

    Raises:
        PromptError: If the text is malformed or the box leaves the frame.
    """
    (x, y, w, h), frame = _numbers(text, 4, "x,y,w,h@frame")
    _require(w > 0 and h > 0, f"--box {text}: the width and the height must be more than 0")
    inside = x >= 0 and y >= 0 and x + w <= 1 + 1e-6 and y + h <= 1 + 1e-6
    _require(inside, f"--box {text}: x, y, w, h are fractions of the frame, and x + w and y + h at most 1")
    return (x, y, min(1.0, x + w), min(1.0, y + h)), frame


def parse_mask(text: str) -> tuple[Rle, int]:
    """Parse `FILE@frame` into the file's mask (see `read_mask`) and the 0-based clip frame. Raises PromptError."""
    name, at, number = text.rpartition("@")
    if not at:
        name, number = text, "0"
    _require(number.isdecimal(), f"--mask {text} is not of the form FILE@frame, for example mask.png@12")
    mask = read_mask(Path(name))
    _require(bool(mask.any()), f"--mask {text}: the mask is empty; the object is to be white (or opaque)")
    return encode(mask), int(number)


def read_mask(path: Path) -> Mask:
    """Read a mask from a picture: its white pixels, or the opaque ones, or those of any index but 0.

    In a picture of nothing but 0 and 1, these are the mask.

    Returns:
        (H, W) bool.

    Raises:
        PromptError: If the file is missing or no picture.
    """
    try:
        with Image.open(path) as picture:
            picture.load()
            if picture.mode == "P" and "transparency" not in picture.info:
                return np.asarray(picture) > 0
            has_alpha = "A" in picture.getbands() or "transparency" in picture.info
            if has_alpha and (clear := np.asarray(picture.convert("RGBA"))[..., 3] < 128).any():
                return np.asarray(~clear, np.bool_)
            deep = picture.mode.startswith(("I", "F"))
            grey = np.asarray(picture if deep else picture.convert("L"))
    except FileNotFoundError:
        raise PromptError(f"--mask: there is no file {path}") from None
    except (OSError, UnidentifiedImageError, Image.DecompressionBombError) as error:
        raise PromptError(f"--mask: {path} cannot be read as a picture: {error}") from None
    return np.asarray(grey > 0 if grey.max() <= 1 else grey >= (32768 if deep else 128), np.bool_)


def build_targets(words: Sequence[str], options: PromptOptions | None = None) -> list[Target]:
    """Return a target for each expression; prompts refine the only one, or define an object without words.

    Raises:
        PromptError: If the prompts are malformed, or do not say what to find.
    """
    expressions = [" ".join(w.split()) for w in words]
    _require(all(expressions), "an expression is empty: say what to find, for example 'the red star'")
    repeated = next((w for i, w in enumerate(expressions) if w in expressions[:i]), None)
    _require(repeated is None, f"{repeated!r} was given twice; two objects need words that tell them apart")
    prompts = _parse_prompts(options or PromptOptions())
    _require(
        bool(expressions or prompts),
        "say what to find: words, or --point x,y@frame, or --box x,y,w,h@frame, or --mask FILE@frame",
    )
    _require(
        not prompts or len(expressions) <= 1,
        f"what is drawn goes with one expression, and {len(expressions)} were given: "
        "label the objects one call after the other",
    )
    _require(
        bool(expressions) or any(p.is_positive for p in prompts),
        "--not-point says only what is not the object: give words, a --point, a --box or a --mask too",
    )
    if not expressions:
        return [Target(label=UNNAMED, prompts=prompts)]
    return [Target(label=w, words=w, prompts=prompts) for w in expressions]


def check_prompts(targets: Sequence[Target], n: int, size: tuple[int, int]) -> None:
    """Raise PromptError if a prompt is on a frame that the clip does not have, or a mask has another size.

    Args:
        targets: The targets.
        n: Number of frames of the clip.
        size: (width, height) of its frames in pixels.
    """
    for prompt in (p for target in targets for p in target.prompts):
        _require(prompt.frame < n, f"frame {prompt.frame} was drawn on, and the video has the frames 0 to {n - 1}")
        if prompt.mask is not None:
            (w, h), (width, height) = prompt.mask.size, size
            _require(
                prompt.mask.size == size,
                f"the mask on frame {prompt.frame} is {w}x{h}; the video's frames are {width}x{height}",
            )


def _parse_prompts(options: PromptOptions) -> tuple[FramePrompt, ...]:
    """Return one prompt for each frame that has any, in order."""
    points: dict[int, list[tuple[tuple[float, float], int]]] = {}
    boxes: dict[int, Box] = {}
    masks: dict[int, Rle] = {}
    for texts, option, label in ((options.points, "--point", 1), (options.not_points, "--not-point", 0)):
        for text in texts:
            point, frame = parse_point(text, option=option)
            points.setdefault(frame, []).append((point, label))
    for box, frame in map(parse_box, options.boxes):
        _require(frame not in boxes, f"two boxes were given on frame {frame}; one object has one box on a frame")
        boxes[frame] = box
    for mask, frame in map(parse_mask, options.masks):
        _require(frame not in masks, f"two masks were given on frame {frame}; one object has one mask on a frame")
        masks[frame] = mask
    return tuple(
        FramePrompt(
            f,
            points=tuple(point for point, _ in points.get(f, ())),
            labels=tuple(label for _, label in points.get(f, ())),
            box=boxes.get(f),
            mask=masks.get(f),
        )
        for f in sorted(points.keys() | boxes.keys() | masks.keys())
    )


def _numbers(text: str, n: int, form: str) -> tuple[list[float], int]:
    place, _, frame = text.partition("@")
    try:
        values = [float(v) for v in place.split(",")]
        index = int(frame) if frame else 0
    except ValueError:
        values, index = [], 0
    _require(len(values) == n, f"{text!r} is not of the form {form}, for example {_EXAMPLES[n]}")
    _require(index >= 0, f"{text!r}: frames are counted from 0")
    return values, index


_EXAMPLES = {2: "0.5,0.4@0", 4: "0.4,0.3,0.2,0.25@0"}


def _require(ok: bool, message: str) -> None:
    if not ok:
        raise PromptError(message)
