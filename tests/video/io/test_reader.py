"""Opening and decoding, against frames that carry their own number: frame i has time t and content i."""

from __future__ import annotations

import subprocess
import sys
import tracemalloc
from fractions import Fraction

import cv2
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from tests import media
from video.io.containers import bytes_missing, matroska_breaks_at
from video.io.decode import decord_agrees, read_decord, read_pyav
from video.io.probe import DisplayTransform, VideoLimits, probe, refuse_picture
from video.io.reader import ClipError, make_view, open_clip, open_sequence
from video.sampling import plan_frames

N = 60
EVEN = np.arange(N) / 25
NTSC = np.arange(N) * 1001 / 30_000
OPEN_GOP = {"x264-params": "open-gop=1:bframes=6:b-adapt=0:keyint=24"}
REFRESH = {"x264-params": "intra-refresh=1:keyint=30"}


@pytest.fixture(scope="module")
def frames():
    return media.numbered_frames(N)


# name -> (how it is made, the times players show, the decoder of runs)
GOOD = {
    "h264.mp4": (media.cfr, EVEN, "decord"),
    "open-gop.mp4": (lambda p, f: media.cfr(p, f, options=OPEN_GOP, gop=24), EVEN, "decord"),
    "intra-refresh.mp4": (lambda p, f: media.cfr(p, f, options=REFRESH, gop=30), EVEN, "decord"),
    "h264.mkv": (media.cfr, EVEN, "decord"),
    "h264.avi": (media.cfr, EVEN, "pyav"),
    "h264.ts": (media.cfr, EVEN, "pyav"),
    "hevc.mp4": (lambda p, f: media.cfr(p, f, codec="libx265", gop=24), EVEN, "decord"),
    "mpeg4.mp4": (lambda p, f: media.cfr(p, f, codec="mpeg4"), EVEN, "decord"),
    "vp9.webm": (lambda p, f: media.cfr(p, f, codec="libvpx-vp9"), EVEN, "decord"),
    "av1.mp4": (lambda p, f: media.cfr(p, f, codec="libsvtav1"), EVEN, "pyav"),
    "ntsc.mp4": (media.ntsc, NTSC, "decord"),
    "vfr.mp4": (media.vfr, media.vfr_times(N), "decord"),
    "audio.mp4": (media.with_audio, EVEN, "decord"),
    "rotated90.mp4": (lambda p, f: media.rotated(p, f, degrees=90), EVEN, "decord"),
    "rotated180.mp4": (lambda p, f: media.rotated(p, f, degrees=180), EVEN, "decord"),
    "rotated270.mp4": (lambda p, f: media.rotated(p, f, degrees=270), EVEN, "decord"),
    "mirrored.mp4": (media.mirrored, EVEN, "pyav"),
}


@pytest.fixture(scope="module", params=GOOD, ids=lambda name: name)
def good(request, frames, tmp_path_factory):
    make, times, decoder = GOOD[request.param]
    path = make(tmp_path_factory.mktemp("good") / request.param, frames)
    return open_clip(path), times, decoder


def numbers(clip, indices=None, *, size=16):
    return [media.read_number(image) for _, images in clip.batches(indices, size=size) for image in images]


def test_every_frame_has_its_time_and_its_content(good, frames):
    clip, times, decoder = good
    assert clip.decoder == decoder
    assert len(clip) == N
    assert np.abs(clip.times - times).max() < 1.1e-3  # webm and mkv count milliseconds
    assert clip.size == (160, 96)
    assert numbers(clip) == list(range(N))
    images = np.concatenate([images for _, images in clip.batches()])
    assert np.abs(images.astype(int) - frames).mean() < 8  # 4:2:0 colour and the coder's loss


@given(chosen=st.lists(st.integers(0, N - 1), min_size=1, max_size=12, unique=True), size=st.integers(1, 5))
@settings(max_examples=6, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_chosen_frames_are_the_right_ones_in_ascending_order(good, chosen, size):
    clip, _, _ = good
    got = list(clip.batches(chosen, size=size))
    assert np.concatenate([indices for indices, _ in got]).tolist() == sorted(chosen)
    assert all(1 <= len(indices) <= size and len(indices) == len(images) for indices, images in got)
    assert [media.read_number(image) for _, images in got for image in images] == sorted(chosen)


def test_both_decoders_see_the_same_pixels(good):
    clip, _, decoder = good
    if decoder != "decord":
        pytest.skip(f"decord is not used for {clip.path.name}")
    probed = probe(clip.path)
    one = np.stack([image for _, image in read_decord(clip.path, N, size=16)]).astype(int)
    other = np.stack([image for _, image in read_pyav(clip.path, probed, np.arange(N))]).astype(int)
    assert np.abs(one - other).mean() < 2
    assert [media.read_number(i) for i in one] == [media.read_number(i) for i in other] == list(range(N))


def test_single_frames_and_negative_ones(good):
    clip, _, _ = good
    assert [media.read_number(clip.frame(i)) for i in (0, 31, -1)] == [0, 31, N - 1]
    assert clip.frame(0).shape == (96, 160, 3)
    assert clip.frame(0).dtype == np.uint8


def test_an_edit_list_shows_what_players_show(frames, tmp_path):
    clip = open_clip(media.edit_list(tmp_path / "cut.mp4", frames, skip=13))
    assert clip.decoder == "pyav"  # decord would give all sixty
    assert numbers(clip) == list(range(13, N))
    assert np.abs(clip.times - np.arange(N - 13) / 25).max() < 1e-3
    assert numbers(clip, [5, 40]) == [18, 53]


@pytest.mark.parametrize("degrees", [90, 180, 270])
def test_rotation_is_told_and_applied_to_the_size(degrees, tmp_path):
    upright = media.numbered_frames(12, size=(96, 160))
    clip = open_clip(media.rotated(tmp_path / "phone.mp4", upright, degrees=degrees))
    assert clip.rotation == degrees
    assert clip.size == (96, 160)
    assert numbers(clip) == list(range(12))


def test_a_longer_sound_track_counts_for_the_duration(frames, tmp_path):
    clip = open_clip(media.with_audio(tmp_path / "long.mp4", frames, audio_s=4.0))
    assert clip.duration_s == pytest.approx(4.0, abs=0.05)
    assert clip.times[-1] == pytest.approx(59 / 25)


@pytest.mark.parametrize(("name", "start_s"), [("late.mp4", 0.2), ("late.mkv", 0.2), ("late.ts", 0.0)])
def test_a_late_first_frame_stays_late_as_in_browsers(name, start_s, frames, tmp_path):
    clip = open_clip(media.vfr(tmp_path / name, frames, times_s=0.2 + EVEN))
    assert np.abs(clip.times - start_s - EVEN).max() < 1.1e-3
    assert numbers(clip) == list(range(N))
    assert numbers(clip, [17, 44]) == [17, 44]


@pytest.mark.parametrize(
    ("name", "start_s", "duration_s"), [("late.mp4", 5, 6.9), ("late.mkv", 5, 6.933), ("late.mp4", 11_000, 11_001.9)]
)
def test_a_late_start_counts_in_the_duration_as_in_browsers(name, start_s, duration_s, tmp_path):
    """What Chromium says: MP4 announces the 2 s that it plays, and the browser has read to the last frame."""
    clip = open_clip(media.vfr(tmp_path / name, media.numbered_frames(20), times_s=start_s + np.arange(20) / 10))
    assert clip.duration_s == pytest.approx(duration_s, abs=2e-3)


@pytest.mark.parametrize(
    ("aspect", "degrees", "name", "shown"),
    [
        (Fraction(2), 0, "wide.mp4", (320, 96)),
        (Fraction(8, 9), 0, "ntsc-dv.mkv", (160, 108)),
        (Fraction(64, 45), 0, "pal-wide.mp4", (228, 96)),
        (Fraction(2), 90, "turned.mp4", (160, 192)),
        (Fraction(1), 0, "square.mp4", (160, 96)),
        (Fraction(20), 0, "nonsense.mp4", (160, 96)),
    ],
)
def test_the_shape_in_which_players_show_pixels_that_are_not_square(aspect, degrees, name, shown, tmp_path):
    clip = open_clip(media.anamorphic(tmp_path / name, media.numbered_frames(4), pixel_aspect=aspect, degrees=degrees))
    assert (clip.size, clip.display_size) == ((160, 96), shown)
    assert clip.frame(0).shape == (96, 160, 3)
    assert numbers(clip) == [0, 1, 2, 3]
    view = make_view(clip, most_px=80)
    assert (view.size, view.pixel_aspect) == ((80, 48), clip.pixel_aspect)


DURATIONS_MS = [100] * 6 + [200] * 6


@pytest.mark.parametrize("name", ["a.webp", "a.png", "a.gif", "a.avif"])
def test_animated_pictures_are_videos(name, tmp_path):
    frames = media.numbered_frames(12)
    clip = open_clip(media.animation(tmp_path / name, frames, durations_ms=DURATIONS_MS))
    np.testing.assert_allclose(clip.times, np.cumsum([0, *DURATIONS_MS[:-1]]) / 1000, atol=1e-3)
    assert clip.size == (160, 96)
    assert numbers(clip) == list(range(12))
    assert numbers(clip, [9, 2, 5]) == [2, 5, 9]
    assert media.read_number(clip.frame(-1)) == 11
    assert np.abs(clip.frame(4).astype(int) - frames[4]).mean() < 8
    assert numbers(make_view(clip, first=2, last=8, every=3)) == [2, 5, 8]
    VideoLimits(most_px=160 * 96, most_s=60).check_header(clip.path)
    with pytest.raises(ClipError, match="160x96 pixels"):
        VideoLimits(most_px=160 * 95, most_s=60).check_header(clip.path)


def test_frames_of_a_webp_without_duration_are_shown_as_long_as_browsers_show_them(tmp_path):
    clip = open_clip(media.animation(tmp_path / "a.webp", media.numbered_frames(3), durations_ms=[0, 10, 40]))
    np.testing.assert_allclose([*clip.times, clip.duration_s], [0, 0.1, 0.2, 0.24])


@pytest.mark.parametrize("name", ["a.webp", "a.png", "a.gif", "a.avif", "a.jpg"])
def test_a_picture_is_no_video(name, tmp_path):
    Image.fromarray(media.numbered_frames(1)[0]).save(tmp_path / name)
    with pytest.raises(ClipError, match="this is a picture, not a video"):
        open_clip(tmp_path / name)


@pytest.mark.parametrize("name", ["a.webp", "a.png", "a.avif", "a.jpg", "a.tif", "a.bmp"])
def test_one_picture_is_refused_by_its_header(name, tmp_path):
    Image.fromarray(media.numbered_frames(1)[0]).save(tmp_path / name)
    with pytest.raises(ClipError, match=f"{name}: this is a picture, not a video"):
        refuse_picture(tmp_path / name)


@pytest.mark.parametrize("name", ["a.webp", "a.png", "a.avif"])
def test_a_moving_picture_is_not_refused(name, tmp_path):
    refuse_picture(media.animation(tmp_path / name, media.numbered_frames(2), durations_ms=[40, 40]))


@pytest.mark.parametrize("content", [b"", b"no picture", b"\x89PNG\r\n\x1a\n cut"])
def test_what_is_no_picture_is_left_to_the_decoder(content, tmp_path):
    (tmp_path / "a.png").write_bytes(content)
    refuse_picture(tmp_path / "a.png")


def test_pictures_of_two_sizes_are_no_video(tmp_path):
    paths = [tmp_path / "a.png", tmp_path / "b.png"]
    for path, size in zip(paths, [(64, 48), (48, 64)], strict=True):
        Image.new("RGB", size).save(path)
    with pytest.raises(ClipError, match=r"b\.png is 48x64, but a\.png is 64x48; they are the frames of one video, so"):
        open_sequence(paths)


@pytest.mark.parametrize("pixel_format", ["yuv420p", "yuv422p", "yuv444p", "yuv420p10", "gray"])
def test_raw_video_is_read_and_known_when_it_is_cut_off(pixel_format, tmp_path):
    path = media.raw(tmp_path / "a.y4m", media.numbered_frames(12), pixel_format=pixel_format)
    clip = open_clip(path)
    np.testing.assert_allclose(clip.times, np.arange(12) / 10, atol=1e-9)
    assert numbers(clip) == list(range(12))
    assert bytes_missing(path) == 0
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) * 6 // 10])
    with pytest.raises(ClipError, match=r"cut off \(\d+ bytes are missing\): 7 frames"):
        open_clip(path)
    assert numbers(open_clip(path, partial=True)) == list(range(7))


@pytest.mark.parametrize("name", ["a.webp", "a.png", "a.avif"])
def test_an_animated_picture_that_is_cut_off_is_known(name, tmp_path):
    path = media.animation(tmp_path / name, media.numbered_frames(12), durations_ms=DURATIONS_MS)
    assert bytes_missing(path) == 0
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) * 6 // 10])
    with pytest.raises(ClipError, match="cut off"):
        open_clip(path)


@pytest.mark.parametrize(
    ("name", "ticks", "unit_s", "times", "duration_s"),
    [
        ("pairs.mkv", [200 * (i // 2) for i in range(20)], Fraction(1, 1000), 0.2 * (np.arange(20) // 2), 1.8),
        ("threes.mkv", [300 * (i // 3) for i in range(20)], Fraction(1, 1000), 0.3 * (np.arange(20) // 3), 1.8),
        ("end.mkv", [100 * min(i, 12) for i in range(20)], Fraction(1, 1000), np.arange(20).clip(max=12) / 10, 1.2),
        ("all.mkv", [0] * 20, Fraction(1, 1000), np.arange(20) / 25, 0.8),
        ("all-late.mkv", [700] * 20, Fraction(1, 1000), np.arange(20) / 25, 0.8),
        ("microseconds.mp4", list(range(20)), Fraction(1, 1_000_000), np.arange(20) / 25, 0.8),
    ],
)
def test_frames_at_one_time_are_all_there_in_order(name, ticks, unit_s, times, duration_s, tmp_path):
    clip = open_clip(media.at_times(tmp_path / name, media.numbered_frames(20), ticks, unit_s=unit_s))
    np.testing.assert_allclose(clip.times, times, atol=1e-4)
    assert clip.duration_s == pytest.approx(duration_s, abs=1e-3)
    assert clip.average_fps < 30
    assert numbers(clip) == list(range(20))
    assert numbers(clip, [3, 12, 19]) == [3, 12, 19]


def test_rate_and_duration(frames, tmp_path):
    clip = open_clip(media.ntsc(tmp_path / "ntsc.mp4", frames))
    assert clip.average_fps == pytest.approx(30_000 / 1001, rel=1e-6)
    assert clip.duration_s == pytest.approx(60 * 1001 / 30_000, abs=1e-3)
    one = open_clip(media.cfr(tmp_path / "one.mp4", frames[:1], fps=Fraction(10)))
    assert (len(one), numbers(one)) == (1, [0])
    assert one.average_fps == pytest.approx(10, rel=0.01)


BAD = {
    "cut.mp4": (media.truncated, r"cut off \(\d+ bytes are missing\): \d+ of 60 frames could be read"),
    "cut-end.mp4": (lambda p, f: media.truncated(p, f, index_first=False), r"cut off.*its index.*no frame"),
    "cut.mkv": (media.truncated, r"cut off .*\d+ frames could be read"),
    "cut.webm": (lambda p, f: media.truncated(p, f, codec="libvpx-vp9"), r"cut off .*\d+ frames could be read"),
    "cut.avi": (media.truncated, r"cut off .*frames could be read"),
    "last-bytes.mp4": (lambda p, f: media.truncated(p, f, keep=0.999), r"cut off \(\d+ bytes are missing\)"),
    "damaged.mp4": (media.damaged, r"damaged: .*; \d+ of 60 frames could be read"),
    "few-bytes.mp4": (lambda p, f: media.damaged(p, f, n_bytes=20, at=0.3), r"damaged: .*frames could be read"),
    "damaged-hevc.mp4": (lambda p, f: media.damaged(p, f, codec="libx265"), r"damaged: .*frames could be read"),
    "damaged-mpeg4.mp4": (lambda p, f: media.damaged(p, f, codec="mpeg4"), r"damaged: .*frames could be read"),
    "damaged-av1.mp4": (lambda p, f: media.damaged(p, f, codec="libsvtav1"), r"damaged: .*frames could be read"),
    "sound.mp4": (lambda p, f: media.audio_only(p), r"no picture in this file, only audio"),
    "empty.mp4": (lambda p, f: media.empty(p), r"is empty \(0 bytes\)"),
    "garbage.mp4": (lambda p, f: media.garbage(p), r"not a video file of a known kind.*no frame can be read"),
    "picture.mp4": (lambda p, f: media.picture(p, f[0]), r"is a picture, not a video"),
    "missing.mp4": (lambda p, f: p, r"there is no such file"),
}


@pytest.mark.parametrize("name", BAD)
def test_a_bad_file_is_refused_with_its_name_and_the_reason(name, frames, tmp_path):
    make, words = BAD[name]
    path = make(tmp_path / name, frames)
    with pytest.raises(ClipError, match=words) as caught:
        open_clip(path)
    assert name in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_folder_is_refused(tmp_path):
    with pytest.raises(ClipError, match="this is a folder"):
        open_clip(tmp_path)


def test_a_playlist_is_not_followed(frames, tmp_path):
    media.cfr(tmp_path / "part.ts", frames)
    (tmp_path / "list.mp4").write_text("#EXTM3U\n#EXT-X-VERSION:3\n#EXTINF:2,\npart.ts\n#EXT-X-ENDLIST\n")
    with pytest.raises(ClipError, match="not a video file of a known kind"):
        open_clip(tmp_path / "list.mp4")


def test_a_broken_webm_structure_is_found_though_readers_skip_it(frames, tmp_path):
    whole = media.cfr(tmp_path / "whole.webm", frames, codec="libvpx-vp9")
    assert matroska_breaks_at(whole) is None
    data = bytearray(whole.read_bytes())
    block = data.find(b"\xa3", len(data) // 2)
    for at in range(block, len(data)):  # the first SimpleBlock whose damage the walk sees
        (tmp_path / "broken.webm").write_bytes(bytes(data[:at] + b"\x00" + data[at + 1 :]))
        if data[at] == 0xA3 and matroska_breaks_at(tmp_path / "broken.webm") is not None:
            break
    with pytest.raises(ClipError, match="damaged"):
        open_clip(tmp_path / "broken.webm")


@pytest.mark.parametrize("name", ["whole.mp4", "whole.mkv", "whole.avi", "whole.ts"])
@pytest.mark.parametrize("lost", [0, 1, 500])
def test_missing_bytes_are_counted(name, lost, frames, tmp_path):
    path = media.cfr(tmp_path / name, frames)
    data = path.read_bytes()
    path.write_bytes(data[: len(data) - lost])
    assert bytes_missing(path) == (0 if name.endswith("ts") else lost)


def test_foreign_bytes_behind_a_whole_file_are_no_damage(frames, tmp_path):
    path = media.cfr(tmp_path / "tail.mp4", frames)
    path.write_bytes(path.read_bytes() + b"appended by something else")
    assert len(open_clip(path)) == N


def test_a_file_that_shrinks_after_opening_raises_an_error(frames, tmp_path):
    clip = open_clip(media.cfr(tmp_path / "changing.mp4", frames))
    media.cfr(clip.path, frames[:30])
    with pytest.raises(ClipError, match="had 60 frames when opened"):
        numbers(clip)


def test_missing_frames_raise_an_index_error(frames, tmp_path):
    clip = open_clip(media.cfr(tmp_path / "clip.mp4", frames))
    for bad in ([-1], [0, N], [N + 5]):
        with pytest.raises(IndexError, match=r"frames 0 to 59; frame -?\d+ was asked for"):
            list(clip.batches(bad))
    with pytest.raises(ValueError, match="at least one frame"):
        clip.batches(size=0)
    assert list(clip.batches([])) == []


def test_memory_stays_bounded_by_the_batch(tmp_path):
    frames = media.numbered_frames(120, size=(320, 240))
    clip = open_clip(media.cfr(tmp_path / "long.mp4", frames))
    one = frames[0].nbytes
    del frames
    tracemalloc.start()
    for _ in clip.batches(size=4):
        pass
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 20 * one


PEAK = """
import resource, sys
from video.io.reader import open_clip
def peak_mb(): return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
before = peak_mb()
clip = open_clip(sys.argv[1])
read = sum(len(images) for _, images in clip.batches())
print(read, clip.decoder, peak_mb() - before)
"""


@pytest.mark.slow
def test_memory_of_the_decoder_does_not_grow_with_the_clip(tmp_path):
    """Seen from outside the process: decord's own buffers, which Python does not know, would be 1.2 GB here."""
    n, (w, h) = 420, (1280, 720)
    plain = np.broadcast_to(np.uint8(120), (n, h, w, 3))
    path = media.cfr(tmp_path / "long.mp4", plain, gop=60, options={"preset": "ultrafast"})
    out = subprocess.run([sys.executable, "-c", PEAK, str(path)], check=True, capture_output=True, text=True).stdout
    read, decoder, grown_mb = out.split()
    assert (int(read), decoder) == (n, "pyav")
    assert float(grown_mb) < 400


def test_decord_is_not_used_where_it_is_known_to_be_wrong(frames, tmp_path):
    for path in (media.cfr(tmp_path / "a.ts", frames), media.mirrored(tmp_path / "b.mp4", frames)):
        assert not decord_agrees(path, probe(path))


@pytest.mark.parametrize("transpose", [False, True])
@pytest.mark.parametrize("mirror_x", [False, True])
@pytest.mark.parametrize("mirror_y", [False, True])
def test_a_display_transform_is_a_rotation_after_at_most_one_mirroring(transpose, mirror_x, mirror_y):
    image = np.arange(2 * 3 * 3, dtype=np.uint8).reshape(2, 3, 3)
    turn = DisplayTransform(transpose=transpose, mirror_x=mirror_x, mirror_y=mirror_y)
    start = image[:, ::-1] if turn.mirrored else image
    assert np.array_equal(turn.apply(image), np.rot90(start, k=-turn.degrees // 90))


def test_the_repr_prints_no_pixels(good):
    assert len(repr(good[0])) < 160


@pytest.mark.parametrize("name", ["change.mkv", "change.ts", "change.mp4"])
def test_frames_that_change_size_on_the_way_are_brought_to_the_first_ones(name, tmp_path):
    large = (240, 144)
    path = media.changing_size(
        tmp_path / name, media.numbered_frames(12), later=media.numbered_frames(12, size=large, start=12)
    )
    clip = open_clip(path)
    assert (clip.size, len(clip)) == ((160, 96), 24)
    images = [image for _, some in clip.batches() for image in some]
    assert {image.shape for image in images} == {(96, 160, 3)}
    assert [media.read_number(image) for image in images[:12]] == list(range(12))
    again = [cv2.resize(image, large, interpolation=cv2.INTER_LINEAR) for image in images[12:]]
    assert [media.read_number(image) for image in again] == list(range(12, 24))


SIZE = (160, 96)


@pytest.fixture(scope="module")
def clip(tmp_path_factory):
    return open_clip(media.cfr(tmp_path_factory.mktemp("view") / "clip.mp4", media.numbered_frames(N)))


@settings(max_examples=25, deadline=None)
@given(st.integers(0, N - 1), st.integers(0, N - 1), st.integers(1, 20), st.lists(st.integers(0, N - 1), max_size=3))
def test_a_view_shows_the_clips_own_frames(clip, a, b, every, must):
    first, last = sorted((a, b))
    must = [f for f in must if first <= f <= last]
    view = make_view(clip, first=first, last=last, every=every, must=must)
    assert view.frames.tolist() == sorted({*range(first, last + 1, every), last, *must})
    seen = [
        (int(i), media.read_number(im)) for found, images in view.batches() for i, im in zip(found, images, strict=True)
    ]
    assert seen == list(enumerate(view.frames.tolist()))
    assert np.array_equal(view.times, clip.times[view.frames])
    assert media.read_number(view.frame(-1)) == last
    assert set(plan_frames(view, count=4)) <= set(range(len(view)))


def test_images_are_reduced_never_enlarged(clip):
    small = make_view(clip, most_px=80)
    assert (small.size, small.frame(3).shape) == ((80, 48), (48, 80, 3))
    assert make_view(clip, most_px=4000).size == SIZE
    assert len(repr(small)) < 200


@pytest.mark.parametrize(
    ("asked", "words"),
    [
        ({"first": 5, "last": 60}, "frames 5 to 60 are not within the clip's frames 0 to 59"),
        ({"first": 9, "last": 8}, "frames 9 to 8"),
        ({"every": 0}, "every must be 1 or more"),
        ({"first": 5, "must": [4]}, r"frames \[4\] must lie within 5 to 59"),
    ],
)
def test_invalid_views_are_refused(clip, asked, words):
    with pytest.raises(ValueError, match=words):
        make_view(clip, **asked)


BROKEN = {
    "cut.mp4": media.truncated,
    "cut.mkv": media.truncated,
    "damaged.mp4": media.damaged,
    "damaged-hevc.mp4": lambda p, f: media.damaged(p, f, codec="libx265"),
}


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_file_can_be_opened_up_to_the_damage(name, tmp_path):
    path = BROKEN[name](tmp_path / name, media.numbered_frames(N))
    with pytest.raises(ClipError):
        open_clip(path)
    part = open_clip(path, partial=True)
    assert 1 <= len(part) < N
    assert part.broken.startswith(f"the video can be decoded up to {part.times[-1]:.1f} s: the file is ")
    # By time: where the last frames refer to one behind the break, that one is missing and no other has its time.
    numbers = [media.read_number(i) for _, images in part.batches() for i in images]
    assert numbers == np.round(part.times * 25).astype(int).tolist()
    assert media.read_number(part.frame(-1)) == numbers[-1]
    assert part.decoder == "pyav"


def test_partial_opening_of_a_whole_file_and_of_one_without_frames(clip, tmp_path):
    assert open_clip(clip.path, partial=True).broken == ""
    with pytest.raises(ClipError, match="no frame can be read"):
        open_clip(media.garbage(tmp_path / "garbage.mp4"), partial=True)


_READ_LARGE = """
import sys
from pathlib import Path
from video.formats.base import image_size
from video.io.reader import open_sequence
path = Path(sys.argv[1])
print(image_size(path), open_sequence([path]).size)
"""


@pytest.mark.parametrize(("side", "is_read"), [(9500, True), (13_500, False)])
def test_pillow_prints_no_warning_of_large_pictures(side, is_read, tmp_path):
    """Of 90 to 178 million pixels it would; larger ones are an error."""
    path = tmp_path / "large.png"
    Image.new("1", (side, side)).save(path)
    ran = subprocess.run([sys.executable, "-c", _READ_LARGE, str(path)], capture_output=True, text=True)
    assert "Warning" not in ran.stderr
    if is_read:
        assert (ran.stdout, ran.stderr) == (f"({side}, {side}) ({side}, {side})\n", "")
    else:
        assert "cannot be read as a picture" in ran.stderr
