"""What the command line was asked for: points, boxes and words -> targets of the pipeline."""

from __future__ import annotations

from collections.abc import Sequence

from backend.pipeline import FramePrompt, Target

Box = tuple[float, float, float, float]
UNNAMED = "object"  # the label of what was only pointed at


class AskError(ValueError):
    """The command line asks for something that cannot be meant; a sentence for people."""


def parse_point(text: str) -> tuple[tuple[float, float], int]:
    """`x,y@frame` -> ((x, y) in fractions of the frame, 0-based clip frame). Raises AskError."""
    (x, y), frame = _numbers(text, 2, "x,y@frame")
    _require(0 <= x <= 1 and 0 <= y <= 1, f"--point {text}: x and y are fractions of the frame, from 0 to 1")
    return (x, y), frame


def parse_box(text: str) -> tuple[Box, int]:
    """`x,y,w,h@frame`, x and y of the top left corner -> (normalised xyxy, 0-based clip frame). Raises AskError."""
    (x, y, w, h), frame = _numbers(text, 4, "x,y,w,h@frame")
    _require(w > 0 and h > 0, f"--box {text}: the width and the height must be more than 0")
    inside = x >= 0 and y >= 0 and x + w <= 1 + 1e-6 and y + h <= 1 + 1e-6
    _require(inside, f"--box {text}: x, y, w, h are fractions of the frame, and x + w and y + h at most 1")
    return (x, y, min(1.0, x + w), min(1.0, y + h)), frame


def targets_of(words: Sequence[str], points: Sequence[str], boxes: Sequence[str]) -> list[Target]:
    """One target for each expression; what is drawn refines the only one, or is an object by itself.

    Raises AskError.
    """
    expressions = [" ".join(w.split()) for w in words]
    _require(all(expressions), "an expression is empty: say what to find, for example 'the red star'")
    twice = next((w for i, w in enumerate(expressions) if w in expressions[:i]), None)
    _require(twice is None, f"{twice!r} was given twice; two objects need words that tell them apart")
    prompts = _prompts(points, boxes)
    _require(bool(expressions or prompts), "say what to find: words, or --point x,y@frame, or --box x,y,w,h@frame")
    _require(
        not prompts or len(expressions) <= 1,
        f"a point or a box goes with one expression, and {len(expressions)} were given: "
        "label the objects one call after the other",
    )
    if not expressions:
        return [Target(label=UNNAMED, prompts=prompts)]
    return [Target(label=w, words=w, prompts=prompts) for w in expressions]


def check_frames(targets: Sequence[Target], n: int) -> None:
    """Raises AskError when something was drawn on a frame that a clip of `n` frames does not have."""
    for prompt in (p for target in targets for p in target.prompts):
        _require(prompt.frame < n, f"frame {prompt.frame} was drawn on, and the video has the frames 0 to {n - 1}")


def _prompts(points: Sequence[str], boxes: Sequence[str]) -> tuple[FramePrompt, ...]:
    """One prompt for each frame that something was drawn on, in order."""
    on: dict[int, list[tuple[float, float]]] = {}
    around: dict[int, Box] = {}
    for point, frame in map(parse_point, points):
        on.setdefault(frame, []).append(point)
    for box, frame in map(parse_box, boxes):
        _require(frame not in around, f"two boxes were given on frame {frame}; one object has one box on a frame")
        around[frame] = box
    return tuple(
        FramePrompt(f, tuple(on.get(f, ())), (1,) * len(on.get(f, ())), around.get(f))
        for f in sorted(on.keys() | around.keys())
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
        raise AskError(message)
