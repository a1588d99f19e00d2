"""Edits of tracks: overlaps, drawn boxes, and gaps that are filled."""

from __future__ import annotations

import numpy as np

from refam.pipeline.pipeline import Target
from refam.pipeline.state import ObjectState
from refam.pipeline.tracks import apply_prompt_boxes, fill_gaps, resolve_overlaps
from tests.refam.pipeline.ground_truth import track_visible_on
from video import masks
from video.types import MaskTrack


def track_of(boxes, score):
    found = [masks.box_mask(box, (40, 20)) for box in boxes]
    return MaskTrack(
        label="x",
        size=(40, 20),
        frames=np.arange(len(found)),
        rles=tuple(map(masks.encode, found)),
        boxes=np.array([masks.box_of(m) for m in found]),
        scores=np.full(len(found), score),
        visible=np.ones(len(found), bool),
    )


def test_overlaps_go_to_the_higher_score_but_never_from_a_drawn_mask():
    left, right, same = (0.0, 0.0, 0.6, 1.0), (0.4, 0.0, 1.0, 1.0), (0.4, 0.0, 0.6, 1.0)
    states = [ObjectState(Target(name, words=name)) for name in "ab"]
    states[0].track = track_of([left, left, left, left], 0.9)
    states[1].track = track_of([right, right, same, (0.7, 0.0, 1.0, 1.0)], 0.5)
    states[1].prompt_anchors = {1: masks.decode(states[1].track.rles[1])}
    resolve_overlaps(states)
    a, b = (state.track for state in states)
    assert [masks.area(r) / 20 for r in a.rles] == [24, 16, 24, 24]
    assert [masks.area(r) / 20 for r in b.rles] == [16, 24, 0, 12]
    assert b.visible.tolist() == [True, True, False, True]
    assert b.boxes[0].tolist() == [0.6, 0.0, 1.0, 1.0]


def test_a_drawn_box_changes_the_boxes_up_to_the_next_drawn_frame():
    track = track_of([(0.2, 0.2, 0.4, 0.6)] * 9, 0.9)
    state = ObjectState(Target("x", words="x"))
    state.prompt_anchors = {2: np.ones((20, 40), bool), 6: np.ones((20, 40), bool)}
    state.word_anchors = {1: np.ones((20, 40), bool)}
    state.prompt_boxes = {2: (0.2, 0.1, 0.4, 0.7)}
    boxes = apply_prompt_boxes(state, track).boxes
    assert boxes[2].tolist() == [0.2, 0.1, 0.4, 0.7]
    np.testing.assert_allclose(boxes[0], boxes[2], atol=1e-9)
    np.testing.assert_allclose(boxes[6:], track.boxes[6:], atol=1e-9)
    assert 0.1 < boxes[4][1] < 0.2


def test_fill_gaps_keeps_visible_rows():
    before = track_visible_on([1, 1, 0, 0, 0, 1])
    found = track_visible_on([1, 1, 1, 1, 0, 1])
    after = fill_gaps(before, found)
    assert after.visible.tolist() == [True, True, True, True, False, True]
    assert after.rles[0] is before.rles[0]
