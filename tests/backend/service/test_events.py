"""Exchanges of an editor with the backend, as those of HumanSignal's segment_anything_video_interactive, over HTTP."""

from __future__ import annotations

import base64
import time
from types import SimpleNamespace

import cv2
import numpy as np
import pytest
from fastapi.testclient import TestClient

from backend.service.app import create_app
from refam.pipeline.types import TrackResult
from tests.doubles import track_of_masks

VIDEO = '<View><Video name="video" value="$video" frameRate="25"/><VideoRectangle name="box" toName="video"/></View>'
BOX = {"type": "rectanglelabels", "value": {"x": 10, "y": 20, "width": 30, "height": 40}}
POINT = {"type": "keypointlabels", "value": {"x": 45.2, "y": 30.1, "positive": True}}


def truth(frame, size):
    """The mask on a frame of the clip: a square that moves right by 4 pixels a frame."""
    mask = np.zeros(size[::-1], bool)
    mask[20:40, 8 + 4 * frame : 28 + 4 * frame] = True
    return mask


@pytest.fixture
def editor(patient_runtime, monkeypatch):
    """Sends an event as Label Studio does, and returns the type and value of the answer's only region."""
    runtime = patient_runtime
    asked = []

    def run(clip, targets, **options):
        asked.append((clip, targets))
        options["progress"]("track", 0.5)
        while held and not held_back.clear:
            options["progress"]("track", 0.5)  # ends a job that was cancelled
            time.sleep(0.02)
        masks = np.stack([truth(frame, clip.size) for frame in clip.frames])
        return [TrackResult(target, track_of_masks(masks), (), 0.8, 0, ()) for target in targets]

    held, held_back = [], SimpleNamespace(clear=False)
    monkeypatch.setattr(runtime.truth, "run", run)
    monkeypatch.setattr("backend.service.events._WAIT_S", 0.3)
    with TestClient(create_app(runtime.settings, runtime)) as http:

        def send(event, *, task=1, video="good.mp4", config=VIDEO, **context):
            body = {
                "tasks": [] if task is None else [{"id": task, "data": {"video": video}}],
                "project": "1.1700000000",
                "label_config": config,
                "params": {"context": {"event": event, **context}},
            }
            (answer,) = http.post("/predict", json=body).raise_for_status().json()["results"]
            if "error" in answer:
                return "error", answer["error"]
            (region,) = answer["result"]
            assert region["origin"] == "manual"
            if event != "capabilities":
                assert (region["from_name"], region["to_name"]) == ("box", "video")
            return region["type"], region["value"]

        yield SimpleNamespace(send=send, asked=asked, hold=held.append, release=held_back, runtime=runtime)


def finish(editor, session, *, task=1):
    for _ in range(300):
        kind, value = editor.send("track_progress", session_id=session, task=task)
        assert kind == "track_progress"
        if value["done"]:
            return value
        assert value["frames"] == []
        assert value["produced"] <= value["total"]
    raise AssertionError("the track is never done")


def test_capabilities_need_no_task_and_no_config(editor):
    kind, value = editor.send("capabilities", config="", task=None)
    assert (kind, value) == editor.send("capabilities", config="")
    assert kind == "capabilities"
    assert set(value) == {"prompts", "targets", "model_info"}
    assert value["model_info"]["version"] == editor.runtime.model_version


@pytest.mark.parametrize(
    ("context", "frames"),
    [
        ({"frame": 3, "direction": "forward", "max_frames": 4}, range(2, 7)),
        ({"time_ms": 82, "direction": "backward", "max_frames": 300}, range(3)),
        ({"frame": 6, "direction": "both", "max_duration_ms": 80}, range(3, 8)),
    ],
)
def test_track_answers_with_the_masks_of_its_frames(editor, context, frames):
    kind, started = editor.send("track", result=[BOX, POINT], **context)
    assert kind == "track_started"
    assert set(started) == {"session_id", "total_frames", "fps", "duration_ms"}
    assert (started["total_frames"], started["fps"], started["duration_ms"]) == (len(frames), 25.0, 400.0)
    value = finish(editor, started["session_id"])
    assert set(value) == {"frames", "produced", "total", "done", "error"}
    assert (value["produced"], value["total"], value["error"]) == (len(frames), len(frames), None)
    assert [item["frame"] for item in value["frames"]] == list(frames)
    for item in value["frames"]:
        assert item["time_ms"] == pytest.approx(item["frame"] * 40)
        data = base64.b64decode(item["imageDataURL"].removeprefix("data:image/png;base64,"))
        image = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
        np.testing.assert_array_equal(image, truth(item["frame"], (item["width"], item["height"])) * 255)
    ((clip, (target,)),) = editor.asked
    (prompt,) = target.prompts
    shown = int(context.get("frame", 3)) - 1
    assert (clip.frames[prompt.frame], prompt.box, prompt.points) == (shown, (0.1, 0.2, 0.4, 0.6), ((0.452, 0.301),))


def test_a_track_is_cancelled(editor):
    editor.hold(True)
    _, started = editor.send("track", result=[BOX], frame=1)
    session = started["session_id"]
    kind, value = editor.send("track_progress", session_id=session)
    assert (kind, value["done"], value["frames"]) == ("track_progress", False, [])
    assert editor.send("track_cancel", session_id=session, task=2) == ("track_cancel_ack", {"status": "not_found"})
    assert editor.send("track_cancel", session_id=session) == ("track_cancel_ack", {"status": "cancelled"})
    value = finish(editor, session)
    assert (value["frames"], value["error"]) == ([], "cancelled in the editor")
    assert editor.send("track_cancel", session_id=session) == ("track_cancel_ack", {"status": "not_found"})


@pytest.mark.parametrize("session", ["nonsense", "", None, 7])
def test_a_session_that_is_not_there(editor, session):
    expected = {"error": "session not found", "done": True}
    assert editor.send("track_progress", session_id=session) == ("track_progress", expected)
    assert editor.send("track_cancel", session_id=session) == ("track_cancel_ack", {"status": "not_found"})


def test_a_session_is_only_for_its_own_task(editor):
    _, started = editor.send("track", result=[BOX], frame=1)
    _, value = editor.send("track_progress", session_id=started["session_id"], task=2)
    assert value == {"error": "session not found", "done": True}


class Encoder:
    """A segmenter whose features are counted."""

    name = "double"

    def __init__(self):
        self.seen = []

    def segment(self, image, prompt, *, frame=0):
        return []

    def features(self, image):
        self.seen.append(int(image[0, 0, 0]))
        return np.zeros((1, 1, 1), np.float32)


def test_prewarm_encodes_the_window_once(editor, monkeypatch):
    encoder = Encoder()
    monkeypatch.setattr(type(editor.runtime.truth), "segmenter", encoder, raising=False)
    monkeypatch.setattr(type(editor.runtime), "segmenter_choice", SimpleNamespace(name="double", version="d"))
    ask = {"frame": 3, "window": 4, "direction": "forward"}
    kind, value = editor.send("prewarm", **ask)
    assert kind == "prewarm_ack"
    assert value == {"status": "ok", "cached": [], "pending": [2, 3, 4, 5, 6], "frame_count": 10}
    for _ in range(300):
        _, value = editor.send("prewarm", **ask)
        if value["cached"]:
            break
        time.sleep(0.02)
    assert value == {"status": "ok", "cached": [2, 3, 4, 5, 6], "pending": [], "frame_count": 10}
    assert len(encoder.seen) == 5
    assert editor.send("release") == ("release_ack", {"status": "released"})


def test_prewarm_without_an_encoder_fetches_the_video(editor):
    kind, value = editor.send("prewarm", frame=1, window=3)
    assert (kind, value) == ("prewarm_ack", {"status": "ok", "cached": [], "pending": [], "frame_count": 10})
    assert editor.runtime.queue.records() == []


@pytest.mark.parametrize(
    ("event", "context", "kind", "message"),
    [
        ("track", {"result": []}, "track_error", "needs a box or a point on the object"),
        ("track", {"result": [BOX], "max_frames": -1}, "track_error", "max_frames must be 0 or more"),
        ("track", {"result": [BOX], "video": "gone.mp4"}, "track_error", "gone.mp4"),
        ("track", {"result": [BOX], "video": ""}, "track_error", "must be a video's address"),
        ("track", {"result": [BOX], "task": None}, "track_error", "must be a video's address"),
        ("prewarm", {"window": "wide"}, "prewarm_ack", "window must be a number, got 'wide'"),
    ],
)
def test_what_is_wrong_is_said_in_the_shape_of_the_event(editor, event, context, kind, message):
    got, value = editor.send(event, **context)
    assert got == kind
    assert message in value["error"]
    assert value.get("done") is True or value.get("status") == "error"


@pytest.mark.parametrize("event", ["transmogrify", "predict", 7])
def test_an_unknown_event_is_an_error_and_no_request_for_words(editor, event):
    words = {"id": "t", "type": "textarea", "from_name": "say", "to_name": "video", "value": {"text": ["the star"]}}
    config = VIDEO.replace("<View>", '<View><TextArea name="say" toName="video"/>')
    kind, message = editor.send(event, result=[words], config=config)
    assert kind == "error"
    assert "context.event must be one of capabilities, prewarm, track" in message
    assert editor.runtime.queue.records() == []
    assert editor.asked == []
