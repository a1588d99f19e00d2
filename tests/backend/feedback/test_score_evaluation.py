"""How well the score tells tracks that are right from those that need correction."""

from __future__ import annotations

import itertools
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from backend.feedback.project import FeedbackError
from backend.feedback.score_evaluation import TrackOutcome, auroc, fit_outcomes, score_table
from refam.pipeline.confidence import (
    FEATURES,
)


@settings(max_examples=80, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 5), st.booleans()), min_size=2, max_size=30))
def test_auroc_is_the_probability_of_the_right_order(pairs):
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
def test_outcomes_of_one_kind_are_refused(right, words):
    alike = [replace(a, correct=right) for a in _outcomes(12)]
    with pytest.raises(FeedbackError, match=words):
        fit_outcomes(alike, made_with="m", source="s")
    with pytest.raises(FeedbackError, match="take more clips"):
        score_table(None, alike)


def test_auroc_error_follows_hanley():
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


def test_the_fit_finds_the_informative_feature_and_is_calibrated():
    need = fit_outcomes(_outcomes(), made_with="tiny/grabcut/dis-flow", source="test")
    others = _outcomes(seed=2)
    said = [need(dict(zip(FEATURES, a.features, strict=True))) for a in others]
    assert auroc(said, [a.correct for a in others]).value > 0.9
    assert int(np.argmax(need.weights)) == 3
    assert np.mean(said) == pytest.approx(np.mean([a.correct for a in others]), abs=0.07)
    text = score_table(need, others)
    assert "fitted score" in text
    assert f"{len(others)} tracks, {sum(not a.correct for a in others)} of them need correction" in text
