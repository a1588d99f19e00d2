"""Objects removed by words, and masks that a new answer lacks: emptied, reported, and exported as nothing."""

from __future__ import annotations

import copy
import json

import numpy as np
import pytest

from backend.feedback.compare import RegionFate, compare
from backend.labelstudio.controls.video_rectangle import interpolate_boxes
from backend.labelstudio.editor_state import read_editor_state
from backend.labelstudio.empty_regions import empty_region, is_empty, removed_words
from backend.labelstudio.export_reader import read_export
from backend.labelstudio.import_tasks import build_label_config
from backend.labelstudio.label_config import parse_label_config
from backend.labelstudio.removal import read_removal
from backend.labelstudio.request import read_request
from backend.service.model import RefAMBackend
from backend.settings import load_settings
from refam.pipeline.types import Target, TrackResult
from tests.backend.labelstudio.mask_tasks import MASK_KINDS, SIZE, answered_task, change_mask, star_mask
from tests.doubles import TruthRuntime, moving_box, track_of_masks
from tests.media import cfr, numbered_frames
from tests.video.clips import ArrayClip

XML = build_label_config(["Car", "Dog"])
CONFIG = parse_label_config(XML)


def typed(words, name="words"):
    region = {"id": "t", "type": "textarea", "from_name": name, "to_name": "video", "value": {"text": [words]}}
    return {"result": [region]}


def boxes(*found):
    """Regions as we answer them: (id, label, words) each."""
    clip = ArrayClip(np.zeros((24, 9, 16, 3), np.uint8))
    clip.duration_s = 1.0
    results = [TrackResult(Target(label, words=w), moving_box(24), (), 0.8, 0, ()) for _, label, w in found]
    return CONFIG.control.regions(results, clip, fps=24, region_ids=[i for i, _, _ in found])


def task(*found, drawn=False):
    regions = boxes(*found)
    if drawn:
        blank = {"id": "hand", "from_name": "box", "to_name": "video", "type": "videorectangle", "origin": "manual"}
        item = {"frame": 1, "enabled": True, "x": 1, "y": 1, "width": 5, "height": 5, "rotation": 0}
        regions.append({**blank, "value": {"labels": ["Dog"], "sequence": [item]}})
    return {"id": 3, "data": {"video": "a.mp4", "prompt": "x"}, "predictions": [{"result": regions}]}


TWO = (("r1", "Car", "the red car"), ("r2", "Dog", "the black dog"))


@pytest.mark.parametrize(
    ("words", "gone", "rest", "unknown"),
    [
        ("-the red car", ["r1"], None, ""),
        ("- The red car.", ["r1"], None, ""),
        ("the red car; -the black dog", ["r2"], "the red car", ""),
        ("-the black dog\nthe red car\nthe cat", ["r2"], "the red car; the cat", ""),
        ("-dog", ["r2", "hand"], None, ""),
        ("-", ["r1", "r2"], None, ""),
        ("-the red car; -the red car", ["r1"], None, ""),
        ("-the bus", [], None, "nothing to remove is called 'the bus': there are 'the black dog', 'the red car'"),
        ("-the bus; -car", ["r1"], None, "nothing to remove is called 'the bus'"),
    ],
)
def test_words_after_a_minus_are_removed(words, gone, rest, unknown):
    removal = read_removal(task(*TWO, drawn=True), CONFIG, typed(words))
    assert [r["id"] for r in removal.regions] == gone
    assert all(r["value"]["sequence"] == [] and r["value"]["labels"] for r in removal.regions)
    assert (removal.remaining_context and removal.remaining_context["result"][0]["value"]["text"]) == (rest and [rest])
    assert removal.failure.startswith(unknown)
    assert bool(removal.failure) == bool(unknown)


@pytest.mark.parametrize("words", ["the red car", "the blue-green car", "a - b", "x; the car on the left"])
def test_other_words_remove_nothing(words):
    assert read_removal(task(*TWO), CONFIG, typed(words)) is None


def test_removing_twice_changes_nothing_and_a_new_object_takes_the_place():
    original = task(*TWO)
    (gone,) = read_removal(original, CONFIG, typed("-the red car")).regions
    original["drafts"] = [{"id": 1, "updated_at": "2026-01-01", "result": [gone, boxes(*TWO)[1]]}]
    again = read_removal(original, CONFIG, typed("-the red car"))
    assert (again.regions, again.failure) == ((gone,), "")
    assert "the red car" not in read_removal(original, CONFIG, typed("-the bus")).failure
    work = read_request(original, CONFIG, context=typed("the green car"))
    assert work.region_ids == ("r1",)


def test_an_emptied_box_is_drawn_nowhere_and_counts_as_deleted():
    before = boxes(*TWO)
    gone = empty_region(before[0], "the red car")
    assert is_empty(gone)
    assert not is_empty(before[0])
    assert removed_words(gone) == "the red car"
    assert not interpolate_boxes(gone["value"]["sequence"], 24, "here", aspect=1.0)[1].any()
    fates = {c.region: c.fate for c in compare(before, [gone, before[1]])}
    assert fates == {"r1": RegionFate.DELETED, "r2": RegionFate.KEPT}


@pytest.mark.parametrize("kind", MASK_KINDS)
def test_an_emptied_mask_is_empty_for_edits_and_exports(tmp_path, kind):
    config, original, ids = answered_task(kind)
    removal = read_removal(original, config, typed("-the ring", "w"))
    assert [r["id"] for r in removal.regions] == [f"{ids[1]}-{frame}" for frame in range(3)]
    for region in removal.regions:
        assert not config.control.read_mask(region).any()
    assert json.loads(json.dumps(removal.regions)) == list(removal.regions)
    export = [{**original, "annotations": [{"id": 1, "result": removal.regions}]}]
    (tmp_path / "export.json").write_text(json.dumps(export))
    (loaded,) = read_export(tmp_path / "export.json", config, videos=None)
    assert loaded.video.size == SIZE
    assert len(loaded.video.objects) == 0


def test_hand_painted_strokes_stay_and_are_reported():
    config, original, ids = answered_task("BrushLabels")
    change_mask(original, config, ids[1], 1, star_mask(0))
    removal = read_removal(original, config, typed("-the ring", "w"))
    assert [r["id"] for r in removal.regions] == [f"{ids[1]}-0", f"{ids[1]}-2"]
    assert removal.failure == "what was painted by hand stays on picture 2: delete it in the list of regions"


# --- answers of a backend ------------------------------------------------------------------------------------------


@pytest.fixture
def backend(tmp_path):
    cfr(tmp_path / "a.mp4", numbered_frames(24))
    settings = load_settings(media_root=tmp_path, cache_dir=tmp_path / "c", data_dir=tmp_path / "d")
    runtime = TruthRuntime(settings)
    yield RefAMBackend(runtime=runtime)
    runtime.close()


def answer_by_id(backend, original, words):
    (answer,) = backend.predict([original], context=typed(words), label_config=XML) or [{"result": []}]
    return {r["id"]: r for r in answer["result"]}


def test_a_removal_alone_is_answered_without_a_job(backend):
    answer = answer_by_id(backend, task(*TWO), "-the red car")
    assert list(answer) == ["r1"]
    assert is_empty(answer["r1"])
    assert backend._runtime.truth.asked == []


def test_a_removal_among_other_words(backend):
    answer = answer_by_id(backend, task(*TWO), "the black dog; -the red car")
    assert set(answer) == {"r1", "r2"}
    assert is_empty(answer["r1"])
    assert answer["r2"]["value"]["sequence"]
    assert [t.words for _, targets in backend._runtime.truth.asked for t in targets] == ["the black dog"]


def test_an_object_that_takes_the_place_of_a_removed_one_is_not_emptied(backend):
    answer = answer_by_id(backend, task(TWO[0]), "the green car; -the red car")
    assert list(answer) == ["r1"]
    assert answer["r1"]["value"]["sequence"][0]["words"] == "the green car"


@pytest.mark.parametrize(
    ("words", "reason", "emptied"),
    [
        ("-the bus", "nothing to remove is called 'the bus'", []),
        ("-the bus; -the red car", "nothing to remove is called 'the bus'", ["r1"]),
        ("nothing; -the red car", "no object fits", ["r1"]),
    ],
)
def test_failed_removals_are_among_the_jobs_and_the_others_are_done(backend, words, reason, emptied):
    assert list(answer_by_id(backend, task(*TWO), words)) == emptied
    (record,) = backend._runtime.queue.records()
    assert record.error.startswith(reason)


# --- masks that a new answer has none for --------------------------------------------------------------------------


def _new_answer(config, original, context, frames):
    """Return a request and the regions of an answer that shows the objects on these pictures only."""
    work = read_request(original, config, context=context)
    masks = np.stack([star_mask(f) if f in frames else np.zeros_like(star_mask(f)) for f in range(3)])
    results = [TrackResult(t, track_of_masks(masks), (), 0.9, 0, ()) for t in work.targets]
    return work, config.control.regions(results, region_ids=work.region_ids)


@pytest.mark.parametrize("kind", MASK_KINDS)
def test_masks_that_the_answer_lacks_are_emptied_unless_a_person_drew_them(kind):
    config, original, ids = answered_task(kind)
    change_mask(original, config, ids[0], 0, np.roll(star_mask(0), 3, 1))
    work, regions = _new_answer(config, original, typed("the bird; the ring", "w"), {2})
    more = config.control.clear_missing_masks(work.unedited_masks, regions)
    assert {r["id"] for r in more} == {f"{ids[0]}-1", f"{ids[1]}-0", f"{ids[1]}-1"}
    shapes = [r for r in more if r["type"] == config.control.tag]
    assert not any(config.control.read_mask(r).any() for r in shapes)
    newest = copy.deepcopy(original)
    kept = {(r["id"], r["type"]): r for r in [*original["drafts"][0]["result"], *regions, *more]}
    newest["drafts"][0]["result"] = list(kept.values())
    shown = config.control.shown_regions(read_editor_state(newest, {}))
    assert {r["item_index"] for r in shown if config.control.read_mask(r).any()} == {0, 2}


def test_a_batch_empties_nothing_and_deleted_masks_do_not_come_back():
    config, original, _ = answered_task("BitmaskLabels")
    assert read_request(original, config).unedited_masks == ()
    original["predictions"] = copy.deepcopy(original["drafts"])
    original["drafts"][0]["result"] = []
    assert read_request(original, config, context=typed("the bird", "w")).unedited_masks == ()
