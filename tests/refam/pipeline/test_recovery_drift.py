"""Grounded masks: which one is the anchor, and how a drifted track is corrected by them."""

from __future__ import annotations

import numpy as np
import pytest

from refam.pipeline.pipeline import FramePrompt, Pipeline, PipelineOptions, Target
from refam.pipeline.recovery import find_drift
from refam.pipeline.state import GroundedMask, appearance_similarity
from refam.pipeline.word_anchors import ground_masks
from tests.doubles import track_of_masks
from tests.video.clips import ArrayClip
from video import masks
from video.heatmap_fusion import FusedHeatmaps
from video.tracking.appearance import ColorModel
from video.tracking.propagate import propagate
from video.types import Candidate, Heatmap, Observation

H, W, N = 90, 160, 24
RED, BLUE = (220, 40, 40), (40, 60, 220)


def _square(x: int, y: int = 30, side: int = 20):
    mask = np.zeros((H, W), bool)
    mask[y : y + side, x : x + side] = True
    return mask


def _picture(*things):
    image = np.full((H, W, 3), 128, np.uint8)
    for mask, colour in things:
        image[mask] = colour
    return image


# A red square goes right, a blue one stands in its way: they touch on frames 10 to 13.
OBJECT = [_square(5 + 5 * t) for t in range(N)]
OTHER = _square(75, 50)
FRAMES = np.stack([_picture((m, RED), (OTHER & ~m, BLUE)) for m in OBJECT])


def _heatmap(frame, mask, confidence=0.8):
    return Heatmap(frame, np.where(mask, 1.0, 0.05).astype(np.float32), (0.5, 0.5), confidence)


class GivenMasks:
    """A segmenter that answers with a given mask for each frame; its tracker stays where it is started."""

    name = tracker_name = "given-masks"

    def __init__(self, by_frame, tracker=None):
        self.by_frame, self.make_tracker = by_frame, tracker or StaticTracker

    def segment(self, image, prompt, *, frame=0):
        mask = self.by_frame(frame)
        return [Candidate(frame, mask, 0.9)] if mask.any() else []


class StaticTracker:
    """Repeats the mask that it was started with."""

    name = "static"

    def __init__(self):
        self.observations = {}

    def step(self, image):
        return dict(self.observations)

    def start(self, object_id, mask):
        self.observations[object_id] = Observation(mask, 0.9, True)
        return self.observations[object_id]


class StoppingTracker(StaticTracker):
    """Follows what is red, but not beyond the column at which the other one stands."""

    def step(self, image):
        red = (image == RED).all(axis=-1)
        red[:, 85:] = False
        if red.sum() > 200:
            self.observations = {object_id: Observation(red, 0.9, True) for object_id in self.observations}
        return dict(self.observations)


def _consensus(frames, shown=OBJECT, confidences=None):
    maps = tuple(_heatmap(f, shown[f], (confidences or {}).get(f, 0.8)) for f in frames)
    return FusedHeatmaps(maps, np.full(len(maps), 0.9), 0)


def test_a_mask_with_the_neighbour_is_no_anchor_however_certain_the_words():
    at = [1, 6, 11, 16, 21]
    merged = GivenMasks(lambda f: OBJECT[f] | OTHER if f == 11 else OBJECT[f])
    found = ground_masks(ArrayClip(FRAMES), _consensus(at, confidences={11: 0.95}), merged)
    assert [one.frame for one in found][-1] == 11
    assert found[0].fill > 0.9 > found[-1].fill
    assert len(found) == len(at)


def test_frames_without_heat_or_mask_have_no_grounded_mask():
    consensus = _consensus([1, 6, 11])
    nothing = Heatmap(16, np.zeros((H, W), np.float32), (0.5, 0.5), 0.0)
    consensus = FusedHeatmaps((*consensus.heatmaps, nothing), np.full(4, 0.9), 0)
    found = ground_masks(
        ArrayClip(FRAMES), consensus, GivenMasks(lambda f: OBJECT[f] if f != 6 else np.zeros((H, W), bool))
    )
    assert sorted(one.frame for one in found) == [1, 11]
    assert ground_masks(ArrayClip(FRAMES), _consensus([]), GivenMasks(lambda f: OBJECT[f])) == []


@pytest.mark.parametrize(
    ("other", "low", "high"),
    [((OBJECT[3], RED), 1.0, 1.0), ((_square(40, 30, 28), RED), 0.5, 0.52), ((OBJECT[3], BLUE), 0.0, 0.3)],
    ids=["same", "larger", "another colour"],
)
def test_appearance_similarity_compares_colours_and_areas(other, low, high):
    mine = ColorModel.of(_picture((OBJECT[0], RED)), OBJECT[0])
    theirs = ColorModel.of(_picture(other), other[0])
    assert low - 1e-6 <= appearance_similarity(mine, theirs) <= high + 1e-6
    assert appearance_similarity(mine, theirs) == appearance_similarity(theirs, mine)


def _grounded(*frames, shown=OBJECT, colour=RED):
    out = []
    for f in frames:
        appearance = ColorModel.of(_picture((shown[f], colour)), shown[f])
        out.append(GroundedMask(_heatmap(f, shown[f]), shown[f], appearance, 0.8, 0.9, 0.9))
    return out


def _drift(frames, grounded, track):
    """What is known is the first sighting."""
    return find_drift(
        ArrayClip(frames), {grounded[0].frame: grounded[0].mask}, grounded[0].appearance, grounded[1:], track
    )


def _spans(found):
    return [(s.first, s.last, sorted(s.anchors)) for s in found]


def test_a_right_track_has_no_drift():
    track = track_of_masks(np.stack(OBJECT))
    assert _drift(FRAMES, _grounded(1, 6, 11, 16, 21), track) == []
    assert _drift(FRAMES, _grounded(1), track) == []


@pytest.mark.parametrize(
    ("wrong_from", "wrong_to", "expected"),
    [
        (8, 24, [(6, 23, [6, 11, 16, 21])]),  # stayed with the other one to the end
        (8, 14, [(6, 16, [6, 11, 16])]),  # for a while
        (0, 4, [(0, 6, [1, 6])]),  # followed backward
    ],
)
def test_drift_is_tracked_again_between_right_frames(wrong_from, wrong_to, expected):
    shown = [OTHER if wrong_from <= f < wrong_to else OBJECT[f] for f in range(N)]
    home = [6, 1, 11, 16, 21]
    found = _drift(FRAMES, _grounded(*home), track_of_masks(np.stack(shown)))
    assert _spans(found) == expected
    for stray in found:
        for frame, mask in stray.anchors.items():
            assert masks.iou(mask, OBJECT[frame]) == 1.0


def test_a_lost_object_is_recovered_by_the_words():
    shown = [np.zeros((H, W), bool) if f >= 9 else OBJECT[f] for f in range(N)]
    found = _drift(FRAMES, _grounded(6, 16), track_of_masks(np.stack(shown)))
    assert _spans(found) == [(6, 23, [6, 16])]


def test_a_look_alike_does_not_take_the_track_over():
    """The track's own mask appearance as much like the first: it has seen how the object moved, the words have not."""
    twin = [_square(130 - 5 * t) for t in range(N)]
    frames = np.stack([_picture((m, RED), (t, RED)) for m, t in zip(OBJECT, twin, strict=True)])
    grounded = [*_grounded(1), *_grounded(21, shown=twin)]
    assert _drift(frames, grounded, track_of_masks(np.stack(OBJECT))) == []


def test_partial_occlusion_is_no_drift():
    """The words' mask holds what hides it, too, and so has the area that the first one had; but not its colours."""
    frames, shown, words = FRAMES.copy(), list(OBJECT), list(OBJECT)
    hiding = np.zeros((H, W), bool)
    hiding[:, 115:128] = True
    shown[21], words[21] = OBJECT[21] & ~hiding, OBJECT[21]
    frames[21] = _picture((OBJECT[21], RED), (OBJECT[21] & hiding, (200, 70, 60)))
    appearance = ColorModel.of(frames[21], words[21])
    grounded = [*_grounded(1), GroundedMask(_heatmap(21, words[21]), words[21], appearance, 0.8, 0.9, 0.9)]
    assert appearance_similarity(appearance, grounded[0].appearance) < 0.98
    assert appearance_similarity(ColorModel.of(frames[21], shown[21]), grounded[0].appearance) < 0.7
    assert _drift(frames, grounded, track_of_masks(np.stack(shown))) == []


def test_words_that_show_another_object_do_not_move_the_track():
    shown = [OTHER if f >= 8 else OBJECT[f] for f in range(N)]
    grounded = [*_grounded(1), *_grounded(21, shown=[OTHER] * N, colour=BLUE)]
    assert _drift(FRAMES, grounded, track_of_masks(np.stack(shown))) == []


class TrueGrounder:
    """A grounder that knows where the object is."""

    name = "true-grounder"

    def for_words(self, expression):
        return self

    def unknown_words(self, expression):
        return []

    def reading_notes(self, expression):
        return []

    def ground(self, frames, expressions, *, indices, **_):
        return [[_heatmap(int(i), OBJECT[int(i)]) for i in indices] for _ in expressions]


def test_a_static_tracker_is_corrected_on_every_grounded_frame():
    model = GivenMasks(lambda f: OBJECT[f])
    pipeline = Pipeline(model, grounder=TrueGrounder, options=PipelineOptions(grounded_frames=6))
    (result,) = pipeline.run(ArrayClip(FRAMES), [Target("Square", "the red square")])
    ious = [masks.iou(masks.decode(rle), truth) for rle, truth in zip(result.track.rles, OBJECT, strict=True)]
    assert sum(value == 1.0 for value in ious) >= 6, "each of the six frames that the words were asked about"
    alone = propagate(ArrayClip(FRAMES), result.anchor_frame, OBJECT[result.anchor_frame], model)
    left = [masks.iou(masks.decode(rle), truth) for rle, truth in zip(alone.rles, OBJECT, strict=True)]
    assert np.mean(left) < 0.25 < 0.4 < np.mean(ious)


@pytest.mark.parametrize("agree", [True, False])
def test_words_count_beside_a_prompt_if_they_mean_the_same_object(agree):
    """The tracker comes back from a drawing on the last frame, and stops at the other square on the way there."""
    model = GivenMasks(lambda f: OBJECT[f] if agree else OTHER, StoppingTracker)
    drawing = FramePrompt(N - 1, mask=masks.encode(OBJECT[-1]))
    pipeline = Pipeline(model, grounder=TrueGrounder, options=PipelineOptions(grounded_frames=6))
    (result,) = pipeline.run(ArrayClip(FRAMES), [Target("Square", "the red square", prompts=(drawing,))])
    right = [masks.iou(masks.decode(rle), truth) == 1.0 for rle, truth in zip(result.track.rles, OBJECT, strict=True)]
    assert right[-1]
    beyond = [f for f in range(17, N - 1) if right[f]]
    assert bool(beyond) == agree, right
    assert any("the words point at something else" in note for note in result.notes) != agree
