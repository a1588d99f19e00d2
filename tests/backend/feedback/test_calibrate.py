"""Settings chosen by corrections: what gains on unseen videos is taken, nothing else is."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from backend.feedback.calibrate import ReadingSettings, calibrate_settings, candidate_readings, score_model_id
from backend.feedback.calibrated_settings import (
    CalibratedSettings,
    CalibratedSettingsError,
    load_calibrated,
    save_calibrated,
)
from backend.feedback.cross_validation import assign_folds, choose_setting
from backend.feedback.project import CorrectedObject, FeedbackError, task_corrected_objects
from backend.labelstudio.controls.video_rectangle import box_sequence
from backend.labelstudio.label_config import parse_label_config
from refam.backbones.blocks import BlockPrior
from refam.grounder_loading import load_grounder
from refam.pipeline.confidence import FEATURES, ScoreModel
from refam.pipeline.pipeline import Pipeline
from refam.segmenters.grabcut import GrabCutSegmenter
from refam.tiny.scenes import draw_clip
from tests.doubles import track_of_masks
from tests.video.clips import ArrayClip

# --- folds -----------------------------------------------------------------------------------------------------------


@settings(max_examples=60, deadline=None)
@given(st.lists(st.integers(0, 9), min_size=2, max_size=40))
def test_all_of_a_video_is_in_one_fold_and_folds_are_even(groups):
    fold = assign_folds(groups)
    assert all(len({fold[i] for i, g in enumerate(groups) if g == one}) == 1 for one in groups)
    assert set(fold) == set(range(min(5, len(set(groups)))))
    largest = max(groups.count(g) for g in groups)
    counts = np.bincount(fold)
    assert counts.max() - counts.min() <= largest


def test_a_setting_that_is_better_everywhere_is_chosen():
    rng = np.random.default_rng(0)
    scores = np.stack([rng.normal(0, 0.1, 30), rng.normal(0.5, 0.1, 30), rng.normal(0.2, 0.1, 30)])
    found = choose_setting(scores, [i // 3 for i in range(30)])
    assert (found.index, found.best) == (1, 1)
    assert found.gain.value == pytest.approx(0.5, abs=0.1)


@pytest.mark.parametrize("seed", range(20))
def test_a_setting_that_is_better_by_luck_is_not_chosen(seed):
    """Of forty equal settings the best gains nothing on held-out examples."""
    scores = np.random.default_rng(seed).normal(0, 1, (40, 20))
    found = choose_setting(scores, list(range(20)))
    assert found.index == 0 or found.gain.low >= 0
    assert scores.mean(1)[found.best] > scores.mean(1)[0]


def test_luck_is_rarely_mistaken_for_a_gain():
    taken = [
        choose_setting(np.random.default_rng(s).normal(0, 1, (40, 20)), list(range(20))).index != 0 for s in range(200)
    ]
    assert np.mean(taken) <= 0.1, "most of the time a gain's interval reaches below zero"


def test_a_single_video_is_not_enough():
    with pytest.raises(ValueError, match="two videos"):
        choose_setting(np.ones((2, 5)), ["a"] * 5)


# --- the whole -------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def corrected():
    """Ten objects of five drawn clips, as a person would have left them."""
    clips, objects = {}, []
    for number in range(5):
        drawn = draw_clip(77 + number, size=(160, 90), n_frames=8, count=2, speed=0.3)
        clip = ArrayClip(drawn.frames, fps=24)
        clip.duration_s = 8 / 24
        clips[f"{number}.mp4"] = clip
        for words, masks in zip(drawn.expressions, drawn.masks, strict=True):
            sequence = box_sequence(track_of_masks(masks), clip, fps=24)
            objects.append(CorrectedObject(number, f"{number}.mp4", 24.0, words, "Object", tuple(sequence)))
    return clips, objects


@pytest.fixture
def grounder():
    return load_grounder("tiny")


@pytest.mark.slow
def test_corrections_improve_bad_settings(corrected, grounder):
    clips, objects = corrected
    shipped = grounder.backbone.preset
    grounder.backbone.preset = replace(shipped, noise=0.9, blocks=(0,))
    pipeline = Pipeline(GrabCutSegmenter(), grounder=lambda: grounder)
    good = ReadingSettings(shipped.blocks, shipped.noise, True)
    few = (ReadingSettings((0,), 0.9, True), ReadingSettings((0, 1), 0.9, False), good)
    report = calibrate_settings(grounder, pipeline, objects, lambda e: clips[e.video], readings=few)
    assert report.readings[report.reading.index] == good
    assert report.reading.gain.low >= 0
    chosen = report.readings[report.reading.index]
    assert (grounder.backbone.preset.blocks, grounder.backbone.preset.noise) == (chosen.blocks, chosen.noise)
    calibrated = report.to_settings("tiny@x", project=3, magnets=str(grounder.options.magnet_words))
    assert (calibrated.blocks, calibrated.noise, calibrated.objects) == (chosen.blocks, chosen.noise, len(objects))


@pytest.mark.slow
def test_unrelated_corrections_change_nothing(corrected, grounder):
    """Boxes that have nothing to do with the words."""
    clips, objects = corrected
    rng = np.random.default_rng(3)
    shuffled = []
    for example in objects:
        x, y = rng.uniform(0, 80, 2)
        items = [{**i, "x": x, "y": y, "width": 15.0, "height": 15.0} for i in example.sequence]
        shuffled.append(replace(example, sequence=tuple(items)))
    pipeline = Pipeline(GrabCutSegmenter(), grounder=lambda: grounder)
    report = calibrate_settings(
        grounder, pipeline, shuffled, lambda e: clips[e.video], readings=candidate_readings(grounder)[:3]
    )
    assert report.reading.index == 0
    assert (report.score_model, report.changed) == (None, bool(report.tolerance.index))


def test_too_few_corrections_are_an_error(corrected, grounder):
    clips, objects = corrected
    pipeline = Pipeline(GrabCutSegmenter(), grounder=lambda: grounder)
    with pytest.raises(FeedbackError, match="3 corrected object"):
        calibrate_settings(grounder, pipeline, objects[:3], lambda e: clips[e.video])
    with pytest.raises(FeedbackError, match="one video"):
        calibrate_settings(grounder, pipeline, [replace(e, video="0.mp4") for e in objects], lambda e: clips[e.video])


def test_the_current_reading_comes_first_and_none_twice(grounder):
    found = candidate_readings(grounder)
    preset = grounder.backbone.preset
    assert (found[0].blocks, found[0].noise, found[0].magnets) == (preset.blocks, preset.noise, True)
    assert len(set(found)) == len(found) > 10


def test_published_blocks_are_among_the_readings_if_the_transformer_has_them(grounder):
    backbone, preset = grounder.backbone, grounder.backbone.preset
    assert all(reading.blocks != (1,) for reading in candidate_readings(grounder))
    backbone.preset = replace(preset, block_priors=(BlockPrior((1,), "a paper"), BlockPrior((99,), "another")))
    found = {reading.blocks for reading in candidate_readings(grounder)}
    backbone.preset = preset
    assert (1,) in found
    assert (99,) not in found


# --- what is kept ----------------------------------------------------------------------------------------------------


CALIBRATED = CalibratedSettings("tiny@28", (1, 2), 0.7, ". with to", 0.85, 3, 20)


def test_settings_are_loaded_for_their_backbone_alone(tmp_path):
    save_calibrated(CALIBRATED, tmp_path)
    assert load_calibrated(tmp_path, ["tiny@28"]) == CALIBRATED
    assert load_calibrated(tmp_path, ["flux@1"]) is None
    assert load_calibrated(tmp_path / "none", ["tiny@28"]) is None
    (tmp_path / "tuned.json").write_text('{"blocks": 3}')
    with pytest.raises(CalibratedSettingsError, match="--forget"):
        load_calibrated(tmp_path, ["tiny@28"])


def test_the_version_depends_on_what_changes_predictions():
    assert CALIBRATED.version == replace(CALIBRATED, project=9, objects=1).version
    others = [
        replace(CALIBRATED, noise=0.6),
        replace(CALIBRATED, blocks=None),
        replace(CALIBRATED, magnets=""),
        replace(CALIBRATED, score="a"),
    ]
    assert len({CALIBRATED.version, *(o.version for o in others)}) == 5


def test_applied_settings_change_the_grounder_and_its_name(grounder):
    before = grounder.name
    CALIBRATED.apply(grounder)
    assert grounder.name == before, "these settings are for another backbone"
    for_it = replace(CALIBRATED, backbone=before)
    for_it.apply(grounder)
    assert grounder.name == f"{before}+{for_it.version}"
    assert (grounder.backbone.preset.blocks, grounder.backbone.preset.noise) == ((1, 2), 0.7)
    assert str(grounder.options.magnet_words) == ". with to"
    replace(for_it, magnets="").apply(grounder)
    assert not grounder.options.magnets


# --- examples --------------------------------------------------------------------------------------------------------

CONFIG = """<View><TextArea name="t" toName="v" value="$prompt"/>
<Labels name="l" toName="v"><Label value="Car"/></Labels>
<Video name="v" value="$video" frameRate="$fps"/><VideoRectangle name="b" toName="v"/></View>"""


def _region(words=None):
    item = {"frame": 1, "x": 1, "y": 1, "width": 9, "height": 9, "enabled": True, "rotation": 0}
    item |= {"words": words} if words else {}
    return {"type": "videorectangle", "value": {"sequence": [item], "labels": ["Car"]}}


def _task(annotations, **data):
    return SimpleNamespace(id=4, data={"video": "a.mp4", "fps": 30, **data}, annotations=annotations)


@pytest.mark.parametrize(
    ("task", "words"),
    [
        (_task([{"id": 1, "result": [_region("the car")]}]), ["the car"]),
        (_task([{"id": 1, "result": [_region("the car")]}, {"id": 2, "result": [_region("the bus")]}]), ["the bus"]),
        (_task([{"id": 1, "result": [_region("the car")], "was_cancelled": True}]), []),
        (_task([{"id": 1, "result": [_region()]}], prompt="the dog"), ["the dog"]),
        (_task([{"id": 1, "result": [_region()]}], prompt="the dog; the cat"), []),
        (_task([{"id": 1, "result": [_region(), _region("x")]}], prompt="the dog"), ["x"]),
        (_task([]), []),
        (_task(None), []),
        (_task([{"id": 1, "result": [{"type": "textarea", "value": {}}]}]), []),
    ],
)
def test_corrected_objects_of_a_task(task, words):
    found = list(task_corrected_objects(task, parse_label_config(CONFIG)))
    assert [e.words for e in found] == words
    assert all((e.fps, e.video, e.label) == (30, "a.mp4", "Car") for e in found)


def test_the_id_of_a_score_model_is_the_one_that_stored_versions_hold():
    """Worked out with release 0.2.0, whose stored calibrations and model versions carry it."""
    model = ScoreModel(weights=(0.5,) * len(FEATURES), bias=1.0, made_with="tiny/grabcut/flow", objects=3, source="p")
    weights = ", ".join(["0.5"] * len(FEATURES))
    text = f"Need(weights=({weights}), bias=1.0, made_with='tiny/grabcut/flow', objects=3, source='p')"
    assert score_model_id(model) == hashlib.sha256(text.encode()).hexdigest()[:8]
