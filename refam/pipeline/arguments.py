"""The arguments of the Python API, points, boxes, masks and words, as prompts and targets."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from refam.pipeline.types import FramePrompt, PromptError, Target
from video.masks import encode

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
    for point in (*points, *negative_points):
        _require_numbers(point, 3, "a point is (x, y, frame)")
    for box in boxes:
        _require_numbers(box, 5, "a box is (x0, y0, x1, y1, frame)")
    for pair in masks:
        if not (isinstance(pair, tuple | list) and len(pair) == 2 and np.ndim(pair[0]) == 2 and np.ndim(pair[1]) == 0):
            raise PromptError(f"a mask is (mask, frame), the mask an array (H, W) of bool, got {_describe(pair)}")
    try:
        return (
            *(FramePrompt(int(frame), points=((x, y),), labels=(1,)) for x, y, frame in points),
            *(FramePrompt(int(frame), points=((x, y),), labels=(0,)) for x, y, frame in negative_points),
            *(FramePrompt(int(frame), box=(x0, y0, x1, y1)) for x0, y0, x1, y1, frame in boxes),
            *(FramePrompt(int(frame), mask=encode(np.asarray(mask, np.bool_))) for mask, frame in masks),
        )
    except ValueError as error:
        raise PromptError(str(error)) from error


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


def to_targets(words: Sequence[str], prompts: tuple[FramePrompt, ...]) -> list[Target]:
    """Return one target for each expression; prompts belong to the only one, or are an object by themselves.

    Raises:
        PromptError: If there is nothing to track, or if it is unclear which object the prompts mean.
    """
    expressions = [" ".join(expression.split()) for expression in words]
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
