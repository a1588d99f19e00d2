"""Boxes on video: keyframes of a track as the editor draws them, and the editor's keyframes on the clip's frames."""

from __future__ import annotations

import itertools
import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from backend.labelstudio.controls.video_rectangle import box_sequence, boxes_on_clip
from backend.labelstudio.edits import UserKeyframe
from backend.labelstudio.label_config import parse_label_config
from backend.labelstudio.regions import build_prediction, region_id_for
from tests.backend.labelstudio.track_playback import (
    Timing,
    boxes_by_loop,
    drawn_boxes,
    even_timing,
    last_editor_box,
    result_of,
)
from tests.backend.moving_disk import H, N, W, make_track
from tests.doubles import moving_box, track_of_masks
from tests.media import vfr_times
from video import masks
from video.types import MaskTrack

CONFIG = parse_label_config(
    '<View><Labels name="l" toName="v"><Label value="Star"/></Labels><Video name="v" value="$u" frameRate="$f"/>'
    '<VideoRectangle name="box" toName="v"/></View>'
)
BARE = parse_label_config('<View><Video name="w" value="$u"/><VideoRectangle name="r" toName="w"/></View>')


def wanted_frame(times: NDArray[np.float64], editor_frame: int, fps: float) -> int:
    """Which clip frame the editor shows, by the loop that was measured."""
    t = np.floor((editor_frame - 1) / fps / 0.002 + 0.5) * 0.002 + 0.002
    i = 0
    while i + 1 < len(times) and times[i + 1] <= t:
        i += 1
    return i


def _worst_error(track: MaskTrack, timing: Timing, fps: float, **more: Any) -> float:
    """Largest error of a drawn side, in percent of the frame, over all editor frames."""
    n = round(timing.duration_s * fps)
    boxes, shown = drawn_boxes(box_sequence(track, timing, fps=fps, **more), n)
    worst = 0.0
    for f in range(1, n + 1):
        i = wanted_frame(timing.times, f, fps)
        assert shown[f - 1] == track.visible[i]
        if track.visible[i]:
            x0, y0, x1, y1 = track.boxes[i] * 100
            worst = max(worst, float(np.abs(boxes[f - 1] - [x0, y0, x1 - x0, y1 - y0]).max()))
    return worst


def _late_timing(start_s: float, n: int = 20, rate: float = 10.0, pause_s: float = 0.0) -> Timing:
    """The first frame at start_s, and a pause in the middle."""
    times = start_s + np.arange(n) / rate + pause_s * (np.arange(n) >= n // 2)
    return Timing(times, float(times[-1]) + 1 / rate)


VARIABLE = np.concatenate([[0], np.cumsum(np.random.default_rng(3).uniform(0.01, 0.12, 59))])


@pytest.mark.parametrize(
    ("timing", "fps"),
    [
        (even_timing(60, 25), 25.0),
        (even_timing(60, 30), 24.0),
        (even_timing(90, 30000 / 1001), 30.0),
        (even_timing(60, 30), 60.0),
        (even_timing(60, 60), 10.0),
        (Timing(VARIABLE, VARIABLE[-1] + 0.04), 25.0),
        (Timing(VARIABLE, VARIABLE[-1] + 0.04), 24.0),
        (_late_timing(100.0), 10.0),
        (_late_timing(3.0, pause_s=90.0), 24.0),
    ],
)
def test_interpolated_boxes_fit_on_every_editor_frame(timing: Timing, fps: float) -> None:
    track = moving_box(len(timing.times))
    assert _worst_error(track, timing, fps, keyframe_iou=1.0) < 1e-3  # what rounding leaves
    assert _worst_error(track, timing, fps) < 2.2  # of a side of 20 %: IoU 0.9 allows about a tenth


@pytest.mark.parametrize(("start_s", "pause_s"), [(11_000.0, 0.0), (0.0, 11_000.0)])
def test_hours_that_show_one_frame_cost_two_keyframes_and_no_time(start_s: float, pause_s: float) -> None:
    """The editor counts frames from 0 s, and shows the first frame before it begins, as Chromium does."""
    timing = _late_timing(start_s, pause_s=pause_s)
    sequence = box_sequence(moving_box(20), timing, fps=30, keyframe_iou=1.0)
    frames = [keyframe["frame"] for keyframe in sequence]
    assert (frames[0], frames[-1]) == (1, round(timing.duration_s * 30))
    gaps = [(a, b) for a, b in itertools.pairwise(sequence) if b["frame"] - a["frame"] > 1000]
    ((a, b),) = gaps
    assert [a[side] for side in ("x", "y", "width", "height")] == [b[side] for side in ("x", "y", "width", "height")]
    assert a["enabled"]
    assert len(frames) < 80


def test_a_box_that_a_person_set_while_nothing_moves_stays() -> None:
    edit = UserKeyframe(5000, 30.0, 20.0, 10.0, 10.0, 0.0, True, None)
    sequence = box_sequence(moving_box(20), _late_timing(1000.0), fps=30, edits=[edit])
    (own,) = [keyframe for keyframe in sequence if keyframe["frame"] == 5000]
    assert (own["x"], own["y"], own["width"], own["height"]) == (30.0, 20.0, 10.0, 10.0)


def test_straight_motion_needs_two_keyframes() -> None:
    sequence = box_sequence(moving_box(50), even_timing(50, 25), fps=25)
    assert [k["frame"] for k in sequence] == [1, 50]
    assert [k["enabled"] for k in sequence] == [True, False]
    assert [k["time"] for k in sequence] == [0.0, 49 / 25]
    assert all(k["rotation"] == 0 for k in sequence)


@settings(max_examples=40, deadline=None)
@given(
    visible=st.lists(st.booleans(), min_size=2, max_size=30),
    gaps_ms=st.lists(st.integers(5, 130), min_size=30, max_size=30),
    fps=st.sampled_from([8.0, 24.0, 25.0, 30.0]),
)
def test_hidden_frames_stay_hidden(visible: list[bool], gaps_ms: list[int], fps: float) -> None:
    n = len(visible)
    times = np.concatenate([[0], np.cumsum(gaps_ms[: n - 1])]) / 1000
    timing = Timing(times, float(times[-1] + 0.2))
    moving = moving_box(n, speed=(0.02, -0.01))
    shown_rows = np.array(visible)
    track = MaskTrack(
        moving.label,
        moving.size,
        moving.frames,
        moving.rles,
        moving.boxes * shown_rows[:, None],
        moving.scores,
        shown_rows,
    )
    if shown_rows.any():
        _worst_error(track, timing, fps)  # asserts what is shown on every frame
    sequence = box_sequence(track, timing, fps=fps)
    assert not sequence or sequence[-1]["enabled"] is False
    last = math.floor(timing.duration_s * fps + 0.5)  # as the browser's Math.round; Python's goes to the even one
    assert all(1 <= k["frame"] <= last for k in sequence)


def test_frames_the_track_does_not_have_are_hidden() -> None:
    whole = moving_box(20)
    part = MaskTrack(
        "Star", whole.size, whole.frames[5:9], whole.rles[5:9], whole.boxes[5:9], whole.scores[5:9], whole.visible[5:9]
    )
    _, shown = drawn_boxes(box_sequence(part, even_timing(20, 25), fps=25), 20)
    assert np.flatnonzero(shown).tolist() == [5, 6, 7, 8]


def test_the_shape_of_a_region() -> None:
    masks = np.zeros((10, 36, 64), bool)
    masks[:, 9:18, 16:32] = True
    results = [result_of(track_of_masks(masks), notes=("lost for a while",)), result_of(moving_box(10), score=0.4)]
    regions = CONFIG.control.regions(results, even_timing(10, 25), fps=25, region_ids=["a", "b"])
    first = regions[0]
    checks = [keyframe["check"] for keyframe in first["value"]["sequence"]]  # see test_feedback
    assert first == {
        "id": "a",
        "from_name": "box",
        "to_name": "v",
        "type": "videorectangle",
        "origin": "prediction",
        "score": 0.7,
        "meta": {"text": ["words: the star; lost for a while"]},
        "value": {
            "framesCount": 10,
            "duration": 0.4,
            "labels": ["Star"],
            "sequence": [
                {"frame": f, "time": (f - 1) / 25, "enabled": f == 1, "x": 25.0, "y": 25.0, "width": 25.0,
                 "height": 25.0, "rotation": 0, "score": 0.9, "words": "the star", "check": check}
                for f, check in zip((1, 10), checks, strict=True)
            ],
        },
    }  # fmt: skip
    assert regions[1]["meta"] == {"text": ["words: the star"]}
    assert build_prediction(regions, model_version="m")["score"] == 0.4


def test_without_labels_in_the_config_none_are_written() -> None:
    region = BARE.control.regions([result_of(moving_box(5))], even_timing(5, 25), fps=24, region_ids=["a"])[0]
    assert "labels" not in region["value"]
    assert (region["from_name"], region["to_name"]) == ("r", "w")


def test_an_invisible_object_makes_no_region_and_no_empty_prediction() -> None:
    unseen = track_of_masks(np.zeros((5, 9, 16), bool))
    assert CONFIG.control.regions([result_of(unseen)], even_timing(5, 25), fps=25, region_ids=["a"]) == []
    with pytest.raises(ValueError, match="without regions"):
        build_prediction([], model_version="m")
    with pytest.raises(ValueError, match="region ids"):
        CONFIG.control.regions([result_of(unseen)], even_timing(5, 25), fps=25, region_ids=[])


def test_ids_are_stable_and_differ_by_task_and_object() -> None:
    ids = [region_id_for({"id": t}, p) for t in (1, 2) for p in (0, 1)]
    assert len(set(ids)) == 4
    assert ids[0] == region_id_for({"id": 1, "data": {}}, 0)


KEYFRAMES = st.lists(
    st.fixed_dictionaries(
        {
            "frame": st.integers(1, 60),
            "x": st.floats(0, 60),
            "y": st.floats(0, 60),
            "width": st.floats(1, 20),
            "height": st.floats(1, 20),
            "rotation": st.sampled_from([0, 0, 15, -40]),
        },
        optional={"enabled": st.booleans()},
    ),
    min_size=1,
    max_size=6,
    unique_by=lambda k: k["frame"],
)


@settings(max_examples=60, deadline=None)
@given(
    KEYFRAMES,
    st.sampled_from([24.0, 25.0, 30.0, 12.5, 59.94]),
    st.sampled_from(["constant", "variable"]),
    st.sampled_from([(320, 160), (90, 160), (64, 64)]),
)
def test_boxes_on_clip_match_the_boxes_drawn_by_the_editor(
    sequence: list[dict[str, Any]], fps: float, kind: str, size: tuple[int, int]
) -> None:
    times = np.arange(N) / 25 if kind == "constant" else vfr_times(N)
    clip = Timing(times, float(times[-1] + 0.04), size)
    boxes, keys = boxes_on_clip(sequence, clip, fps=fps)
    expected = boxes_by_loop(sequence, times, clip.duration_s, fps, size)
    for frame, box in expected.items():
        assert (frame in boxes) == (box is not None)
        if box is not None:
            np.testing.assert_allclose(np.clip(boxes[frame], 0, 1), box, atol=1e-9)
    for frame in boxes.keys() - expected.keys():  # not shown by the editor: interpolated
        if frame > max(expected):  # after its last frame: the box of that frame
            np.testing.assert_allclose(np.clip(boxes[frame], 0, 1), last_editor_box(sequence, clip, fps), atol=1e-9)
            continue
        a, b = max(f for f in expected if f < frame), min(f for f in expected if f > frame)
        share = (times[frame] - times[a]) / (times[b] - times[a])
        interpolated = [p + share * (q - p) for p, q in zip(boxes[a], boxes[b], strict=True)]
        np.testing.assert_allclose(boxes[frame], interpolated, atol=1e-9)
    assert set(keys) <= boxes.keys()


@pytest.mark.parametrize(
    ("at", "box"),
    [
        ((50, 20, 30, 20, 90), (128, 32, 160, 128)),  # measured in the editor
        ((50, 20, 30, 20, -90), (160, -64, 192, 32)),
        ((50, 50, 30, 20, 180), (64, 48, 160, 80)),
        ((50, 20, 10, 20, 45), (160 - 16 * 2**0.5, 32, 160 + 16 * 2**0.5, 32 + 32 * 2**0.5)),  # a square of 32 pixels
    ],
)
def test_a_rotated_box_is_turned_in_pixels(at: tuple[float, ...], box: tuple[float, ...]) -> None:
    sides = dict(zip(("x", "y", "width", "height", "rotation"), at, strict=True))
    clip = Timing(np.arange(3) / 10, 0.3, (320, 160))
    boxes, _ = boxes_on_clip([{"frame": 1, "enabled": True, **sides}], clip, fps=10)
    assert boxes[2] == pytest.approx([v / side for v, side in zip(box, (320, 160) * 2, strict=True)])


@pytest.mark.parametrize("fps", [25.0, 24.0, 12.5])
def test_box_sequence_round_trip_keeps_the_boxes(fps: float) -> None:
    times = np.arange(N) / 25
    clip = Timing(times, N / 25, (W, H))
    track = make_track()
    boxes, _ = boxes_on_clip(box_sequence(track, clip, fps=fps), clip, fps=fps)
    last = N - 1 if fps == 25 else N - 3  # at a lower fps the editor does not show the last frames
    ious = [masks.box_iou(boxes[f], track.boxes[f]) for f in boxes if track.visible[f] and f <= last]
    assert min(ious) > (0.89 if fps == 25 else 0.75)
    if fps == 25:
        assert sorted(boxes) == np.flatnonzero(track.visible).tolist()
