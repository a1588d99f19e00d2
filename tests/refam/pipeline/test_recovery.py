"""Gaps in a track, and re-identification by the object's template, without words or weights."""

from __future__ import annotations

import numpy as np
import pytest

from refam.pipeline.pipeline import FramePrompt, Pipeline, Target
from refam.pipeline.recovery import Gap, describe_gaps, find_gaps, reidentify
from refam.segmenters.grabcut import GrabCutSegmenter
from tests.doubles import track_of_masks
from tests.refam.pipeline.ground_truth import track_visible_on
from tests.video.clips import ArrayClip
from video import masks
from video.tracking.template_match import ObjectTemplate

H, W, N = 120, 240, 40
RED, BLUE, GREEN, DARK = (220, 40, 40), (40, 60, 220), (40, 160, 60), (90, 20, 20)
GROUND = np.clip(128 + np.random.default_rng(5).normal(0, 6, (H, W, 1)), 0, 255).astype(np.uint8).repeat(3, axis=2)
POLE = np.zeros((H, W), bool)
POLE[:, 100:140] = True


def _thing(x: int, y: int = 50):
    """An L of 24 x 24 pixels."""
    mask = np.zeros((H, W), bool)
    mask[y : y + 24, x : x + 8] = mask[y + 16 : y + 24, x : x + 24] = True
    return mask


def _picture(*things):
    image = GROUND.copy()
    for mask, colour in things:
        image[mask] = colour
    return image


WHOLE = [_thing(10 + 5 * t) for t in range(N)]
SEEN = [mask & ~POLE for mask in WHOLE]
BEHIND = np.stack([_picture((mask, RED), (POLE, BLUE)) for mask in WHOLE])


def test_an_object_behind_a_pole_is_tracked_on_the_other_side():
    target = Target("thing", prompts=(FramePrompt(0, mask=masks.encode(SEEN[0])),))
    (result,) = Pipeline(GrabCutSegmenter()).run(ArrayClip(BEHIND), [target])
    track = result.track
    hidden = [t for t in range(N) if not SEEN[t].any()]
    assert len(hidden) >= 3
    assert not track.visible[hidden].any()
    after = range(hidden[-1] + 8, N)
    assert len(after) >= 5
    assert all(masks.iou(masks.decode(track.rles[t]), SEEN[t]) > 0.8 for t in after)


@pytest.mark.parametrize(
    ("other", "found"),
    [
        pytest.param((np.zeros((H, W), bool), GREEN), True, id="alone"),
        pytest.param((_thing(200, 10), GREEN), True, id="beside the same shape in another colour"),
        pytest.param((_thing(200, 10), RED), False, id="beside its twin: which is which cannot be told"),
    ],
)
def test_a_lost_object_is_found_unless_it_has_a_look_alike(other, found):
    frames = np.stack([_picture((mask, RED), other, (POLE, BLUE)) for mask in WHOLE])
    seen = [m if t < 16 else np.zeros_like(m) for t, m in enumerate(SEEN)]
    strays = reidentify(ArrayClip(frames), {0: SEEN[0]}, GrabCutSegmenter(), track_of_masks(np.stack(seen)), [])
    got = {frame: mask for stray in strays for frame, mask in stray.anchors.items() if frame >= 16}
    assert bool(got) == found
    assert all(masks.iou(mask, SEEN[frame]) > 0.8 for frame, mask in got.items())


def test_places_of_other_tracks_are_not_taken():
    seen = [m if t < 16 else np.zeros_like(m) for t, m in enumerate(SEEN)]
    other = track_of_masks(np.stack(SEEN))
    assert not reidentify(ArrayClip(BEHIND), {0: SEEN[0]}, GrabCutSegmenter(), track_of_masks(np.stack(seen)), [other])


def test_a_right_track_is_not_changed():
    assert not reidentify(ArrayClip(BEHIND), {0: SEEN[0]}, GrabCutSegmenter(), track_of_masks(np.stack(SEEN)), [])


@pytest.mark.parametrize("x", [0, 30, 180, 216])
def test_a_template_matches_where_the_object_is(x):
    portrait = ObjectTemplate.of(_picture((_thing(20), RED)), _thing(20))
    best = portrait.find(_picture((_thing(x, 70), RED)))[0]
    assert best.score > 0.9
    assert masks.iou(portrait.place(best), _thing(x, 70)) > 0.8


@pytest.mark.parametrize("spotted", [False, True])
@pytest.mark.parametrize("gap", [0, 1, 30])
def test_among_objects_of_its_colour_pixels_and_outline_decide(spotted, gap):
    def picture(x):
        image = _picture((_thing(x, 50), RED), (_box(x + 24 + gap, 50), RED))
        if spotted:
            image[58:62, x + 2 : x + 6] = image[68:72, x + 10 : x + 14] = DARK
        return image

    def _box(x, y):
        mask = np.zeros((H, W), bool)
        mask[y : y + 24, x : x + 24] = True
        return mask

    first = picture(20)
    first[:, 44:] = GROUND[:, 44:]
    portrait = ObjectTemplate.of(first, _thing(20, 50))
    image = picture(150)
    closely = sorted((portrait.refine(image, m) for m in portrait.find(image)), key=lambda m: -m.score)
    assert closely[0].score > 0.8
    assert masks.iou(portrait.place(closely[0]), _thing(150, 50)) > 0.95
    assert all(match.score < 0.7 for match in closely[1:])


def test_a_plain_object_does_not_match_a_part_of_a_larger_one():
    portrait = ObjectTemplate.of(_picture((_thing(20), RED)), _thing(20))
    image = _picture((POLE, RED))
    assert all(portrait.refine(image, match).score < 0.7 for match in portrait.find(image))


def test_an_empty_mask_has_no_template():
    assert ObjectTemplate.of(GROUND, np.zeros((H, W), bool)) is None


@pytest.mark.parametrize("picture", [_picture(), _picture((_thing(60), GREEN)), _picture((POLE, RED))])
def test_a_template_does_not_match_where_the_object_is_absent(picture):
    portrait = ObjectTemplate.of(_picture((_thing(20), RED)), _thing(20))
    assert all(match.score < 0.9 for match in portrait.find(picture))


@pytest.mark.parametrize(
    ("visible", "said"),
    [
        ([1, 1, 1, 1], []),
        ([0, 0, 1, 1], ["not found before 0.20 s"]),
        ([1, 1, 0, 0], ["lost from 0.20 s to the end"]),
        ([1, 0, 0, 1], ["lost from 0.10 s to 0.20 s, found again at 0.30 s"]),
        ([0, 0], ["it is not found anywhere in the video"]),
    ],
)
def test_describe_gaps(visible, said):
    assert describe_gaps(track_visible_on(visible), np.arange(len(visible)) / 10) == said


@pytest.mark.parametrize(
    ("visible", "first", "said"),
    [
        ([1, 1, 0, 0], 0, ["lost from 0.20 s to 0.30 s, where the range ends"]),
        ([1, 1, 0, 0], 6, ["lost from 0.80 s to the end"]),
        ([0, 0, 1, 1], 6, ["not found from 0.60 s, where the range begins, to 0.80 s"]),
        ([0, 0, 1, 1], 0, ["not found before 0.20 s"]),
        ([1, 0, 0, 1], 3, ["lost from 0.40 s to 0.50 s, found again at 0.60 s"]),
        ([0, 0, 0], 3, ["it is not found anywhere from 0.30 s to 0.50 s"]),
        ([1, 1, 1], 3, []),
    ],
)
def test_describe_gaps_of_a_part_says_nothing_of_the_rest(visible, first, said):
    times = np.arange(10) / 10
    part = times[first : first + len(visible)]
    assert describe_gaps(track_visible_on(visible), part, whole_times=times) == said


def test_find_gaps_returns_the_longest_few():
    track = track_visible_on([1, 0, 0, 0, 1, 0, 1, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0])
    assert find_gaps(track) == [Gap(12, 16), Gap(7, 10)]
    assert all(w.first <= p <= w.last for w in find_gaps(track) for p in w.sample())
