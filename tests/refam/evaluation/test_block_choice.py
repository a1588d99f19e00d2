"""Blocks that are compared, and how the best are found, with a grounder whose good blocks are known."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest

from refam.backbones import PRESETS
from refam.backbones.blocks import BlockPrior
from refam.evaluation import block_choice
from refam.evaluation.block_choice import block_candidates, compare_blocks
from refam.evaluation.photos import OutlinedPicture
from video.errors import UserError
from video.types import Heatmap

PRESET = replace(PRESETS["flux-dev"], block_priors=(BlockPrior((4, 5), "a paper"), BlockPrior((40,), "another")))


class PointsRight:
    """Points at the object with blocks 4-5 alone."""

    def __init__(self):
        self.backbone = SimpleNamespace(preset=PRESET, transformer=None)

    def ground(self, frames, expressions, *, indices):
        x = 0.25 if self.backbone.preset.blocks == (4, 5) else 0.75
        return [[Heatmap(indices[0], np.ones((4, 4), np.float32), (x, 0.5), 0.5)] for _ in expressions]


@pytest.fixture
def pictures(tmp_path, monkeypatch):
    monkeypatch.setattr(block_choice, "attention_modules", lambda _: [None] * 9)
    monkeypatch.setattr(block_choice, "read_picture", lambda _: np.zeros((8, 8, 3), np.uint8))
    mask = np.zeros((8, 8), bool)
    mask[:, :4] = True
    return [OutlinedPicture(tmp_path / str(i), {"dog": [mask]}) for i in range(5)]


def test_published_blocks_are_compared_with_thirds_and_none_twice():
    found = {str(c): c.source for c in block_candidates(PRESET, 9)}
    assert found == {
        "all": "current",
        "4-5": "a paper",  # block 40 is not there
        "0-2": "thirds of the depth",
        "3-5": "thirds of the depth",
        "6-8": "thirds of the depth",
        "3-8": "thirds of the depth",
        "0-5": "thirds of the depth",
    }


def test_the_blocks_that_point_at_the_objects_win(pictures):
    grounder = PointsRight()
    table = compare_blocks(grounder, pictures, lambda _: True)
    assert table.splitlines()[2].startswith("| 4-5 | a paper | 1.000 ")
    assert table.splitlines()[3].startswith("| all | current | 0.000 ")
    assert "REFAM_BLOCKS=4-5" in table
    assert grounder.backbone.preset is PRESET


def test_the_current_blocks_are_kept_if_none_is_better(pictures):
    grounder = PointsRight()
    grounder.backbone.preset = replace(PRESET, block_priors=())
    assert "Keep the current blocks." in compare_blocks(grounder, pictures, lambda _: True)
    with pytest.raises(UserError, match="no picture has an object"):
        compare_blocks(grounder, pictures, lambda _: False)


def test_priors_are_blocks_of_their_models():
    """FLUX has 19 double and 38 single blocks, SD3-medium 24, Mochi 48."""
    counts = {"FluxPipeline": 19, "StableDiffusion3Pipeline": 24, "MochiPipeline": 48}
    priors = [(p, prior) for p in PRESETS.values() for prior in p.block_priors]
    assert {p.name for p, _ in priors} == {"flux-schnell", "flux-dev", "sd3.5-medium", "mochi"}
    for preset, prior in priors:
        assert max(prior.blocks) < counts[preset.pipeline]
        assert "arXiv" in prior.source
