"""Settings chosen by corrections: what gains on unseen videos is taken, nothing else is."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from backend.feedback.calibrate import ReadingSettings, calibrate_settings, readings_of
from backend.feedback.calibrated import CalibratedSettings, CalibratedSettingsError, load_calibrated, save_calibrated
from backend.feedback.cross_validation import choose, folds_of
from backend.feedback.examples import Example, of_task
from backend.feedback.project import FeedbackError
from backend.labelstudio.controls.video_rectangle import box_sequence
from backend.labelstudio.label_config import parse_label_config
from refam.grounder import load_grounder
from refam.pipeline.pipeline import Pipeline
from refam.segmenters.grabcut import GrabCutSegmenter
from refam.tiny.scenes import draw_clip
from tests.doubles import track_of_masks
from tests.video.clips import ArrayClip

# --- folds -----------------------------------------------------------------------------------------------------------


@settings(max_examples=60, deadline=None)
@given(st.lists(st.integers(0, 9), min_size=2, max_size=40))
def test_all_of_a_video_is_in_one_fold_and_folds_are_even(groups):
    fold = folds_of(groups)
    assert all(len({fold[i] for i, g in enumerate(groups) if g == one}) == 1 for one in groups)
    assert set(fold) == set(range(min(5, len(set(groups)))))
    largest = max(groups.count(g) for g in groups)
    counts = np.bincount(fold)
    assert counts.max() - counts.min() <= largest


def test_a_setting_that_is_better_everywhere_is_taken():
    rng = np.random.default_rng(0)
    worth = np.stack([rng.normal(0, 0.1, 30), rng.normal(0.5, 0.1, 30), rng.normal(0.2, 0.1, 30)])
    found = choose(worth, [i // 3 for i in range(30)])
    assert (found.index, found.best) == (1, 1)
    assert found.gain.value == pytest.approx(0.5, abs=0.1)


@pytest.mark.parametrize("seed", range(20))
def test_what_only_luck_makes_better_is_not_taken(seed):
    """Forty settings, all alike: the best of them gains nothing where it was not chosen."""
    worth = np.random.default_rng(seed).normal(0, 1, (40, 20))
    found = choose(worth, list(range(20)))
    assert found.index == 0 or found.gain.low >= 0
    assert worth.mean(1)[found.best] > worth.mean(1)[0]


def test_luck_is_seldom_taken_for_merit():
    taken = [choose(np.random.default_rng(s).normal(0, 1, (40, 20)), list(range(20))).index != 0 for s in range(200)]
    assert np.mean(taken) <= 0.1, "most of the time a gain's interval reaches below zero"


def test_one_video_cannot_judge_itself():
    with pytest.raises(ValueError, match="two videos"):
        choose(np.ones((2, 5)), ["a"] * 5)


# --- the whole -------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def corrected():
    """Ten objects of five drawn clips, as a person would have left them."""
    clips, known = {}, []
    for number in range(5):
        drawn = draw_clip(77 + number, size=(160, 90), n_frames=8, count=2, speed=0.3)
        clip = ArrayClip(drawn.frames, fps=24)
        clip.duration_s = 8 / 24
        clips[f"{number}.mp4"] = clip
        for words, masks in zip(drawn.expressions, drawn.masks, strict=True):
            sequence = box_sequence(track_of_masks(masks), clip, fps=24)
            known.append(Example(number, f"{number}.mp4", 24.0, words, "Object", tuple(sequence)))
    return clips, known


@pytest.fixture
def grounder():
    return load_grounder("tiny")


@pytest.mark.slow
def test_settings_that_are_bad_are_mended_by_corrections(corrected, grounder):
    clips, known = corrected
    shipped = grounder.backbone.preset
    grounder.backbone.preset = replace(shipped, noise=0.9, blocks=(0,))
    pipeline = Pipeline(GrabCutSegmenter(), grounder=lambda: grounder)
    good = ReadingSettings(shipped.blocks, shipped.noise, True)
    few = (ReadingSettings((0,), 0.9, True), ReadingSettings((0, 1), 0.9, False), good)
    report = calibrate_settings(grounder, pipeline, known, lambda e: clips[e.video], readings=few)
    assert report.readings[report.reading.index] == good
    assert report.reading.gain.low >= 0
    chosen = report.readings[report.reading.index]
    assert (grounder.backbone.preset.blocks, grounder.backbone.preset.noise) == (chosen.blocks, chosen.noise)
    tuned = report.tuned("tiny@x", project=3, magnets=str(grounder.options.magnet_words))
    assert (tuned.blocks, tuned.noise, tuned.objects) == (chosen.blocks, chosen.noise, len(known))


@pytest.mark.slow
def test_corrections_that_teach_nothing_change_nothing(corrected, grounder):
    """Boxes that have nothing to do with the words."""
    clips, known = corrected
    rng = np.random.default_rng(3)
    shuffled = []
    for example in known:
        x, y = rng.uniform(0, 80, 2)
        items = [{**i, "x": x, "y": y, "width": 15.0, "height": 15.0} for i in example.sequence]
        shuffled.append(replace(example, sequence=tuple(items)))
    pipeline = Pipeline(GrabCutSegmenter(), grounder=lambda: grounder)
    report = calibrate_settings(
        grounder, pipeline, shuffled, lambda e: clips[e.video], readings=readings_of(grounder)[:3]
    )
    assert report.reading.index == 0
    assert (report.need, report.changed) == (None, bool(report.tolerance.index))


def test_too_little_is_said(corrected, grounder):
    clips, known = corrected
    pipeline = Pipeline(GrabCutSegmenter(), grounder=lambda: grounder)
    with pytest.raises(FeedbackError, match="3 corrected object"):
        calibrate_settings(grounder, pipeline, known[:3], lambda e: clips[e.video])
    with pytest.raises(FeedbackError, match="one video"):
        calibrate_settings(grounder, pipeline, [replace(e, video="0.mp4") for e in known], lambda e: clips[e.video])


def test_what_is_in_use_is_tried_first_and_nothing_twice(grounder):
    found = readings_of(grounder)
    preset = grounder.backbone.preset
    assert (found[0].blocks, found[0].noise, found[0].magnets) == (preset.blocks, preset.noise, True)
    assert len(set(found)) == len(found) > 10


# --- what is kept ----------------------------------------------------------------------------------------------------


TUNED = CalibratedSettings("tiny@28", (1, 2), 0.7, ". with to", 0.85, 3, 20)


def test_what_was_chosen_comes_back_for_its_backbone_alone(tmp_path):
    save_calibrated(TUNED, tmp_path)
    assert load_calibrated(tmp_path, "tiny@28") == TUNED
    assert load_calibrated(tmp_path, "flux@1") is None
    assert load_calibrated(tmp_path / "none", "tiny@28") is None
    (tmp_path / "tuned.json").write_text('{"blocks": 3}')
    with pytest.raises(CalibratedSettingsError, match="--forget"):
        load_calibrated(tmp_path, "tiny@28")


def test_the_version_is_of_what_changes_an_answer():
    assert TUNED.version == replace(TUNED, project=9, objects=1).version
    others = [
        replace(TUNED, noise=0.6),
        replace(TUNED, blocks=None),
        replace(TUNED, magnets=""),
        replace(TUNED, score="a"),
    ]
    assert len({TUNED.version, *(o.version for o in others)}) == 5


def test_a_grounder_reads_as_was_chosen_and_is_named_so(grounder):
    before = grounder.name
    TUNED.apply(grounder)
    assert grounder.name == f"{before}+{TUNED.version}"
    assert (grounder.backbone.preset.blocks, grounder.backbone.preset.noise) == ((1, 2), 0.7)
    assert str(grounder.options.magnet_words) == ". with to"
    replace(TUNED, magnets="").apply(grounder)
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
def test_what_a_task_teaches(task, words):
    found = list(of_task(task, parse_label_config(CONFIG)))
    assert [e.words for e in found] == words
    assert all((e.fps, e.video, e.label) == (30, "a.mp4", "Car") for e in found)
