import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from video import masks
from video.tracking.bidirectional import agreement, join_passes

W, H = 60, 20


def seen(x, *, score=0.9, visible=True, width=10):
    """A box of 10 x 10 px from column x on, as a pass sees it."""
    mask = np.zeros((H, W), bool)
    if visible:
        mask[5:15, max(0, x) : max(0, x + width)] = True
    return masks.encode(mask), score, visible


def places(track):
    return [int(masks.decode(m).any(0).argmax()) if visible else None for m, _, visible in track]


@pytest.mark.parametrize(
    ("a", "b", "expected"),
    [
        (seen(10), seen(10), 1),
        (seen(10), seen(15), 5 / 15),
        (seen(10), seen(30), 0),
        (seen(10, width=5), seen(10), 0.5),
        (seen(0, visible=False), seen(0, visible=False), 1),  # both say that it is hidden
        (seen(10), seen(0, visible=False), 0.5),  # one knows nothing
    ],
)
def test_agreement_worked_out_by_hand(a, b, expected):
    assert agreement([a], [b])[0] == pytest.approx(expected)
    assert agreement([b], [a])[0] == pytest.approx(expected)


def test_two_objects_that_both_passes_swap_are_corrected():
    """One goes right, the other left; each pass takes the other one after they meet, and is as sure as before."""
    right = [4 * i for i in range(11)]
    left = right[::-1]
    forward = [seen(x) for x in right[:6] + left[6:]]
    backward = [seen(x) for x in left[:5] + right[5:]]
    assert places(join_passes(forward, backward)) == right


def test_a_pass_that_drifted_is_left_before_it_did_despite_higher_scores():
    truth = [4 * i for i in range(11)]
    forward = [seen(x, score=0.99) for x in truth[:4] + [40] * 7]
    backward = [seen(x, score=0.7) for x in truth]
    assert places(join_passes(forward, backward)) == truth


def test_frames_lost_by_both_passes_are_gaps():
    lost = seen(0, score=0.1, visible=False)
    forward = [seen(0), seen(2), lost, lost, lost, lost, lost]
    backward = [lost, lost, lost, lost, seen(8), seen(10), seen(12)]
    assert places(join_passes(forward, backward))[1:] == [2, None, None, 8, 10, 12]


def test_passes_that_do_not_agree_lose_no_frame():
    lost = seen(0, score=0.1, visible=False)
    forward = [*[seen(x) for x in range(0, 10, 2)], lost, lost, lost]
    backward = [lost, lost, lost, *[seen(40 + x) for x in range(0, 10, 2)]]
    assert None not in places(join_passes(forward, backward))


def test_passes_that_agree_keep_their_scores_and_change_half_way():
    forward = [seen(20, score=0.8)] * 9
    backward = [seen(20, score=0.80001)] * 9
    scores = [s for _, s, _ in join_passes(forward, backward)]
    assert scores == pytest.approx([0.8] * 9, abs=1e-4)
    assert scores[3] == 0.8
    assert scores[6] == 0.80001


@given(st.integers(3, 9), st.integers(0, 12), st.integers(0, 12))
def test_the_more_the_passes_contradict_each_other_the_lower_the_score(n, offset, more):
    def scores(d):
        return np.array([s for _, s, _ in join_passes([seen(20)] * n, [seen(20 + d)] * n)])

    assert (scores(0) == 0.9).all()
    assert (scores(offset + more) <= scores(offset) + 1e-12).all()
    assert scores(offset)[[0, -1]].tolist() == [0.9, 0.9]  # those are given


def test_the_penalty_grows_with_the_distance_from_the_start_of_a_pass():
    """Worked out by hand: boxes apart by all of their width, eight steps, and the second pass is lost on the way."""
    lost = seen(0, visible=False)
    scores = [s for _, s, _ in join_passes([seen(0)] * 9, [lost, seen(30), seen(30), *[lost] * 5, seen(0)])]
    # Row 2 is a quarter of the way, where the other pass has the object elsewhere; later the other pass has lost it.
    assert scores[:4] == pytest.approx([0.9, 0.9 * (1 - 0.5 / 8), 0.9 * (1 - 1 / 8), 0.9 * (1 - 0.25 * 3 / 8)])


@pytest.mark.parametrize("n", [2, 3, 4])
def test_neighbouring_anchors(n):
    forward, backward = [seen(0)] * n, [seen(0)] * n
    forward[0], backward[-1] = seen(3), seen(5)
    assert places(join_passes(forward, backward)) == [3, *[0] * (n - 2), 5]


def disc(x, y, r=12, size=(160, 90)):
    grid = np.mgrid[: size[1], : size[0]]
    return (grid[1] - x) ** 2 + (grid[0] - y) ** 2 <= r**2


def contradicting(n):
    """Two passes that leave the object at once, to different sides; and the object, which goes straight and grows."""
    truth = [disc(20 + 8 * i, 40, 10 + i / 2) for i in range(n)]
    forward = [(masks.encode(truth[0] if i == 0 else disc(30, 15)), 0.9, True) for i in range(n)]
    backward = [(masks.encode(truth[-1] if i == n - 1 else disc(120, 75)), 0.9, True) for i in range(n)]
    return forward, backward, truth


def test_masks_are_interpolated_between_near_anchors_whose_passes_contradict_each_other():
    forward, backward, truth = contradicting(9)
    found = join_passes(forward, backward)
    assert min(masks.iou(masks.decode(m), t) for (m, _, _), t in zip(found, truth, strict=True)) > 0.85
    assert (found[0], found[-1]) == (forward[0], backward[-1])
    assert max(score for _, score, _ in found[1:-1]) < 0.9, "the contradiction is said"


@pytest.mark.parametrize("what", ["far apart", "they meet", "one is lost", "both are lost"])
def test_masks_are_not_interpolated_otherwise(what):
    forward, backward, truth = contradicting(10 if what == "far apart" else 9)
    lost = (masks.encode(disc(-99, -99)), 0.1, False)
    if what == "they meet":
        forward[4] = backward[4] = forward[3] = backward[3] = (masks.encode(truth[3]), 0.9, True)
    elif what == "one is lost":
        forward[1:] = [lost] * 8
    elif what == "both are lost":
        forward[1:], backward[:-1] = [lost] * 8, [lost] * 8
    given = {m for m, _, _ in (*forward, *backward)}
    assert {m for m, _, _ in join_passes(forward, backward)} <= given
