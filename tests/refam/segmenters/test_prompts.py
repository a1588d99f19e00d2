"""From a heatmap to clicks, and from answers to the one that fits."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from refam.segmenters.prompts import (
    expand_prompt,
    point_prompt,
    prior_coverage,
    rank_mask,
    score_mask,
    stability_score,
)
from video import masks
from video.types import MaskChoice, Prompt


def blob(size, x, y, sigma, height=1.0):
    w, h = size
    yy, xx = np.mgrid[0:h, 0:w] + 0.5
    return (height * np.exp(-0.5 * ((xx - x) ** 2 + (yy - y) ** 2) / sigma**2)).astype(np.float32)


def at(grid, point):
    h, w = grid.shape
    return grid[min(int(point[1] * h), h - 1), min(int(point[0] * w), w - 1)]


def scaled(grid):
    return (grid / grid.max()).astype(np.float32)


@settings(max_examples=60, deadline=None)
@given(
    x=st.floats(8, 88), y=st.floats(6, 48), sigma=st.floats(1, 9), other=st.tuples(st.floats(0, 96), st.floats(0, 54))
)
def test_every_point_lies_on_the_highest_mode(x, y, sigma, other):
    """On ground at least half as high as the peak and connected to it: never on the other mode, beyond a saddle."""
    grid = scaled(np.maximum(blob((96, 54), x, y, sigma), blob((96, 54), *other, 2.0, 0.9)))
    peak = np.unravel_index(int(grid.argmax()), grid.shape)
    part = next(p for p in masks.components(grid >= 0.5) if p[peak])
    asked = expand_prompt(Prompt(prior=grid))
    assert 4 <= len(asked) <= 5
    assert at(grid, asked[0].points[0]) == 1.0
    for question in asked:
        assert question.box is None
        assert question.prior is None
        assert question.labels.tolist() == [1] * len(question.points)
        assert all(at(part, point) for point in question.points)


def test_two_points_lie_far_apart_on_a_long_object():
    grid = np.zeros((54, 96), np.float32)
    grid[25:31, 10:80] = 0.9
    grid[27, 20] = 1.0
    (pair,) = [q.points for q in expand_prompt(Prompt(prior=grid)) if len(q.points) == 2]
    assert np.abs(pair[0] - pair[1])[0] * 96 > 30


@pytest.mark.parametrize(
    ("prompt", "kinds"),
    [
        (Prompt(prior=np.zeros((9, 16), np.float32)), []),
        (Prompt(points=np.array([[0.5, 0.5]]), labels=np.array([1])), [(1, False, False)]),
        (Prompt(box=(0.1, 0.1, 0.5, 0.5)), [(0, True, False)]),
        (Prompt(box=(0.1, 0.1, 0.5, 0.5), prior=scaled(blob((16, 9), 5, 5, 2))), [(0, True, False)]),
        (Prompt(points=np.array([[0.5, 0.5]]), labels=np.array([0]), prior=np.eye(9, dtype=np.float32)), "mask"),
        (Prompt(prior=masks.box_mask((0.2, 0.2, 0.6, 0.9), (16, 9)).astype(np.float32)), "mask"),
        (Prompt(prior=np.zeros((9, 16), np.float32), box=(0.1, 0.1, 0.5, 0.5)), [(0, True, False)]),
    ],
)
def test_expand_prompt_for_each_kind(prompt, kinds):
    """(clicks, has a box, has a dense prompt) of each question."""
    asked = [(len(q.points), q.box is not None, q.prior is not None) for q in expand_prompt(prompt)]
    assert asked == ([(1, True, False), (1, True, True), (1, False, True)] if kinds == "mask" else kinds)


def test_point_prompt():
    prompt = point_prompt([(0.1, 0.2)], [(0.3, 0.4), (0.5, 0.6)])
    assert prompt.points.tolist() == [[0.1, 0.2], [0.3, 0.4], [0.5, 0.6]]
    assert prompt.labels.tolist() == [1, 0, 0]


def test_prior_coverage_is_best_for_what_the_map_shows():
    """Of discs on a Gaussian of width s, with q = r^2 / 2 s^2: 2 pi s^2 (1 - exp(-q)) inside, 2 pi s^2 q of area."""
    grid = blob((96, 54), 48, 27, 7)
    y, x = np.mgrid[0:216, 0:384]
    radii = np.arange(2, 26)
    scores = [prior_coverage(grid, np.hypot((x + 0.5) / 4 - 48, (y + 0.5) / 4 - 27) <= r) for r in radii]
    q = radii**2 / (2 * 7.0**2)
    closed = 2 * (1 - np.exp(-q)) / (1 + q)
    np.testing.assert_allclose(scores, closed, atol=0.03)
    assert abs(int(np.argmax(scores)) - int(np.argmax(closed))) <= 1
    assert prior_coverage(np.zeros((9, 16), np.float32), np.zeros((9, 16), bool)) == 0


def test_stability_score_is_the_iou_between_two_thresholds():
    logits = torch.full((10, 10), -5.0)
    logits[2:8, 2:8] = 0.5
    logits[4:6, 4:6] = 4.0
    assert stability_score(logits) == pytest.approx(4 / 36)
    assert stability_score(torch.full((4, 4), -5.0)) == 0
    assert stability_score(torch.full((4, 4), 5.0)) == 1


def test_score_mask():
    grid = scaled(blob((96, 54), 30, 27, 6))
    y, x = np.mgrid[0:54, 0:96]
    right, wrong = np.hypot(x - 30, y - 27) <= 8, np.hypot(x - 70, y - 27) <= 8
    sharp, soft = torch.where(torch.as_tensor(right), 9.0, -9.0), torch.where(torch.as_tensor(right), 0.5, -9.0)
    prompt = Prompt(prior=grid)
    assert score_mask(sharp, right, 0.8, prompt) > 5 * score_mask(sharp, wrong, 0.95, prompt)
    assert score_mask(sharp, right, 0.9, prompt) > score_mask(sharp, right, 0.6, prompt)
    assert score_mask(sharp, right, 0.9, prompt) > score_mask(soft, right, 0.9, prompt)
    told = Prompt(points=np.array([[30.5 / 96, 0.5], [70.5 / 96, 0.5]]), labels=np.array([1, 0]))
    assert score_mask(soft, right, 0.9, told) == pytest.approx(0.9), (
        "a person's points are met: the IoU prediction counts"
    )
    assert score_mask(sharp, wrong, 0.9, told) == 0
    assert score_mask(sharp, right | wrong, 0.9, told) == pytest.approx(0.45)


@pytest.mark.parametrize(("whole_bias", "first"), [(0.0, "part"), (0.3, "part"), (0.7, "whole"), (1.0, "whole")])
def test_a_bias_to_the_whole_prefers_larger_masks(whole_bias, first):
    """A head of a sixteenth of the picture with a score of .9, and the whole animal, four times as large, with .5."""
    head, animal = np.zeros((16, 16), bool), np.zeros((16, 16), bool)
    head[:4, :4], animal[:8, :8] = True, True
    choice = MaskChoice(whole_bias=whole_bias)
    prompt = Prompt(prior=np.ones((2, 2), np.float32), mask_choice=choice)
    ranks = {"part": rank_mask(0.9, head, prompt), "whole": rank_mask(0.5, animal, prompt)}
    assert max(ranks, key=ranks.get) == first


def test_other_modes_are_prompted_where_the_heatmap_asks_for_them():
    """Three blobs of height 1, .6 and .3: the second is a mode from a level of .4 on, the third from .2 on."""
    grid = scaled(
        blob((96, 54), 20, 27, 4) + blob((96, 54), 60, 20, 4, height=0.6) + blob((96, 54), 80, 45, 3, height=0.3)
    )
    for level, expected in ((1.0, []), (0.4, [(60, 20)]), (0.2, [(60, 20), (80, 45)])):
        choice = MaskChoice(mode_level=level)
        prompts = expand_prompt(Prompt(prior=grid, mask_choice=choice))
        plain = expand_prompt(Prompt(prior=grid))
        others = [prompt.points[0] for prompt in prompts[len(plain) :]]
        assert [p.points.tolist() for p in prompts[: len(plain)]] == [p.points.tolist() for p in plain]
        assert len(others) == len(expected)
        for (x, y), (expected_x, expected_y) in zip(others, expected, strict=True):
            assert np.hypot(x * 96 - expected_x, y * 54 - expected_y) <= 1


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 10_000), level=st.floats(0.05, 0.95))
def test_modes_are_few_apart_and_high_enough(seed, level):
    grid = scaled(np.random.default_rng(seed).random((24, 40)).astype(np.float32))
    prompts = expand_prompt(Prompt(prior=grid, mask_choice=MaskChoice(mode_level=level)))
    modes = [p.points[0] * (40, 24) for p in prompts[len(expand_prompt(Prompt(prior=grid))) :]]
    assert len(modes) <= 12
    assert all(np.hypot(*(a - b)) > 2 for i, a in enumerate(modes) for b in modes[:i])


@pytest.mark.parametrize("arguments", [{"whole_bias": -0.1}, {"mode_level": 0.0}, {"mode_level": 1.1}])
def test_a_choice_out_of_range_is_refused(arguments):
    with pytest.raises(ValueError, match="must"):
        MaskChoice(**arguments)
