"""Out of GPU memory: smaller batches first, then offloading, then smaller frames, each with a warning."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from refam.backbones import Backbone, BackboneError
from refam.grounder import Grounder
from refam.oom import OutOfMemoryGuard
from tests.refam.backbones.pipelines import random_frames

WORDS = ["the red star"]


class Full:
    """A transformer's hook that has room for so many image tokens in one pass."""

    def __init__(self, backbone: Backbone, room: int) -> None:
        self.sizes: list[tuple[int, int]] = []
        self.room = room
        self.handle = backbone.transformer.register_forward_pre_hook(self, with_kwargs=True)

    def __call__(self, _module: Any, _args: Any, kwargs: Any) -> None:
        hidden = kwargs["hidden_states"]
        batch, tokens = hidden.shape[:2]  # packed, in both families that are tried here
        self.sizes.append((batch, tokens))
        if batch * tokens > self.room:
            raise torch.cuda.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")


@pytest.fixture
def flux(loaded: Callable[[str], Backbone]) -> Any:
    backbone = loaded("FLUX.1")
    preset = backbone.preset
    backbone.preset = replace(preset, short_side_px=64)  # 16 x 24 tokens
    yield backbone
    backbone.preset = preset


def test_a_smaller_batch_gives_the_same_heatmaps(flux: Backbone, caplog: pytest.LogCaptureFixture) -> None:
    expected = Grounder(flux).ground(random_frames(5), WORDS)[0]
    limit = Full(flux, room=2 * 384)
    grounder = Grounder(flux)
    with caplog.at_level(logging.WARNING):
        got = grounder.ground(random_frames(5), WORDS)[0]
    limit.handle.remove()
    assert [batch for batch, _ in limit.sizes] == [5, 5, 4, 2, 2, 1]
    for one, other in zip(got, expected, strict=True):
        np.testing.assert_allclose(one.grid, other.grid, atol=1e-4)
    assert grounder.warnings[-1] == "the GPU's memory was full: 2 samples are read at a time now"
    assert grounder.warnings[-1] in caplog.text


def test_smaller_frames_give_heatmaps_of_the_requested_size(flux: Backbone) -> None:
    expected = Grounder(flux).ground(random_frames(2), WORDS)[0]
    limit = Full(flux, room=250)
    grounder = Grounder(flux)
    got = grounder.ground(random_frames(2), WORDS)[0]
    limit.room = 10_000
    later = grounder.ground(random_frames(2), WORDS)[0]
    limit.handle.remove()
    assert limit.sizes[-1][1] == 12 * 18, "what did not fit once is not tried again"
    assert {h.grid.shape for h in (*got, *later)} == {expected[0].grid.shape}
    assert np.array_equal(got[0].grid, later[0].grid)
    assert np.isfinite(got[0].grid).all()
    assert any(
        "read at 48 pixels' short side instead of 64, so that heatmaps are coarser" in n for n in grounder.warnings
    )


def test_an_error_with_advice_if_nothing_is_left_to_give_up(flux: Backbone) -> None:
    limit = Full(flux, room=1)
    message = r"does not fit into the memory of cpu even at 48 pixels \(CUDA out of memory.*; take a smaller backbone"
    with pytest.raises(BackboneError, match=message):
        Grounder(flux).ground(random_frames(2), WORDS)
    limit.handle.remove()


def test_a_video_backbone_reads_smaller_frames(loaded: Callable[[str], Backbone]) -> None:
    backbone = loaded("LTX")
    preset = backbone.preset
    backbone.preset = replace(preset, short_side_px=16 * 16)
    limit = Full(backbone, room=2 * 16 * 24 - 1)
    grounder = Grounder(backbone)
    heatmaps = grounder.ground(random_frames(2), WORDS)[0]
    limit.handle.remove()
    backbone.preset = preset
    assert [n.split(":")[1].split("instead")[0].strip() for n in grounder.warnings] == [
        "frames are read at 192 pixels' short side"
    ]
    assert all(np.isfinite(h.grid).all() for h in heatmaps)


def test_offloading_comes_before_smaller_frames(flux: Backbone, monkeypatch: pytest.MonkeyPatch) -> None:
    done: list[str] = []
    monkeypatch.setattr(type(flux), "offload", lambda _: not done and not done.append("offloaded"))  # type: ignore[func-returns-value]
    guard, fails = OutOfMemoryGuard(flux, batch=1), [True, True, False]

    def work() -> int:
        if fails.pop(0):
            raise torch.cuda.OutOfMemoryError("CUDA out of memory")
        return flux.preset.short_side_px

    assert guard.run(work) == 48
    assert done == ["offloaded"]
    assert [("main memory" in n, "48 pixels" in n) for n in guard.warnings] == [(True, False), (False, True)]


def test_other_errors_are_not_caught(flux: Backbone) -> None:
    def broken() -> None:
        raise RuntimeError("shapes do not match")

    with pytest.raises(RuntimeError, match="shapes do not match"):
        OutOfMemoryGuard(flux, batch=4).run(broken)
