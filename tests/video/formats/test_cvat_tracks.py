"""CVAT's files as CVAT means them: outside shapes, rotation, tasks of parts of a video, shapes that are no boxes."""

from __future__ import annotations

import numpy as np
import pytest

from video.formats import cvat
from video.formats.base import FormatError

SIZE = (160, 96)


def box(frame, x, *, width=30, outside=0, keyframe=1, more=""):
    return (
        f'<box frame="{frame}" keyframe="{keyframe}" outside="{outside}" occluded="0" '
        f'xtl="{x}" ytl="20" xbr="{x + width}" ybr="40" {more}/>'
    )


def read(tmp_path, *tracks, meta="", size=20, kind="task"):
    head = f"<{kind}><name>Warehouse</name><size>{size}</size>{meta}"
    shape = "<original_size><width>160</width><height>96</height></original_size>"
    body = "".join(f'<track id="{i}" label="disc">{shapes}</track>' for i, shapes in enumerate(tracks))
    path = tmp_path / "annotations.xml"
    path.write_text(f"<annotations><meta>{head}{shape}</{kind}></meta>{body}</annotations>")
    (video,) = cvat.read(path)
    return video


def lefts(video, number=0):
    """{frame: left side in pixels} of an object."""
    one = video.objects[number]
    return {int(frame): round(float(b[0]) * SIZE[0], 6) for frame, b in zip(one.frames, one.boxes, strict=True)}


def line(first, last, start, step):
    return {frame: start + step * (frame - first) for frame in range(first, last + 1)}


@pytest.mark.parametrize(
    ("shapes", "expected"),
    [
        # towards an outside shape, which is not shown itself
        (box(0, 10) + box(10, 60, outside=1), line(0, 9, 10, 5)),
        (box(0, 10) + box(10, 60, outside=1, keyframe=0), line(0, 9, 10, 5)),
        (
            box(0, 10) + box(4, 50, outside=1) + box(8, 100, outside=1) + box(12, 5),
            line(0, 3, 10, 10) | line(12, 19, 5, 0),
        ),
        # what CVAT wrote between keyframes is not read again
        (box(0, 10) + box(5, 99, keyframe=0) + box(10, 20), line(0, 10, 10, 1) | line(11, 19, 20, 0)),
        # closed behind the last frame
        (box(18, 10) + box(19, 11) + box(20, 11, outside=1), {18: 10, 19: 11}),
        (box(10, 0) + box(20, 100, outside=1), line(10, 19, 0, 10)),
        (box(3, 10), line(3, 19, 10, 0)),
    ],
)
def test_a_track_is_interpolated_as_cvat_does(tmp_path, shapes, expected):
    video = read(tmp_path, shapes)
    assert lefts(video) == pytest.approx(expected)
    assert len(video.times) == 20
    assert video.notes == ()


@pytest.mark.parametrize(
    ("meta", "size", "kind", "shapes", "expected", "n"),
    [
        # every fifth frame of twenty
        (
            "<start_frame>0</start_frame><stop_frame>19</stop_frame><frame_filter>step=5</frame_filter>", 4, "task",
            box(0, 10) + box(5, 15, keyframe=0) + box(10, 20) + box(15, 40),
            line(0, 10, 10, 1) | line(10, 15, 20, 4) | line(15, 19, 40, 0), 20,
        ),
        # every third frame from the fifth on, without a stop frame
        (
            "<start_frame>5</start_frame><frame_filter> step = 3</frame_filter>", 4, "task",
            box(5, 10) + box(8, 40) + box(11, 40, outside=1), line(5, 8, 10, 10) | line(9, 10, 40, 0), 15,
        ),
        # the middle of a video
        (
            "<start_frame>100</start_frame><stop_frame>119</stop_frame><frame_filter></frame_filter>", 20, "task",
            box(100, 10) + box(110, 20), line(100, 110, 10, 1) | line(111, 119, 20, 0), 120,
        ),
        # the second job of a task that shows every fifth frame: it counts the task's frames
        (
            "<start_frame>4</start_frame><stop_frame>7</stop_frame><frame_filter>step=5</frame_filter>", 4, "job",
            box(20, 10) + box(35, 25), line(20, 35, 10, 1), 36,
        ),
    ],
)  # fmt: skip
def test_frames_are_those_of_the_video(tmp_path, meta, size, kind, shapes, expected, n):
    video = read(tmp_path, shapes, meta=meta, size=size, kind=kind)
    assert lefts(video) == pytest.approx(expected)
    assert len(video.times) == n
    assert video.open_end


@pytest.mark.parametrize(
    ("angle", "expected"),
    [
        ("90.00", (75, 28, 85, 68)),
        ("-90", (75, 28, 85, 68)),
        ("180", (60, 43, 100, 53)),
        ("45", (80 - 25 / 2**0.5, 48 - 25 / 2**0.5, 80 + 25 / 2**0.5, 48 + 25 / 2**0.5)),
        ("", (60, 43, 100, 53)),
    ],
)
def test_a_rotated_box_is_turned_about_its_centre_in_pixels(tmp_path, angle, expected):
    shape = f'<box frame="0" keyframe="1" outside="0" xtl="60" ytl="43" xbr="100" ybr="53" rotation="{angle}"/>'
    (one,) = read(tmp_path, shape).objects
    np.testing.assert_allclose(one.boxes[[0, -1]] * [*SIZE, *SIZE], [expected] * 2)


def test_the_angle_is_interpolated_the_shorter_way_round(tmp_path):
    """From 350 to 10 degrees through 0, where the box is as wide as it was drawn."""
    shapes = box(0, 50, width=60, more='rotation="350"') + box(10, 50, width=60, more='rotation="10"')
    (one,) = read(tmp_path, shapes).objects
    np.testing.assert_allclose(one.boxes[5] * [*SIZE, *SIZE], [50, 20, 110, 40], atol=1e-9)
    assert one.boxes[1][3] - one.boxes[1][1] > 20 / 96


OTHER_SHAPES = {
    "polygon": '<polygon frame="0" keyframe="1" outside="0" points="1,1;9,1;9,9"/>',
    "skeleton": '<skeleton frame="0" keyframe="1"><points label="nose" points="1,1"/></skeleton>',
    "mask": '<mask frame="0" rle="3, 2" left="1" top="1" width="2" height="2"/>',
    "ellipse": '<ellipse frame="0" cx="5" cy="5" rx="2" ry="2"/>',
}


@pytest.mark.parametrize("shape", OTHER_SHAPES)
def test_tracks_of_other_shapes_are_left_out_and_named(tmp_path, shape):
    video = read(tmp_path, box(0, 10), OTHER_SHAPES[shape], box(5, 50))
    assert [lefts(video, k)[19] for k in range(len(video.objects))] == [10, 50]
    (note,) = video.notes
    assert "track 1 ('disc')" in note
    assert f"<{shape}>" in note
    assert "left out" in note


@pytest.mark.parametrize(
    "bad",
    [
        "",
        box(3, 1, keyframe=0),
        box(3, 1, outside=1),
        box(3, 1, width=0),
        box(3, 400),
        box(20, 1),
        box(-1, 1),
        box("9" * 5000, 1),
        box(3, 1).replace('ytl="20"', 'ytl="nan"'),
        box(3, 1).replace("xbr", "right"),
    ],
    ids=["empty", "no keyframe", "outside", "no width", "beside", "behind", "before", "far", "nan", "no side"],
)
def test_a_track_that_cannot_be_read_costs_that_track(tmp_path, bad):
    video = read(tmp_path, bad, box(0, 10))
    assert lefts(video)[0] == 10
    (note,) = video.notes
    assert "track 0" in note
    assert len(video.objects) == 1


@pytest.mark.parametrize(
    ("meta", "message"),
    [
        ("<frame_filter>every second</frame_filter>", "step=5"),
        ("<start_frame>-1</start_frame>", "<start_frame> must be a whole number, got '-1'"),
        ("<stop_frame>x</stop_frame>", "<stop_frame>"),
        ("<stop_frame>999999999</stop_frame>", "tells of 1000000000 frames; without --videos, 100000 at most"),
        ("<start_frame>999999999</start_frame>", "tells of 1000000019 frames"),
        ("<frame_filter>step=999999999</frame_filter>", "tells of 18999999982 frames"),
        pytest.param(f"<stop_frame>{'9' * 5000}</stop_frame>", "<stop_frame> must be a whole number", id="far"),
    ],
)
def test_unreadable_frames_of_a_task_are_refused(tmp_path, meta, message):
    with pytest.raises(FormatError, match=message):
        read(tmp_path, box(0, 1), meta=meta)


@pytest.mark.parametrize("source", ["disc.mp4", " disc.mp4 ", "C:\\clips\\disc.mp4", "clips/disc.mp4"])
def test_the_name_of_the_video_file_is_read(tmp_path, source):
    video = read(tmp_path, box(0, 1), meta=f"<source>{source}</source>")
    assert (video.name, video.file_name) == ("Warehouse", "disc.mp4")


@pytest.mark.parametrize(("frames", "fits"), [(10_000, True), (20_000, True), (20_001, False), (999_999_999, False)])
def test_more_frames_than_the_video_has_are_refused(tmp_path, frames, fits):
    """The video is looked at only where a number is large: opening it takes time."""
    (tmp_path / "a.xml").write_text(
        f"<annotations><meta><task><name>W</name><size>{frames}</size><source>disc.mp4</source><original_size>"
        "<width>160</width><height>96</height></original_size></task></meta></annotations>"
    )
    asked = []

    def length_of(name, file_name):
        asked.append((name, file_name))
        return 20_000

    if fits:
        (video,) = cvat.read(tmp_path / "a.xml", length_of=length_of)
        assert len(video.times) == frames
    else:
        with pytest.raises(FormatError, match=f"a.xml tells of {frames} frames, and the video W has 20000"):
            cvat.read(tmp_path / "a.xml", length_of=length_of)
    assert asked == [("W", "disc.mp4")] * (frames > 10_000)


def test_the_export_of_a_project_is_named(tmp_path):
    task = "<task><name>a</name><size>20</size></task>"
    (tmp_path / "a.xml").write_text(f"<annotations><meta><project><tasks>{task}</tasks></project></meta></annotations>")
    with pytest.raises(FormatError, match="export of a project: export each of its tasks by itself"):
        cvat.read(tmp_path / "a.xml")
