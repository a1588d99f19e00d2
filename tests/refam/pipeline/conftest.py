"""Fixtures that several tests of the pipeline share."""

from __future__ import annotations

import pytest

from refam.tiny.scenes import SceneObject
from tests.refam.pipeline.prompted_scene import DISC, STAR, N, render_clip


@pytest.fixture(scope="module")
def scene():
    """frames, {words: masks (N, H, W)}: both cross the picture at different heights."""

    def at(t):
        yield SceneObject("red", "star", "plain", "large", 20 + 5 * t, 18, 11)
        yield SceneObject("blue", "circle", "dotted", "large", 95 - 5 * t, 48, 10)

    frames, seen = render_clip(at, N)
    return frames, {STAR: seen[:, 0], DISC: seen[:, 1]}
