"""Reading plans: their draws are averaged, and the tables compare them."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from refam.evaluation.reading_scores import ReadingPlan, fusion_table, plan_table, read_with_plan
from refam.grounder import Grounder
from refam.grounder_loading import load_grounder
from refam.grounding import TokenMaps
from refam.segmenters.load import load_segmenter
from refam.tiny import TINY_DIRECTORY
from refam.tiny.heldout import CHOICE_SEED, held_out_clips, held_out_scenes

shipped = pytest.mark.skipif(not (TINY_DIRECTORY / "model_index.json").is_file(), reason="the small model is not here")


@pytest.fixture(scope="module")
def tiny() -> Grounder:
    return load_grounder("tiny", device="cpu")


@shipped
def test_draws_are_averaged_and_the_preset_is_restored(tiny: Grounder) -> None:
    grounder = tiny
    preset, case = grounder.backbone.preset, next(held_out_scenes(1, 123))
    one = read_with_plan(grounder, case, 3, ReadingPlan((preset.noise,), 2))
    (maps,) = next(
        iter(_with_draws(grounder, preset, 2).read_token_maps([case.picture], [case.referral.text], indices=[3]))
    )
    grounder.backbone.preset = preset
    assert isinstance(one, TokenMaps)
    np.testing.assert_allclose(one.maps, maps.maps, atol=1e-6)
    two = read_with_plan(grounder, case, 3, ReadingPlan((0.5, 0.8)))
    assert len(two.draws) == 2
    np.testing.assert_allclose(two.maps, two.draws.mean(0), atol=1e-6)
    assert grounder.backbone.preset == preset


def _with_draws(grounder, preset, draws):
    grounder.backbone.preset = replace(preset, draws=draws)
    return grounder


@shipped
def test_the_tables_have_a_row_for_each_plan(tiny: Grounder) -> None:
    shares: list[float] = []
    clip = next(held_out_clips(1, CHOICE_SEED))
    short = replace(clip, frames=clip.frames[:5], masks=clip.masks[:, :5], planned=(0, 4))
    table = fusion_table(tiny, [short], progress=shares.append)
    assert len(table.splitlines()) == 2 + 4
    assert shares[-1] == 1.0
    table = plan_table(tiny, list(held_out_scenes(1, 123)), load_segmenter(None), progress=shares.append)
    assert [line.split("|")[1].strip() for line in table.splitlines()[2:]][:2] == ["1 draw at 0.7", "2 draws at 0.7"]
