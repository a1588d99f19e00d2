"""The score as a probability, how well it tells, and what is served first."""

from __future__ import annotations

import itertools
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from backend.feedback.compare import Correction, RegionFate
from backend.feedback.next_tasks import WaitingTask, mean_strokes_by_label, select_waiting_tasks, suggest_tasks
from backend.feedback.project import FeedbackError
from backend.feedback.score_evaluation import TrackOutcome, auroc, fit_outcomes, score_table
from backend.feedback.store import StoredCorrection
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


@settings(max_examples=80, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 5), st.booleans()), min_size=2, max_size=30))
def test_auroc_is_the_chance_of_the_right_order(pairs):
    scores, right = [s for s, _ in pairs], [r for _, r in pairs]
    if all(right) or not any(right):
        with pytest.raises(ValueError, match="both kinds"):
            auroc(scores, right)
        return
    good = [s for s, r in pairs if r]
    bad = [s for s, r in pairs if not r]
    wins = [1.0 if g > b else 0.5 if g == b else 0.0 for g, b in itertools.product(good, bad)]
    assert auroc(scores, right).value == pytest.approx(np.mean(wins))


@pytest.mark.parametrize(("right", "words"), [(True, "all are right"), (False, "all are wrong")])
def test_tracks_that_are_all_alike_are_said(right, words):
    alike = [replace(a, correct=right) for a in _outcomes(12)]
    with pytest.raises(FeedbackError, match=words):
        fit_outcomes(alike, made_with="m", source="s")
    with pytest.raises(FeedbackError, match="take more clips"):
        score_table(None, alike)


def test_the_error_of_auroc_is_hanleys():
    """A worked value of the formula: A = 0.9, 50 of each kind."""
    rng = np.random.default_rng(0)
    right = np.repeat([True, False], 50)
    scores = rng.normal(0, 1, 100) + 1.8 * right
    found = auroc(scores, right)
    a = found.value
    q1, q2 = a / (2 - a), 2 * a**2 / (1 + a)
    expected = np.sqrt((a * (1 - a) + 49 * (q1 - a**2) + 49 * (q2 - a**2)) / 2500)
    assert found.error == pytest.approx(expected)
    spread = np.std(
        [auroc(np.concatenate([rng.normal(1.8, 1, 50), rng.normal(0, 1, 50)]), right).value for _ in range(200)]
    )
    assert found.error == pytest.approx(spread, rel=0.35)


def _outcomes(n=200, seed=1):
    rng = np.random.default_rng(seed)
    right = rng.random(n) < 0.6
    features = rng.random((n, len(FEATURES)))
    features[:, 3] = np.clip(0.5 + 0.25 * (right - 0.5) * 2 + rng.normal(0, 0.15, n), 0, 1)
    return [TrackOutcome(s, float(s[0]), bool(r)) for s, r in zip(features, right, strict=True)]


def test_the_fit_finds_the_sign_that_tells_and_means_what_it_says():
    need = fit_outcomes(_outcomes(), made_with="tiny/grabcut/dis-flow", source="test")
    others = _outcomes(seed=2)
    said = [need(dict(zip(FEATURES, a.features, strict=True))) for a in others]
    assert auroc(said, [a.correct for a in others]).value > 0.9
    assert int(np.argmax(need.weights)) == 3
    assert np.mean(said) == pytest.approx(np.mean([a.correct for a in others]), abs=0.07)
    text = score_table(need, others)
    assert "fitted score" in text
    assert f"{len(others)} tracks, {sum(not a.correct for a in others)} of them need correction" in text


def test_what_was_fitted_is_found_again_for_the_same_models_alone(tmp_path):
    need = fit_outcomes(_outcomes(), made_with="mine/grabcut/dis-flow", source="test")
    save_score_model(need, tmp_path / "need.json")
    save_score_model(replace(need, made_with="other/grabcut/dis-flow"), tmp_path / "need.json")
    save_score_model(replace(need, bias=9.0), tmp_path / "need.json")
    assert load_score_model("mine/grabcut/dis-flow", tmp_path) == replace(need, bias=9.0)
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


def test_the_signs_are_what_they_say():
    masks = np.zeros((20, 40, 40), bool)
    masks[:, 10:20, 10:20] = True
    masks[5:8] = False
    masks[12, 10:20, 10:15] = True
    masks[12, 10:20, 15:20] = False  # half of it, for one frame
    sharp, flat = np.zeros((8, 8), np.float32), np.ones((8, 8), np.float32)
    sharp[3, 3] = 1
    work = ObjectState(Target("a", "the star"), evidence=0.6, confidence=0.7, consensus=_consensus([sharp, flat]))
    features = track_features(work, track_of_masks(masks, scores=0.9), backing=0.5)
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
def test_in_a_clip_of_one_frame_nothing_jumps(shown, steady):
    track = track_of_masks(np.full((1, 8, 8), shown))
    assert track_features(ObjectState(Target("a", "the star")), track, backing=0.5)["steady"] == steady


# --- what is served first --------------------------------------------------------------------------------------------


def _waiting(task, video, *scores, label="Car"):
    return WaitingTask(task, video, "words", tuple((label, s) for s in scores))


def test_most_strokes_first_and_videos_take_turns():
    some = [
        _waiting(1, "a.mp4", 0.2),
        _waiting(2, "a.mp4", 0.3),
        _waiting(3, "b.mp4", 0.5),
        _waiting(4, "c.mp4", 0.9, 0.9),
        _waiting(5, "d.mp4"),
    ]
    found = suggest_tasks(some, {"": 2.0}, count=4)
    # .35 of the second task of the same video counts less than .5 of another's.
    assert [s.waiting.task for s in found] == [5, 1, 3, 2]
    by = {s.waiting.task: s for s in suggest_tasks(some, {"": 2.0}, count=9)}
    assert (by[4].probability, by[4].strokes) == pytest.approx((0.19, 0.4))
    assert (by[5].probability, by[5].strokes) == (1.0, 2.0), "nothing was found: it has to be drawn"


def test_what_corrections_cost_is_learnt_by_label_once_there_are_enough():
    def row(label, strokes, fate=RegionFate.MOVED):
        return StoredCorrection(1, 1, 1, "a", 24.0, "m", 0.0, Correction("r", fate, label, False, "w", 0.5, strokes))

    assert mean_strokes_by_label([]) == {"": 1.0}
    rows = [row("Car", 4)] * 5 + [row("Bus", 10)] + [row("Car", 0, RegionFate.KEPT), row("Car", 50, RegionFate.ADDED)]
    assert mean_strokes_by_label(rows) == {"": 5.0, "Car": 4.0}


def test_waiting_is_what_has_a_prediction_and_no_annotation():
    def task(id, annotations=0):
        return SimpleNamespace(id=id, total_annotations=annotations, data={"video": f"{id}.mp4", "prompt": "the dog"})

    def prediction(id, task, score):
        region = {"value": {"labels": ["Dog"]}, "score": score}
        return SimpleNamespace(id=id, task=task, result=[region, {"value": {}}, "no region"])

    found = select_waiting_tasks(
        [task(1), task(2, annotations=1), task(3)],
        [prediction(10, 1, 0.4), prediction(11, 1, 0.7), prediction(12, 2, 0.5)],
        video_field="video",
        word_fields=("prompt",),
    )
    assert found == [WaitingTask(1, "1.mp4", "the dog", (("Dog", 0.7),))]
