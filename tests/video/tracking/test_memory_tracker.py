"""The tracker with a memory, with colours as features, and with SAM2's where the weights are available."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from backend.benchmarks.compose import read_cutout
from backend.benchmarks.davis_clips import read_clip
from refam.evaluation.composed import Composition, compose
from refam.segmenters.grabcut import GrabCutSegmenter
from tests.video.clips import ArrayClip
from tests.video.tracking.drawn_clips import DISC, STAR, ColourSegmenter, ious, scene_clip
from video import masks
from video.tracking.flow_tracker import FlowTracker
from video.tracking.mask_evidence import drop_unlikely_parts
from video.tracking.memory_bank import MemoryBank, MemoryBankOptions
from video.tracking.memory_tracker import MemoryTracker, MemoryTrackerOptions
from video.tracking.propagate import TrackStart, propagate, propagate_all, tracker_for, tracker_name
from video.tracking.schedule import EVERY_FRAME, LookSchedule
from video.tracking.state import deserialize, serialize
from video.types import Candidate

SHARED = Path(__file__).parents[3].parent / "shared"
WEIGHTS, DAVIS = SHARED / "weights" / "sam2-hiera-tiny-image", SHARED / "data" / "davis-dev"
BAR = ("yellow", "square", "plain", "large")


def naive_share(query, pages, labels, reaches, nearest, temperature):
    """Label propagation in loops: of each page the best half of the votes within reach, of all of those the best."""
    h, w = query.shape[:2]
    out = np.zeros((h, w))
    for y, x in np.ndindex(h, w):
        votes = []
        for page, label, reach in zip(pages, labels, reaches, strict=True):
            near = [(j, i) for j, i in np.ndindex(h, w) if abs(j - y) <= reach * h and abs(i - x) <= reach * w]
            cosines = [(float(query[y, x] @ page[j, i]), float(label[j, i])) for j, i in near]
            votes += sorted(cosines, reverse=True)[: nearest // 2]
        votes = sorted(votes, reverse=True)[:nearest]
        weights = np.exp([c / temperature for c, _ in votes])
        out[y, x] = (weights * [v for _, v in votes]).sum() / weights.sum()
    return out


@pytest.mark.parametrize(("size", "radius"), [((6, 8), 1.0), ((19, 7), 0.2), ((20, 12), 0.1)])
def test_votes_are_those_of_a_naive_reference(size, radius):
    rng = np.random.default_rng(3)
    memory = MemoryBank(MemoryBankOptions(top_k=6, max_recent=2, max_long_term=2, search_radius=radius))
    frames = [memory.make_keys(rng.normal(size=(*size, 5)).astype(np.float32)) for _ in range(4)]
    labels = [np.full(size, 0.5, np.float32) + 0.5 * (rng.random(size) > 0.5) for _ in range(3)]
    memory.add_anchor(0, frames[0], labels[0])
    for frame, label in zip(frames[1:3], labels[1:], strict=True):
        memory.add(frame, {0: label}, is_reliable=False)
    found = memory.read(frames[3]).share(0)
    expected = naive_share(frames[3], frames[:3], labels, (9.0, radius, radius), 6, 0.1)
    np.testing.assert_allclose(found, expected, atol=1e-5)


def test_the_memory_is_bounded_and_keeps_the_first_frame():
    rng = np.random.default_rng(0)
    memory = MemoryBank(MemoryBankOptions(max_recent=3, max_long_term=4, max_anchors=3, temperature=0.03))
    first = memory.make_keys(rng.normal(size=(8, 8, 16)).astype(np.float32))
    label = np.zeros((8, 8), np.float32)
    label[2:5, 2:5] = 1
    memory.add_anchor(0, first, label)
    for _ in range(200):
        keys = memory.make_keys(rng.normal(size=(8, 8, 16)).astype(np.float32))
        memory.add(keys, {0: np.zeros((8, 8), np.float32)}, is_reliable=True)
        memory.add_anchor(0, keys, np.zeros((8, 8), np.float32))
    assert len(memory) <= 3 + 4 + 3
    share = memory.read(first).share(0)
    assert share[label > 0].min() > 0.9
    assert share[label == 0].mean() < 0.1
    assert memory.read(first).similarity({0})[label > 0].min() > 0.99
    assert memory.read(first).similarity({1}).max() == -1, "the second object was never started"


def test_two_objects_need_one_pass_of_the_encoder_per_frame():
    frames, truth = scene_clip(
        [(STAR, 11, lambda t: (20 + 70 * t, 20 + 8 * t)), (DISC, 10, lambda t: (95 - 70 * t, 48))], n=16
    )
    segmenter = ColourSegmenter()
    starts = [TrackStart("star", {0: truth[0, 0]}), TrackStart("disc", {0: truth[1, 0]})]
    tracks = propagate_all(ArrayClip(frames), starts, segmenter)
    assert segmenter.encoded == 16 + 1  # forward, and the first frame once more, from where nothing lies behind
    for track, true in zip(tracks, truth, strict=True):
        assert track.visible.all()
        assert ious(track, true).min() > 0.8
        assert track.scores.min() > 0.6
    both = [masks.decode(a) & masks.decode(b) for a, b in zip(tracks[0].rles, tracks[1].rles, strict=True)]
    assert not np.any(both)


def test_a_hidden_object_is_a_gap_and_is_found_where_it_reappears():
    frames, truth = scene_clip([(STAR, 8, lambda t: (18 + 80 * t, 32)), (BAR, 14, lambda t: (57, 32))], n=40)
    share = truth[0].reshape(40, -1).sum(1) / truth[0, 0].sum()
    hidden = np.flatnonzero(share == 0)
    assert len(hidden) >= 3, "the scene must hide it wholly"
    track = propagate(ArrayClip(frames), 0, truth[0, 0], ColourSegmenter())
    assert not track.visible[hidden[1:]].any()
    whole = np.flatnonzero(share > 0.95)
    assert track.visible[whole[whole > hidden[-1]]][2:].all()
    assert ious(track, truth[0])[-3:].min() > 0.8
    found = track.visible & (share > 0.9)
    assert all(masks.iou(masks.decode(track.rles[f]), truth[0, f]) > 0.7 for f in np.flatnonzero(found))


def test_an_object_that_leaves_is_not_found_again():
    frames, truth = scene_clip([(STAR, 11, lambda t: (60 + 130 * t, 30)), (DISC, 10, lambda t: (40, 46))], n=30)
    gone = np.flatnonzero(truth[0].reshape(30, -1).sum(1) == 0)
    assert len(gone) > 10
    track = propagate(ArrayClip(frames), 0, truth[0, 0], ColourSegmenter())
    assert not track.visible[gone[1:]].any()
    assert (track.scores[gone[1:]] < 0.5).all()


def test_an_object_is_lost_at_a_cut_and_found_after_it():
    one, truth = scene_clip([(STAR, 11, lambda t: (40 + 20 * t, 30))], n=14)
    other, _ = scene_clip([(DISC, 10, lambda t: (80, 30))], n=6, ground=9, tone="dark")
    clip = ArrayClip(np.concatenate([one[:7], other, one[7:]]))
    track = propagate(clip, 0, truth[0, 0], ColourSegmenter())
    assert track.visible.tolist() == [True] * 7 + [False] * 6 + [True] * 7
    assert min(masks.iou(masks.decode(track.rles[f + 6]), truth[0, f]) for f in range(7, 14)) > 0.8


@pytest.mark.parametrize(
    ("heights", "together"),
    [
        pytest.param((24, 42), True, id="they pass"),
        pytest.param((24, 42), False, id="one of them", marks=pytest.mark.slow),
        pytest.param((30, 34), True, id="they graze", marks=pytest.mark.slow),
        pytest.param((32, 32), True, id="one hides the other"),
        pytest.param((32, 32), False, id="the other hides the one", marks=pytest.mark.slow),
    ],
)
def test_look_alikes_that_cross_do_not_swap(heights, together):
    """Nothing but how they move tells them apart."""
    frames, truth = scene_clip(
        [(STAR, 7, lambda t: (20 + 70 * t, heights[0])), (STAR, 7, lambda t: (90 - 70 * t, heights[1]))],
        n=28,
        ground=9,
        size=(320, 180),  # in smaller ones a star is a few feature cells while the other is in front of it
    )
    common = (truth[0, 0].sum() + truth[1, 0].sum()) / truth.any(axis=0).sum(axis=(1, 2)).min()
    assert (common > 1.1) == (heights != (24, 42)), "they must lie on each other"
    starts = [TrackStart("a", {0: truth[0, 0]}), TrackStart("b", {0: truth[1, 0]})][: 2 if together else 1]
    tracks = propagate_all(ArrayClip(frames), starts, ColourSegmenter())
    for track, true in zip(tracks, truth, strict=False):
        assert track.visible[-5:].all()
        assert ious(track, true)[-5:].min() > 0.7
    if together:
        both = [masks.decode(a) & masks.decode(b) for a, b in zip(tracks[0].rles, tracks[1].rles, strict=True)]
        assert not np.any(both)


def test_look_alikes_have_similar_features():
    keys = np.zeros((4, 6, 3), np.float32)
    keys[..., 2] = 1
    keys[0, :2] = keys[3, :2] = (1, 0, 0)
    keys[0, 4:] = (0, 1, 0)
    memory = MemoryBank()
    for object_id, place in enumerate([np.s_[0, :2], np.s_[3, :2], np.s_[0, 4:]]):
        share = np.zeros((4, 6), np.float32)
        share[place] = 1
        memory.add_anchor(object_id, keys, share)
    assert [memory.look_alikes(k) for k in range(3)] == [{0, 1}, {0, 1}, {2}]


def test_an_object_smaller_than_a_feature_cell_is_tracked():
    frames, truth = scene_clip([(("red", "circle", "plain", "small"), 1.2, lambda t: (30 + 40 * t, 30))], n=12)
    assert truth[0, 0].sum() < 60
    track = propagate(ArrayClip(frames), 0, truth[0, 0], ColourSegmenter())
    middles = [np.array(masks.box_of(truth[0, f])).reshape(2, 2).mean(0) for f in range(12)]
    ours = track.boxes.reshape(-1, 2, 2).mean(1)
    assert track.visible.all()
    assert np.abs(ours - middles).max() < 0.03


def track_with(schedule, frames, mask, *, first=0):
    """Return the track, and the number of frames that were looked at."""
    segmenter = ColourSegmenter()
    track = propagate(ArrayClip(frames), first, mask, segmenter, schedule=schedule)
    return track, segmenter.encoded


@pytest.mark.parametrize(
    ("distance", "most"),
    [
        pytest.param(0, 8, id="at rest"),  # 0, 1, 3, 7, 15, 31, 47
        pytest.param(4, 9, id="slow"),
    ],
)
def test_a_thing_at_rest_needs_few_looks(distance, most):
    frames, truth = scene_clip([(DISC, 11, lambda t: (30 + distance * t, 30))], n=48)
    track, looks = track_with(LookSchedule(max_stride=16), frames, truth[0, 0])
    assert looks <= most
    assert ious(track, truth[0]).min() > 0.9


def test_a_thing_that_jumps_is_looked_at_and_found():
    """It moves by more than its own width in one frame, where no flow leads."""
    frames, truth = scene_clip([(STAR, 9, lambda t: (22 if t < 0.5 else 92, 30))], n=24)
    track, looks = track_with(LookSchedule(max_stride=8), frames, truth[0, 0])
    assert track.visible.sum() >= len(frames) - 1, "all but the frame on which it has jumped"
    assert ious(track, truth[0])[track.visible].min() > 0.8
    assert looks < 20


@pytest.mark.parametrize("step", [8, 16])
def test_a_thing_that_moves_by_its_own_size_on_every_frame_is_followed(step):
    """No flow leads so far; where it should be is known from the frames before."""
    frames, truth = scene_clip([(STAR, 7, lambda t: (12 + 5 * step * t, 30))], n=6)
    track = propagate(ArrayClip(frames), 0, truth[0, 0], ColourSegmenter())
    assert track.visible.all()
    assert ious(track, truth[0]).min() > 0.8


class FragmentingSegmenter(ColourSegmenter):
    """Outlines what is not grey within the prompt's mask; of a thing that the mask holds in part it gives stripes."""

    def segment(self, image, prompt, *, frame=0):
        saturated = np.ptp(image.astype(int), axis=-1) > 60
        mask = saturated & (cv2.resize(prompt.prior, image.shape[1::-1]) >= 0.5)
        if mask.sum() < 0.9 * saturated.sum():
            mask[:, ::2] = False
        return [Candidate(frame, mask, 0.9)] if mask.any() else []


@pytest.mark.parametrize("step", [36, 48])
def test_the_whole_of_a_long_thing_is_found_though_part_of_it_is_far_from_its_last_place(step):
    """A bar of 60 x 8 pixels moves by most of its length at once, over noise."""
    noise = np.random.default_rng(0).normal(120, 12, (72, 128, 1)).clip(60, 180).astype(np.uint8)
    frames, truth = np.tile(noise, (6, 1, 1, 3)), np.zeros((6, 72, 128), bool)
    for t in range(6):
        x = 4 if t < 3 else 4 + step
        truth[t, 32:40, x : x + 60] = True
    frames[truth] = (200, 40, 40)
    track = propagate(ArrayClip(frames), 0, truth[0], FragmentingSegmenter())
    assert ious(track, truth).min() > 0.9


class ChangingSegmenter(ColourSegmenter):
    """The features of whatever is not grey turn by an angle from image to image; the pixels stay as they are.

    Args:
        step_deg: By how much.
    """

    def __init__(self, step_deg):
        super().__init__()
        self._step_rad = np.deg2rad(step_deg)

    def features(self, image):
        angle = self._step_rad * self.encoded
        features = super().features(image)
        saturated = cv2.resize((np.ptp(image.astype(int), axis=-1) > 60).astype(np.float32), (64, 36))[..., None]
        turned = np.concatenate([np.cos(angle) * features, np.sin(angle) * np.roll(features, 1, -1)], -1)
        plain = np.concatenate([features, np.zeros_like(features)], -1)
        return saturated * turned + (1 - saturated) * plain


def test_features_may_change_while_the_colours_stay():
    """As SAM2's do over another background, or where the picture is blurred."""
    frames, truth = scene_clip([(STAR, 9, lambda t: (30 + 40 * t, 30))], n=10)
    options = MemoryTrackerOptions(schedule=EVERY_FRAME)
    segmenter = ChangingSegmenter(35)
    track = propagate(
        ArrayClip(frames), 0, truth[0, 0], segmenter, make_tracker=lambda: MemoryTracker(segmenter, options=options)
    )
    assert track.visible.all()
    assert ious(track, truth[0]).min() > 0.8


def test_what_flow_got_wrong_before_a_look_is_looked_at_again():
    """From frame 12 on a bar is where the object was, and nothing but a look could tell."""
    bare, truth = scene_clip([(STAR, 8, lambda t: (30 + 8 * t, 32))], n=30)
    hidden = np.concatenate([bare[:12], scene_clip([(BAR, 14, lambda t: (34, 32))], n=18)[0]])
    schedule = LookSchedule(max_stride=8, min_flow_confidence=0, max_motion=9, max_area_ratio=9, min_color_similarity=0)
    track, _ = track_with(schedule, hidden, truth[0, 0])
    assert track.visible[:12].all()
    assert not track.visible[12:].any(), "no frame of the bar keeps the mask that flow left there"


@pytest.mark.parametrize("stop", [3, *(pytest.param(stop, marks=pytest.mark.slow) for stop in (9, 10)), 17])
def test_a_pass_that_is_resumed_between_two_looks_gives_the_same_masks(stop):
    frames, truth = scene_clip([(STAR, 9, lambda t: (22 + 60 * t, 30))], n=24)

    def run(tracker, images, known):
        seen = dict(known)
        for i, image in images:
            observed = tracker.step(image) or {0: tracker.start(0, truth[0, 0])}
            seen[i] = observed[0]
            for ago, revised in tracker.revisions().items():
                seen[i - ago] = revised[0]
        return seen

    whole = MemoryTracker(ColourSegmenter())
    expected = run(whole, enumerate(frames), {})
    first, second = MemoryTracker(ColourSegmenter()), MemoryTracker(ColourSegmenter())
    known = run(first, list(enumerate(frames))[:stop], {})
    second.load_state_dict(deserialize(serialize(first.state_dict())))
    resumed = run(second, list(enumerate(frames))[stop:], known)
    for tracker, seen in ((whole, expected), (second, resumed)):
        tracker.finish()
        for ago, revised in tracker.revisions().items():
            seen[len(frames) - 1 - ago] = revised[0]
    assert expected.keys() == resumed.keys() == set(range(len(frames)))
    for i in expected:
        np.testing.assert_array_equal(expected[i].mask, resumed[i].mask)
        assert expected[i].score == resumed[i].score


def test_one_frame_is_a_clip():
    frames, truth = scene_clip([(STAR, 11, lambda t: (30, 30))], n=1)
    track = propagate(ArrayClip(frames), 0, truth[0, 0], ColourSegmenter())
    np.testing.assert_array_equal(masks.decode(track.rles[0]), truth[0, 0])


def test_features_choose_the_tracker():
    assert isinstance(tracker_for(ColourSegmenter()), MemoryTracker)
    assert isinstance(tracker_for(GrabCutSegmenter()), FlowTracker)
    assert (tracker_name(ColourSegmenter()), tracker_name(GrabCutSegmenter())) == ("memory", "dis-flow")


def test_bad_input_is_named():
    frames, truth = scene_clip([(STAR, 11, lambda t: (30, 30))], n=3)
    tracker = MemoryTracker(ColourSegmenter())
    with pytest.raises(ValueError, match="step"):
        tracker.start(0, truth[0, 0])
    assert tracker.step(frames[0]) == {}
    with pytest.raises(ValueError, match="size"):
        tracker.start(0, truth[0, 0][:10])
    with pytest.raises(ValueError, match="empty"):
        tracker.start(0, np.zeros_like(truth[0, 0]))
    with pytest.raises(ValueError, match="keep their size: 192x108, then 192x50"):
        tracker.step(frames[0][:50])
    with pytest.raises(ValueError, match="max_stride"):
        LookSchedule(max_stride=0)
    with pytest.raises(ValueError, match="wrong_iou"):
        LookSchedule(wrong_iou=0.9, confirmed_iou=0.8)
    with pytest.raises(ValueError, match="min_score <= redetect_score"):
        MemoryTrackerOptions(min_score=0.9)
    with pytest.raises(ValueError, match="unknown_cosine < known_cosine"):
        MemoryTrackerOptions(unknown_cosine=0.9)
    with pytest.raises(ValueError, match="search_radius"):
        MemoryBankOptions(search_radius=0)
    with pytest.raises(ValueError, match="at least"):
        MemoryBankOptions(max_anchors=0)


@pytest.mark.slow
@pytest.mark.skipif(not (WEIGHTS.is_dir() and DAVIS.is_dir()), reason=f"no weights or clips in {SHARED}")
def test_with_sam2_a_real_car_is_tracked_lost_at_a_cut_and_found():
    from refam.segmenters.sam2 import Sam2Segmenter

    shadow = read_clip(DAVIS, "car-shadow", step=3, max_frames=8)
    car, truth, swan = shadow.frames, shadow.truth, read_clip(DAVIS, "blackswan", step=3, max_frames=3).frames
    clip = ArrayClip(np.concatenate([car[:4], swan, car[4:]]))
    track = propagate(clip, 0, truth[0], Sam2Segmenter.load(str(WEIGHTS)))
    assert track.visible.tolist() == [True] * 4 + [False] * 3 + [True] * 4
    assert min(masks.iou(masks.decode(track.rles[f]), truth[f]) for f in range(4)) > 0.9
    assert min(masks.iou(masks.decode(track.rles[f + 3]), truth[f]) for f in range(4, 8)) > 0.9


@pytest.mark.slow
@pytest.mark.skipif(not (WEIGHTS.is_dir() and DAVIS.is_dir()), reason=f"no weights or clips in {SHARED}")
def test_with_sam2_a_tail_on_the_other_side_of_a_pole_belongs_to_the_dog():
    from refam.segmenters.sam2 import Sam2Segmenter

    libby = read_clip(DAVIS, "libby", step=2, max_frames=10)
    frames, truth = libby.frames, libby.truth
    pieces = [f for f, mask in enumerate(truth) if len(masks.components(mask, least_px=40)) > 1]
    assert len(pieces) > 2
    track = propagate(ArrayClip(frames), 0, truth[0], Sam2Segmenter.load(str(WEIGHTS)))
    true = np.array([masks.box_of(truth[f]) for f in pieces])
    assert masks.box_iou(track.boxes[pieces], true).min() > 0.8


@pytest.mark.slow
@pytest.mark.skipif(not WEIGHTS.is_dir(), reason=f"no weights in {SHARED}")
def test_with_sam2_look_alikes_that_touch_do_not_swap():
    from refam.segmenters.sam2 import Sam2Segmenter

    frames, truth = scene_clip(
        [(STAR, 7, lambda t: (20 + 70 * t, 28)), (STAR, 7, lambda t: (90 - 70 * t, 38))], n=12, ground=9
    )
    starts = [TrackStart("a", {0: truth[0, 0]}), TrackStart("b", {0: truth[1, 0]})]
    for track, true in zip(
        propagate_all(ArrayClip(frames), starts, Sam2Segmenter.load(str(WEIGHTS))), truth, strict=True
    ):
        assert track.visible.all()
        assert ious(track, true).min() > 0.7


@pytest.mark.slow
@pytest.mark.skipif(not (WEIGHTS.is_dir() and DAVIS.is_dir()), reason=f"no weights or clips in {SHARED}")
@pytest.mark.parametrize(
    "change",
    [
        pytest.param({"jump": 2.0}, id="jumps"),
        pytest.param({"scale": 2.0, "object_size": 0.2}, id="becomes twice as large"),
        pytest.param({"defocus_px": 4.0}, id="is blurred"),
        pytest.param({"rotation_deg": 30.0}, id="turns"),
        pytest.param({"outside_frames": 0.3}, id="is outside for a while"),
    ],
)
def test_with_sam2_a_real_object_that_changes_suddenly_is_found_again(change):
    from refam.segmenters.sam2 import Sam2Segmenter

    background = read_clip(DAVIS, "cows", step=1, max_frames=10).frames
    composition = Composition(**{"frames": 10, "object_size": 0.25, "speed": 0.02} | change)
    clip = compose(read_cutout(DAVIS, "car-shadow"), background, composition)
    track = propagate(clip.clip, 0, clip.truth[0], Sam2Segmenter.load(str(WEIGHTS)))
    assert not track.visible[clip.share == 0].any()
    assert min(masks.iou(masks.decode(track.rles[f]), clip.truth[f]) for f in range(7, 10)) > 0.8


SIZE = (64, 48)  # of the frame; the grid of probabilities has a cell for each 8x8 pixels
BODY, TAIL, HALF = (24, 8, 56, 40), (8, 16, 16, 20), (8, 8, 20, 40)


def drawn(*boxes):
    mask = np.zeros(SIZE[::-1], np.bool_)
    for x0, y0, x1, y1 in boxes:
        mask[y0:y1, x0:x1] = True
    return mask


def probability_map(value_at_tail):
    grid = masks.resize_map(drawn(BODY), (8, 6))
    grid[2, 1] = value_at_tail
    return grid


@pytest.mark.parametrize(
    ("mask", "probability", "expected"),
    [
        pytest.param(drawn(BODY, TAIL), 0.9, drawn(BODY, TAIL), id="a tail behind a pole with a high probability"),
        pytest.param(drawn(BODY, TAIL), 0.5, drawn(BODY, TAIL), id="just so"),
        pytest.param(drawn(BODY, TAIL), 0.4, drawn(BODY), id="a small part with a low probability"),
        pytest.param(drawn(BODY, HALF), 0.0, drawn(BODY, HALF), id="a half stands for itself"),
        pytest.param(drawn(BODY, (9, 17, 10, 19)), 1.0, drawn(BODY), id="two pixels are never a piece"),
        pytest.param(drawn(TAIL), 0.0, drawn(TAIL), id="one part is all there is"),
        pytest.param(drawn(), 1.0, drawn(), id="nothing"),
    ],
)
def test_small_parts_stay_only_where_the_probability_is_high(mask, probability, expected):
    np.testing.assert_array_equal(drop_unlikely_parts(mask, probability_map(probability)), expected)


@pytest.mark.parametrize(
    ("before", "stays"), [(None, False), (drawn(BODY), False), (drawn(BODY, TAIL), True), (drawn(), False)]
)
def test_warped_masks_keep_parts_as_small_as_before(before, stays):
    np.testing.assert_array_equal(
        masks.main_parts(drawn(BODY, TAIL), before=before), drawn(BODY, TAIL) if stays else drawn(BODY)
    )
