"""Reading the events of Label Studio Enterprise's editor: frames, spans, prompts, and what is wrong with them."""

from __future__ import annotations

import base64

import cv2
import numpy as np
import pytest

from backend.labelstudio.editor_events import (
    EditorEvent,
    EventError,
    FrameSpan,
    capabilities,
    mask_frames,
    read_event,
    read_frame,
    read_prewarm_span,
    read_prompt,
    read_track_span,
)
from backend.labelstudio.label_config import parse_label_config
from refam.pipeline.types import FramePrompt, Target, TrackResult
from tests.backend.labelstudio.track_playback import Timing, even_timing
from tests.doubles import track_of_masks

CONFIG = parse_label_config(
    '<View><Video name="video" value="$video"/><VideoRectangle name="box" toName="video"/></View>'
)  # no frameRate: the editor's 24
UNEVEN = Timing(np.array([0.0, 0.1, 0.5, 0.6, 1.0]), 1.2)


def test_events_are_told_from_words_and_from_each_other() -> None:
    assert read_event({"result": []}) is None
    assert read_event({"event": "track_progress"}) is EditorEvent.TRACK_PROGRESS
    for name in ("tracks", "predict", "", 7, ["track"]):
        with pytest.raises(EventError, match="one of capabilities, prewarm, track, track_progress, track_cancel, rel"):
            read_event({"event": name})


@pytest.mark.parametrize(
    ("context", "clip", "frame"),
    [
        ({"time_ms": 0}, UNEVEN, 0),
        ({"time_ms": 499.0}, UNEVEN, 1),
        ({"time_ms": 502.0}, UNEVEN, 2),  # the player is nudged 2 ms behind the frame's time
        ({"time_ms": 10**9}, UNEVEN, 4),
        ({"time_ms": -5}, UNEVEN, 0),
        ({"time_ms": 502.0, "frame": 1}, UNEVEN, 2),  # the time wins
        ({"frame": 1}, UNEVEN, 0),
        ({"frame": 13}, UNEVEN, 2),  # 12 / 24 s
        ({"frame": 12}, UNEVEN, 1),
        ({"frame": 999}, UNEVEN, 4),
        ({}, UNEVEN, 0),
        ({"frame": 25}, even_timing(60, 30), 30),
    ],
)
def test_the_frame_is_that_on_the_screen(context, clip, frame) -> None:
    assert read_frame(context, CONFIG, {}, clip) == frame


@pytest.mark.parametrize(
    ("context", "frame", "expected"),
    [
        ({"window": 20, "direction": "forward"}, 41, (41, 61)),
        ({"window": 20, "direction": "backward"}, 41, (21, 41)),
        ({"window": 999}, 41, (41, 61)),
        ({"window": 5}, 98, (98, 99)),
        ({}, 0, (0, 20)),
    ],
)
def test_prewarm_takes_a_window(context, frame, expected) -> None:
    span = read_prewarm_span(context, frame, 100)
    assert (span.first, span.last, span.purpose) == (*expected, "features")


@pytest.mark.parametrize(
    ("context", "frame", "expected"),
    [
        ({"max_frames": 30}, 10, (10, 40)),
        ({"max_frames": 30, "direction": "backward"}, 10, (0, 10)),
        ({"max_frames": 4, "direction": "both"}, 10, (6, 14)),
        ({"max_frames": 999}, 10, (10, 310)),
        ({"max_duration_ms": 200}, 10, (10, 15)),  # 25 frames a second
        ({"max_duration_ms": 200, "direction": "both"}, 10, (5, 15)),
        ({"max_duration_ms": 10**7}, 10, (10, 310)),
        ({"max_frames": 0}, 10, (10, 10)),
        ({}, 399, (399, 399)),
    ],
)
def test_track_takes_the_frames_that_it_is_to_follow(context, frame, expected) -> None:
    span = read_track_span(context, frame, np.arange(400) / 25)
    assert (span.first, span.last, span.purpose) == (*expected, "masks")


@pytest.mark.parametrize(
    ("context", "message"),
    [
        ({"direction": "sideways"}, "direction must be forward, backward or both, got 'sideways'"),
        ({"max_frames": -1}, "max_frames must be 0 or more, got -1"),
        ({"max_frames": "many"}, "max_frames must be a number, got 'many'"),
        ({"max_duration_ms": -1}, "max_duration_ms must be 0 or more"),
        ({"max_duration_ms": float("nan")}, "max_duration_ms must be a number"),
    ],
)
def test_wrong_spans_are_explained(context, message) -> None:
    with pytest.raises(EventError, match=message):
        read_track_span(context, 0, np.arange(9.0))


def test_points_and_a_box_are_read_as_the_reference_sends_them() -> None:
    points = [  # of its README
        {"type": "keypointlabels", "value": {"x": 45.2, "y": 30.1, "positive": True}},
        {"type": "keypointlabels", "value": {"x": 60.0, "y": 55.0, "positive": False}},
    ]
    box = {"type": "rectanglelabels", "value": {"x": 10, "y": 20, "width": 30, "height": 90}}
    assert read_prompt({"result": points}, 3) == FramePrompt(3, ((0.452, 0.301), (0.6, 0.55)), (1, 0))
    assert read_prompt({"result": [box]}, 0) == FramePrompt(0, box=(0.1, 0.2, 0.4, 1.0))
    text = {"type": "textarea", "value": {"text": ["the dog"]}}
    for result, message in (
        ([], "needs a box or a point on the object"),
        (points[1:], "needs a box or a point on the object"),
        ([text], "needs a box or a point on the object"),
        ([{"value": {"x": "1", "y": 2}}], "context.result: x must be a number, got '1'"),
        ([{"value": {"x": 1, "y": 2, "width": 0, "height": 5}}], "context.result: box must be"),
    ):
        with pytest.raises(EventError, match=message):
            read_prompt({"result": result}, 0)


def test_masks_are_grey_pngs_with_the_clip_s_times() -> None:
    masks = np.zeros((4, 6, 8), bool)
    masks[1, 2:4, 3:7] = masks[3, 0, 0] = True  # on frames 0 and 2 it is not visible
    result = TrackResult(Target("object", "it"), track_of_masks(masks), (), 0.9, 0, ())
    (frame,) = mask_frames(result, UNEVEN.times, FrameSpan(0, 2, "masks"))
    assert (frame["frame"], frame["time_ms"], frame["width"], frame["height"]) == (1, 100.0, 8, 6)
    head, data = frame["imageDataURL"].split(",")
    assert head == "data:image/png;base64"
    image = cv2.imdecode(np.frombuffer(base64.b64decode(data), np.uint8), cv2.IMREAD_UNCHANGED)
    np.testing.assert_array_equal(image, masks[1] * 255)


def test_capabilities_name_what_is_done_and_no_more() -> None:
    value = capabilities("sam2-tiny", "v1")
    assert value["prompts"] == ["point", "box"]
    assert {target["tag"]: target["features"] for target in value["targets"]} == {
        "VideoRectangle": ["track"],
        "VideoVectorLabels": ["track"],
    }
    assert value["model_info"] == {"name": "sam2-tiny", "version": "v1"}
