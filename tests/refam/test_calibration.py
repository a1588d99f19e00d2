"""Confidence that means something: fitted on known data, kept with the model, used only where it holds."""

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
from refam.grounder import Grounder, GroundingOptions, load_grounder
from refam.tiny import TINY_DIRECTORY

TRUE_WEIGHTS = np.array([3.0, 0.0, 1.5, 2.0, 0.0])


def drawn(count: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Signs and hits of a world that is a logistic model itself."""
    rng = np.random.default_rng(seed)
    signs = rng.random((count, len(FEATURES)))
    return signs, rng.random(count) < expit(signs @ TRUE_WEIGHTS - 2.5)


FITTED = fit_calibration(*drawn(1000), made_with={}, seed=0)


def made(**changes: object) -> Calibration:
    return replace(Calibration((1.0, 0.0, 0.0, 0.0, 0.5), -0.5, {"noise": 0.5}, 100, 7), **changes)  # type: ignore[arg-type]


def test_the_fit_finds_what_made_the_data() -> None:
    found = fit_calibration(*drawn(40_000), made_with={}, seed=0)
    assert found.weights == pytest.approx(TRUE_WEIGHTS, abs=0.12)
    assert found.bias == pytest.approx(-2.5, abs=0.12)


def test_what_it_says_is_so_on_data_it_has_not_seen() -> None:
    found = fit_calibration(*drawn(4000), made_with={}, seed=0)
    signs, hits = drawn(20_000, seed=1)
    said = found(signs)
    for low in np.arange(0.2, 0.9, 0.1):
        some = (said >= low) & (said < low + 0.1)
        assert some.sum() > 300
        assert said[some].mean() == pytest.approx(hits[some].mean(), abs=0.05)


def test_a_sign_that_speaks_against_the_peak_is_not_believed() -> None:
    signs, hits = drawn(4000)
    signs[:, 1] = 1 - hits  # the reverse of a sign
    assert fit_calibration(signs, hits, made_with={}, seed=0).weights[1] == 0


@given(st.lists(st.floats(0, 1), min_size=5, max_size=5), st.integers(0, 4), st.floats(0, 1))
@settings(deadline=None)
def test_more_of_a_sign_never_makes_it_less_sure(signs: list[float], which: int, more: float) -> None:
    calibration = FITTED
    raised = [*signs]
    raised[which] = min(1.0, signs[which] + more)
    assert calibration(np.array(raised)) >= calibration(np.array(signs))
    assert 0 <= calibration(np.array(signs)) <= 1


@pytest.mark.parametrize(
    ("signs", "hits", "message"),
    [
        (np.zeros((4, 5)), np.ones(4, bool), "all scenes ended alike"),
        (np.zeros((4, 5)), np.zeros(4, bool), "all scenes ended alike"),
        (np.zeros((4, 3)), np.array([True, False, True, True]), r"features must be \(4, 5\)"),
    ],
)
def test_what_cannot_be_fitted(signs: np.ndarray, hits: np.ndarray, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        fit_calibration(signs, hits, made_with={}, seed=0)


# --- signs -----------------------------------------------------------------------------------------------------------


def test_signs_of_maps_that_are_known() -> None:
    grid = np.zeros((4, 8), np.float32)
    grid[1, 2] = 1
    other = np.zeros((4, 8), np.float32)
    other[3, 7] = 5
    peak = (2.5 / 8, 1.5 / 4)
    names = dict(
        zip(FEATURES, compute_features(grid, peak, 0.7, [grid, grid, other, grid], [grid, other]), strict=True)
    )
    assert names["contrast"] == 0.7
    assert names["compactness"] == pytest.approx(31 / 32)
    assert names["order"] == pytest.approx(1.0), "all in one place"
    assert names["draws"] == pytest.approx(0.75), "one of four points elsewhere"
    assert names["words"] == pytest.approx(0.0), "one word has nothing there"
    even = np.ones((4, 8), np.float32)
    assert compute_features(even, peak, 0.0, [even], [even])[2] == pytest.approx(0.0, abs=1e-6), "even map"


def test_a_flat_map_has_signs_too() -> None:
    flat = np.zeros((4, 4), np.float32)
    assert np.isfinite(compute_features(flat, (0.5, 0.5), 0.0, [flat], [flat])).all()


# --- kept with the model ---------------------------------------------------------------------------------------------


def test_it_is_kept_as_it_is(tmp_path: Path) -> None:
    made().save(tmp_path / "deep" / FILE_NAME)
    assert load_calibration(tmp_path / "deep" / FILE_NAME) == made()
    assert load_calibration(tmp_path / FILE_NAME) is None


@pytest.mark.parametrize("text", ["no json", "[]", '{"weights": [1, 2]}', '{"weights": null}', "{}"])
def test_a_file_that_is_none_is_named(tmp_path: Path, text: str) -> None:
    (tmp_path / FILE_NAME).write_text(text)
    with pytest.raises(CalibrationError, match=r"refam_calibration\.json is no calibration .* delete it"):
        load_calibration(tmp_path / FILE_NAME)


def test_weights_are_never_negative() -> None:
    with pytest.raises(CalibrationError, match="none negative"):
        made(weights=(1.0, 0.0, 0.0, 0.0, -0.5))


def test_where_it_is_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    assert calibration_path(str(tmp_path)) == tmp_path / FILE_NAME
    assert calibration_path("owner/name") == tmp_path / "cache" / "refam" / "owner--name" / FILE_NAME


# --- used where it holds ---------------------------------------------------------------------------------------------


def test_confidence_is_calibrated_with_the_very_settings_it_was_fitted_with(random_backbone: FluxBackbone) -> None:
    frame = np.random.default_rng(0).integers(0, 255, (54, 96, 3), dtype=np.uint8)
    plain = Grounder(random_backbone)
    (maps,) = next(iter(plain.read_token_maps([frame], ["the red star"])))
    raw = plain.compute_heatmap(maps, frame)
    assert raw.heatmap.confidence == raw.features[0], "not calibrated: the raw contrast"

    calibration = made(made_with=json.loads(json.dumps(plain.heatmap_settings())))  # as it comes back from its file
    sure = Grounder(random_backbone, calibration=calibration)
    found = sure.ground([frame], ["the red star"])[0][0]
    assert found.confidence == pytest.approx(float(expit(raw.features[0] + 0.5 * raw.features[4] - 0.5)))
    assert np.array_equal(found.grid, raw.heatmap.grid)
    assert found.peak == raw.heatmap.peak

    for other in (
        Grounder(random_backbone, GroundingOptions(edge_aware=False), calibration=calibration),
        Grounder(random_backbone, calibration=made(made_with={**plain.heatmap_settings(), "weights": "00000000"})),
    ):
        assert other.valid_calibration() is None
        (maps,) = next(iter(other.read_token_maps([frame], ["the red star"])))
        weighed = other.compute_heatmap(maps, frame)
        assert weighed.heatmap.confidence == weighed.features[0]


def test_another_seed_is_no_other_setting(random_backbone: FluxBackbone) -> None:
    calibration = made(made_with=Grounder(random_backbone).heatmap_settings())
    assert (
        Grounder(random_backbone, GroundingOptions(seed=5), calibration=calibration).valid_calibration() is calibration
    )


def test_a_picture_of_one_colour_through_a_model_without_a_view_stays_unsure(random_backbone: FluxBackbone) -> None:
    """A flat map has confidence 0, whatever the calibration would say of its signs."""
    grounder = Grounder(random_backbone)
    sure = Grounder(random_backbone, calibration=made(bias=5.0, made_with=grounder.heatmap_settings()))
    frame = np.zeros((54, 96, 3), np.uint8)
    (maps,) = next(iter(sure.read_token_maps([frame], ["the red star"])))
    flat = replace(maps, maps=np.full_like(maps.maps, 0.1), draws=np.full_like(maps.draws, 0.1))
    found = sure.compute_heatmap(flat, frame).heatmap
    assert found.confidence == 0
    assert found.grid.max() == 0


@pytest.mark.skipif(not (TINY_DIRECTORY / "model_index.json").is_file(), reason="the small model is not here")
def test_the_shipped_model_is_calibrated_as_it_ships() -> None:
    """Fails when a default changes what heatmaps are made of: then `refam eval calibrate` is due."""
    made = load_grounder("tiny", device="cpu").valid_calibration()
    assert made is not None
    assert made.scenes >= 500
