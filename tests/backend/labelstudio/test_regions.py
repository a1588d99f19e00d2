"""Several objects of one phrase in Label Studio: ids of their regions, corrections of one of them, removing them."""

from __future__ import annotations

import copy
import itertools
from typing import Any

import numpy as np
import pytest

from backend.feedback.compare import RegionFate, compare
from backend.labelstudio.import_tasks import build_label_config
from backend.labelstudio.label_config import parse_label_config
from backend.labelstudio.regions import instance_region_id, mark_preview, object_region_ids, words_region_id
from backend.labelstudio.removal import read_removal
from backend.labelstudio.request import PredictRequest, read_request
from refam.pipeline.types import TrackResult
from tests.backend.labelstudio.mask_tasks import change_mask, config_with, star_mask
from tests.doubles import moving_box, track_of_masks
from tests.video.clips import ArrayClip

DOGS, CAT = "the dogs", "the cat"
CONFIG = parse_label_config(build_label_config(["Animal"]))
TIMES = parse_label_config(
    '<View><TextArea name="words" toName="v" value="$prompt"/><Video name="v" value="$video"/>'
    '<TimelineLabels name="t" toName="v"><Label value="Animal"/></TimelineLabels></View>'
)


def typed(words: str, name: str = "words", to: str = "video") -> dict[str, Any]:
    region = {"id": "t", "type": "textarea", "from_name": name, "to_name": to, "value": {"text": [words]}}
    return {"result": [region]}


def answer(work: PredictRequest, counts: dict[str, int], config: Any = CONFIG) -> list[dict[str, Any]]:
    """Return the regions of an answer in which so many objects were found for some words, by default one."""
    clip = ArrayClip(np.zeros((24, 9, 16, 3), np.uint8))
    clip.duration_s = 1.0
    results = [
        TrackResult(t, moving_box(24, start=(0.1, 0.2 * k)), (), 0.8, 0, (), instance=k)
        for t in work.targets
        for k in range(1, counts.get(t.words or "", 1) + 1)
    ]
    return config.control.regions(results, clip, fps=24, region_ids=object_region_ids(results, work.region_ids))


def task(words: str, **more: Any) -> dict[str, Any]:
    return {"id": 3, "data": {"video": "a.mp4", "prompt": words}, **more}


def in_draft(regions: list[dict[str, Any]]) -> dict[str, Any]:
    return {"drafts": [{"id": 1, "updated_at": "2026-01-01", "result": regions}]}


def move(region: dict[str, Any]) -> None:
    """Move the first keyframe as a person would: its checksum no longer fits."""
    region["value"]["sequence"][0]["x"] += 3


@pytest.mark.parametrize("base", ["refam-0123abcdef", "own"])
def test_each_object_has_an_id_of_its_own_which_names_its_words(base: str) -> None:
    ids = [instance_region_id(base, k) for k in range(1, 14)]
    assert ids[0] == base
    assert len(set(ids)) == 13
    assert not any(a.startswith(f"{b}-") for a, b in itertools.permutations(ids, 2)), "masks add -PICTURE"
    if base.startswith("refam-"):
        assert {words_region_id(name) for name in ids} == {base}


def test_asking_again_replaces_every_region_and_makes_no_other() -> None:
    first = answer(read_request(task(DOGS), CONFIG), {DOGS: 3})
    assert [r["value"]["labels"] for r in first] == [["Animal"]] * 3
    assert len({r["id"] for r in first}) == 3
    for order in ([0, 1, 2], [2, 0, 1], [1, 2]):  # the editor's, and without one that a person deleted
        again = read_request(task(DOGS, **in_draft([first[i] for i in order])), CONFIG, context=typed(DOGS))
        assert [r["id"] for r in answer(again, {DOGS: 3})] == [r["id"] for r in first]


def test_regions_of_a_plural_are_not_taken_by_other_words() -> None:
    dogs = answer(read_request(task(DOGS), CONFIG), {DOGS: 3})
    work = read_request(task(DOGS, **in_draft(dogs)), CONFIG, context=typed(f"{DOGS}; {CAT}"))
    assert [t.words for t in work.targets] == [CAT], "the dogs are answered already"
    assert work.region_ids[0] not in {r["id"] for r in dogs}


def test_a_preview_is_asked_again_whole() -> None:
    dogs = [mark_preview(r) for r in answer(read_request(task(DOGS), CONFIG), {DOGS: 2})]
    work = read_request(task(DOGS, **in_draft(dogs)), CONFIG, context=typed(f"{DOGS};"))
    assert [t.words for t in work.targets] == [DOGS]
    assert [r["id"] for r in answer(work, {DOGS: 2})] == [r["id"] for r in dogs]


def test_only_the_object_that_a_person_corrected_is_tracked_again() -> None:
    dogs = answer(read_request(task(DOGS), CONFIG), {DOGS: 3})
    edited = copy.deepcopy(dogs)
    move(edited[1])
    work = read_request(task(DOGS, **in_draft(edited)), CONFIG, context=typed(DOGS))
    assert work.region_ids == (dogs[1]["id"],)
    assert [t.words for t in work.targets] == [DOGS]
    assert [len(edits) for edits in work.edits] == [1]
    move(edited[2])
    both = read_request(task(DOGS, **in_draft(edited)), CONFIG, context=typed(DOGS))
    assert both.region_ids == (dogs[1]["id"], dogs[2]["id"])


@pytest.mark.parametrize(
    ("words", "found", "kept", "emptied"),
    [
        ("the black dogs", 2, [0, 1], [2]),
        ("the black dogs", 3, [0, 1, 2], []),
        (CAT, 1, [0], [1, 2]),
        (DOGS, 1, [0], [1, 2]),
        ("the black dogs", 0, [], []),
    ],
)
def test_other_words_replace_all_objects_of_a_plural(
    words: str, found: int, kept: list[int], emptied: list[int]
) -> None:
    dogs = answer(read_request(task(DOGS), CONFIG), {DOGS: 3})
    work = read_request(task(DOGS, **in_draft(dogs[::-1])), CONFIG, context=typed(words))
    made = answer(work, {words: found})
    ids = {r["id"] for r in made}
    assert [r["id"] for r in made] == [dogs[k]["id"] for k in kept]
    cleared = [r.emptied for r in work.replaced_regions if r.by in ids and r.emptied["id"] not in ids]
    assert sorted(r["id"] for r in cleared) == sorted(dogs[k]["id"] for k in emptied)
    assert all(r["value"]["sequence"] == [] for r in cleared)


def test_other_words_leave_the_object_of_a_plural_that_a_person_corrected() -> None:
    dogs = answer(read_request(task(DOGS), CONFIG), {DOGS: 3})
    move(dogs[1])
    work = read_request(task(DOGS, **in_draft(dogs)), CONFIG, context=typed("the black dogs"))
    made = {r["id"] for r in answer(work, {"the black dogs": 3})}
    assert dogs[1]["id"] not in made
    assert {r.emptied["id"] for r in work.replaced_regions} == {dogs[0]["id"], dogs[2]["id"]}


def test_a_minus_removes_all_objects_of_the_words() -> None:
    regions = answer(read_request(task(f"{DOGS}; {CAT}"), CONFIG), {DOGS: 3})
    removal = read_removal(task(DOGS, **in_draft(regions)), CONFIG, typed(f"-{DOGS}"))
    assert removal is not None
    assert [r["id"] for r in removal.regions] == [r["id"] for r in regions[:3]]
    assert all(r["value"]["sequence"] == [] for r in removal.regions)


def test_feedback_compares_each_object_with_its_own_prediction() -> None:
    dogs = answer(read_request(task(DOGS), CONFIG), {DOGS: 3})
    after = copy.deepcopy(dogs[:2])
    move(after[1])
    fates = {c.region: c.fate for c in compare(dogs, after)}
    assert fates == {dogs[0]["id"]: RegionFate.KEPT, dogs[1]["id"]: RegionFate.MOVED, dogs[2]["id"]: RegionFate.DELETED}


def test_the_times_in_sight_of_each_object_are_a_region() -> None:
    times = answer(read_request(task(DOGS), TIMES), {DOGS: 2}, TIMES)
    assert [r["type"] for r in times] == ["timelinelabels"] * 2
    again = read_request(task(DOGS, **in_draft(times)), TIMES, context=typed(DOGS, to="v"))
    assert [r["id"] for r in answer(again, {DOGS: 2}, TIMES)] == [r["id"] for r in times]


# --- masks on pictures ---------------------------------------------------------------------------------------------


def test_masks_of_several_objects_on_pictures() -> None:
    config = parse_label_config(config_with("BrushLabels"))
    pictures = {"id": 7, "data": {"pics": ["a.png", "b.png", "c.png"], "say": "the stars"}}
    work = read_request(pictures, config)
    (target,) = work.targets
    results = [
        TrackResult(
            target,
            track_of_masks(np.stack([np.roll(star_mask(f), 25 * (k - 1), 0) for f in range(3)])),
            (),
            0.9,
            0,
            (),
            instance=k,
        )
        for k in (1, 2)
    ]
    ids = object_region_ids(results, work.region_ids)
    answered = {**pictures, **in_draft(config.control.regions(results, region_ids=ids))}
    assert len({r["id"] for r in answered["drafts"][0]["result"]}) == 6
    unedited = read_request(answered, config, context=typed("the stars", "w", "i"))
    assert unedited.region_ids == work.region_ids
    assert len(unedited.unedited_masks) == 6, "those that the answer lacks are emptied"
    change_mask(answered, config, ids[1], 2, star_mask(0))
    corrected = read_request(answered, config, context=typed("the stars", "w", "i"))
    assert corrected.region_ids == (ids[1],)
    assert [p.frame for p in corrected.targets[0].prompts] == [2]
    assert {m.region.rpartition("-")[0] for m in corrected.unedited_masks} == {ids[1]}, "the other one stays as it is"
