from __future__ import annotations

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.video.clips import ArrayClip
from video.heatmap_fusion import (
    anchor_scores,
    compose_link,
    contrast_heatmaps,
    fuse_heatmaps,
    link_frames,
    select_anchor,
)
from video.optical_flow import OpticalFlow
from video.types import Heatmap

SIZE = (320, 180)
GRID = (32, 18)


def ground(seed):
    rng = np.random.default_rng(seed)
    out = sum(
        cv2.resize(rng.normal(0, s, (c, c)).astype(np.float32), SIZE, interpolation=cv2.INTER_CUBIC)
        for c, s in ((6, 30), (25, 25), (60, 20))
    )
    return np.repeat(np.clip(out + 120, 0, 255).astype(np.uint8)[..., None], 3, 2)


def moving_disc(n, speed_px, seed=0):
    """frames (n, H, W, 3), centres (n, 2): a textured disc that goes to and fro over a textured ground."""
    w, h = SIZE
    back, skin = ground(seed), 255 - ground(seed + 1)
    y, x = np.mgrid[0:h, 0:w]
    frames, centres = [], []
    for i in range(n):
        run = (i * speed_px) % 400
        cx = 60 + (run if run < 200 else 400 - run)
        inside = np.hypot(x - cx, y - 90) < 24
        rolled = np.roll(skin, round(cx), axis=1)
        frames.append(np.where(inside[..., None], rolled, back))
        centres.append((cx, 90))
    return np.stack(frames), np.array(centres, float)


def noisy_heatmaps(planned, centres, *, noise, seed):
    rng = np.random.default_rng(seed)
    x, y = np.meshgrid((np.arange(GRID[0]) + 0.5) / GRID[0] * SIZE[0], (np.arange(GRID[1]) + 0.5) / GRID[1] * SIZE[1])
    out = []
    for i in planned:
        blob = np.exp(-((x - centres[i, 0]) ** 2 + (y - centres[i, 1]) ** 2) / (2 * 14**2))
        false = cv2.GaussianBlur(rng.normal(0, 1, blob.shape), (0, 0), 1.2)
        out.append(heatmap(int(i), np.clip(blob + noise * false / false.std(), 0, None)))
    return out


def heatmap(frame, grid, confidence=0.5):
    grid = (grid / max(grid.max(), 1e-9)).astype(np.float32)
    y, x = np.unravel_index(int(grid.argmax()), grid.shape)
    return Heatmap(frame, grid, ((x + 0.5) / grid.shape[1], (y + 0.5) / grid.shape[0]), confidence)


def hits(heatmaps, centres):
    at = np.array([h.peak for h in heatmaps]) * SIZE
    return float((np.linalg.norm(at - centres[[h.frame for h in heatmaps]], axis=1) < 24).mean())


def smooth_in_place(heatmaps):
    """What is not done: the same average at fixed places."""
    out = []
    for i, h in enumerate(heatmaps):
        near = heatmaps[max(0, i - 2) : i + 3]
        weights = [
            0.7 ** max(0, abs(g.frame - h.frame) // max(1, heatmaps[1].frame - heatmaps[0].frame) - 1) for g in near
        ]
        out.append(heatmap(h.frame, sum(w * g.grid for w, g in zip(weights, near, strict=True))))
    return out


def accuracies(speed_px):
    raw, still, flowed = [], [], []
    for seed in range(4):
        frames, centres = moving_disc(37, speed_px, seed)
        planned = np.arange(0, 37, 4)
        heatmaps = noisy_heatmaps(planned, centres, noise=0.33, seed=seed)
        links = link_frames(ArrayClip(frames), planned)
        raw.append(hits(heatmaps, centres))
        still.append(hits(smooth_in_place(heatmaps), centres))
        flowed.append(hits(fuse_heatmaps(heatmaps, links).heatmaps, centres))
    return np.mean(raw), np.mean(still), np.mean(flowed)


@pytest.mark.slow
def test_smoothing_along_the_motion_helps_at_every_speed():
    slow, fast = accuracies(0.5), accuracies(9)
    assert slow[2] > slow[0] + 0.05
    assert fast[2] > fast[0] + 0.05
    assert fast[2] > fast[1] + 0.1


def test_anchor_is_the_confident_frame_that_others_agree_with():
    frames, centres = moving_disc(17, 2)
    planned = np.arange(0, 17, 4)
    good = noisy_heatmaps(planned, centres, noise=0.02, seed=0)
    liar = np.zeros(GRID[::-1], np.float32)
    liar[2, 2] = 1
    heatmaps = [*good[:2], heatmap(8, liar, confidence=0.6), *good[3:]]
    links = link_frames(ArrayClip(frames), planned)
    found = fuse_heatmaps(heatmaps, links, reach=2)
    assert found.anchor != 2
    assert found.agreement[2] < 0.3 < found.agreement[0]
    assert hits(found.heatmaps, centres) == 1.0, "outvoted by its neighbours"
    assert select_anchor(heatmaps, np.array([0.1, 0.9, 0.1, 0.1, 0.1])) == 1
    assert anchor_scores(heatmaps, np.ones(5)) == pytest.approx([h.confidence for h in heatmaps])


def test_across_a_cut_neighbours_have_no_weight():
    a, b = (np.repeat(ground(s)[None], 8, 0) for s in (1, 50))
    clip = ArrayClip(np.concatenate([a, b]))
    left, right = np.zeros(GRID[::-1], np.float32), np.zeros(GRID[::-1], np.float32)
    left[9, 4], right[9, 28] = 1, 1
    heatmaps = [heatmap(1, left), heatmap(6, left), heatmap(9, right), heatmap(14, right)]
    links = link_frames(clip, [1, 6, 9, 14])
    assert links[1].forward_confidence.mean() < 0.25 < links[0].forward_confidence.mean()
    out = fuse_heatmaps(heatmaps, links).heatmaps
    assert out[1].grid[9, 28] < 0.2
    assert [h.peak for h in out] == [h.peak for h in heatmaps]


def test_the_number_of_flows_is_bounded():
    frames, _ = moving_disc(120, 0.5)
    clip = ArrayClip(frames)
    links = link_frames(clip, [5, 60, 115], steps=6)
    assert len(links) == 2
    assert len(clip.frames_read) <= 13


def test_one_heatmap_and_none_at_all():
    grid = np.zeros((4, 6), np.float32)
    only = fuse_heatmaps([Heatmap(3, grid, (0.5, 0.5), 0.0)], [])
    assert only.anchor == 0
    assert only.heatmaps[0].confidence == 0
    with pytest.raises(ValueError, match="no heatmaps"):
        select_anchor([], np.zeros(0))


def test_bad_input_is_named():
    h = Heatmap(0, np.zeros((4, 6), np.float32), (0.5, 0.5), 0.0)
    with pytest.raises(ValueError, match="2 heatmaps need 1 links, got 0"):
        fuse_heatmaps([h, h], [])
    with pytest.raises(ValueError, match="ascend"):
        link_frames(ArrayClip(np.zeros((4, 48, 48, 3), np.uint8)), [2, 1])
    with pytest.raises(ValueError, match="two frames"):
        compose_link([np.zeros((48, 48), np.uint8)], OpticalFlow())


def heatmap_of(grid, frame=0, confidence=0.7):
    grid = np.asarray(grid, np.float32)
    grid = grid / grid.max() if grid.max() > 0 else grid
    y, x = np.unravel_index(int(grid.argmax()), grid.shape)
    return Heatmap(frame, grid, ((x + 0.5) / grid.shape[1], (y + 0.5) / grid.shape[0]), confidence)


def grids(h=5, w=7):
    return st.lists(st.floats(0, 1, width=32), min_size=h * w, max_size=h * w).map(lambda v: np.reshape(v, (h, w)))


def test_each_expression_loses_what_the_other_points_at():
    """Both maps are highest on the left; the second knows only the left, so the first means the right."""
    first, second = heatmap_of([[1.0, 0, 0, 0.8]]), heatmap_of([[1.0, 0, 0, 0.0]])
    (one,), (two,) = contrast_heatmaps([[first], [second]])
    np.testing.assert_allclose(one.grid, [[0.625, 0, 0, 1.0]])
    assert one.peak == (0.875, 0.5)
    np.testing.assert_allclose(two.grid, [[1.0, 0, 0, 0.0]])
    assert (one.confidence, one.frame) == (0.7, 0)


@settings(max_examples=50, deadline=None)
@given(grids(), st.integers(1, 4))
def test_equal_expressions_and_single_ones_change_nothing(grid, n):
    own = heatmap_of(grid)
    for (found,) in contrast_heatmaps([[own]] * n):
        np.testing.assert_allclose(found.grid, own.grid, atol=1e-6)
        assert found.peak == own.peak


@settings(max_examples=50, deadline=None)
@given(grids(), grids(), grids())
def test_maps_stay_maps(a, b, c):
    searches = [[heatmap_of(g, 3), heatmap_of(g[::-1], 8)] for g in (a, b, c)]
    for row, before in zip(contrast_heatmaps(searches), searches, strict=True):
        for found, was in zip(row, before, strict=True):
            assert found.frame == was.frame
            assert found.grid.max() == pytest.approx(1) or was.grid.max() == 0
            assert ((found.grid > 0) <= (was.grid > 0)).all(), "nothing appears that was not there"


def test_a_heatmap_of_which_nothing_would_be_left_stays():
    weak, strong = heatmap_of(np.zeros((2, 3))), heatmap_of(np.ones((2, 3)))
    (kept,), _ = contrast_heatmaps([[weak], [strong]])
    assert kept is weak


@pytest.mark.parametrize(
    ("searches", "options", "said"),
    [
        ([[heatmap_of(np.eye(2))], [heatmap_of(np.eye(3))]], {}, "same frames"),
        ([[heatmap_of(np.eye(2), 1)], [heatmap_of(np.eye(2), 2)]], {}, "same frames"),
        ([[heatmap_of(np.eye(2))]], {"share": 1.0}, "share"),
    ],
)
def test_frames_or_shapes_that_differ_are_refused(searches, options, said):
    with pytest.raises(ValueError, match=said):
        contrast_heatmaps(searches, **options)
