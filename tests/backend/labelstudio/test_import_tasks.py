"""`refam import`: masks on pictures, boxes on the frames of their video, and which video that is."""

from __future__ import annotations

import json
import shutil

import numpy as np
import pytest

from backend.labelstudio.controls.video_rectangle import boxes_on_clip
from backend.labelstudio.export_reader import read_export
from backend.labelstudio.import_tasks import build_label_config, importable_task
from backend.labelstudio.label_config import parse_label_config
from tests.backend.labelstudio.track_playback import even_timing, result_of
from tests.backend.moving_disk import H, N, W, disk_mask, make_track, refam
from tests.doubles import moving_box
from tests.media import cfr, numbered_frames
from video import masks
from video.io.reader import open_clip

_WRITTEN = {
    "coco": "annotations/instances_all.json",
    "youtube-vis": "all/instances.json",
    "davis": ".",
    "mots": "all",
    "cvat": "all",
}
"""Where `refam export` puts what `refam import` reads."""


@pytest.mark.parametrize("form", ["coco", "youtube-vis", "davis", "mots"])
@pytest.mark.parametrize("shape", ["brush", "bitmask"])
def test_masks_are_imported_as_pictures(labelled, form, shape):
    result = refam("export", labelled / "found/one", "--format", form, "--out", labelled / "out")
    assert result.exit_code == 0, result.output
    args = (labelled / "out" / _WRITTEN[form], "--out", labelled / "in", "--masks", shape, "--url", "http://host/x")
    result = refam("import", form, *args)
    assert result.exit_code == 0, result.output
    config = parse_label_config((labelled / "in/label_config.xml").read_text())
    (task,) = json.loads((labelled / "in/tasks.json").read_text())
    assert task["data"]["frames"][0].startswith("http://host/x/one/")
    task |= {"id": 1, "annotations": [{"result": task["predictions"][0]["result"]}]}
    (labelled / "e.json").write_text(json.dumps([task]))
    (loaded,) = read_export(labelled / "e.json", config, videos=None)
    (track,) = loaded.video.objects
    assert track.label == "disk"
    np.testing.assert_array_equal(track.frames, np.flatnonzero(make_track().visible))
    for frame, rle in zip(track.frames, track.rles, strict=True):
        np.testing.assert_array_equal(masks.decode(rle), disk_mask(frame))


@pytest.mark.parametrize("form", ["cvat", "coco"])
def test_boxes_are_imported_as_video_tracks(labelled, form):
    result = refam("export", labelled / "found/one", "--format", form, "--out", labelled / "out")
    assert result.exit_code == 0, result.output
    args = ("--out", labelled / "in", "--videos", labelled / "videos")
    result = refam("import", form, labelled / "out" / _WRITTEN[form], *args)
    assert result.exit_code == 0, result.output
    (task,) = json.loads((labelled / "in/tasks.json").read_text())
    (region,) = task["predictions"][0]["result"]
    clip = open_clip(labelled / "videos/one.mp4")
    boxes, _ = boxes_on_clip(region["value"]["sequence"], clip, fps=task["data"]["fps"])
    truth = make_track()
    assert sorted(boxes) == np.flatnonzero(truth.visible).tolist()
    assert min(masks.box_iou(boxes[f], truth.boxes[f]) for f in boxes) > 0.8


def _keep_range(tracks, first, last):
    """Write a tracks.json as `refam label --range` does."""
    content = json.loads(tracks.read_text())
    (one,) = content["objects"]
    one["frames"] = [row for row in one["frames"] if first <= row["frame"] <= last]
    one["keyframes"] = [row for row in one["keyframes"] if first <= row["frame"] <= last]
    tracks.write_text(json.dumps(content))


@pytest.mark.parametrize("form", list(_WRITTEN))
@pytest.mark.parametrize(
    ("frames", "sampling", "annotated"),
    [
        ((0, 9), (), range(10)),
        ((15, 24), (), range(15, 25)),
        ((20, 29), (), range(20, 30)),
        ((0, 29), ("--every", 4), range(0, 29, 4)),
        ((14, 27), ("--every", 5), range(15, 26, 5)),
        ((14, 29), ("--fps", 11), [15, 18, 20, 22, 25, 27]),  # of 25 a second: 15.9, 18.2, 20.5, ...
        ((17, 17), (), [17]),
    ],
)
def test_a_part_of_a_video_is_imported_onto_its_own_frames(labelled, form, frames, sampling, annotated):
    _keep_range(labelled / "found/one/tracks.json", *frames)
    result = refam("export", labelled / "found/one", "--format", form, "--out", labelled / "out", *sampling)
    assert result.exit_code == 0, result.output
    args = ("--out", labelled / "in", "--videos", labelled / "videos")
    result = refam("import", form, labelled / "out" / _WRITTEN[form], *args)
    assert result.exit_code == 0, result.output
    (task,) = json.loads((labelled / "in/tasks.json").read_text())
    (region,) = task["predictions"][0]["result"]
    clip = open_clip(labelled / "videos/one.mp4")
    boxes, _ = boxes_on_clip(region["value"]["sequence"], clip, fps=task["data"]["fps"])
    truth = make_track()
    shown = [frame for frame in annotated if truth.visible[frame]]
    assert set(shown) <= set(boxes)
    assert set(boxes) <= set(range(annotated[0], annotated[-1] + 1))
    assert min(masks.box_iou(boxes[f], truth.boxes[f]) for f in shown) > 0.75


@pytest.mark.parametrize("form", ["coco", "youtube-vis", "davis", "mots"])
def test_a_part_of_a_video_is_not_imported_onto_another_one(labelled, form):
    _keep_range(labelled / "found/one/tracks.json", 5, 14)
    refam("export", labelled / "found/one", "--format", form, "--out", labelled / "out")
    cfr(labelled / "videos/one.mp4", numbered_frames(10, size=(W, H)))
    args = ("--out", labelled / "in", "--videos", labelled / "videos")
    result = refam("import", form, labelled / "out" / _WRITTEN[form], *args)
    assert result.exit_code == 1
    assert "one was annotated on a video of 30 frames, and one.mp4 has 10" in " ".join(result.output.split())
    assert not (labelled / "in").exists()


def test_importing_boxes_needs_a_video_of_the_same_length(labelled):
    refam("export", labelled / "found/one", "--format", "cvat", "--out", labelled / "out")
    result = refam("import", "cvat", labelled / "out/all", "--out", labelled / "in")
    assert "give --videos" in result.output
    cfr(labelled / "videos/one.mp4", numbered_frames(N - 5, size=(W, H)))
    result = refam("import", "cvat", labelled / "out/all", "--out", labelled / "in", "--videos", labelled / "videos")
    assert "one has 30 frames annotated, one.mp4 has 25" in result.output


def _cvat(size, tracks):
    meta = (
        f"<task><name>one</name><size>{size}</size><original_size><width>160</width><height>96</height></original_size>"
        "</task>"
    )
    return f"<annotations><meta>{meta}</meta>{tracks}</annotations>"


GOOD_TRACK = '<track id="0" label="disk"><box frame="0" xtl="16" ytl="24" xbr="48" ybr="48"/></track>'


@pytest.mark.parametrize(
    ("content", "code", "said"),
    [
        (_cvat(N, GOOD_TRACK + '<track id="1" label="b"/>'), 3, "track 1 ('b') is on no frame"),
        (_cvat(N, '<track id="1" label="b"/>'), 1, "track 1 ('b') is on no frame"),
        (_cvat(10**9, GOOD_TRACK), 1, "tells of 1000000000 frames, and the video one has 30"),
        (_cvat(10**5, GOOD_TRACK), 1, "tells of 100000 frames, and the video one has 30"),
        (_cvat(N + 1, GOOD_TRACK), 1, "one has 31 frames annotated, one.mp4 has 30"),
    ],
)
def test_what_cannot_be_imported_is_said_beside_what_can(labelled, content, code, said):
    (labelled / "a.xml").write_text(content)
    args = ("--out", labelled / "in", "--videos", labelled / "videos")
    result = refam("import", "cvat", labelled / "a.xml", *args)
    assert result.exit_code == code, result.output
    assert said in " ".join(result.stderr.split())
    assert (labelled / "in/tasks.json").exists() == (code == 3)
    if code == 3:
        (task,) = json.loads((labelled / "in/tasks.json").read_text())
        (region,) = task["predictions"][0]["result"]
        assert region["value"]["labels"] == ["disk"]


@pytest.mark.parametrize("form", ["coco", "youtube-vis"])
def test_a_folder_where_a_file_is_expected_is_said(tmp_path, form):
    (tmp_path / "set/annotations").mkdir(parents=True)
    (tmp_path / "set/annotations/val.json").write_text("{}")
    result = refam("import", form, tmp_path / "set", "--out", tmp_path / "in")
    assert result.exit_code == 1
    where = f"{tmp_path}/set is a folder, and a JSON file is expected, such as {tmp_path}/set/annotations/val.json"
    assert where in result.stderr
    result = refam("import", form, tmp_path / "set/annotations/..", "--out", tmp_path / "in")
    assert "is a folder, and a JSON file is expected" in result.stderr


def test_a_cvat_task_of_a_part_of_a_video_is_imported_by_the_name_of_its_file(labelled, tmp_path):
    """Every fifth frame from frame 5 to 20 of 30; the task has another name than its file, which has odd characters."""
    shutil.copy(labelled / "videos/one.mp4", tmp_path / "camera #3 100%.mp4")
    meta = (
        "<task><name>Warehouse, camera 3</name><size>4</size><start_frame>5</start_frame><stop_frame>20</stop_frame>"
        "<frame_filter>step=5</frame_filter><original_size><width>160</width><height>96</height></original_size>"
        "<source>camera #3 100%.mp4</source></task>"
    )
    boxes = "".join(f'<box frame="{f}" xtl="{f}" ytl="10" xbr="{f + 40}" ybr="50"/>' for f in (5, 20))
    tracks = f'<track id="0" label="disk">{boxes}</track><track id="1" label="path"><polyline/></track>'
    (tmp_path / "a.xml").write_text(f"<annotations><meta>{meta}</meta>{tracks}</annotations>")
    result = refam("import", "cvat", tmp_path / "a.xml", "--out", tmp_path / "in", "--videos", tmp_path)
    assert result.exit_code == 3, result.output
    assert "track 1 ('path') has a <polyline>" in result.stderr
    (task,) = json.loads((tmp_path / "in/tasks.json").read_text())
    (region,) = task["predictions"][0]["result"]
    clip = open_clip(tmp_path / "camera #3 100%.mp4")
    found, _ = boxes_on_clip(region["value"]["sequence"], clip, fps=task["data"]["fps"])
    assert {f: round(b[0] * W, 2) for f, b in found.items()} == {f: f for f in range(5, 21)}
    (tmp_path / "camera #3 100%.mp4").rename(tmp_path / "other.mp4")
    result = refam("import", "cvat", tmp_path / "a.xml", "--out", tmp_path / "in", "--videos", tmp_path)
    assert f"Warehouse, camera 3: there is no camera #3 100%.mp4 below --videos {tmp_path}, nor " in result.stderr


@pytest.mark.parametrize("form", ["cvat", "davis"])
def test_only_video_files_of_a_name_are_looked_at(labelled, form):
    """--videos holds the exports themselves, folders of masks named like the video, and other files."""
    for name in ("davis", "cvat"):
        refam("export", labelled / "found/one", "--format", name, "--out", labelled / f"videos/ex-{name}")
    (labelled / "videos/one").mkdir()
    (labelled / "videos/one/00000.jpg").write_bytes(b"no picture")
    (labelled / "videos/one.txt").write_text("notes")
    (labelled / "videos/zlinks").mkdir()
    (labelled / "videos/zlinks/one.mp4").symlink_to(labelled / "videos/one.mp4")
    args = ("--out", labelled / "in", "--videos", labelled / "videos")
    result = refam("import", form, labelled / f"videos/ex-{form}" / ("all" if form == "cvat" else "."), *args)
    assert result.exit_code == 0, result.output
    assert result.stderr == ""
    (task,) = json.loads((labelled / "in/tasks.json").read_text())
    assert task["data"]["video"].endswith("=one.mp4")


@pytest.mark.parametrize(
    ("harm", "code", "said"),
    [
        ({}, 0, ""),
        (
            {"annotations": [0, 8, 9]},
            3,
            "'image_id' of 2 annotation(s) is not the 'id' of any of the file's 1 image(s)",
        ),
        ({"annotations": [8, 9]}, 1, "'image_id' of 2 annotation(s) is not the 'id' of any of the file's 1 image(s)"),
        ({"categories": [{"id": 1, "name": "a\ud800"}]}, 1, r"category 1: its name 'a\ud800' has the character"),
        ({"categories": [{"id": 1, "name": "a\0b\n"}]}, 1, r"category 1: its name 'a\x00b\n' has the character"),
        ({"images": []}, 1, "'image_id' of 1 annotation(s) is not the 'id' of any of the file's 0 image(s): '0'"),
    ],
)
def test_what_cannot_be_read_of_a_coco_file_is_said(tmp_path, harm, code, said):
    content = {
        "categories": [{"id": 1, "name": "disk"}],
        "images": [{"id": 0, "file_name": "a/0.jpg", "width": 160, "height": 96}],
        "annotations": [0],
        **harm,
    }
    square = {"category_id": 1, "segmentation": [[10, 10, 30, 10, 30, 30, 10, 30]]}
    content["annotations"] = [{"id": k, "image_id": i, **square} for k, i in enumerate(content["annotations"])]
    (tmp_path / "a.json").write_text(json.dumps(content))
    result = refam("import", "coco", tmp_path / "a.json", "--out", tmp_path / "in")
    assert result.exit_code == code, result.output
    assert said in result.stderr
    assert bool(result.stderr) == bool(said)
    assert (tmp_path / "in/tasks.json").exists() == (code != 1)


@pytest.mark.parametrize(
    ("names", "kept", "said"),
    [
        (["a/0.jpg", "b/..c.jpg"], ["a/0.jpg", "b/..c.jpg"], ""),
        (["a/0.jpg", "../../etc/passwd"], ["a/0.jpg"], "passwd: the file name '../../etc/passwd' leaves its folder"),
        (["a/0.jpg", r"a\..\..\b.jpg"], ["a/0.jpg"], "leaves its folder ('..'); name files below --url"),
        (["a/0.jpg", "%2e%2e/b.jpg"], ["a/0.jpg"], "the file name '%2e%2e/b.jpg' leaves its folder"),
        (
            ["a/0.jpg", "http://h/x.jpg"],
            ["a/0.jpg"],
            "x: its file is named 'http://h/x.jpg', which is an address; write",
        ),
        (["a/0.jpg", "/etc/x.jpg"], ["a/0.jpg"], "x: the file name '/etc/x.jpg' begins at the root of a disk"),
        (["a/0.jpg", "C:\\x.jpg"], ["a/0.jpg"], r"the file name 'C:\\x.jpg' begins at the root of a disk; name files"),
        (["a/0.jpg", "c:/x.jpg"], ["a/0.jpg"], "the file name 'c:/x.jpg' begins at the root of a disk"),
        (["a/0.jpg", "%2fetc/x.jpg"], ["a/0.jpg"], "the file name '%2fetc/x.jpg' begins at the root of a disk"),
        (["a/0.jpg", "//host/x.jpg"], ["a/0.jpg"], "the file name '//host/x.jpg' begins at the root of a disk"),
        (["a/0.jpg", "a\ud800/b.jpg"], ["a/0.jpg"], r"the name 'a\ud800/b.jpg' has the character '\ud800'"),
        (["a/0.jpg", "a/\ud800.jpg"], ["a/0.jpg"], r"the name '\ud800' has the character '\ud800'"),
        (["a/0.jpg"] * 3, ["a/0.jpg"] * 3, "note: 'a/0.jpg' is named by 3 frames: the tasks show the same picture"),
        (["a", "b", "c", "b", "a", "a"], list("abcbaa"), "'a' is named by 3 frames, and 1 other picture(s) by several"),
    ],
)
def test_names_of_pictures_that_are_no_addresses_or_not_their_own_are_said(tmp_path, names, kept, said):
    square = {"category_id": 1, "segmentation": [[10, 10, 30, 10, 30, 30, 10, 30]]}
    content = {
        "categories": [{"id": 1, "name": "disk"}],
        "images": [{"id": i, "file_name": name, "width": 160, "height": 96} for i, name in enumerate(names)],
        "annotations": [{"id": i, "image_id": i, **square} for i in range(len(names))],
    }
    (tmp_path / "a.json").write_text(json.dumps(content))
    result = refam("import", "coco", tmp_path / "a.json", "--out", tmp_path / "in")
    assert result.exit_code == (0 if len(kept) == len(names) else 3), result.output
    assert said in result.stderr
    assert bool(result.stderr) == bool(said)
    tasks = json.loads((tmp_path / "in/tasks.json").read_text())
    assert [task["data"]["frames"] for task in tasks] == [[f"/data/local-files/?d={name}"] for name in kept]


def test_a_video_whose_name_no_address_can_hold_is_said(labelled):
    image = {"id": 1, "file_name": "all/0001.jpg", "video_id": 5, "width": 160, "height": 96}
    content = {"categories": [], "images": [image], "annotations": [], "videos": [{"id": 5, "name": "\ud800"}]}
    (labelled / "a.json").write_text(json.dumps(content))
    for more in ((), ("--videos", labelled / "videos")):
        result = refam("import", "coco", labelled / "a.json", "--out", labelled / "in", *more)
        assert result.exit_code == 1, result.output
        assert result.stderr == "refam: the name '\\ud800' has the character '\\ud800', which no address can hold\n"


def test_a_video_that_is_not_found_is_named_with_its_first_picture(labelled):
    image = {"id": 1, "file_name": "all/0001.jpg", "video_id": 5, "width": 160, "height": 96}
    annotation = {"id": 1, "image_id": 1, "category_id": 1, "bbox": [1, 1, 9, 9]}
    content = {"categories": [{"id": 1, "name": "disk"}], "images": [image], "annotations": [annotation]}
    (labelled / "a.json").write_text(json.dumps(content | {"videos": [{"id": 5}]}))
    result = refam("import", "coco", labelled / "a.json", "--out", labelled / "in", "--videos", labelled / "videos")
    assert result.exit_code == 1
    assert result.stderr.startswith(f"refam: 5: there is no 5 below --videos {labelled}/videos, nor 5.mp4, 5.webm, ")
    assert result.stderr.endswith("; the first of its pictures is all/0001.jpg\n")


def test_two_videos_of_one_name_are_named(labelled):
    refam("export", labelled / "found/one", "--format", "cvat", "--out", labelled / "out")
    (labelled / "videos/copy").mkdir()
    shutil.copy(labelled / "videos/one.mp4", labelled / "videos/copy/one.mp4")
    args = ("--out", labelled / "in", "--videos", labelled / "videos")
    result = refam("import", "cvat", labelled / "out/all", *args)
    assert result.exit_code == 1
    assert "one.mp4; leave one of them below --videos" in " ".join(result.output.split())
    assert "there is no one" not in result.output


def test_a_video_in_a_subfolder_keeps_its_folder_in_the_address(labelled):
    refam("export", labelled / "found/one", "--format", "cvat", "--out", labelled / "out")
    (labelled / "videos/day 1").mkdir()
    (labelled / "videos/one.mp4").rename(labelled / "videos/day 1/one.mp4")
    args = ("--out", labelled / "in", "--videos", labelled / "videos")
    for more, address in (
        ((), "/data/local-files/?d=day%201/one.mp4"),
        (("--url", "http://host/v/"), "http://host/v/day%201/one.mp4"),
    ):
        assert refam("import", "cvat", labelled / "out/all", *args, *more).exit_code == 0
        (task,) = json.loads((labelled / "in/tasks.json").read_text())
        assert task["data"]["video"] == address


def test_an_importable_task_fits_its_config() -> None:
    results = [result_of(moving_box(10), label='a "red" <star>'), result_of(moving_box(10), label="b")]
    task, xml = importable_task(
        results, even_timing(10, 25), video="/data/local-files/?d=a.mp4", words="a; b", fps=25.0, model_version="m"
    )
    config = parse_label_config(xml)
    assert {label.result for label in config.labels} == {'a "red" <star>', "b"}
    assert task["data"][config.media_field] == "/data/local-files/?d=a.mp4"
    assert config.fps(task["data"]) == 25
    assert task["data"][config.word_fields[0]] == "a; b"
    (prediction,) = task["predictions"]
    assert [r["from_name"] for r in prediction["result"]] == [config.control.name] * 2
    assert len({r["id"] for r in prediction["result"]}) == 2


def test_the_config_has_the_words_above_the_video() -> None:
    xml = build_label_config(["x"])
    assert xml.index("<TextArea") < xml.index("<Video ")
