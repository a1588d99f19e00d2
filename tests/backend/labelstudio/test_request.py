import contextlib
import itertools
from typing import Any

import pytest
from pydantic import TypeAdapter

from backend.labelstudio.config_xml import LabelConfigError
from backend.labelstudio.label_config import parse_label_config
from backend.labelstudio.removal import read_removal
from backend.labelstudio.request import PredictRequest, RequestError, read_request, split_expressions
from video.errors import UserError

XML = """<View><Header value="$title"/><TextArea name="say" toName="v" value="$words"/>
<Labels name="l" toName="v"><Label value="Target"/><Label value="Red car" alias="car"/><Label value="Car"/></Labels>
<Video name="v" value="$url" frameRate="$fps"/><VideoRectangle name="box" toName="v"/></View>"""
CONFIG = parse_label_config(XML)


def _task(**data: Any) -> dict[str, Any]:
    return {"id": 7, "data": {"url": "/data/upload/1/a.mp4", **data}}


def _typed(*texts: str, source: str = "say") -> dict[str, Any]:
    return {"result": [{"type": "textarea", "from_name": source, "to_name": "v", "value": {"text": list(texts)}}]}


def _words(task: dict[str, Any], context: dict[str, Any] | None = None) -> list[str | None]:
    return [target.words for target in read_request(task, CONFIG, context=context).targets]


@pytest.mark.parametrize(
    ("data", "context", "words"),
    [
        ({"words": "a", "title": "b", "prompt": "c"}, _typed("old", "new"), ["new"]),
        ({"words": "a", "title": "b", "prompt": "c"}, _typed("other", source="elsewhere"), ["a"]),
        ({"words": "a", "title": "b", "prompt": "c"}, _typed("  "), ["a"]),
        ({"words": "a", "title": "b", "prompt": "c"}, None, ["a"]),
        ({"words": " ", "title": "b", "prompt": "c"}, None, ["b"]),
        ({"prompt": "c", "text": "d"}, None, ["c"]),
        ({"text": "d", "expression": "e"}, None, ["d"]),
        ({"expression": ["e", "f"]}, None, ["e", "f"]),
        ({}, None, ["Target", "Red car", "Car"]),
        ({}, {"result": []}, ["Target", "Red car", "Car"]),
    ],
)
def test_sources_of_words_in_order(data: dict[str, Any], context: dict[str, Any] | None, words: list[str]) -> None:
    assert _words(_task(**data), context) == words


@pytest.mark.parametrize(
    ("value", "expressions"),
    [
        ("the red star", ["the red star"]),
        ("  the   red\tstar ", ["the red star"]),
        ("a; b\nc\r\n;;", ["a", "b", "c"]),
        (["a;b", "c", 3, None], ["a", "b", "c"]),
        (None, []),
        (12, []),
        ({"a": 1}, []),
    ],
)
def test_split_expressions(value: object, expressions: list[str]) -> None:
    assert split_expressions(value) == expressions


def test_a_label_named_by_the_words_is_written_by_its_alias() -> None:
    work = read_request(_task(prompt="the RED car on the left; a scar; cars; two red cars"), CONFIG)
    assert [t.label for t in work.targets] == ["car", "Target", "Car", "car"]
    assert len(set(work.region_ids)) == 4


def test_without_labels_the_words_are_the_name() -> None:
    bare = parse_label_config('<View><Video name="v" value="$url"/><VideoRectangle name="b" toName="v"/></View>')
    work = read_request(_task(prompt="the star"), bare)
    assert (work.targets[0].label, work.fps) == ("the star", 24.0)


def _box(identity: str, label: str = "Target", **more: Any) -> dict[str, Any]:
    value = {"labels": [label], "sequence": []}
    return {"id": identity, "type": "videorectangle", "from_name": "box", "value": value, **more}


@pytest.mark.parametrize(
    ("task", "typed", "ids"),
    [
        ({"predictions": [{"id": 1, "result": [_box("p")]}]}, "x", ["p"]),
        ({"predictions": [{"id": 1, "result": [_box("p")]}], "drafts": [{"id": 1, "result": [_box("d")]}]}, "x", ["d"]),
        ({"drafts": [{"id": 1, "result": [_box("a"), _box("b", "Car")]}]}, "the car", ["b"]),
        ({"drafts": [{"id": 1, "result": [_box("a"), _box("b", "Car")]}]}, "the car; a thing", ["b", "a"]),
        ({"drafts": [{"id": 1, "result": [{**_box("a"), "from_name": "mine"}]}]}, "x", None),
        ({"drafts": "?", "annotations": None, "predictions": [None, {"result": 3}]}, "x", None),
    ],
)
def test_existing_regions_are_answered_by_their_id(task: dict[str, Any], typed: str, ids: list[str] | None) -> None:
    work = read_request({**_task(), **task}, CONFIG, context=_typed(typed))
    assert list(work.region_ids) == (ids or list(read_request(_task(prompt="x"), CONFIG).region_ids))


def test_a_label_that_a_person_set_stays() -> None:
    task = {**_task(), "drafts": [{"id": 1, "result": [_box("a", "Car")]}]}
    assert read_request(task, CONFIG, context=_typed("the blue one")).targets[0].label == "Car"
    task = {**_task(), "drafts": [{"id": 1, "result": [_box("a", "Gone")]}]}
    assert read_request(task, CONFIG, context=_typed("the blue one")).targets[0].label == "Target"


def test_an_interactive_answer_has_the_id_of_the_prediction_it_replaces() -> None:
    batch = read_request(_task(prompt="the star"), CONFIG)
    typed = read_request(_task(prompt="the star"), CONFIG, context=_typed("the ring"))
    assert typed.region_ids == batch.region_ids


@pytest.mark.parametrize(
    ("task", "words"),
    [
        ({"id": 7}, "no data"),
        ({"id": 7, "data": {"prompt": "x"}}, '"url"'),
        ({"id": 7, "data": {"url": ["a"], "prompt": "x"}}, '"url"'),
        (_task(prompt="x" * 501), "500"),
        (_task(prompt=";".join(f"the red circle {i}" for i in range(51))), "at most 50 expressions, got 51"),
    ],
)
def test_malformed_tasks_are_refused(task: dict[str, Any], words: str) -> None:
    with pytest.raises(RequestError, match=words):
        read_request(task, CONFIG)


def test_a_task_without_words_is_explained() -> None:
    bare = parse_label_config(
        '<View><TextArea name="t" toName="v" value="$ask"/><Video name="v" value="$url"/>'
        '<VideoRectangle name="b" toName="v"/></View>'
    )
    with pytest.raises(RequestError, match='"ask", "prompt"'):
        read_request(_task(), bare)


def test_an_invalid_rate_in_the_task_is_refused() -> None:
    with pytest.raises(LabelConfigError, match='"fps"'):
        read_request(_task(prompt="x", fps="quick"), CONFIG)


def test_a_request_keeps_the_names_under_which_the_job_queue_stores_it() -> None:
    request = read_request(_task(prompt="x"), CONFIG)
    stored = TypeAdapter(PredictRequest).dump_python(request, by_alias=True)
    names = ["task", "video", "fps", "targets", "region_ids", "fixed", "frames", "labels", "shown"]
    assert list(stored) == [*names, "kept_regions", "replaced_regions", "span"]
    assert TypeAdapter(PredictRequest).validate_python(stored) == request


@pytest.mark.parametrize("wrong", [5, 1.5, True, "text", {"a": 1}, [5], None], ids=str)
def test_stored_regions_with_fields_of_other_types_are_read(wrong):
    """What other tools store is their own; no field of it makes a request a fault of this program."""
    value = {"framesCount": 20, "duration": 0.8, "labels": ["Car"], "sequence": []}
    region = {"id": "r", "type": "videorectangle", "from_name": "box", "to_name": "v", "origin": "manual"}
    regions = [{**region, "value": {**value, key: wrong}} for key in value]
    regions += [{**region, "value": value, key: wrong} for key in ("labels", "meta", "id", "value", "origin", "score")]
    for typed in ("the star", "-the star"):
        for stored, place in itertools.product(regions, ("drafts", "predictions", "annotations")):
            asked = {**_task(words="the star"), place: [{"id": 5, "user": 1, "result": [stored]}]}
            with contextlib.suppress(UserError):
                read_request(asked, CONFIG, context=_typed(typed))
            with contextlib.suppress(UserError):
                read_removal(asked, CONFIG, _typed(typed))
