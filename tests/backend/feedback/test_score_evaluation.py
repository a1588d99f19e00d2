"""How well the score tells tracks that are right from those that need correction."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from backend.feedback.project import FeedbackError
from backend.feedback.score_evaluation import TrackOutcome, fit_outcomes, score_table
from refam.calibration import CalibrationError
from refam.pipeline.confidence import FEATURES
from video.metrics import auroc


@pytest.mark.parametrize(("right", "words"), [(True, "12 tracks are right and 0 are"), (False, "0 tracks are right")])
def test_outcomes_of_one_kind_are_refused(right, words):
    alike = [replace(a, correct=right) for a in _outcomes(12)]
    with pytest.raises(CalibrationError, match=words):
        fit_outcomes(alike, made_with="m", source="s")
    with pytest.raises(FeedbackError, match="take more clips"):
        score_table(None, alike)


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
