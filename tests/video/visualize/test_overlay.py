"""The overlay video, decoded: its times, its size and its colours."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction

import av
import numpy as np
import pytest

from tests import media
from tests.video.moving_tracks import moving_masks, track_of
from video.io.reader import open_clip
from video.visualize.overlay import draw_tracks, write_overlay
from video.visualize.text import object_colors
from video.visualize.track_timeline import TrackTimeline


@pytest.fixture
def clip(tmp_path):
    return open_clip(media.cfr(tmp_path / "clip.mp4", media.numbered_frames(24)))


def stream_of(path):
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        return stream.codec_context.codec.canonical_name, stream.codec_context.pix_fmt


def test_browsers_can_play_it(clip, tmp_path):
    path = write_overlay(clip, [track_of(moving_masks(24))], tmp_path / "overlay.mp4")
    assert stream_of(path) == ("h264", "yuv420p")
    data = path.read_bytes()
    assert data.find(b"moov") < data.find(b"mdat")  # faststart: the index comes first
    back = open_clip(path)
    assert back.size[0] == clip.size[0]
    assert back.size[1] > clip.size[1]  # the timeline is below
    assert np.abs(back.times - clip.times).max() < 1e-4
    assert [media.read_number(i[: clip.size[1]]) for _, images in back.batches() for i in images] == list(range(24))
    assert sorted(p.name for p in tmp_path.iterdir()) == ["clip.mp4", "overlay.mp4"]


def pairs(path, frames):
    return media.at_times(path.with_suffix(".mkv"), frames, [200 * (i // 2) for i in range(len(frames))])


def all_at_once(path, frames):
    return media.at_times(path.with_suffix(".mkv"), frames, [0] * len(frames))


def hours_late(path, frames):
    return media.vfr(path.with_suffix(".mkv"), frames, times_s=11_000 + np.arange(len(frames)) / 10)


MAKERS = [media.vfr, media.ntsc, media.edit_list, media.rotated, pairs, all_at_once, hours_late]


@pytest.mark.parametrize("make", MAKERS, ids=lambda make: make.__name__)
def test_times_and_content_are_the_clips_own(make, tmp_path):
    clip = open_clip(make(tmp_path / "clip.mp4", media.numbered_frames(40)))
    back = open_clip(write_overlay(clip, [], tmp_path / "overlay.mp4"))
    assert np.abs(back.times - clip.times).max() < 1e-4
    first = media.read_number(clip.frame(0))
    numbers = [media.read_number(i) for _, images in back.batches() for i in images]
    assert numbers == list(range(first, first + len(clip)))


@pytest.mark.parametrize("frames", [range(5), range(7, 12), range(23, 24)])
@pytest.mark.parametrize("make", [media.vfr, media.cfr, hours_late], ids=lambda make: make.__name__)
def test_a_part_begins_at_once_and_has_its_frames_only(make, frames, tmp_path):
    clip = open_clip(make(tmp_path / "clip.mp4", media.numbered_frames(24)))
    track = track_of(moving_masks(24))
    back = open_clip(write_overlay(clip, [track], tmp_path / "overlay.mp4", keyframes=[list(frames)], frames=frames))
    part = clip.times[frames.start : frames.stop]
    start = clip.times[0] if frames.start == 0 else 0
    assert np.abs(back.times - (part - part[0] + start)).max() < 1e-4
    shown = [media.read_number(i[: clip.size[1]]) for _, images in back.batches() for i in images]
    assert shown == [media.read_number(clip.frame(i)) for i in frames]


@pytest.mark.parametrize(
    ("size", "most_px", "expected"),
    [
        ((160, 96), 1280, (160, 96)),
        ((161, 97), 1280, (162, 98)),
        ((640, 360), 320, (320, 180)),
        ((97, 331), 200, (60, 200)),
    ],
)
def test_sizes_are_even_and_bounded(size, most_px, expected, tmp_path):
    # Odd sizes need a codec and a pixel format that can hold them.
    with av.open(str(tmp_path / "odd.mkv"), "w") as container:
        stream = container.add_stream("ffv1", rate=25)
        stream.width, stream.height, stream.pix_fmt = *size, "bgr0"
        for frame in media.numbered_frames(5, size=size):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
        container.mux(stream.encode())
    clip = open_clip(tmp_path / "odd.mkv")
    assert clip.size == size
    assert open_clip(write_overlay(clip, [], tmp_path / "o.mp4", most_px=most_px)).size == expected


@pytest.mark.parametrize(
    ("pixel_aspect", "most_px", "size"),
    [(Fraction(2), 1280, (320, 96)), (Fraction(8, 9), 1280, (160, 108)), (Fraction(2), 200, (200, 60))],
)
def test_it_has_the_shape_of_the_film(pixel_aspect, most_px, size, tmp_path):
    frames = np.zeros((3, 96, 160, 3), np.uint8)
    frames[:, 32:64, 40:80] = 255
    clip = open_clip(media.anamorphic(tmp_path / "clip.mp4", frames, pixel_aspect=pixel_aspect))
    masks = frames[..., 0] > 0
    back = open_clip(write_overlay(clip, [track_of(masks)], tmp_path / "overlay.mp4", most_px=most_px))
    assert (back.size[0], back.pixel_aspect) == (size[0], 1.0)
    plain = open_clip(write_overlay(clip, [], tmp_path / "plain.mp4", most_px=most_px))
    assert plain.size == size
    bright = plain.frame(1)[..., 0] > 128
    drawn = back.frame(1)[: size[1], :, 2].astype(int) < bright * 200  # tinted in the object's colour, which is orange
    x, y = np.flatnonzero(bright.any(0)), np.flatnonzero(bright.any(1))
    expected = np.array([40 / 160, 80 / 160, 32 / 96, 64 / 96]) * [size[0], size[0], size[1], size[1]]
    np.testing.assert_allclose([x[0], x[-1] + 1, y[0], y[-1] + 1], expected, atol=1.5)
    assert drawn[bright].mean() > 0.7


def test_the_object_is_coloured_and_the_rest_left_alone(clip):
    image, masks = clip.frame(10), moving_masks(24)
    out = draw_tracks(image, [track_of(masks)], 10)
    changed = (out.astype(int) != image).any(axis=-1)
    inner = np.zeros_like(masks[10])
    inner[56:70, 36:54] = True
    assert changed[inner].all()
    far = np.zeros_like(inner)
    far[80:, :] = True
    assert not changed[far].any()
    assert out is not image


@pytest.mark.parametrize("index", range(14))
def test_objects_of_their_own_colour_are_seen_and_others_are_not_hidden(index):
    colour = object_colors(14)[index]
    image = np.full((200, 300, 3), colour, np.uint8)
    mask = np.zeros((1, 200, 300), bool)
    mask[0, 60:140, 80:220] = True
    track = track_of(mask)
    hidden = [replace(track, visible=np.zeros(1, bool))] * index
    inner = (slice(75, 125), slice(95, 205))
    drawn = draw_tracks(image, [*hidden, track], 0)
    assert np.abs(drawn[inner].astype(int) - colour).max(axis=-1).min() >= 30, "it differs from what is around it"
    other = np.random.default_rng(0).integers(0, 256, image.shape).astype(np.uint8)
    shown = draw_tracks(other, [*hidden, track], 0)[inner].astype(float)
    assert shown.std() > 0.7 * other[inner].std(), "the fill is light"


@pytest.mark.parametrize("frame", [3, 10, 23])
def test_objects_are_not_drawn_where_hidden_or_missing(clip, frame):
    hidden = track_of(moving_masks(24), hidden=[3, 10, 23])
    absent = track_of(moving_masks(3), frames=[0, 1, 2])
    assert np.array_equal(draw_tracks(clip.frame(frame), [hidden], frame), clip.frame(frame))
    assert np.array_equal(draw_tracks(clip.frame(frame), [absent], frame), clip.frame(frame))


def test_colours_are_distinct_and_each_object_keeps_its_own():
    eight = np.array(object_colors(8), int)
    gaps = np.abs(eight[:, None] - eight[None]).sum(-1) + 1000 * np.eye(8, dtype=int)
    assert gaps.min() > 60
    assert object_colors(3) == object_colors(8)[:3]


def test_a_track_of_another_size_is_refused(clip):
    with pytest.raises(ValueError, match=r"masks of \(80, 48\), the frame is \(160, 96\)"):
        draw_tracks(clip.frame(0), [track_of(moving_masks(2, (80, 48), left=4, top=5))], 0)


def test_the_timeline_shows_scores_gaps_keyframes_and_the_playhead(clip):
    track = track_of(moving_masks(24), hidden=range(8, 16))
    strip = TrackTimeline([track], clip.times, keyframes=[[0, 7]], end_s=float(clip.times[-1]) + 0.04, size=(1280, 720))
    picture = strip.render(20)
    assert picture.shape == (strip.height, 1280, 3)
    assert strip.height % 2 == 0
    colour = np.array(object_colors(1)[0])
    row = picture[24]  # low in the lane: filled up to the score
    filled = np.flatnonzero((row == colour).all(axis=-1))
    filled = filled[filled > 200]  # right of the swatch
    left, right = filled.min(), filled.max()
    share = (filled - left) / (right - left)
    assert not ((share > 8.3 / 24) & (share < 15.7 / 24)).any()
    assert ((share < 7.7 / 24).sum(), (share > 16.3 / 24).sum()) > (300, 300)
    columns = np.flatnonzero((strip.render(20) != strip.render(2)).any(axis=(0, 2)) & (np.arange(1280) > 200))
    assert abs((columns.max() - left) / (right - left) - 20 / 24) < 0.05


def test_the_timeline_of_a_part_spans_its_width(clip):
    how = {"end_s": float(clip.times[12]), "size": (1280, 720), "frames": range(8, 12)}
    strip = TrackTimeline([track_of(moving_masks(24))], clip.times, **how)
    early, late = strip.render(8), strip.render(11)
    columns = np.flatnonzero((early[:20] != late[:20]).any(axis=(0, 2)))
    left = columns.min()
    assert abs((columns.max() - left) / (1280 - 6 - left) - 3 / 4) < 0.02, "the playhead of the fourth of four frames"
    colour = np.array(object_colors(1)[0])
    filled = np.flatnonzero((late[24] == colour).all(axis=-1))
    assert filled.max() > 1265
    assert (filled > 200).sum() > 1000


def test_keyframes_are_ticks_at_their_time(clip):
    track = track_of(moving_masks(24))
    how = {"end_s": float(clip.times[-1]) + 0.04, "size": (1280, 720)}
    with_them, without = (TrackTimeline([track], clip.times, keyframes=k, **how).render(20) for k in ([[0, 7]], ()))
    columns = np.flatnonzero((with_them != without).any(axis=(0, 2)))
    left = columns.min()
    shares = (columns - left) / (1280 - 6 - left)
    assert len(columns) == 4, "two ticks of two pixels"
    assert np.allclose(shares, [0, 0, 7 / 24, 7 / 24], atol=0.005)


@pytest.mark.parametrize("size", [(1280, 720), (400, 224), (160, 96)])
def test_outlines_keep_their_colour_on_small_pictures(size):
    mask = np.zeros((1, size[1], size[0]), bool)
    mask[0, size[1] // 2 : size[1] // 2 + 30, 20:60] = True
    picture = draw_tracks(np.full((size[1], size[0], 3), 128, np.uint8), [track_of(mask)], 0)
    below = picture[size[1] // 2 + 15 :].astype(int)  # without the plate above
    coloured = (np.abs(below - object_colors(1)[0]).max(axis=-1) < 8).sum()
    black = (below.max(axis=-1) < 8).sum()
    assert coloured >= black > 0


def test_a_column_of_several_frames_shows_the_lowest_score():
    masks = np.repeat(moving_masks(1, (16, 16), left=2, top=2), 5000, axis=0)
    track = track_of(masks)
    scores = np.full(5000, 0.9)
    scores[2500] = 0.1
    low = replace(track, scores=scores)
    pictures = [
        TrackTimeline([t], np.arange(5000) / 25, end_s=200, size=(640, 360)).render(0)
        for t in (low, replace(track, scores=scores.clip(0.9)))
    ]
    assert (pictures[0] != pictures[1]).any()


@pytest.mark.parametrize(("size", "n"), [((640, 360), 24), ((480, 270), 24)])
def test_the_number_of_each_frame_survives_the_encoder(size, n, tmp_path):
    """The decoded number looks more like that of its own frame than like that of any other."""
    w, h = size
    rng = np.random.default_rng(0)
    ground = rng.integers(0, 255, (h, w + n, 3)).astype(np.uint8)
    clip = open_clip(media.cfr(tmp_path / "clip.mp4", np.stack([ground[:, i : i + w] for i in range(n)])))
    shapes = [np.zeros((h, w), bool) for _ in range(n)]
    for i, shape in enumerate(shapes):
        shape[100:180, 50 + 5 * i : 130 + 5 * i] = True
    track = track_of(shapes)
    back = open_clip(write_overlay(clip, [track], tmp_path / "overlay.mp4"))
    timeline = TrackTimeline([track], clip.times, end_s=clip.duration_s, size=size)
    width = w // 7  # the number stands left of the lane
    expected = np.stack([timeline.render(i)[:, :width].astype(np.float32) for i in range(n)])
    decoded = [image[h:, :width] for _, images in back.batches() for image in images]
    for i, shown in enumerate(decoded):
        assert int(np.abs(expected - shown).mean((1, 2, 3)).argmin()) == i
