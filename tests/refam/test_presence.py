"""Whether what an expression names is in a picture: measured at one place, fitted on known data, used where valid."""

from __future__ import annotations

import json
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pytest

from refam.backbones import FluxBackbone
from refam.calibration import CalibrationError
from refam.grounder import Grounder, GroundingError, GroundingOptions
from refam.grounder_loading import load_grounder
from refam.presence import (
    FILE_NAME,
    PresenceModel,
    fit_presence,
    load_presence,
    measure_word_attention,
    presence_path,
)
from refam.tiny import TINY_DIRECTORY

SHIPPED = pytest.mark.skipif(not (TINY_DIRECTORY / FILE_NAME).is_file(), reason="the small model is not here")
LEVELS = {"blue": -1.5, "circle": -1.0}


def make_model(**changes: object) -> PresenceModel:
    return replace(PresenceModel((4.0, 8.0), -7.0, LEVELS, -1.2, {}, 100, 7), **changes)  # type: ignore[arg-type]


# --- attention at one place ------------------------------------------------------------------------------------------


def spots(*places: tuple[int, int]) -> np.ndarray:
    """One word's attention: low, and high at these (row, column)."""
    grid = np.full((8, 12), 1e-4, np.float32)
    for row, column in places:
        grid[row, column] = 1.0
    return grid


def heat_at(*places: tuple[int, int]) -> tuple[np.ndarray, tuple[float, float]]:
    """A heatmap four times as fine with regions there, and its peak in the first."""
    grid = np.zeros((32, 48), np.float32)
    for row, column in places:
        grid[4 * row : 4 * row + 4, 4 * column : 4 * column + 4] = 1.0
    row, column = places[0]
    return grid, ((column + 0.5) / 12, (row + 0.5) / 8)


def test_words_of_different_things_are_not_added_up() -> None:
    heat, peak = heat_at((2, 2))
    one_thing = measure_word_attention(np.stack([spots((2, 2)), spots((2, 2))]), heat, peak)
    two_things = measure_word_attention(np.stack([spots((2, 2)), spots((2, 9))]), heat, peak)
    assert one_thing == pytest.approx([one_thing[0]] * 2)
    assert two_things[0] == pytest.approx(one_thing[0], abs=0.01)
    assert two_things[1] < one_thing[1] - 2


def test_only_the_region_of_the_peak_counts() -> None:
    both = np.stack([spots((2, 9)), spots((2, 9))])
    heat, peak = heat_at((2, 2), (2, 9))
    elsewhere = measure_word_attention(both, heat, peak)
    there = measure_word_attention(both, heat, heat_at((2, 9))[1])
    assert (elsewhere < there - 2).all()


def test_the_hole_of_a_ring_belongs_to_it() -> None:
    ring = [(r, c) for r in (1, 2, 3) for c in (4, 5, 6) if (r, c) != (2, 5)]
    heat, peak = heat_at(*ring)
    inside = measure_word_attention(np.stack([spots((2, 5))]), heat, peak)
    outside = measure_word_attention(np.stack([spots((2, 9))]), heat, peak)
    assert inside[0] > outside[0] + 1.5


@pytest.mark.parametrize("peak", [(0.0, 0.0), (1.0, 1.0), (0.5, 0.999)])
def test_a_peak_at_the_rim_and_a_flat_heatmap_are_measured_too(peak: tuple[float, float]) -> None:
    flat = np.zeros((32, 48), np.float32)
    assert np.isfinite(measure_word_attention(np.stack([spots(), np.zeros((8, 12), np.float32)]), flat, peak)).all()


# --- the model -------------------------------------------------------------------------------------------------------


def test_each_word_is_compared_with_what_is_usual_for_it() -> None:
    model = make_model()
    usual = model((("blue", -1.5), ("circle", -1.0)))
    no_blue = model((("blue", -2.5), ("circle", -1.0)))
    no_circle = model((("blue", -1.5), ("circle", -2.0)))
    assert usual.probability > 0.9 > 0.4 > no_blue.probability == pytest.approx(no_circle.probability)
    assert (no_blue.weakest, no_circle.weakest) == ("blue", "circle")
    assert model((("dog", -1.2),)).probability == pytest.approx(model((("blue", -1.5),)).probability)
    assert model((("circles", -1.0),)) == replace(model((("circle", -1.0),)), weakest="circles")
    assert model((("circle-shaped", -2.0),)).probability == pytest.approx(model((("circle", -2.0),)).probability)
    with pytest.raises(ValueError, match="without words"):
        model(())


def sample_statements(count: int, seed: int = 0) -> tuple[list[tuple[tuple[str, float], ...]], np.ndarray]:
    """Attention to two words; where the object is absent one of them has a tenth of it."""
    rng = np.random.default_rng(seed)
    present = rng.random(count) < 0.5
    attentions = []
    for is_there in present:
        values = np.array([LEVELS["blue"], LEVELS["circle"]]) + rng.normal(0, 0.15, 2)
        if not is_there:
            values[int(rng.integers(2))] -= 1
        attentions.append((("blue", float(values[0])), ("circle", float(values[1]))))
    return attentions, present


def test_a_fit_finds_the_usual_attention_and_separates_new_data() -> None:
    attentions, present = sample_statements(600)
    model = fit_presence(attentions, present, made_with={"a": 1}, seed=3)
    assert model.levels == pytest.approx(LEVELS, abs=0.05)
    assert (model.scenes, model.seed, model.made_with) == (600, 3, {"a": 1})
    others, truth = sample_statements(600, seed=1)
    said = np.array([model(attention).probability for attention in others])
    assert ((said > 0.5) == truth).mean() > 0.97


@pytest.mark.parametrize(
    ("attentions", "present", "message"),
    [
        ([(("blue", -1.0),)] * 40, [True] * 40, "40 expressions whose object is there and 0"),
        ([(("blue", -1.0),)] * 15, [True] * 7 + [False] * 8, "at least 8 of each"),
        ([(("blue", -1.0),)] * 40, [True, False] * 20, "40 examples do not tell what is there"),
        ([(("blue", -1.0),)] * 20 + [(("blue", 1.0),)] * 20, [True] * 20 + [False] * 20, "40 examples do not tell"),
        ([(("blue", -1.0),)] * 4, [True] * 3, "4 expressions but 3"),
        ([(("blue", -1.0),), ()] * 8, [True, False] * 8, "without words"),
    ],
)
def test_data_that_cannot_be_fitted_is_refused(attentions: list, present: list, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        fit_presence(attentions, np.array(present), made_with={}, seed=0)


def test_a_saved_model_loads_equal_and_a_broken_file_is_named(tmp_path: Path) -> None:
    make_model().save(tmp_path / "deep" / FILE_NAME)
    assert load_presence(tmp_path / "deep" / FILE_NAME) == make_model()
    assert load_presence(tmp_path / FILE_NAME) is None
    (tmp_path / "linked").symlink_to(tmp_path / "deep" / FILE_NAME)
    make_model(bias=0.0).save(tmp_path / "linked")
    assert load_presence(tmp_path / "deep" / FILE_NAME) == make_model(), "the model of another folder stays"
    stored = asdict(make_model())
    wrong = [{"weights": [np.nan, 1]}, {"weights": [np.inf, 1]}, {"weights": "ab"}, {"bias": "x"}, {"bias": None}]
    wrong += [{"bias": np.nan}, {"level": np.nan}, {"level": 1e9}, {"levels": [1]}, {"levels": {"dog": np.inf}}]
    wrong += [{"levels": {"dog": "1"}}, {"made_with": "x"}, {"made_with": None}, {"scenes": "x"}, {"other": 1}]
    broken = ["no json", "[]", '{"weights": [1, 2]}', "[" * 100_000, "", *(json.dumps(stored | bad) for bad in wrong)]
    for text in broken:
        (tmp_path / FILE_NAME).write_text(text)
        with pytest.raises(CalibrationError, match=r"refam_presence\.json is no presence model .* delete it"):
            load_presence(tmp_path / FILE_NAME)
    with pytest.raises(CalibrationError, match="none negative"):
        make_model(weights=(1.0, -1.0))
    assert presence_path(str(tmp_path)) == tmp_path / FILE_NAME


# --- used where it is valid ------------------------------------------------------------------------------------------


def test_it_is_used_only_with_the_settings_it_was_fitted_with(random_backbone: FluxBackbone) -> None:
    frame = np.random.default_rng(0).integers(0, 255, (54, 96, 3), dtype=np.uint8)
    plain = Grounder(random_backbone).ground([frame], ["the red star"])[0][0]
    assert plain.presence is None
    settings = json.loads(json.dumps(Grounder(random_backbone).heatmap_settings()))
    model = make_model(made_with=settings)
    judged = Grounder(random_backbone, presence=model).ground([frame], ["the red star"])[0][0]
    assert judged.presence is not None
    assert judged.confidence == pytest.approx(plain.confidence * judged.presence.probability)
    assert judged.presence.weakest in ("red", "star")
    other = Grounder(random_backbone, GroundingOptions(edge_aware=False), presence=model)
    assert other.valid_presence() is None
    blank = Grounder(random_backbone, presence=model).ground([np.zeros_like(frame)], ["the red star"])[0][0]
    assert blank.presence is not None
    assert (blank.presence.probability, blank.confidence) == (0, 0), "nothing is on a frame of one colour"


@pytest.mark.parametrize(
    ("words", "share"),
    [
        ("the red star", 1.0),
        ("the shiny red star", 0.5),
        ("a shiny red square", 0.5),
        ("the shiny furry spotted star", 0.5),
        ("the red dog", 0.0),
        ("the dog red", 0.0),
    ],
)
def test_unknown_words_lower_the_confidence_and_guide_nothing(
    words: str, share: float, random_backbone: FluxBackbone
) -> None:
    frame = np.random.default_rng(0).integers(0, 255, (54, 96, 3), dtype=np.uint8)
    grounder = Grounder(random_backbone)
    (maps,) = next(iter(grounder.read_token_maps([frame], [words])))
    trace = grounder.compute_heatmap(maps, frame)
    assert trace.heatmap.confidence == pytest.approx(share * trace.features[0])
    judged = trace.judge_presence(make_model()).heatmap
    assert judged.confidence <= trace.heatmap.confidence
    assert judged.presence is not None
    by_known_words = make_model()(trace.word_attention).probability
    assert judged.presence.probability == (by_known_words if share else 0), "a furry star is there as a star is"
    looked_for = {maps.expression.tokens[word[0]].word for word in maps.expression.content_words()}
    assert looked_for == {"red", "star", "square"} & set(words.split())


@pytest.mark.parametrize("words", ["the red dog", "a dog", "the small green zebra on the left", "the red starfish"])
def test_an_unknown_head_noun_is_refused_by_name(words: str, random_backbone: FluxBackbone) -> None:
    with pytest.raises(GroundingError, match=r"does not know 'dog'|knows none of the words|'zebra'|'starfish'"):
        Grounder(random_backbone).unknown_words(words)


@pytest.mark.parametrize("words", ["the red thing", "a blue one", "the large green object", "the red circles"])
def test_any_thing_of_a_known_colour_is_not_refused(words: str, random_backbone: FluxBackbone) -> None:
    grounder = Grounder(random_backbone)
    assert grounder.unknown_words(words) == []
    expression = grounder.parse(words)
    checked = [expression.tokens[w[0]].word for w in expression.checkable_words()]
    assert checked == [w for w in words.split() if w in ("red", "blue", "green", "circles")]


@SHIPPED
def test_the_shipped_model_is_fitted_as_it_ships() -> None:
    """Fails when a default changes what heatmaps are made of: then `refam eval calibrate` is due."""
    presence = load_grounder("tiny", device="cpu").valid_presence()
    assert presence is not None
    assert presence.scenes >= 2000
