"""Segments between anchors: a new prompt changes only the segment it lies in."""

from __future__ import annotations

import numpy as np
import pytest

from refam.pipeline.pipeline import FramePrompt, Target
from refam.pipeline.segments import plan_segments, split_at_anchors
from refam.pipeline.stage_cache import StageCache
from refam.pipeline.state import ObjectState
from refam.segmenters.grabcut import GrabCutSegmenter
from tests.refam.pipeline.ground_truth import TruthGrounder, ious
from tests.refam.pipeline.prompted_scene import DISC, STAR, N, assert_same_rows, bad_mask, run
from video import masks


class Counting(GrabCutSegmenter):
    asked = 0

    def segment(self, *args, **kwargs):
        type(self).asked += 1
        return super().segment(*args, **kwargs)


@pytest.mark.parametrize(
    ("anchors", "n", "expected"),
    [
        ([], 5, [(0, 4)]),
        ([0], 1, [(0, 0)]),
        ([0], 5, [(0, 4)]),
        ([4], 5, [(0, 4)]),
        ([2, 2], 5, [(0, 2), (2, 4)]),
        ([3, 1], 5, [(0, 1), (1, 3), (3, 4)]),
    ],
)
def test_split_at_anchors(anchors, n, expected):
    assert split_at_anchors(anchors, n) == expected


@pytest.mark.parametrize("as_mask", [True, False])
def test_a_new_prompt_changes_only_the_segment_it_lies_in(scene, as_mask, tmp_path):
    truth = scene[1][STAR]

    def prompt(frame):
        if as_mask:
            return FramePrompt(frame, mask=masks.encode(bad_mask(truth[frame])))
        x0, y0, x1, y1 = masks.box_of(truth[frame])
        return FramePrompt(frame, box=(x0, y0 - 0.001 * frame, x1, y1))

    cache = StageCache(tmp_path, "clip")
    before = run(scene, prompt(3), prompt(10), cache=cache)
    after = run(scene, prompt(3), prompt(6), prompt(10), cache=cache)
    fresh = run(scene, prompt(3), prompt(6), prompt(10))
    outside = [*range(4), *range(10, N)]
    assert_same_rows(before, after, outside)
    assert_same_rows(after, fresh, range(N))  # the cache changes nothing
    key = {k.frame: k for k in before.keyframes}
    assert [k for k in after.keyframes if k.frame in outside] == [key[f] for f in sorted(key) if f in outside]
    assert before.track.rles[6] != after.track.rles[6]


def test_unchanged_segments_are_not_tracked_again(scene, tmp_path):
    truth, cache = scene[1][STAR], StageCache(tmp_path, "clip")
    prompts = [FramePrompt(f, mask=masks.encode(truth[f])) for f in (1, 7, 9, 12)]
    run(scene, prompts[0], prompts[1], prompts[3], cache=cache, segmenter=Counting())
    asked = Counting.asked
    run(scene, *prompts, cache=cache, segmenter=Counting())
    assert 0 < Counting.asked - asked <= 2 * (12 - 7)  # frames 7 to 12 from both sides, nothing before and after


def test_a_word_anchor_shields_the_segment_beyond_it(scene, tmp_path):
    """The words' frame is a prompt too: what lies beyond it stays when a person corrects the other side."""
    cache, grounder = StageCache(tmp_path, "clip"), TruthGrounder(scene[1])
    before = run(scene, words=STAR, cache=cache, grounder=grounder)
    at = before.anchor_frame
    frame = 12 if at < 7 else 1
    far = range(at + 1) if frame > at else range(at, N)
    prompt = FramePrompt(frame, mask=masks.encode(bad_mask(scene[1][STAR][frame]) & scene[1][STAR][frame]))
    after = run(scene, prompt, words=STAR, cache=cache, grounder=grounder)
    assert len(far) > 2
    assert_same_rows(before, after, far)
    assert before.track.rles[frame] != after.track.rles[frame]


def test_words_that_mean_another_object_are_dropped(scene):
    prompt = FramePrompt(0, mask=masks.encode(scene[1][DISC][0]))
    found = run(scene, prompt, words=STAR)
    assert ious(found.track, scene[1][DISC]).min() > 0.85
    assert any("the words point at something else" in note for note in found.notes)


def test_objects_with_the_same_segment_are_tracked_together():
    square = np.zeros((9, 16), bool)
    square[2:5, 2:5] = True
    a, b, c = (ObjectState(Target(name, prompts=(FramePrompt(0, box=(0, 0, 1, 1)),))) for name in "abc")
    a.prompt_anchors, b.prompt_anchors, c.prompt_anchors = {0: square}, {0: square, 6: square}, {0: square}
    found = [
        (p.window, [state.target.label for state, _ in p.members], p.from_prompts) for p in plan_segments([a, b, c], 10)
    ]
    assert found == [((0, 6), ["b"], True), ((0, 9), ["a", "c"], True), ((6, 9), ["b"], True)]
    for state in (a, c):
        state.word_anchors, state.prompt_anchors = {4: square}, {}
    b.word_anchors = {8: square}
    found = {(p.window, p.from_prompts): p for p in plan_segments([a, b, c], 10)}
    assert set(found) == {((0, 9), False), ((0, 6), True), ((6, 8), True)}
    assert found[(0, 9), False].kept_spans == (((0, 4), (4, 9)), ((8, 9),), ((0, 4), (4, 9)))
