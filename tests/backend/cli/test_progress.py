"""Progress where there is no terminal."""

from __future__ import annotations

import io

import pytest
from rich.console import Console

from backend.cli.progress import LineSteps, steps


@pytest.mark.parametrize(
    ("calls", "lines"),
    [
        ([(0, "track", 0.0), (4, "track", 0.9), (4.5, "track", 1.0)], []),
        (
            [(0, "track", 0.0), (6, "track", 0.25), (20, "track", 0.5), (30, "track", 0.75), (40, "track", 1.0)],
            [
                "track: 25% after 6 s, about 18 s left in this step",
                "track: 75% after 30 s, about 10 s left in this step",
            ],
        ),
        (
            [(0, "decode", 0.0), (90, "decode", 0.5), (200, "decode", 1.0), (230, "decode", 1.0)],
            ["decode: 50% after 1 min 30 s, about 1 min 30 s left in this step", "decode: done in 200 s"],
        ),
        # a step that goes on where an earlier run stopped: what is left counts from there
        ([(0, "track", 0.8), (10, "track", 0.9)], ["track: 90% after 10 s, about 10 s left in this step"]),
        ([(0, "track", 0.0), (10, "track", 0.0)], ["track: 0% after 10 s"]),
        ([(0, "track", 0.0), (9, "overlay", 0.0), (15, "overlay", 1.0)], ["write the overlay: done in 6 s"]),
    ],
)
def test_long_steps_say_how_far_they_are(calls, lines):
    written: list[str] = []
    now = [0.0]
    progress = LineSteps(written.append, clock=lambda: now[0])
    for at_s, stage, fraction in calls:
        now[0] = at_s
        progress(stage, fraction)
    assert written == lines


def test_a_pipe_gets_no_bar():
    pipe = io.StringIO()
    with steps(Console(file=pipe)) as step:
        step("track", 0.0)
        step("track", 1.0)
    assert pipe.getvalue() == ""
