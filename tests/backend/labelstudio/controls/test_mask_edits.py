"""Masks that a person drew on a list of pictures: they are read to the pixel, become prompts, and stay."""

from __future__ import annotations

import copy

import numpy as np
import pytest

from backend.jobs.models import JobSpec
from backend.jobs.runner import add_user_prompts
from backend.labelstudio.controls import control_for_type
from backend.labelstudio.controls.image_masks import MaskError
from backend.labelstudio.editor_state import EditorState
from backend.labelstudio.request import RequestError, read_request
from refam.pipeline.pipeline import FramePrompt, Target, TrackResult
from tests.backend.labelstudio.mask_tasks import MASK_KINDS, answered_task, change_mask, config_with, iou, star_mask
from tests.doubles import track_of_masks
from tests.video.clips import ArrayClip
from video import masks

TYPED = {"result": [{"type": "textarea", "from_name": "w", "value": {"text": ["the star; the ring"]}}]}


@pytest.mark.parametrize("kind", MASK_KINDS)
def test_only_edited_masks_are_prompts(kind):
    config, task, ids = answered_task(kind)
    assert all(not t.prompts for t in read_request(task, config, context=TYPED).targets)
    new = np.roll(star_mask(1), 3, 1)
    change_mask(task, config, ids[1], 1, new)
    work = read_request(task, config, context=TYPED)
    first, second = work.targets
    assert first.prompts == ()
    (prompt,) = second.prompts
    assert prompt.frame == 1
    found = masks.decode(prompt.mask)
    if "olygon" in kind:
        assert iou(found, new) > 0.96
    else:
        np.testing.assert_array_equal(found, new)
    assert all(not t.prompts for t in read_request(task, config).targets), "in a batch nobody waits for an answer"


@pytest.mark.parametrize("kind", MASK_KINDS)
def test_a_mask_that_another_program_predicted_is_no_prompt_until_it_is_changed(kind):
    config, task, ids = answered_task(kind)
    for region in task["drafts"][0]["result"]:
        region["origin"] = "manual"
    task["predictions"] = copy.deepcopy(task["drafts"])
    assert all(not t.prompts for t in read_request(task, config, context=TYPED).targets)
    change_mask(task, config, ids[1], 1, np.roll(star_mask(1), 3, 1))
    assert [[p.frame for p in t.prompts] for t in read_request(task, config, context=TYPED).targets] == [[], [1]]


@pytest.mark.parametrize("kind", MASK_KINDS)
def test_a_mask_drawn_anew_is_assigned_by_its_label(kind):
    config, task, _ = answered_task(kind)
    shape = config.control.encode(star_mask(2))[0]
    base = {"id": "xYz", "origin": "manual", "item_index": 2, "original_width": 90, "original_height": 60}
    value = {**shape, config.control.tag: ["r"]} if kind.endswith("Labels") else shape
    drawn = [{**base, "from_name": "m", "type": config.control.tag, "value": value}]
    if not kind.endswith("Labels"):
        drawn.append({**base, "from_name": "l", "type": "labels", "value": {**shape, "labels": ["r"]}})
    task["drafts"][0]["result"] = drawn
    first, second = read_request(task, config, context=TYPED).targets
    assert first.prompts == ()
    assert [p.frame for p in second.prompts] == [2]


def test_the_newest_draft_counts():
    config, task, ids = answered_task("BitmaskLabels")
    change_mask(task, config, ids[0], 0, star_mask(2))
    older = copy.deepcopy(task["drafts"][0])
    assert len(read_request(task, config, context=TYPED).targets[0].prompts) == 1
    task["annotations"] = [older]
    task["drafts"] = [{**older, "updated_at": "2025-01-01", "result": []}]
    assert read_request(task, config, context=TYPED).targets[0].prompts == ()
    touched = copy.deepcopy(older)
    newest = {"updated_at": "2027-01-01", "result": [{**r, "origin": "prediction"} for r in touched["result"]]}
    task["drafts"] = [older, newest]
    assert read_request(task, config, context=TYPED).targets[0].prompts == ()


def test_parts_of_one_picture_are_one_mask():
    config, task, ids = answered_task("PolygonLabels")
    other = np.zeros((60, 90), bool)
    other[45:55, 60:80] = True
    (shape,) = config.control.encode(other)
    region = task["drafts"][0]["result"][0]
    part = {**region, "id": f"{ids[0]}-0-1", "origin": "manual", "value": {**shape, "polygonlabels": ["Star"]}}
    task["drafts"][0]["result"].append(part)
    (prompt,) = read_request(task, config, context=TYPED).targets[0].prompts
    assert iou(masks.decode(prompt.mask), star_mask(0) | other) > 0.95


def test_the_answer_leaves_a_drawn_mask_alone():
    config, _, ids = answered_task("Brush")
    track = track_of_masks(np.stack([star_mask(f) for f in range(3)]))
    target = Target("Star", words="x", prompts=(FramePrompt(1, mask=track.rles[1]),))
    regions = config.control.regions([TrackResult(target, track, (), 0.9, 0, ())], region_ids=ids[:1])
    assert {r["item_index"] for r in regions} == {0, 2}


def test_user_masks_survive_the_job_json():
    config, task, ids = answered_task("BitmaskLabels")
    change_mask(task, config, ids[0], 1, star_mask(2))
    work = read_request(task, config, context=TYPED)
    spec = JobSpec(id="a", task_id=7, project="1", work=work, label_config=config_with("Brush"), model_version="v")
    again = JobSpec.model_validate_json(spec.model_dump_json())
    assert again.work.targets == work.targets
    clip = ArrayClip(np.zeros((3, 60, 90, 3), np.uint8))
    clip.duration_s = 3 / 24
    assert add_user_prompts(again.work, clip)[0].prompts == work.targets[0].prompts
    assert repr(again.work.targets) != repr(read_request(task, config).targets), (
        "what is drawn belongs to the memo's key"
    )


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"original_width": None}, "original_width and original_height must be pixels"),
        ({"original_width": 80}, "cannot be read as a bitmask: it is 90x60, the picture 80x60"),
        ({"value": {"imageDataURL": "data:image/png;base64,????"}}, "cannot be read as a bitmask"),
        ({"value": {}}, "cannot be read as a bitmask"),
    ],
)
def test_an_unreadable_region_is_named_in_the_error(change, message):
    config, task, _ = answered_task("BitmaskLabels")
    region = task["drafts"][0]["result"][0]
    region |= {"origin": "manual", **change}
    with pytest.raises(RequestError, match="task 7: region") as error:
        read_request(task, config, context=TYPED)
    assert message in str(error.value)
    assert region["id"] in str(error.value)


@pytest.mark.parametrize(
    ("shape", "value", "message"),
    [
        ("polygon", {"points": [[0, 0], [50, 50]]}, "three points"),
        ("brush", {"rle": [0, 0, 0]}, "cannot be read as a brush"),
    ],
)
def test_an_unreadable_value_is_named_in_the_error(shape, value, message):
    with pytest.raises(MaskError, match=message):
        control_for_type(shape).read_mask({"id": "r", "value": value, "original_width": 9, "original_height": 5})


def test_targets_without_regions_stay_as_they_are():
    config, _, ids = answered_task("Brush")
    targets = (Target("Star", words="a"), Target("r", words="b"))
    assert config.control.add_mask_prompts(targets, ids, EditorState()) == targets
