"""Shots and plans on drawn clips whose cuts are known."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests import media
from video.io.reader import open_clip
from video.sampling import detect_shots, plan_frames, spread_frames


def scene(n, *, seed, step=2, size=(160, 96)):
    """A textured ground in a colour of its own and a bright disc that moves `step` pixels a frame."""
    rng = np.random.default_rng(seed)
    w, h = size
    coarse = rng.integers(0, 60, (6, 10, 3)) + rng.integers(0, 180, 3)
    ground = np.kron(coarse, np.ones((h // 6, w // 10, 1))).astype(np.uint8)
    y, x = np.mgrid[:h, :w]
    frames = np.repeat(ground[None], n, axis=0)
    for i, frame in enumerate(frames):
        frame[(x - (20 + i * step) % w) ** 2 + (y - h // 2) ** 2 < 200] = 255
    return frames


def clip_of(tmp_path, *parts, **kwargs):
    return open_clip(media.cfr(tmp_path / "clip.mp4", np.concatenate(parts), **kwargs))


@pytest.mark.parametrize("lengths", [(60,), (30, 30), (20, 45, 10, 30), (12, 12, 12, 12, 12)])
def test_hard_cuts_are_detected_exactly(lengths, tmp_path):
    clip = clip_of(tmp_path, *(scene(n, seed=3 + i) for i, n in enumerate(lengths)))
    ends = np.cumsum(lengths).tolist()
    assert detect_shots(clip) == list(zip([0, *ends[:-1]], ends, strict=True))


def test_fast_motion_pans_and_noise_are_not_cuts(tmp_path):
    wide = scene(1, seed=9, size=(800, 96))[0]
    pan = np.stack([wide[:, 12 * i : 12 * i + 160] for i in range(50)])
    fast = scene(50, seed=4, step=37)
    noise = np.clip(fast.astype(int) + np.random.default_rng(0).normal(0, 20, fast.shape), 0, 255).astype(np.uint8)
    for frames in (pan, fast, noise):
        assert detect_shots(clip_of(tmp_path, frames)) == [(0, 50)]


def test_flashes_and_slow_fades_are_not_cuts(tmp_path):
    frames = scene(60, seed=5)
    flash = frames.copy()
    flash[30:32] = 250
    fade = (
        np.linspace(0, 1, 60)[:, None, None, None] * scene(60, seed=6)
        + np.linspace(1, 0, 60)[:, None, None, None] * frames
    )
    assert detect_shots(clip_of(tmp_path, fade.astype(np.uint8))) == [(0, 60)]
    assert detect_shots(clip_of(tmp_path, flash)) == [(0, 60)]


@pytest.mark.parametrize("count", [4, 8, 16])
def test_each_shot_is_grounded_and_edges_are_avoided(count, tmp_path):
    clip = clip_of(tmp_path, scene(20, seed=1), scene(60, seed=2), scene(30, seed=3))
    plan = plan_frames(clip, count=count)
    assert len(plan) == count
    assert plan.dtype == np.int64
    for first, end in ((0, 20), (20, 80), (80, 110)):
        inside = plan[(plan >= first) & (plan < end)]
        assert len(inside) >= 1
        assert not {first, end - 1} & set(inside.tolist())
    assert np.count_nonzero((plan >= 20) & (plan < 80)) >= np.count_nonzero(plan < 20)


@pytest.mark.parametrize("n", [1, 2, 5, 8])
def test_a_short_clip_gives_what_there_is(n, tmp_path):
    assert plan_frames(clip_of(tmp_path, scene(n, seed=0))).tolist() == list(range(n))


def test_a_plan_follows_time_not_frame_numbers():
    times = np.concatenate([np.arange(100) * 0.01, 1 + np.arange(10) * 1.0])  # most frames in the first second
    plan = spread_frames(times, [(0, 110)], count=8)
    assert np.count_nonzero(plan < 100) <= 2


@given(
    st.lists(st.floats(0.001, 2), min_size=17, max_size=120),
    st.lists(st.integers(1, 118), max_size=40, unique=True),
    st.integers(4, 16),
)
def test_any_plan_ascends_and_has_its_count(steps, cuts, count):
    times = np.concatenate([[0.0], np.cumsum(steps)])
    bounds = [0, *sorted(c for c in cuts if c < len(times)), len(times)]
    spans = list(itertools.pairwise(bounds))
    plan = spread_frames(times, spans, count=count)
    longest = sorted(spans, key=lambda s: times[s[1] - 1] - times[s[0]], reverse=True)[:count]
    assert len(plan) == min(count, sum(b - a for a, b in longest))
    assert (np.diff(plan) > 0).all()
    assert plan[0] >= 0
    assert plan[-1] < len(times)
    if len(spans) <= count:
        assert all(((plan >= a) & (plan < b)).any() for a, b in spans)


@pytest.mark.parametrize("count", [0, 3, 17])
def test_the_count_is_bounded(count, tmp_path):
    with pytest.raises(ValueError, match=f"from 4 to 16 frames, got {count}"):
        plan_frames(clip_of(tmp_path, scene(5, seed=0)), count=count)
