"""Progress on stderr: bars on a terminal, lines in a log or a pipe."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Protocol

from rich.console import Console

from refam.pipeline.stages import Stage

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID

_STEPS: dict[str, str] = {
    "open": "open the video",
    "fetch": "fetch SAM2",
    "load": "load the models",
    Stage.DECODE: "decode",
    Stage.GROUND: "ground the words",
    Stage.CONSENSUS: "agree over time",
    Stage.MASK: "find the mask",
    Stage.TRACK: "track",
    Stage.KEYFRAMES: "choose keyframes",
    "masks": "write the masks",
    "overlay": "write the overlay",
    "videos": "find the objects of all videos",
}
_FIRST_LINE_S, _LINE_S = 5.0, 20.0  # from a step's start to its first line, and between two lines


class Steps(Protocol):
    """A progress callback."""

    def __call__(self, stage: str, fraction: float) -> None:
        """Show that the fraction in [0, 1] of a stage is done; the first call for a stage begins it."""


@contextmanager
def steps(console: Console) -> Iterator[Steps]:
    """Show progress while the block runs. console: of stderr."""
    if not console.is_terminal:
        yield LineSteps(lambda line: console.print(line, markup=False, soft_wrap=True))
        return
    from rich.progress import (
        BarColumn,
        Progress,
        TaskProgressColumn,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )

    columns = (
        TextColumn("{task.description:<18}"),
        BarColumn(),
        TaskProgressColumn(),
        TimeElapsedColumn(),
        # of this step alone: the duration of later steps is unknown
        TextColumn("left in this step:"),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=console, transient=True) as progress:
        yield BarSteps(progress)


class BarSteps:
    """A bar for each step that has begun."""

    def __init__(self, progress: Progress) -> None:
        self._progress = progress
        self._tasks: dict[str, TaskID] = {}

    def __call__(self, stage: str, fraction: float) -> None:
        """See `Steps`."""
        if stage not in self._tasks:
            self._tasks[stage] = self._progress.add_task(_STEPS.get(stage, stage), total=1.0)
        self._progress.update(self._tasks[stage], completed=fraction)


class LineSteps:
    """Lines for steps that take more than a few seconds: how far they are, about how long they still take.

    Args:
        write: Takes a line.
        clock: Seconds that only grow.
    """

    def __init__(self, write: Callable[[str], None], *, clock: Callable[[], float] = time.monotonic) -> None:
        self._write, self._clock = write, clock
        self._stage, self._began_s, self._next_s, self._first = "", 0.0, 0.0, 0.0

    def __call__(self, stage: str, fraction: float) -> None:
        """See `Steps`."""
        now_s = self._clock()
        if stage != self._stage:
            self._stage, self._began_s, self._next_s, self._first = stage, now_s, now_s + _FIRST_LINE_S, fraction
        if now_s < self._next_s:
            return
        name, spent_s = _STEPS.get(stage, stage), now_s - self._began_s
        if fraction >= 1.0:
            self._write(f"{name}: done in {spent_s:.0f} s")
            self._next_s = float("inf")
            return
        left = ""
        if fraction > self._first:
            left_s = spent_s * (1 - fraction) / (fraction - self._first)
            left = f", about {_duration(left_s)} left in this step"
        self._write(f"{name}: {fraction:.0%} after {_duration(spent_s)}{left}")
        self._next_s = now_s + _LINE_S


def _duration(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest} s" if minutes else f"{rest} s"
