"""Calibrated confidence: fitted on known data, stored with the model, used only where it is valid."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import expit

from refam.backbones import FluxBackbone
from refam.calibration import (
    FEATURES,
    FILE_NAME,
    Calibration,
    CalibrationError,
    calibration_path,
    compute_features,
    fit_calibration,
    load_calibration,
)
from refam.grounder import Grounder, GroundingOptions
from refam.grounder_loading import load_grounder
from refam.tiny import TINY_DIRECTORY

TRUE_WEIGHTS = np.array([3.0, 0.0, 1.5, 2.0, 0.0])


def sample_data(count: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Features, and hits sampled from a logistic model of them."""
    rng = np.random.default_rng(seed)
    features = rng.random((count, len(FEATURES)))
    return features, rng.random(count) < expit(features @ TRUE_WEIGHTS - 2.5)


FITTED = fit_calibration(*sample_data(1000), made_with={}, seed=0)


def make_calibration(**changes: object) -> Calibration:
    return replace(Calibration((1.0, 0.0, 0.0, 0.0, 0.5), -0.5, {"noise": 0.5}, 100, 7), **changes)  # type: ignore[arg-type]


def test_the_fit_recovers_the_model_that_generated_the_data() -> None:
    fitted = fit_calibration(*sample_data(40_000), made_with={}, seed=0)
    assert fitted.weights == pytest.approx(TRUE_WEIGHTS, abs=0.12)
    assert fitted.bias == pytest.approx(-2.5, abs=0.12)


def test_probabilities_are_calibrated_on_new_data() -> None:
    fitted = fit_calibration(*sample_data(4000), made_with={}, seed=0)
    features, hits = sample_data(20_000, seed=1)
    probabilities = fitted(features)
    for low in np.arange(0.2, 0.9, 0.1):
        in_bin = (probabilities >= low) & (probabilities < low + 0.1)
        assert in_bin.sum() > 300
        assert probabilities[in_bin].mean() == pytest.approx(hits[in_bin].mean(), abs=0.05)


def test_a_feature_with_a_negative_effect_gets_weight_zero() -> None:
    features, hits = sample_data(4000)
    features[:, 1] = 1 - hits  # falls with the hits
    assert fit_calibration(features, hits, made_with={}, seed=0).weights[1] == 0


@given(st.lists(st.floats(0, 1), min_size=5, max_size=5), st.integers(0, 4), st.floats(0, 1))
@settings(deadline=None)
def test_probability_never_falls_with_a_feature(features: list[float], index: int, increase: float) -> None:
    calibration = FITTED
    raised = [*features]
    raised[index] = min(1.0, features[index] + increase)
    assert calibration(np.array(raised)) >= calibration(np.array(features))
    assert 0 <= calibration(np.array(features)) <= 1


@pytest.mark.parametrize(
    ("features", "hits", "message"),
    [
        (np.zeros((40, 5)), np.ones(40, bool), "40 heatmaps whose peak is on the object and 0 "),
        (np.zeros((40, 5)), np.arange(40) < 7, "at least 8 of each"),
        (np.zeros((40, 5)), np.arange(40) < 33, "at least 8 of each"),
        (np.zeros((40, 5)), np.arange(40) < 20, "40 examples do not tell"),
        (np.eye(40, 5), np.arange(40) % 2 < 1, "do not tell heatmaps whose peak is right"),
        (np.zeros((4, 3)), np.array([True, False, True, True]), r"features must be \(4, 5\)"),
    ],
)
def test_data_that_cannot_be_fitted_is_refused(features: np.ndarray, hits: np.ndarray, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        fit_calibration(features, hits, made_with={}, seed=0)


# --- features --------------------------------------------------------------------------------------------------------


def test_features_of_known_maps() -> None:
    grid = np.zeros((4, 8), np.float32)
    grid[1, 2] = 1
    other = np.zeros((4, 8), np.float32)
    other[3, 7] = 5
    peak = (2.5 / 8, 1.5 / 4)
    by_name = dict(
        zip(FEATURES, compute_features(grid, peak, 0.7, [grid, grid, other, grid], [grid, other]), strict=True)
    )
    assert by_name["contrast"] == 0.7
    assert by_name["compactness"] == pytest.approx(31 / 32)
    assert by_name["order"] == pytest.approx(1.0), "all in one place"
    assert by_name["draws"] == pytest.approx(0.75), "one of four points elsewhere"
    assert by_name["words"] == pytest.approx(0.0), "one word has nothing there"
    even = np.ones((4, 8), np.float32)
    assert compute_features(even, peak, 0.0, [even], [even])[2] == pytest.approx(0.0, abs=1e-6), "even map"


def test_features_of_a_flat_map_are_finite() -> None:
    flat = np.zeros((4, 4), np.float32)
    assert np.isfinite(compute_features(flat, (0.5, 0.5), 0.0, [flat], [flat])).all()


# --- stored with the model -------------------------------------------------------------------------------------------


def test_a_saved_calibration_loads_equal(tmp_path: Path) -> None:
    make_calibration().save(tmp_path / "deep" / FILE_NAME)
    assert load_calibration(tmp_path / "deep" / FILE_NAME) == make_calibration()
    assert load_calibration(tmp_path / FILE_NAME) is None


STORED = {"weights": [1, 0.5, 0, 0, 2], "bias": -1, "made_with": {}, "scenes": 5, "seed": 0}


@pytest.mark.parametrize(
    "text",
    [
        *("no json", "[]", '{"weights": [1, 2]}', '{"weights": null}', "{}", "[" * 100_000, ""),
        *(json.dumps({**STORED, "weights": [1, 0, 0, 0, bad]}) for bad in (np.nan, np.inf, -1, "1", None, 1e30)),
        *(json.dumps({**STORED, "bias": bad}) for bad in (np.nan, -np.inf, "x", None, [0], 1e30)),
        *(json.dumps({**STORED, "made_with": bad}) for bad in ("x", None, [])),
        json.dumps({**STORED, "scenes": "5"}),
        json.dumps({**STORED, "other": 1}),
    ],
)
def test_a_broken_file_is_named_in_the_error(tmp_path: Path, text: str) -> None:
    (tmp_path / FILE_NAME).write_text(text)
    with pytest.raises(CalibrationError, match=r"refam_calibration\.json is no calibration .* delete it"):
        load_calibration(tmp_path / FILE_NAME)


def test_a_folder_in_place_of_the_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / FILE_NAME).mkdir()
    with pytest.raises(CalibrationError, match=r"is no calibration .*directory"):
        load_calibration(tmp_path / FILE_NAME)
    (tmp_path / FILE_NAME).rmdir()
    (tmp_path / FILE_NAME).write_text(json.dumps(STORED))
    loaded = load_calibration(tmp_path / FILE_NAME)
    assert loaded is not None
    assert loaded.weights == (1, 0.5, 0, 0, 2)


def test_weights_are_never_negative() -> None:
    with pytest.raises(CalibrationError, match="none negative"):
        make_calibration(weights=(1.0, 0.0, 0.0, 0.0, -0.5))


def test_calibration_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    assert calibration_path(str(tmp_path)) == tmp_path / FILE_NAME
    assert calibration_path("owner/name") == tmp_path / "cache" / "refam" / "owner--name" / FILE_NAME


# --- used where it is valid ------------------------------------------------------------------------------------------


def test_a_calibration_is_used_only_with_the_settings_it_was_fitted_with(random_backbone: FluxBackbone) -> None:
    frame = np.random.default_rng(0).integers(0, 255, (54, 96, 3), dtype=np.uint8)
    plain = Grounder(random_backbone)
    (maps,) = next(iter(plain.read_token_maps([frame], ["the red star"])))
    raw = plain.compute_heatmap(maps, frame)
    assert raw.heatmap.confidence == raw.features[0], "not calibrated: the raw contrast"

    calibration = make_calibration(
        made_with=json.loads(json.dumps(plain.heatmap_settings()))
    )  # as it comes back from its file
    calibrated = Grounder(random_backbone, calibration=calibration)
    heatmap = calibrated.ground([frame], ["the red star"])[0][0]
    assert heatmap.confidence == pytest.approx(float(expit(raw.features[0] + 0.5 * raw.features[4] - 0.5)))
    assert np.array_equal(heatmap.grid, raw.heatmap.grid)
    assert heatmap.peak == raw.heatmap.peak

    for other in (
        Grounder(random_backbone, GroundingOptions(edge_aware=False), calibration=calibration),
        Grounder(
            random_backbone, calibration=make_calibration(made_with={**plain.heatmap_settings(), "weights": "00000000"})
        ),
    ):
        assert other.valid_calibration() is None
        (maps,) = next(iter(other.read_token_maps([frame], ["the red star"])))
        uncalibrated = other.compute_heatmap(maps, frame)
        assert uncalibrated.heatmap.confidence == uncalibrated.features[0]


def test_another_seed_keeps_the_calibration_valid(random_backbone: FluxBackbone) -> None:
    calibration = make_calibration(made_with=Grounder(random_backbone).heatmap_settings())
    assert (
        Grounder(random_backbone, GroundingOptions(seed=5), calibration=calibration).valid_calibration() is calibration
    )


def test_a_flat_heatmap_has_confidence_zero_under_any_calibration(random_backbone: FluxBackbone) -> None:
    """A flat map has confidence 0, whatever the calibration would say of its features."""
    grounder = Grounder(random_backbone)
    calibrated = Grounder(
        random_backbone, calibration=make_calibration(bias=5.0, made_with=grounder.heatmap_settings())
    )
    frame = np.zeros((54, 96, 3), np.uint8)
    (maps,) = next(iter(calibrated.read_token_maps([frame], ["the red star"])))
    flat = replace(maps, maps=np.full_like(maps.maps, 0.1), draws=np.full_like(maps.draws, 0.1))
    heatmap = calibrated.compute_heatmap(flat, frame).heatmap
    assert heatmap.confidence == 0
    assert heatmap.grid.max() == 0


@pytest.mark.skipif(not (TINY_DIRECTORY / "model_index.json").is_file(), reason="the small model is not here")
def test_the_shipped_model_is_calibrated_as_it_ships() -> None:
    """Fails when a default changes what heatmaps are made of: then `refam eval calibrate` is due."""
    calibration = load_grounder("tiny", device="cpu").valid_calibration()
    assert calibration is not None
    assert calibration.scenes >= 500
