"""User keyframes: they are recognised, stay exactly as they are, and move the frames between them."""

from __future__ import annotations

import copy
import json
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from backend.jobs.runner import add_user_prompts
from backend.labelstudio.edits import UserKeyframe, apply_user_keyframes, read_user_keyframes, region_words
from backend.labelstudio.label_config import parse_label_config
from backend.labelstudio.request import PredictRequest, RequestError, read_request
from refam.pipeline.pipeline import Target
from tests.backend.labelstudio.track_playback import drawn_boxes, even_timing, result_of
from tests.doubles import moving_box

CONFIG = parse_label_config(
    '<View><TextArea name="say" toName="v" value="$words"/>'
    '<Labels name="l" toName="v"><Label value="Car"/><Label value="Person" alias="p"/></Labels>'
    '<Video name="v" value="$url" frameRate="25"/><VideoRectangle name="box" toName="v"/></View>'
)
N = 40


def backend_region(words="the star", track=None, **more):
    """A region as we answer it, through JSON as the editor gets it."""
    result = replace(result_of(track or moving_box(N), label="Car"), target=Target("Car", words))
    (region,) = CONFIG.control.regions([result], even_timing(N, 25), fps=25, region_ids=["mine"], **more)
    return json.loads(json.dumps(region))


def edit(region, frame, **change):
    """What the editor does when a box is moved on a frame (its updateShape, read in the shipped code)."""
    region = copy.deepcopy(region)
    sequence = region["value"]["sequence"]
    at = next((i for i, k in enumerate(sequence) if k["frame"] >= frame), None)
    enabled = next((k["enabled"] for k in reversed(sequence) if k["frame"] <= frame), True)
    boxes, _ = drawn_boxes(sequence, N)
    box = dict(zip(("x", "y", "width", "height"), boxes[frame - 1].tolist(), strict=True)) | {"rotation": 0}
    if at is None:
        sequence.append({**box, **change, "frame": frame, "enabled": True})
    else:
        new = {**sequence[at], **box, **change, "frame": frame, "enabled": enabled}
        sequence[at : at + (sequence[at]["frame"] == frame)] = [new]
    for k in sequence:
        k["time"] = k["frame"] / 25  # it writes another time than it reads
    return region


def toggle(region, frame):
    region = copy.deepcopy(region)
    item = [k for k in region["value"]["sequence"] if k["frame"] <= frame][-1]
    item["enabled"] = not item["enabled"]
    return region


def test_keyframes_of_the_backend_are_unedited_and_carry_their_words():
    region = backend_region()
    assert read_user_keyframes(region) == ()
    assert region_words(region) == "the star"


@pytest.mark.parametrize("frame", [1, 2, 17, N])
def test_a_moved_box_is_a_user_keyframe(frame):
    (keyframe,) = read_user_keyframes(edit(backend_region(), frame, x=31.25))
    assert (keyframe.frame, keyframe.x, keyframe.enabled) == (frame, 31.25, frame != N)


def test_a_disabled_keyframe_is_a_user_keyframe_and_hides_up_to_the_next():
    region = toggle(edit(backend_region(), 10), 10)
    (keyframe,) = read_user_keyframes(region)
    assert (keyframe.frame, keyframe.enabled, keyframe.until) == (10, False, N)


def test_a_box_that_was_drawn_anew_is_a_user_keyframe():
    region = {"value": {"sequence": [{"frame": 3, "enabled": True, "x": 1, "y": 2, "width": 3, "height": 4}]}}
    assert read_user_keyframes(region) == (UserKeyframe(3, 1.0, 2.0, 3.0, 4.0, 0.0, True, None),)
    assert region_words(region) is None


@pytest.mark.parametrize("flag", [{}, {"enabled": None}, {"enabled": False}])
def test_a_user_keyframe_without_enabled_hides_the_object_behind_it(flag):
    item = {"frame": 3, "x": 10, "y": 20, "width": 30, "height": 40, **flag}
    edits = read_user_keyframes({"value": {"sequence": [item, {**item, "frame": 7, "enabled": True}]}})
    _, visible, _ = apply_user_keyframes(np.tile([0.1, 0.2, 0.4, 0.6], (9, 1)), np.ones(9, bool), edits, aspect=1.0)
    assert (np.flatnonzero(visible) + 1).tolist() == [1, 2, 3, 7, 8, 9]


@pytest.mark.parametrize(
    "sequence",
    [
        None,
        [],
        "x",
        [None],
        [{"frame": 1}],
        [{"frame": 0, "x": 1, "y": 1, "width": 1, "height": 1, "enabled": True}],
        [{"frame": 1, "x": float("nan"), "y": 1, "width": 1, "height": 1, "enabled": True}],
    ],
)
def test_malformed_keyframes_are_left_out(sequence):
    assert read_user_keyframes({"value": {"sequence": sequence}}) == ()
    assert read_user_keyframes({}) == ()


@pytest.mark.parametrize("angle", [0, 90, 180, 270, -90, 360])
@pytest.mark.parametrize("pixel_aspect", [1, 2])
@pytest.mark.parametrize("stored", [(320, 160), (90, 160), (100, 100)])
def test_a_turned_box_round_an_object_is_the_same_prompt_as_the_upright_one(angle, stored, pixel_aspect):
    """A person may draw a box and turn it by quarters: what it encloses on the screen counts."""
    size = (stored[0] * pixel_aspect, stored[1])
    left, top, right, bottom = 30, 40, 70, 60  # pixels
    corner = {0: (left, top), 90: (right, top), 180: (right, bottom), 270: (left, bottom)}[angle % 360]
    wide, high = (right - left, bottom - top) if angle % 180 == 0 else (bottom - top, right - left)
    percent = [100 * v / side for v, side in zip((*corner, wide, high), (*size, *size), strict=True)]
    prompt = UserKeyframe(1, *percent, angle, True, None).prompt(7, stored, pixel_aspect=pixel_aspect)
    assert prompt.frame == 7
    assert prompt.box == pytest.approx((left / size[0], top / size[1], right / size[0], bottom / size[1]))


def test_a_box_outside_the_frame_is_no_prompt():
    assert UserKeyframe(1, 120, 50, 10, 20, 0, True, None).prompt(0, (320, 160)) is None
    assert UserKeyframe(1, 0, 50, 10, 20, 90, True, None).prompt(0, (320, 160)) is None  # turned out of it


def test_the_track_stays_upright_beside_a_rotated_keyframe():
    """The editor interpolates the angle, so that a box between a turned and an upright keyframe would tumble."""
    track = moving_box(N, speed=(0, 0))
    x0, y0, x1, y1 = track.boxes[0] * 100
    w, h = track.size  # turned by 90 degrees about its top right corner
    turned = {"x": x1, "y": y0, "width": (y1 - y0) * h / w, "height": (x1 - x0) * w / h, "rotation": 90}
    edits = (UserKeyframe(10, **turned, enabled=True, until=None),)
    (region,) = CONFIG.control.regions([result_of(track)], even_timing(N, 25), fps=25, region_ids=["a"], edits=[edits])
    sequence = region["value"]["sequence"]
    assert [{side: k[side] for side in turned} for k in sequence if k["frame"] == 10] == [turned]
    boxes, shown = drawn_boxes(sequence, N)
    assert shown.all()
    upright = [f for f in range(N) if f != 9]
    np.testing.assert_allclose(boxes[upright], np.tile([x0, y0, x1 - x0, y1 - y0], (N - 1, 1)), atol=1e-3)
    angles = np.interp(np.arange(1, N + 1), [k["frame"] for k in sequence], [k["rotation"] for k in sequence])
    assert np.flatnonzero(angles).tolist() == [9]


numbers = st.floats(5, 60)


@settings(max_examples=60, deadline=None)
@given(
    drawn=st.dictionaries(
        st.integers(1, N), st.tuples(numbers, numbers, st.floats(3, 30), st.floats(3, 30)), min_size=1, max_size=5
    )
)
def test_user_keyframes_come_back_to_the_last_digit_and_are_recognised_again(drawn):
    region = backend_region()
    for frame, (x, y, w, h) in drawn.items():
        region = edit(region, frame, x=x, y=y, width=w, height=h)
    edits = read_user_keyframes(region)
    assert {f.frame for f in edits} == set(drawn)
    answer = backend_region(edits=[edits])
    rows = {k["frame"]: k for k in answer["value"]["sequence"]}
    for frame, (x, y, w, h) in drawn.items():
        assert [rows[frame][side] for side in ("x", "y", "width", "height")] == [x, y, w, h]
    assert {f.frame for f in read_user_keyframes(answer)} == set(drawn)
    assert all(a < b for a, b in zip(rows, list(rows)[1:], strict=False))
    _, shown = drawn_boxes(answer["value"]["sequence"], N)
    assert shown.all()


def test_a_constant_difference_moves_the_whole_track():
    track = moving_box(N)
    edits = tuple(
        UserKeyframe(
            row + 1, 100 * (b[0] - 0.05), 100 * b[1], 100 * (b[2] - b[0]), 100 * (b[3] - b[1]), 0.0, True, None
        )
        for row, b in ((5, track.boxes[5]), (30, track.boxes[30]))
    )
    boxes, visible, rows = apply_user_keyframes(track.boxes, track.visible, edits, aspect=1.0)
    assert np.allclose(boxes, track.boxes - [0.05, 0, 0.05, 0])
    assert visible.all()
    assert set(rows) == {5, 30}


def test_user_keyframes_override_visibility():
    track = moving_box(N)
    visible_rows = track.visible.copy()
    visible_rows[20:] = False
    there = UserKeyframe(31, 10.0, 10.0, 5.0, 5.0, 0.0, True, None)
    gone = UserKeyframe(6, 10.0, 20.0, 20.0, 20.0, 0.0, False, 11)
    _, visible, _ = apply_user_keyframes(track.boxes, visible_rows, (gone, there), aspect=1.0)
    assert visible.tolist() == [True] * 6 + [False] * 4 + [True] * 10 + [False] * 10 + [True] + [False] * 9


def test_user_keyframes_become_prompts_on_the_clip_frames():
    edits = (UserKeyframe(1, 10, 10, 20, 20, 0, True, None), UserKeyframe(11, 30, 10, 20, 20, 0, True, None))
    work = PredictRequest("t", "v", 10.0, (Target("Car", "the star"), Target("Car", "other")), ("a", "b"), (edits, ()))
    first, second = add_user_prompts(work, even_timing(50, 25))  # two seconds: editor frame 11 at 10 fps shows 1.002 s
    assert [p.frame for p in first.prompts] == [0, 25]
    assert first.prompts[1].box == pytest.approx((0.3, 0.1, 0.5, 0.3))
    assert second.prompts == ()


def _task(*regions):
    draft = {"id": 1, "result": list(regions)}
    return {"id": 7, "data": {"url": "/data/upload/1/a.mp4"}, "drafts": [draft]}


def _typed(text):
    return {"result": [{"type": "textarea", "from_name": "say", "value": {"text": [text]}}]}


def _region(identity, words, label="Car"):
    return {**backend_region(words), "id": identity, "value": {**backend_region(words)["value"], "labels": [label]}}


def test_only_changed_objects_are_requested():
    a, b = _region("a", "the star"), _region("b", "the ring")
    work = read_request(_task(a, b), CONFIG, context=_typed("the star; the cross"))
    assert [(t.words, i) for t, i in zip(work.targets, work.region_ids, strict=True)] == [("the cross", "b")]
    work = read_request(_task(a, edit(b, 5, x=1.0)), CONFIG, context=_typed("the star; the ring"))
    assert (work.region_ids, [f.frame for f in work.edits[0]]) == (("b",), [5])
    work = read_request(_task(a, b), CONFIG, context=_typed("the ring; the star"))  # nothing changed: all once more
    assert [(t.words, i) for t, i in zip(work.targets, work.region_ids, strict=True)] == [
        ("the ring", "b"),
        ("the star", "a"),
    ]
    assert work.edits == ((), ())


@pytest.mark.parametrize(
    ("typed", "label", "words"),
    [
        ("Car: the red one on the left", "Car", "the red one on the left"),
        ("car:the red one", "Car", "the red one"),
        ("Person : who waves", "p", "who waves"),
        ("p: who waves", "p", "who waves"),
        ("the note: a red one", "Car", "the note: a red one"),
        ("clock at 3:30", "Car", "clock at 3:30"),
        ("Car:2 red ones", "Car", "2 red ones"),
        ("Person#2: who waves", "p", "who waves"),
        ("the person", "p", "the person"),
    ],
)
def test_a_label_before_a_colon_is_taken(typed, label, words):
    (target,) = read_request(_task(), CONFIG, context=_typed(typed)).targets
    assert (target.label, target.words) == (label, words)


@pytest.mark.parametrize("typed", ["Truck: the red one", "the person; Truck : the red one", "truck:red"])
def test_a_label_that_the_project_does_not_have_is_refused(typed):
    with pytest.raises(RequestError, match=r"^this project has no label '[Tt]ruck'; it has: Car, Person$"):
        read_request(_task(), CONFIG, context=_typed(typed))


def test_a_label_without_words_is_refused():
    with pytest.raises(RequestError, match=r"^'Car:' has no words behind the colon: write what to find, as in"):
        read_request(_task(), CONFIG, context=_typed("Car:"))


@pytest.mark.parametrize(
    ("text", "label", "words", "logged"),
    [
        ("Person: who waves", "p", "who waves", []),
        ("the note: a red one", "Car", "the note: a red one", []),
        (
            "Scene 3: the person",
            "p",
            "the person",
            ["'Scene 3' is no label of the project; 'the person' is looked"],
        ),
    ],
)
def test_the_words_of_the_task_itself_may_have_a_label(text, label, words, logged, caplog):
    task = _task()
    task["data"]["text"] = text
    assert [(target.label, target.words) for target in read_request(task, CONFIG).targets] == [(label, words)]
    assert [record.message.partition(": ")[2].removesuffix(" for") for record in caplog.records] == logged


@pytest.mark.parametrize(
    ("typed", "label"),
    [
        ("the person, not the car", "p"),
        ("the person but not the car", "p"),
        ("the person without a car", "p"),
        ("the dog that is never a person", "Car"),
    ],
)
def test_words_that_are_not_meant_name_no_label(typed, label):
    (target,) = read_request(_task(), CONFIG, context=_typed(typed)).targets
    assert target.label == label


def test_another_label_before_the_colon_counts_as_a_change():
    region = _region("a", "the star")
    work = read_request(_task(region, _region("b", "the ring")), CONFIG, context=_typed("Person: the star; the ring"))
    assert [(t.label, i) for t, i in zip(work.targets, work.region_ids, strict=True)] == [("p", "a")]
