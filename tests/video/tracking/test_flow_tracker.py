import numpy as np
import pytest

from refam.segmenters.grabcut import GrabCutSegmenter
from refam.tiny.scenes import draw_clip
from tests.video.clips import ArrayClip
from tests.video.tracking.drawn_clips import DISC, SIZE, STAR, ious, scene_clip
from video import masks
from video.tracking.appearance import ColorModel
from video.tracking.flow_tracker import FlowTracker, FlowTrackerOptions, move_rigidly
from video.tracking.propagate import TrackStart, propagate, propagate_all


class FlowOnly:
    """A segmenter that never finds anything: what is left is the flow alone."""

    name = "none"

    def segment(self, image, prompt, *, frame=0):
        return []


def box_errors(track, truth):
    return np.array(
        [
            np.abs(track.boxes[i] - masks.box_of(truth[f])).max()
            for i, f in enumerate(track.frames)
            if track.visible[i] and truth[f].any()
        ]
    )


def test_two_objects_are_tracked_both_ways_from_the_middle():
    frames, truth = scene_clip(
        [(STAR, 11, lambda t: (20 + 70 * t, 20 + 8 * t)), (DISC, 10, lambda t: (95 - 70 * t, 48))]
    )
    starts = [TrackStart("star", {12: truth[0, 12]}), TrackStart("disc", {12: truth[1, 12]})]
    fractions = []
    tracks = propagate_all(ArrayClip(frames), starts, GrabCutSegmenter(), progress=fractions.append)
    for track, true in zip(tracks, truth, strict=True):
        assert track.frames.tolist() == list(range(24))
        assert track.visible.all()
        assert ious(track, true).min() > 0.85
        assert box_errors(track, true).max() < 0.03
        assert track.scores.min() > 0.5
    both = [masks.decode(a) & masks.decode(b) for a, b in zip(tracks[0].rles, tracks[1].rles, strict=True)]
    assert not np.any(both)
    assert fractions == sorted(fractions)
    assert fractions[-1] == 1.0


def test_an_object_that_leaves_is_lost():
    frames, truth = scene_clip([(STAR, 11, lambda t: (60 + 90 * t, 30))], n=30)
    gone = np.flatnonzero(truth[0].reshape(30, -1).sum(1) < 20)
    track = propagate(ArrayClip(frames), 0, truth[0, 0], GrabCutSegmenter())
    assert len(gone) > 5
    assert not track.visible[gone[1:]].any()
    assert ious(track, truth[0], 300).min() > 0.75
    hidden = ~track.visible
    assert (track.boxes[hidden] == 0).all()
    assert all(masks.area(track.rles[i]) == 0 for i in np.flatnonzero(hidden))


def test_a_cut_ends_the_track():
    one, truth = scene_clip([(STAR, 11, lambda t: (40 + 20 * t, 30))], n=10)
    other, _ = scene_clip([(DISC, 10, lambda t: (80, 30))], n=10, ground=9, tone="dark")
    track = propagate(ArrayClip(np.concatenate([one, other])), 2, truth[0, 2], GrabCutSegmenter())
    assert track.visible[:10].all()
    assert not track.visible[11:].any()


@pytest.mark.slow
def test_an_object_that_reappears_from_behind_another_is_complete():
    bar = ("yellow", "square", "plain", "large")
    paths = [(STAR, 11, lambda t: (25 + 60 * t, 30)), (bar, 8, lambda t: (55, 34))]
    frames, truth = scene_clip(paths, n=36, size=(320, 180))  # what is left of it is too small in smaller frames
    share = truth[0].reshape(36, -1).sum(1) / truth[0, 0].sum()
    assert share.min() < 0.4, "the scene must hide most of it"
    starts = [TrackStart("star", {0: truth[0, 0]}), TrackStart("bar", {0: truth[1, 0]})]
    star, bar_track = propagate_all(ArrayClip(frames), starts, GrabCutSegmenter())
    assert ious(star, truth[0])[-4:].min() > 0.85
    assert ious(bar_track, truth[1]).min() > 0.8


def test_between_two_anchors_the_track_is_joined_where_it_is_surest():
    frames, truth = scene_clip([(STAR, 11, lambda t: (20 + 70 * t, 30))], n=20)
    start = TrackStart("star", {3: truth[0, 3], 16: truth[0, 16]})
    track = propagate_all(ArrayClip(frames), [start], GrabCutSegmenter())[0]
    for anchor in (3, 16):
        np.testing.assert_array_equal(masks.decode(track.rles[anchor]), truth[0, anchor])
        assert track.scores[anchor] == 1.0
    assert ious(track, truth[0]).min() > 0.85


RING = ("blue", "ring", "plain", "large")
SPOTTED = ("red", "circle", "striped", "small")


@pytest.mark.parametrize(
    ("thing", "heights", "ways", "together"),
    [
        pytest.param(STAR, (24, 42), (70, -70), True, id="they pass"),
        pytest.param(STAR, (28, 38), (70, -70), True, id="they all but touch", marks=pytest.mark.slow),
        pytest.param(STAR, (30, 34), (70, -70), True, id="they graze", marks=pytest.mark.slow),
        pytest.param(DISC, (32, 32), (70, -70), True, id="one hides the other"),
        pytest.param(DISC, (32, 32), (70, -70), False, id="the other hides the one", marks=pytest.mark.slow),
        pytest.param(STAR, (32, 32), (70, -70), False, id="a star behind a star"),
        pytest.param(RING, (32, 33), (80, -20), True, id="one overtakes the other"),
        pytest.param(SPOTTED, (32, 33), (80, -20), False, id="it is overtaken", marks=pytest.mark.slow),
    ],
)
def test_look_alikes_that_cross_do_not_swap(thing, heights, ways, together):
    """Nothing but how they move tells them apart."""
    at = (20, 90) if ways[1] == -ways[0] else (15, 60)
    things = [(thing, 7, lambda t, k=k: (at[k] + ways[k] * t, heights[k])) for k in (0, 1)]
    frames, truth = scene_clip(things, n=36, ground=9)
    starts = [TrackStart(str(k), {0: truth[k, 0]}) for k in (0, 1)][: 2 if together else 1]
    tracks = propagate_all(ArrayClip(frames), starts, GrabCutSegmenter())
    for track, true in zip(tracks, truth, strict=False):
        assert track.visible[-5:].all()
        assert ious(track, true)[-5:].min() > 0.8
    whole = truth.reshape(2, 36, -1).sum(-1) > 0.95 * truth[:, :1].reshape(2, 1, -1).sum(-1)
    for k, track in enumerate(tracks):
        right = [masks.iou(masks.decode(track.rles[f]), truth[k, f]) > 0.7 for f in np.flatnonzero(whole[k])]
        assert np.mean(right) > 0.9
    if together:
        both = [masks.decode(a) & masks.decode(b) for a, b in zip(tracks[0].rles, tracks[1].rles, strict=True)]
        assert not np.any(both)


def test_an_object_that_enters_a_large_area_of_its_colours_is_lost():
    """Half a minute of "it is in there somewhere" would be a guess."""
    pond = ("red", "square", "plain", "large")
    frames, truth = scene_clip([(STAR, 6, lambda t: (14 + 60 * t, 32)), (pond, 28, lambda t: (84, 32))], n=60)
    drowned = np.flatnonzero(truth[0].reshape(60, -1).sum(1) < 20)
    assert len(drowned) >= 5, "the pond must cover it"
    track = propagate(ArrayClip(frames), 0, truth[0, 0], GrabCutSegmenter())
    shown = [masks.area(r) for r in track.rles]
    assert max(shown) < 2 * truth[0, 0].sum(), "it must never be the pond"


def test_a_wrong_second_anchor_does_not_spoil_the_first():
    """The person is right on their frames, whatever the pictures say: each anchor's frame shows its own mask."""
    frames, truth = scene_clip([(STAR, 11, lambda t: (30, 30)), (DISC, 10, lambda t: (90, 40))], n=12)
    track = propagate_all(
        ArrayClip(frames), [TrackStart("it", {0: truth[0, 0], 11: truth[1, 11]})], GrabCutSegmenter()
    )[0]
    np.testing.assert_array_equal(masks.decode(track.rles[0]), truth[0, 0])
    np.testing.assert_array_equal(masks.decode(track.rles[11]), truth[1, 11])


def test_only_the_window_is_read():
    frames, truth = scene_clip([(STAR, 11, lambda t: (20 + 70 * t, 30))], n=20)
    clip = ArrayClip(frames)
    track = propagate_all(clip, [TrackStart("star", {8: truth[0, 8]})], FlowOnly(), window=(5, 12))[0]
    assert track.frames.tolist() == list(range(5, 13))
    assert set(clip.frames_read) == set(range(5, 13))


def test_reading_backward_holds_a_bounded_number_of_frames(monkeypatch):
    monkeypatch.setattr("video.tracking.propagate._CHUNK_BYTES", 6 * SIZE[0] * SIZE[1] * 3)
    frames, truth = scene_clip([(STAR, 11, lambda t: (20 + 30 * t, 30))], n=20, ground=1)
    clip = ArrayClip(frames)
    track = propagate(clip, 19, truth[0, 19], FlowOnly())
    assert clip.largest_batch <= 6
    assert track.visible[1:].all()


@pytest.mark.parametrize("way", [60, 80, 95])
def test_scores_are_low_where_flow_smears_a_fast_object(way):
    """On a checkerboard flow takes a fast star's trail for the star: what is called seen and sure must be the star."""
    frames, truth = scene_clip([(STAR, 9, lambda t: (12 + way * t, 20 + 20 * t))], n=12, ground=5)
    track = propagate(ArrayClip(frames), 0, truth[0, 0], GrabCutSegmenter())
    overlap = np.array([masks.iou(masks.decode(r), t) for r, t in zip(track.rles, truth[0], strict=True)])
    assert (overlap[track.visible & (track.scores > 0.7)] > 0.7).all()
    assert (overlap[track.visible] > 0.5).all()


def test_flow_alone_carries_a_mask_between_refits():
    frames, truth = scene_clip([(DISC, 11, lambda t: (30 + 40 * t, 30))], n=16)
    options = FlowTrackerOptions(refit_every=5)
    track = propagate(ArrayClip(frames), 0, truth[0, 0], GrabCutSegmenter(), options=options)
    assert ious(track, truth[0]).min() > 0.8


def test_frames_may_be_larger_than_the_working_size():
    clip = draw_clip(1, size=(640, 360), n_frames=6, count=1)
    options = FlowTrackerOptions(work_side_px=180)
    track = propagate(ArrayClip(clip.frames), 0, clip.masks[0, 0], GrabCutSegmenter(), options=options)
    assert track.size == (640, 360)
    assert ious(track, clip.masks[0]).min() > 0.85


def test_an_extent_moves_as_its_visible_half():
    extent = np.zeros((60, 80), bool)
    extent[20:40, 10:30] = True
    seen = np.roll(extent, 7, axis=1)
    seen[:, 27:] = False
    back = np.zeros((60, 80, 2), np.float32)
    back[..., 0] = -7
    moved = move_rigidly(extent, seen, back, np.ones((60, 80), np.float32))
    assert masks.iou(moved, np.roll(extent, 7, axis=1)) > 0.95


def test_color_models_distinguish_colours_and_tolerate_shade():
    frames, truth = scene_clip([(STAR, 11, lambda t: (30, 30)), (DISC, 10, lambda t: (90, 40))], n=2)
    star, disc = (ColorModel.of(frames[0], truth[k, 0]) for k in (0, 1))
    assert star.similarity(star) == pytest.approx(1, abs=1e-5)
    assert star.similarity(disc) < 0.2
    darker = (frames[0] * 0.92).astype(np.uint8)
    assert star.similarity(ColorModel.of(darker, truth[0, 0])) > 0.6
    assert star.likelihood(frames[0])[truth[0, 0]].mean() > 0.9
    assert ColorModel.of(frames[0], np.zeros_like(truth[0, 0])) is None


def test_bad_input_is_named():
    frames, truth = scene_clip([(STAR, 11, lambda t: (30, 30))], n=3)
    clip, mask = ArrayClip(frames), truth[0, 0]
    tracker = FlowTracker(FlowOnly())
    with pytest.raises(ValueError, match="step"):
        tracker.start(0, mask)
    tracker.step(frames[0])
    with pytest.raises(ValueError, match="size"):
        tracker.start(0, mask[:10])
    with pytest.raises(ValueError, match="empty"):
        tracker.start(0, np.zeros_like(mask))
    with pytest.raises(ValueError, match="keep their size"):
        tracker.step(frames[0][:50])
    with pytest.raises(ValueError, match=r"anchor frame 5 is not within 0\.\.2"):
        propagate(clip, 5, mask, FlowOnly())
    with pytest.raises(ValueError, match=r"window 1\.\.9"):
        propagate_all(clip, [], FlowOnly(), window=(1, 9))
    with pytest.raises(ValueError, match="at least one frame"):
        TrackStart("x", {})
    with pytest.raises(ValueError, match="refit_every"):
        FlowTrackerOptions(refit_every=0)
