"""Checks the arguments of the Python API, and makes prompts, targets and regions of them."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from refam.pipeline.roi import MIN_SIDE_PX, RegionOfInterest
from refam.pipeline.types import FramePrompt, PromptError, Target
from video.masks import encode
from video.types import Prompt

FramePoint = tuple[float, float, int]
"""x, y, frame: x and y as fractions of the frame from its top left, frames counted from 0."""
FrameBox = tuple[float, float, float, float, int]
"""x0, y0, x1, y1, frame: the corners as fractions of the frame from its top left, frames counted from 0."""
FrameMask = tuple[NDArray[np.bool_], int]
"""mask, frame: the mask (H, W) bool in the frame's size, frames counted from 0."""


def to_prompts(
    points: Sequence[FramePoint],
    negative_points: Sequence[FramePoint],
    boxes: Sequence[FrameBox],
    masks: Sequence[FrameMask],
) -> tuple[FramePrompt, ...]:
    """Return one prompt for each point, box and mask.

    Args:
        points: On the object.
        negative_points: Off it.
        boxes: Around it.
        masks: Of it.

    Raises:
        PromptError: If one is malformed or out of range.
    """
    _require_rows({"points": points, "negative_points": negative_points, "boxes": boxes, "masks": masks})
    for point in (*points, *negative_points):
        _require_numbers(point, 3, "a point is (x, y, frame)")
        _require_frame(point, point[2])
    for box in boxes:
        _require_numbers(box, 5, "a box is (x0, y0, x1, y1, frame)")
        _require_frame(box, box[4])
    for pair in masks:
        if not (isinstance(pair, tuple | list) and len(pair) == 2 and np.ndim(pair[0]) == 2 and np.ndim(pair[1]) == 0):
            raise PromptError(f"a mask is (mask, frame), the mask an array (H, W) of bool, got {_describe(pair)}")
        _require_frame(pair, pair[1])
    try:
        return (
            *(FramePrompt(int(frame), points=((x, y),), labels=(1,)) for x, y, frame in points),
            *(FramePrompt(int(frame), points=((x, y),), labels=(0,)) for x, y, frame in negative_points),
            *(FramePrompt(int(frame), box=(x0, y0, x1, y1)) for x0, y0, x1, y1, frame in boxes),
            *(FramePrompt(int(frame), mask=encode(np.asarray(mask, np.bool_))) for mask, frame in masks),
        )
    except ValueError as error:
        raise PromptError(str(error)) from error


def to_image_prompt(
    points: Sequence[tuple[float, float]],
    negative_points: Sequence[tuple[float, float]],
    box: tuple[float, float, float, float] | None,
    prior: NDArray[Any] | None,
) -> Prompt:
    """Return what a segmenter is asked for on one image.

    Args:
        points: (x, y) on the object, as fractions of the image.
        negative_points: (x, y) off it.
        box: x0, y0, x1, y1 around it.
        prior: (h, w) in [0, 1], a heatmap or a mask.

    Raises:
        PromptError: If one is malformed or out of range, or if none says where the object is.
    """
    _require_rows({"points": points, "negative_points": negative_points})
    for point in (*points, *negative_points):
        _require_numbers(point, 2, "a point is (x, y) in fractions of the image")
        if not all(0 <= value <= 1 for value in point):
            raise PromptError(f"a point is (x, y) in fractions of the image, from 0 to 1, got {_describe(point)}")
    if box is not None:
        _require_numbers(box, 4, "box is (x0, y0, x1, y1) in fractions of the image")
    if prior is not None:
        prior = _to_prior(prior)
    if not len(points) and box is None and prior is None:
        raise PromptError(
            "nothing says where the object is: give words, points, a box or a prior"
            + (" beside the negative_points" if len(negative_points) else "")
        )
    try:
        return Prompt(
            points=np.array([*points, *negative_points], np.float64).reshape(-1, 2),
            labels=np.array([1] * len(points) + [0] * len(negative_points), np.int64),
            box=None if box is None else (float(box[0]), float(box[1]), float(box[2]), float(box[3])),
            prior=prior,
        )
    except ValueError as error:
        raise PromptError(str(error)) from error


def _to_prior(prior: Any) -> NDArray[np.float32]:
    form = "prior is a heatmap or a mask, an array (h, w) of numbers in [0, 1]"
    if not isinstance(prior, np.ndarray) or prior.ndim != 2 or not prior.size or prior.dtype.kind not in "biuf":
        raise PromptError(f"{form}, got {_describe(prior)}")
    if not (np.isfinite(prior).all() and prior.min() >= 0 and prior.max() <= 1):
        raise PromptError(f"{form}, got values from {prior.min()} to {prior.max()}")
    return np.asarray(prior, np.float32)


def to_region(
    frame_range: str, every: int, max_side_px: int | None, *, default_side_px: int | None
) -> RegionOfInterest:
    """Return the frames to look at, and their size.

    Args:
        frame_range: FROM-TO, or "" for the whole video.
        every: Every n-th frame.
        max_side_px: The longer side of the frames; None takes the default.
        default_side_px: See `RegionOfInterest`.

    Raises:
        PromptError: If one is malformed or out of range.
    """
    if not isinstance(frame_range, str):
        raise PromptError(
            f'frame_range is text, FROM-TO with both included, such as "0-5" or "2.5s-4s", got {_describe(frame_range)}'
        )
    every = require_whole("every", every, least=1)
    if max_side_px is not None:
        max_side_px = require_whole("max_side_px", max_side_px, least=MIN_SIDE_PX)
    return RegionOfInterest(
        frame_range,
        every=every,
        max_side_px=default_side_px if max_side_px is None else max_side_px,
        range_name="frame_range",
    )


def require_whole(name: str, value: Any, *, least: int) -> int:
    """Return an argument that must be a whole number, as an int.

    Args:
        name: Of the argument.
        value: As given.
        least: The smallest that is allowed.

    Raises:
        PromptError: If it is none, or too small.
    """
    if isinstance(value, bool) or not isinstance(value, int | np.integer) or value < least:
        raise PromptError(f"{name} must be a whole number, {least} or more, got {_describe(value)}")
    return int(value)


def require_text(name: str, value: Any, example: str) -> str:
    """Return an argument that must be text.

    Args:
        name: Of the argument.
        value: As given.
        example: What would be right.

    Raises:
        PromptError: If it is no text, or blank.
    """
    if not isinstance(value, str) or not value.strip():
        raise PromptError(f"{name} must be text, for example {example!r}, got {_describe(value)}")
    return value


def require_path(name: str, value: Any, what: str) -> Path:
    """Return an argument that must be a path.

    Args:
        name: Of the argument.
        value: As given.
        what: It leads to, for the error.

    Raises:
        PromptError: If it is no path, or blank, which would be the current folder.
    """
    if isinstance(value, os.PathLike) or (isinstance(value, str) and value.strip()):
        return Path(value)
    raise PromptError(f"{name} must be the path of {what}, got {_describe(value)}")


def require_image(image: Any) -> NDArray[np.uint8]:
    """Return an argument that must be an image.

    Raises:
        PromptError: If it is no (H, W, 3) uint8 array with pixels.
    """
    is_image = isinstance(image, np.ndarray) and image.dtype == np.uint8 and image.ndim == 3
    if not is_image or image.shape[2] != 3 or not image.size:
        given = f"{image.dtype} {image.shape}" if isinstance(image, np.ndarray) else type(image).__name__
        raise PromptError(f"image must be RGB, an array (H, W, 3) of uint8, got {given}")
    return image


def _require_rows(arguments: Mapping[str, Any]) -> None:
    """Raise PromptError for an argument that is no list, tuple or array."""
    for name, values in arguments.items():
        if not isinstance(values, list | tuple | np.ndarray) or (isinstance(values, np.ndarray) and not values.ndim):
            raise PromptError(f"{name} must be a list, got {_describe(values)}")


def _require_frame(row: Any, frame: Any) -> None:
    """Raise PromptError unless a frame is a whole number; rows of an array have it as a float."""
    if isinstance(frame, bool | np.bool_) or not isinstance(frame, int | float | np.integer | np.floating):
        raise PromptError(f"a frame is a whole number, counted from 0, got {_describe(row)}")
    if not float(frame).is_integer():
        raise PromptError(f"a frame is a whole number, counted from 0, got {_describe(row)}")


def _require_numbers(values: Any, count: int, form: str) -> None:
    """Raise PromptError unless `values` are so many numbers; form: what the error says is right."""
    numbers = np.asarray(values) if isinstance(values, tuple | list | np.ndarray) and len(values) == count else None
    if numbers is None or numbers.ndim != 1 or numbers.dtype.kind not in "iuf" or not np.isfinite(numbers).all():
        raise PromptError(f"{form}, got {_describe(values)}")


def _describe(value: Any) -> str:
    """Return a short text for an argument: arrays by their shape, all else as Python prints it."""
    if isinstance(value, np.ndarray) and value.size > 8:
        return f"an array of shape {value.shape}"
    if isinstance(value, tuple | list):
        return f"({', '.join(map(_describe, value))}{',' if len(value) == 1 else ''})"
    return repr(value)


def check_mask_sizes(targets: Sequence[Target], size: tuple[int, int]) -> None:
    """Raise PromptError if a drawn mask has another size than the video.

    Args:
        targets: The objects.
        size: Of the video's frames, (width, height) in pixels.
    """
    for prompt in (prompt for target in targets for prompt in target.prompts):
        if prompt.mask is not None and prompt.mask.size != size:
            width, height = prompt.mask.size
            raise PromptError(
                f"the mask on frame {prompt.frame} is {height}x{width} pixels (height x width); "
                f"the video's frames are {size[1]}x{size[0]}"
            )


def to_targets(words: str | Iterable[str], prompts: tuple[FramePrompt, ...]) -> list[Target]:
    """Return one target for each expression; prompts belong to the only one, or are an object by themselves.

    Args:
        words: An expression, or several.
        prompts: What was drawn.

    Raises:
        PromptError: If there is nothing to track, if an expression is no text, or if it is unclear which object
            the prompts mean.
    """
    texts = [words] if isinstance(words, str) else list(words) if isinstance(words, Iterable) else [words]
    if not all(isinstance(text, str) for text in texts):
        raise PromptError(f"words must be text, or a list of texts, such as 'the red star', got {_describe(words)}")
    expressions = [" ".join(expression.split()) for expression in texts]
    if not expressions and not prompts:
        raise PromptError("nothing to track: give words, points, boxes or masks")
    if not all(expressions):
        raise PromptError("an expression is empty: say what to find, for example 'the red star'")
    if len(set(expressions)) < len(expressions):
        raise PromptError(f"the same words were given twice: {expressions}; each object needs words of its own")
    if prompts and len(expressions) > 1:
        raise PromptError(
            f"points, boxes and masks describe one object, and {len(expressions)} expressions were given: "
            "track the objects one call after the other"
        )
    try:
        if not expressions:
            return [Target("object", prompts=prompts)]
        return [Target(expression, words=expression, prompts=prompts) for expression in expressions]
    except ValueError as error:
        raise PromptError(str(error)) from error
