"""The stages of the pipeline by name, and the callback that reports their progress. Imports nothing heavy."""

from __future__ import annotations

from collections.abc import Callable
from enum import StrEnum


class Stage(StrEnum):
    """The stages of the pipeline, in their order: what progress callbacks, job records and metrics call them."""

    DECODE = "decode"
    GROUND = "ground"
    CONSENSUS = "consensus"
    MASK = "mask"
    TRACK = "track"
    KEYFRAMES = "keyframes"


Progress = Callable[[str, float], None]
"""Called with the stage's name and the finished fraction of that stage, in [0, 1]."""


def ignore_progress(stage: str, fraction: float) -> None:
    """Do nothing: the progress callback of those who want none."""
