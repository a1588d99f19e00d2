"""The features of a track, and score models on disk."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from refam.pipeline.confidence import (
    FEATURES,
    ScoreModel,
    ScoreModelError,
    load_score_model,
    read_score_models,
    save_score_model,
    track_features,
)
from refam.pipeline.state import ObjectState
from refam.pipeline.types import Target
from tests.doubles import track_of_masks
from video.heatmap_fusion import FusedHeatmaps
from video.types import Heatmap


def test_score_models_are_loaded_for_the_same_models_only(tmp_path):
    model = ScoreModel((0.1,) * len(FEATURES), -0.5, "mine/grabcut/dis-flow", 200, "test")
    save_score_model(model, tmp_path / "need.json")
    save_score_model(replace(model, made_with="other/grabcut/dis-flow"), tmp_path / "need.json")
    save_score_model(replace(model, bias=9.0), tmp_path / "need.json")
    assert load_score_model("mine/grabcut/dis-flow", tmp_path) == replace(model, bias=9.0)
    assert len(read_score_models(tmp_path / "need.json")) == 2
    assert load_score_model("unheard/of/this", tmp_path) is None
    (tmp_path / "need.json").write_text("[{]")
    with pytest.raises(ScoreModelError, match="cannot be read"):
        load_score_model("mine/grabcut/dis-flow", tmp_path)
    with pytest.raises(ScoreModelError, match="weights"):
        ScoreModel((1.0,), 0.0, "x", 1, "y")


def _consensus(grids):
    maps = [Heatmap(i, g, (0.5, 0.5), 0.7) for i, g in enumerate(grids)]
    return FusedHeatmaps(tuple(maps), np.full(len(maps), 0.8), 0)


def test_track_features():
    masks = np.zeros((20, 40, 40), bool)
    masks[:, 10:20, 10:20] = True
    masks[5:8] = False
    masks[12, 10:20, 10:15] = True
    masks[12, 10:20, 15:20] = False  # half of it, for one frame
    sharp, flat = np.zeros((8, 8), np.float32), np.ones((8, 8), np.float32)
    sharp[3, 3] = 1
    state = ObjectState(Target("a", "the star"), evidence=0.6, confidence=0.7, consensus=_consensus([sharp, flat]))
    features = track_features(state, track_of_masks(masks, scores=0.9), backing=0.5)
    assert tuple(features) == FEATURES
    assert features["order"] == pytest.approx(0.5), "one place is order, everywhere is none"
    assert features["seen"] == pytest.approx(17 / 20)
    assert features["whole"] == 0.5
    assert features["steady"] == pytest.approx(0.5, abs=0.2)
    assert (features["agreement"], features["followed"], features["backing"]) == pytest.approx((0.8, 0.9, 0.5))
    nowhere = track_features(
        ObjectState(Target("a", "the star")), track_of_masks(np.zeros((4, 8, 8), bool)), backing=0.0
    )
    assert set(nowhere.values()) <= {0.0, 0.5}


@pytest.mark.parametrize(("shown", "steady"), [(True, 1.0), (False, 0.0)])
def test_area_stability_of_a_single_frame(shown, steady):
    track = track_of_masks(np.full((1, 8, 8), shown))
    assert track_features(ObjectState(Target("a", "the star")), track, backing=0.5)["steady"] == steady
