"""Answers for a config with `<TimelineLabels>`: beside boxes, alone, and after a person set the times."""

from __future__ import annotations

import copy

import pytest

from tests.backend.predict_requests import predict, task

HEAD = '<View><TextArea name="say" toName="v"/><Video name="v" value="$video" frameRate="$fps"/>'
TIMELINE = '<TimelineLabels name="seen" toName="v"><Label value="Star"/></TimelineLabels>'
ALONE = f"{HEAD}{TIMELINE}</View>"
BESIDE = f'{HEAD}{TIMELINE}<VideoRectangle name="box" toName="v"/></View>'


pytestmark = pytest.mark.usefixtures("patient_runtime")


def typed(words):
    item = {"id": "t", "type": "textarea", "from_name": "say", "to_name": "v", "value": {"text": [words]}}
    return {"result": [item]}


def shown(*regions):
    return {**task(1), "drafts": [{"id": 5, "user": 1, "result": list(regions)}]}


def edited(region):
    region = copy.deepcopy(region)
    region["value"]["ranges"] = [{"start": 2, "end": 3}]
    return region


@pytest.mark.parametrize(
    ("xml", "kinds"), [(ALONE, ["timelinelabels"]), (BESIDE, ["videorectangle", "timelinelabels"])]
)
def test_times_in_sight_are_answered(runtime, xml, kinds):
    (answer,) = predict(runtime, task(1), config=xml)
    assert [region["type"] for region in answer["result"]] == kinds
    seen = answer["result"][-1]
    assert (seen["score"], seen["value"]["timelinelabels"]) == (0.8, ["Star"])
    (only,) = seen["value"]["ranges"]
    assert only["start"] == 1
    if xml is BESIDE:
        assert only["end"] == answer["result"][0]["value"]["framesCount"]


def test_times_that_a_person_set_stay(runtime):
    (answer,) = predict(runtime, task(1), config=BESIDE)
    box, seen = answer["result"]
    (again,) = predict(runtime, shown(box, edited(seen)), config=BESIDE, context=typed("the small star"))
    assert [region["id"] for region in again["result"]] == [box["id"]]
    (again,) = predict(runtime, shown(box, seen), config=BESIDE, context=typed("the small star"))
    assert [region["id"] for region in again["result"]] == [box["id"], seen["id"]]


def test_where_nothing_else_could_be_answered_the_jobs_page_says_why(runtime):
    (answer,) = predict(runtime, task(1), config=ALONE)
    (seen,) = answer["result"]
    assert predict(runtime, shown(edited(seen)), config=ALONE, context=typed("the star")) == []
    assert "set by hand and stay: delete the region" in runtime.queue.records()[0].error
