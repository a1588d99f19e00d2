"""Which clip frame the editor shows, against the loop that was measured in the browser."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from backend.labelstudio.timeline import (
    clip_frame_of_editor,
    editor_frame_count,
    editor_rate,
    editor_times,
    rate_for_task,
    region_rate,
    thin_still_stretches,
)
from tests.backend.labelstudio.track_playback import Timing, even_timing

RATES = st.one_of(st.sampled_from([1.0, 12.5, 23.976, 24.0, 25.0, 29.97, 30.0, 50.0, 60.0]), st.floats(1, 240))


@st.composite
def presentation_times(draw):
    steps = draw(st.lists(st.floats(0.001, 0.5), min_size=1, max_size=80))
    start = draw(st.sampled_from([0.0, 0.0, 0.08, 0.2]))
    return start + np.concatenate([[0.0], np.cumsum(steps)])


def naive_editor_time(f: int, fps: float) -> float:
    return math.floor((f - 1) / fps / 0.002 + 0.5) * 0.002 + 0.002


def naive_clip_frame(pts, f: int, fps: float) -> int:
    t, i, n = naive_editor_time(f, fps), 0, len(pts)
    while i + 1 < n and pts[i + 1] <= t:
        i += 1
    return i


@given(presentation_times(), RATES)
def test_clip_frame_of_editor_agrees_with_the_measured_loop(times, fps):
    n = min(editor_frame_count(float(times[-1]) + 0.04, fps), 300)
    got = clip_frame_of_editor(times, n, fps)
    assert got.tolist() == [naive_clip_frame(times, f, fps) for f in range(1, n + 1)]
    assert got.dtype == np.int64


@given(presentation_times(), RATES)
def test_clip_frames_are_monotone_and_in_range(times, fps):
    n = editor_frame_count(float(times[-1]) + 0.04, fps)
    frames = clip_frame_of_editor(times, n, fps)
    assert (np.diff(frames) >= 0).all()
    assert frames.min() >= 0
    assert frames.max() < len(times)


@pytest.mark.parametrize(("fps", "n"), [(25.0, 100), (24.0, 240), (30.0, 90), (50.0, 200), (30_000 / 1001, 120)])
def test_at_the_clips_own_constant_rate_frame_f_shows_frame_f_minus_1(fps, n):
    times = np.arange(n) / fps
    assert clip_frame_of_editor(times, n, fps).tolist() == list(range(n))


def test_a_30_fps_clip_without_a_frame_rate_is_mapped_by_time():
    times = np.arange(300) / 30
    n = editor_frame_count(10.0, editor_rate(None))
    assert n == 240
    assert clip_frame_of_editor(times, n, 24.0)[[0, 24, 48, 239]].tolist() == [0, 30, 60, 298]


@given(RATES)
@settings(max_examples=30)
def test_editor_times_are_the_measured_formula(fps):
    assert np.allclose(editor_times(200, fps), [naive_editor_time(f, fps) for f in range(1, 201)], atol=1e-12)


@pytest.mark.parametrize(
    ("duration_s", "fps", "count"),
    [(10.0, 30.0, 300), (2.002, 30_000 / 1001, 60), (2.5, 1.0, 3), (0.01, 24.0, 1), (3.6167, 30.0, 109)],
)
def test_frame_count_rounds_halves_up_as_javascript_does(duration_s, fps, count):
    assert editor_frame_count(duration_s, fps) == count


@pytest.mark.parametrize(("rate", "expected"), [(None, 24.0), (25, 25.0), (0.5, 2.0), (0.04, 25.0), (1, 1.0)])
def test_editor_rate(rate, expected):
    assert editor_rate(rate) == pytest.approx(expected)


@pytest.mark.parametrize(
    ("value", "fps", "rate"),
    [
        ({"framesCount": 48, "duration": 2.0}, 10.0, 24.0),
        ({"framesCount": 20, "duration": 2.0}, 10.0, 10.0),
        ({"framesCount": 60, "duration": 2.002}, 30.0, 30.0),  # 29.97 as well as 30
        ({"framesCount": 61, "duration": 2.02}, 24.0, 30.0),  # 60.6 frames at 30, rounded
        ({"framesCount": 31, "duration": 3.02}, 10.0, 10.0),  # rounded up, as older editors do
        ({"framesCount": 7200, "duration": 240.24}, 24.0, 7200 / 240.24),
        ({"framesCount": 1, "duration": 2.0}, 10.0, 10.0),  # stored before the video was loaded
        ({"framesCount": 20, "duration": 0}, 10.0, 10.0),
        ({"framesCount": 20, "duration": 2.0, "sequence": [{"frame": 48}]}, 24.0, 24.0),  # it is on frame 48 of 20
        ({"framesCount": None, "duration": "2"}, 10.0, 10.0),
        ({"framesCount": 48_000, "duration": 2.0}, 10.0, 10.0),  # 24,000 frames a second: no rate
        ({}, 10.0, 10.0),
    ],
)
def test_a_region_is_read_at_the_rate_that_it_was_stored_with(value, fps, rate):
    assert region_rate(value, fps) == pytest.approx(rate)


@pytest.mark.parametrize("rate", [1001, 1e9, 0.0009, 5e-324])
def test_more_than_a_thousand_frames_a_second_are_refused(rate):
    with pytest.raises(ValueError, match="at most 1000"):
        editor_rate(rate)


@pytest.mark.parametrize(
    ("fps", "rate"),
    [(25.0, 25.0), (24.0, 24.0), (0.1, 1.0), (500.0, 500.0), (2000.0, 500.0), (1e6, 500.0)],
)
@pytest.mark.parametrize("n", [1, 2, 60])
def test_the_rate_of_a_task_is_the_clips_own_as_far_as_the_editor_can_show_it(fps, rate, n):
    assert rate_for_task(even_timing(n, fps)) == rate


def _steps(*steps_s, start_s=0.0):
    """Times of which these are the distances."""
    return start_s + np.concatenate([[0.0], np.cumsum(steps_s)])


@pytest.mark.parametrize(
    ("times", "rate"),
    [
        (_steps(*[0.1] * 5, 60, *[0.1] * 5), 10.0),
        (_steps(0.1, 60, 0.1, 60, 0.1, 3600, 0.1, 0.1), 10.0),
        (_steps(60, *[0.1] * 10), 10.0),
        (_steps(*[0.1] * 10, start_s=5000), 10.0),
        (_steps(*[0.033, 0.033, 0.034] * 20), 30.0),  # rounded to milliseconds
        (_steps(*[0.033, 0.033, 0.034] * 20, 60), 30.0),
        (_steps(*[1e-6, 1e-6, 0.3 - 2e-6] * 4), 12 / 1.2),  # three frames at each time
        (_steps(*[0.04, 0.06] * 10), 20.0),  # a variable rate
        (_steps(*[0.02, 0.02, 0.5] * 10), 50.0),  # a screen that was recorded where it changed
        (_steps(20, 20), 1.0),
    ],
    ids=["a pause", "pauses", "at first", "late", "ms", "ms and a pause", "threes", "variable", "screen", "slow"],
)
def test_pauses_do_not_lower_the_rate_of_a_task(times, rate):
    assert rate_for_task(Timing(times, float(times[-1]) + 0.04)) == pytest.approx(rate, abs=1e-6)


def test_every_frame_is_shown_where_the_clip_pauses() -> None:
    times = _steps(*[0.1] * 5, 60, *[0.1] * 5)
    clip = Timing(times, float(times[-1]) + 0.1)
    fps = rate_for_task(clip)
    shown = clip_frame_of_editor(times, editor_frame_count(clip.duration_s, fps), fps)
    assert np.unique(shown).tolist() == list(range(len(times)))


@pytest.mark.parametrize("rate", [0, -25, math.nan, math.inf])
def test_an_invalid_rate_is_refused_with_its_value(rate):
    with pytest.raises(ValueError, match="positive number of frames per second"):
        editor_rate(rate)
    with pytest.raises(ValueError, match=r"at least 1 frame per second.*editor_rate"):
        editor_times(3, rate)


@pytest.mark.parametrize(
    ("times", "words"),
    [
        ([], "N > 0"),
        ([[0.0]], "shape"),
        ([0.0, 0.0], "ascending"),
        ([0.1, 0.0], "ascending"),
        ([0.0, math.nan], "finite"),
    ],
)
def test_invalid_times_are_refused(times, words):
    with pytest.raises(ValueError, match=words):
        clip_frame_of_editor(np.array(times), 3, 24.0)


@pytest.mark.parametrize("duration_s", [0.0, -1.0, math.nan])
def test_a_duration_must_be_positive(duration_s):
    with pytest.raises(ValueError, match="positive number of seconds"):
        editor_frame_count(duration_s, 24.0)


@pytest.mark.parametrize("must", [(), (70,), (3, 99, 150)])
def test_of_a_still_stretch_few_frames_are_kept(must):
    rows = np.repeat([0, 1, 2, 3, 4], [100, 1, 32, 1, 48])
    visible = np.ones(len(rows), bool)
    visible[140:150] = False
    kept = thin_still_stretches(rows, visible, must)
    assert np.diff(kept).min() > 0
    edges = [0, 99, 100, 101, 132, 133, 134, 139, 140, 149, 150, 181]
    assert set(edges) | set(must) <= set(kept.tolist())
    assert set(range(100, 182)) <= set(kept.tolist()), "stretches of up to 32 frames are whole"
    assert 32 <= np.count_nonzero(kept < 100) <= 32 + len(must)


def test_the_editor_has_at_least_one_frame():
    with pytest.raises(ValueError, match="at least one frame"):
        editor_times(0, 24.0)
