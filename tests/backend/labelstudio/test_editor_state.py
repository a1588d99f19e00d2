"""Which draft, annotation or prediction counts in an interactive call: the caller's own, and nobody else's."""

from __future__ import annotations

import pytest

from backend.labelstudio.editor_state import read_editor_state
from backend.labelstudio.label_config import parse_label_config
from backend.labelstudio.request import read_request

CONFIG = parse_label_config(
    """<View><TextArea name="words" toName="video" value="$prompt"/><Video name="video" value="$video"/>
    <Labels name="l" toName="video"><Label value="Car"/></Labels><VideoRectangle name="box" toName="video"/></View>"""
)
SIDES = {"x": 10.0, "y": 20.0, "width": 30.0, "height": 40.0, "rotation": 0}


def text(identity="t"):
    return {"id": identity, "type": "textarea", "from_name": "words", "to_name": "video", "value": {"text": ["a car"]}}


def drawn(identity):
    value = {"labels": ["Car"], "sequence": [{"frame": 1, "enabled": True, **SIDES}]}
    return {"id": identity, "type": "videorectangle", "from_name": "box", "to_name": "video", "value": value}


def source(*regions, **more):
    return {"id": 1, "updated_at": "2026-01-01", "result": list(regions), **more}


NOT_THEIRS = [
    source(drawn("x"), text("old"), was_cancelled=True),
    source(drawn("x"), text("old"), completed_by=2),
    source(drawn("x"), text("t"), was_cancelled=True),
    source(drawn("x")),
]
MINE, OTHER = "me@example.com", "other@example.com"


@pytest.mark.parametrize(
    ("task", "shown", "edited"),
    [
        ({"drafts": [source(drawn("d"))]}, ["d"], True),
        ({"drafts": [source(drawn("d")), source(drawn("e"), updated_at="2027-01-01")]}, ["e"], True),
        # The draft that the text stands in, though another of this person is newer.
        ({"drafts": [source(drawn("d"), text()), source(drawn("e"), updated_at="2027-01-01")]}, ["d"], True),
        # The annotation that is open, and not a draft of another one.
        ({"annotations": [source(drawn("a"), text())], "drafts": [source(drawn("d"))]}, ["a"], True),
        *(({"annotations": [annotation], "drafts": []}, [], False) for annotation in NOT_THEIRS),
        ({"annotations": NOT_THEIRS, "drafts": None}, [], False),
        ({"annotations": NOT_THEIRS, "predictions": [source(drawn("p"))]}, ["p"], False),
        # An emptied draft: everything was deleted.
        ({"drafts": [source()], "predictions": [source(drawn("p"))]}, [], False),
        ({"drafts": [source(text())], "annotations": NOT_THEIRS, "predictions": [source(drawn("p"))]}, [], False),
        ({"drafts": [source(), source(drawn("d"), updated_at="2025-01-01")]}, [], False),
        # Drafts of several people: whose call it is says only the text.
        ({"drafts": [source(drawn("d"), user=MINE), source(drawn("e"), user=OTHER)]}, [], False),
        ({"drafts": [source(drawn("d"), user=MINE), source(drawn("e"), text(), user=OTHER)]}, ["e"], True),
        # The text came with a prediction: it stands in every annotation that was made from it.
        ({"annotations": [source(drawn("a"), text())], "predictions": [source(text(), drawn("p"))]}, ["p"], False),
        ({"drafts": "?", "annotations": [None, {"result": 3}], "predictions": None}, [], False),
        ({"drafts": [source({"id": ["t"]}, 5)], "annotations": [source({"id": None})]}, [], False),
    ],
)
def test_what_the_caller_sees_and_drew(task, shown, edited):
    task = {"id": 7, "data": {"video": "a.mp4"}, **task}
    context = {"result": [text()]}
    state = read_editor_state(task, context)
    assert [region["id"] for region in CONFIG.control.shown_regions(state)] == shown
    request = read_request(task, CONFIG, context=context)
    untouched = read_request({"id": 7, "data": {"video": "a.mp4"}}, CONFIG, context=context).region_ids
    assert list(request.region_ids) == (shown or list(untouched))
    assert bool(request.edits[0]) is edited


def test_regions_with_ids_of_this_backend_do_not_tell_whose_an_annotation_is():
    """The same object has the same id in everybody's annotation."""
    mask = {**drawn("refam-0123456789"), "origin": "prediction-changed"}
    task = {"id": 7, "data": {"video": "a.mp4"}, "annotations": [source(mask)]}
    assert read_editor_state(task, {"result": [mask]}).regions == ()


# --- predictions of other programs ------------------------------------------------------------------------------------


def imported(*changes, **more):
    """A region that another program predicted, on frames 1 to 9, changed on some frames: (frame, changes)."""
    sequence = [{"frame": f, "enabled": f != 9, **SIDES, "x": 100 / 3 + f} for f in range(1, 10)]
    for frame, change in changes:
        sequence[frame - 1] |= change
    region = {**drawn("theirs"), "origin": "manual", **more}
    return {**region, "value": {"labels": ["Car"], "sequence": sequence}}


@pytest.mark.parametrize(
    ("region", "edited"),
    [
        (imported(), []),
        (imported(id="renamed", origin="prediction"), []),
        (imported((3, {"x": 100 / 3 + 3.0000004, "time": 7})), []),  # what the editor writes anew
        (imported((3, {"x": 40.0}), (7, {"height": 41.0})), [3, 7]),
        (imported((3, {"x": 100 / 3 + 3.05})), [3]),  # a pixel of a Full HD frame
        (imported((4, {"enabled": False})), [4]),
        (imported((4, {"rotation": 12})), [4]),
    ],
)
@pytest.mark.parametrize("kind", ["drafts", "annotations"])
def test_a_prediction_of_another_program_is_a_correction_only_where_a_person_moved_it(region, edited, kind):
    task = {"id": 7, "data": {"video": "a.mp4"}, "predictions": [source(imported())]}
    context = {"result": [text()]}
    assert read_request(task, CONFIG, context=context).edits == ((),)
    task[kind] = [source(region, text())]
    request = read_request(task, CONFIG, context=context)
    assert [edit.frame for edit in request.edits[0]] == edited
    assert request.region_ids == (region["id"],)


def test_a_box_drawn_beside_a_prediction_is_a_persons():
    task = {"id": 7, "data": {"video": "a.mp4"}, "predictions": [source(imported())]}
    task["drafts"] = [source(drawn("mine"), text())]
    (edits,) = read_request(task, CONFIG, context={"result": [text()]}).edits
    assert [edit.frame for edit in edits] == [1]
