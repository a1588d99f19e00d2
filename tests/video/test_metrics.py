"""J, F, points and intervals, each against a plain implementation of its definition or by hand."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.stats import binomtest, ttest_1samp

from video.metrics import (
    auroc,
    boundary_accuracy,
    estimate_mean,
    estimate_share,
    identity_switches,
    point_hit,
    precision_at,
    region_similarity,
)

SHAPE = (9, 12)
MASKS = arrays(np.bool_, SHAPE)


def square(x: int, y: int, side: int, shape: tuple[int, int] = (100, 100)) -> np.ndarray:
    mask = np.zeros(shape, bool)
    mask[y : y + side, x : x + side] = True
    return mask


# --- slow references, straight from the definitions ------------------------------------------------------------------


def slow_j(mask, truth, void):
    inter = union = 0
    for y in range(mask.shape[0]):
        for x in range(mask.shape[1]):
            if not void[y, x]:
                inter += mask[y, x] and truth[y, x]
                union += mask[y, x] or truth[y, x]
    return inter / union if union else 1.0


def slow_boundary(mask):
    h, w = mask.shape
    return [
        (y, x)
        for y in range(h)
        for x in range(w)
        if any(y + dy < h and x + dx < w and mask[y + dy, x + dx] != mask[y, x] for dy, dx in ((0, 1), (1, 0), (1, 1)))
    ]


def slow_f(mask, truth, tolerance):
    ours, theirs = slow_boundary(mask), slow_boundary(truth)
    if not ours and not theirs:
        return 1.0
    if not ours or not theirs:
        return 0.0
    reach = math.ceil(tolerance * math.sqrt(mask.shape[0] ** 2 + mask.shape[1] ** 2))
    near = lambda a, points: any((a[0] - y) ** 2 + (a[1] - x) ** 2 <= reach**2 for y, x in points)  # noqa: E731
    precision = sum(near(p, theirs) for p in ours) / len(ours)
    recall = sum(near(p, ours) for p in theirs) / len(theirs)
    return 2 * precision * recall / (precision + recall) if precision + recall else 0.0


@given(MASKS, MASKS, MASKS)
@settings(max_examples=60, deadline=None)
def test_j_is_its_definition(mask, truth, void) -> None:
    assert region_similarity(mask, truth, void=void) == pytest.approx(slow_j(mask, truth, void))


@given(MASKS, MASKS, st.sampled_from([0.008, 0.1, 0.2]))
@settings(max_examples=80, deadline=None)
def test_f_is_its_definition(mask, truth, tolerance) -> None:
    assert boundary_accuracy(mask, truth, tolerance=tolerance) == pytest.approx(slow_f(mask, truth, tolerance))


@given(MASKS, MASKS, MASKS)
@settings(max_examples=40, deadline=None)
def test_void_pixels_make_no_boundary(mask, truth, void) -> None:
    ours, theirs = mask & ~void, truth & ~void
    assert boundary_accuracy(mask, truth, void=void) == pytest.approx(slow_f(ours, theirs, 0.008))


# --- cases worked out by hand ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("mask", "truth", "j", "f"),
    [
        pytest.param(square(10, 10, 40), square(10, 10, 40), 1.0, 1.0, id="the same"),
        pytest.param(square(0, 0, 0), square(0, 0, 0), 1.0, 1.0, id="both empty"),
        pytest.param(square(10, 10, 40), square(0, 0, 0), 0.0, 0.0, id="something where nothing is"),
        pytest.param(square(0, 0, 0), square(10, 10, 40), 0.0, 0.0, id="nothing where something is"),
        pytest.param(square(10, 10, 20), square(60, 60, 20), 0.0, 0.0, id="elsewhere"),
        pytest.param(square(0, 0, 100), square(0, 0, 0), 0.0, 1.0, id="all or nothing: neither has a boundary"),
        # 100 x 100 has a diagonal of 141.4: two pixels off is within ceil(1.13) = 2, three is not.
        pytest.param(square(10, 10, 40), square(12, 10, 40), 38 / 42, 1.0, id="two pixels off"),
    ],
)
def test_known_answers(mask, truth, j, f) -> None:
    assert region_similarity(mask, truth) == pytest.approx(j)
    assert boundary_accuracy(mask, truth) == pytest.approx(f)


def test_three_pixels_off_loses_two_sides_of_a_square() -> None:
    """Of the four sides the two that run along the shift stay (but for the ends); the two across it are lost."""
    f = boundary_accuracy(square(10, 10, 40), square(13, 10, 40))
    assert f == pytest.approx(slow_f(square(10, 10, 40), square(13, 10, 40), 0.008))
    assert 0.5 < f < 0.6


def test_the_tolerance_grows_with_the_frame() -> None:
    off = [
        boundary_accuracy(square(20, 20, 30, shape), square(25, 20, 30, shape)) for shape in ((100, 100), (480, 854))
    ]
    assert off[0] < 1
    assert off[1] == 1.0, "0.008 of a diagonal of 980 pixels is 8"


@pytest.mark.parametrize(
    ("point", "hit"),
    [
        ((0.0, 0.0), True),
        ((0.4999, 0.4999), True),
        ((0.5, 0.2), False),
        ((1.0, 1.0), False),
        ((0.2, 0.7), False),
    ],
)
def test_a_point_is_on_the_pixel_it_falls_in(point, hit) -> None:
    assert point_hit(point, square(0, 0, 2, (4, 4))) is hit


@pytest.mark.parametrize("point", [(1.01, 0.5), (-0.1, 0.5), (float("nan"), 0.5)])
def test_points_in_pixels_are_refused(point) -> None:
    with pytest.raises(ValueError, match="normalised"):
        point_hit(point, square(0, 0, 2, (4, 4)))


def test_precision_at_counts_what_reaches_the_threshold() -> None:
    assert precision_at([0.2, 0.5, 0.7, 0.9], 0.5) == 0.75
    with pytest.raises(ValueError, match="no masks"):
        precision_at([], 0.5)


def test_masks_of_two_shapes_are_refused() -> None:
    with pytest.raises(ValueError, match=r"truth must be \(H, W\) bool and of \(9, 12\)"):
        region_similarity(np.zeros((9, 12), bool), np.zeros((12, 9), bool))
    with pytest.raises(ValueError, match="mask must be"):
        boundary_accuracy(np.zeros((9, 12), np.uint8), np.zeros((9, 12), bool))


# --- intervals -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("hits", "count"), [(0, 5), (5, 5), (1, 3), (911, 1000), (50, 100), (1, 1)])
def test_a_share_has_wilsons_interval(hits, count) -> None:
    got = estimate_share([True] * hits + [False] * (count - hits))
    peer = binomtest(hits, count).proportion_ci(0.95, method="wilson")
    assert (got.value, got.low, got.high) == pytest.approx((hits / count, peer.low, peer.high), abs=1e-9)
    # Its ends are the shares p from which the hits are just 1.96 standard deviations away.
    for p in (got.low, got.high):
        if 0 < p < 1:
            assert abs(hits / count - p) / math.sqrt(p * (1 - p) / count) == pytest.approx(1.959964, abs=1e-5)


def test_a_mean_has_students_interval() -> None:
    values = np.random.default_rng(0).beta(2, 1, 40)
    peer = ttest_1samp(values, 0).confidence_interval(0.95)
    got = estimate_mean(values)
    assert (got.value, got.low, got.high) == pytest.approx((values.mean(), peer.low, peer.high))


def test_nineteen_of_twenty_intervals_hold_the_truth() -> None:
    rng = np.random.default_rng(1)
    held = [(e := estimate_share(rng.random(60) < 0.8)).low <= 0.8 <= e.high for _ in range(2000)]
    assert 0.93 < np.mean(held) < 0.97


def test_estimates_need_measurements() -> None:
    for measure in (estimate_share, estimate_mean):
        with pytest.raises(ValueError, match="of nothing"):
            measure([])
    assert estimate_mean([0.5]).high == math.inf
    assert estimate_mean([0.5], within=(0, 1)).low == 0
    assert estimate_mean([0.9, 1.0, 1.0], within=(0, 1)).high == 1


# --- identity switches -----------------------------------------------------------------------------------------------


def matchings(n_truth, n_tracks):
    """Every way to match some of the true objects to as many tracks, as {truth: track}."""
    if n_truth == 0:
        return [{}]
    out = []
    for rest in matchings(n_truth - 1, n_tracks):
        out.append(rest)
        out += [rest | {n_truth - 1: p} for p in range(n_tracks) if p not in rest.values()]
    return out


def slow_switches(frames, threshold):
    before, last, switches = {}, {}, 0
    for iou in frames:
        allowed = [m for m in matchings(*iou.shape) if all(iou[g, p] >= threshold for g, p in m.items())]
        worth = [(sum(before.get(g) == p for g, p in m.items()), sum(iou[g, p] for g, p in m.items())) for m in allowed]
        before = allowed[worth.index(max(worth))]
        switches += sum(g in last and last[g] != p for g, p in before.items())
        last.update(before)
    return switches


@pytest.mark.parametrize("seed", range(40))
def test_identity_switches_are_their_definition(seed) -> None:
    rng = np.random.default_rng(seed)
    shape = (int(rng.integers(1, 4)), int(rng.integers(1, 4)))
    frames = [rng.random(shape) * (rng.random(shape) > 0.3) for _ in range(8)]
    assert identity_switches(frames, threshold=0.3) == slow_switches(frames, 0.3)


A, B = [0.9, 0.0], [0.0, 0.9]  # the one object lies under track 0, under track 1


@pytest.mark.parametrize(
    ("rows", "count"),
    [
        ([A, A, A], 0),
        ([A, B, B], 1),
        ([A, B, A], 2),
        ([A, [0, 0], A], 0),  # lost and found again
        ([A, [0, 0], B], 1),  # lost, and found as another
        ([A, [0.6, 0.9], A], 0),  # what fits well enough is kept
        ([A, [0.4, 0.9], A], 2),
        ([], 0),
    ],
)
def test_identity_switches_by_hand(rows, count) -> None:
    assert identity_switches([np.array([row]) for row in rows]) == count


def test_two_tracks_that_swap_are_two_switches() -> None:
    straight, crossed = np.eye(2), np.eye(2)[::-1]
    assert identity_switches([straight, straight, crossed]) == 2


# --- area under the ROC curve


@settings(max_examples=80, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 5), st.booleans()), min_size=2, max_size=30))
def test_auroc_is_the_probability_of_the_right_order(pairs):
    scores, right = [s for s, _ in pairs], [r for _, r in pairs]
    if all(right) or not any(right):
        with pytest.raises(ValueError, match="both kinds"):
            auroc(scores, right)
        return
    good = [s for s, r in pairs if r]
    bad = [s for s, r in pairs if not r]
    wins = [1.0 if g > b else 0.5 if g == b else 0.0 for g, b in itertools.product(good, bad)]
    assert auroc(scores, right).value == pytest.approx(np.mean(wins))


def test_auroc_error_follows_hanley():
    """A worked value of the formula: A = 0.9, 50 of each kind."""
    rng = np.random.default_rng(0)
    right = np.repeat([True, False], 50)
    scores = rng.normal(0, 1, 100) + 1.8 * right
    found = auroc(scores, right)
    a = found.value
    q1, q2 = a / (2 - a), 2 * a**2 / (1 + a)
    expected = np.sqrt((a * (1 - a) + 49 * (q1 - a**2) + 49 * (q2 - a**2)) / 2500)
    assert found.error == pytest.approx(expected)
    spread = np.std(
        [auroc(np.concatenate([rng.normal(1.8, 1, 50), rng.normal(0, 1, 50)]), right).value for _ in range(200)]
    )
    assert found.error == pytest.approx(spread, rel=0.35)
