"""Label Studio's JSON export: boxes on the clip's own frames, and masks on pictures."""

from __future__ import annotations

import json

import numpy as np
import pytest
from pycocotools.coco import COCO

from backend.labelstudio.controls.video_rectangle import box_sequence
from backend.labelstudio.export_reader import read_export
from backend.labelstudio.export_sources import VideoFolder
from backend.labelstudio.import_tasks import build_label_config
from backend.labelstudio.label_config import parse_label_config
from backend.labelstudio.picture_tasks import build_mask_label_config
from tests.backend.moving_disk import H, N, W, disk_mask, make_export, make_result, make_track, refam
from tests.media import cfr, numbered_frames, vfr
from video import masks
from video.formats.base import FormatError
from video.io.reader import open_clip


@pytest.mark.parametrize(
    ("flags", "drawn"),
    [
        (({}, {}), [1, 20]),  # as seen in the editor: on the two frames, hidden between and after
        (({"enabled": None}, {"enabled": 0}), [1, 20]),
        (({"enabled": True}, {}), list(range(1, 21))),
        (({}, {"enabled": True}), [1, *range(20, 31)]),
    ],
)
def test_keyframes_without_enabled_hide_the_box_behind_them(tmp_path, videos, flags, drawn):
    sides = {"x": 10, "y": 35, "width": 17, "height": 29, "rotation": 0}
    sequence = [{"frame": frame, **sides, **flag} for frame, flag in zip((1, 20), flags, strict=True)]
    cfr(videos / "disc.mp4", numbered_frames(N, size=(W, H)))
    (tmp_path / "e.json").write_text(json.dumps(make_export("/data/upload/1/0a1b2c3d-disc.mp4", sequence)))
    config = parse_label_config(build_label_config(["disk"]))
    (loaded,) = read_export(tmp_path / "e.json", config, videos=VideoFolder(videos))
    (track,) = loaded.video.objects
    assert (track.frames + 1).tolist() == drawn


def test_export_of_corrected_annotations_at_a_variable_frame_rate(tmp_path, videos):
    clip = open_clip(vfr(videos / "a b.mp4", numbered_frames(N, size=(W, H))))
    truth = make_track()
    sequence = box_sequence(truth, clip, fps=30)
    skipped = {"id": 2, "was_cancelled": True, "updated_at": "2027-01-01", "result": []}
    (tmp_path / "e.json").write_text(
        json.dumps(make_export("/data/upload/3/0a1b2c3d-a%20b.mp4", sequence, fps=30, more=[skipped]))
    )
    (tmp_path / "c.xml").write_text(build_label_config(["disk"]))
    args = ("--format", "coco", "--config", tmp_path / "c.xml", "--videos", videos, "--out", tmp_path)
    result = refam("export", tmp_path / "e.json", *args)
    assert result.exit_code == 0, result.output
    coco = COCO(str(tmp_path / "annotations/instances_all.json"))
    assert len(coco.imgs) == N
    assert {image["file_name"] for image in coco.imgs.values()} >= {"a b/000000.jpg"}
    found = {coco.imgs[a["image_id"]]["frame_index"]: a["bbox"] for a in coco.anns.values()}
    for frame, (x, y, w, h) in found.items():
        if truth.visible[frame]:
            box = np.array([x / W, y / H, (x + w) / W, (y + h) / H])
            # The last clip frame comes after the last frame of the editor and takes its box.
            assert masks.box_iou(box, truth.boxes[frame]) > (0.85 if frame < N - 1 else 0.7)
    assert set(np.flatnonzero(truth.visible)) - set(found) == set()


def test_regions_of_another_frame_rate_are_read_at_their_own(tmp_path, videos):
    """A box that moves from the first to the last of 48 editor frames, in a project that says 10 a second now."""
    sides = {"y": 35, "width": 17, "height": 29, "rotation": 0, "enabled": True}
    export = make_export("disc.mp4", [{"frame": 1, "x": 10, **sides}, {"frame": 48, "x": 57, **sides}], fps=10)
    export[0]["annotations"][0]["result"][0]["value"] |= {"framesCount": 48, "duration": 2.0}
    cfr(videos / "disc.mp4", numbered_frames(20, size=(W, H)), fps=10)
    (tmp_path / "e.json").write_text(json.dumps(export))
    (tmp_path / "c.xml").write_text(build_label_config(["disk"]))
    args = ("--format", "coco", "--config", tmp_path / "c.xml", "--videos", videos, "--out", tmp_path)
    result = refam("export", tmp_path / "e.json", *args)
    assert result.exit_code == 0, result.output
    assert "task 7: regions were stored with 48 frames in 2 s, so they are read at 24" in " ".join(
        result.stderr.split()
    )
    coco = COCO(str(tmp_path / "annotations/instances_all.json"))
    lefts = [a["bbox"][0] / W * 100 for a in sorted(coco.anns.values(), key=lambda a: a["image_id"])]
    np.testing.assert_allclose(lefts, [10 + 24 * t for t in np.arange(20) / 10], atol=1.01)  # an editor frame is 1 %


@pytest.mark.parametrize("frame", [2, 2.0])
def test_a_frame_may_be_written_with_a_fraction_of_zero(tmp_path, videos, frame):
    sides = {"x": 10, "y": 35, "width": 17, "height": 29, "rotation": 0, "enabled": True}
    cfr(videos / "disc.mp4", numbered_frames(4, size=(W, H)))
    (tmp_path / "e.json").write_text(json.dumps(make_export("disc.mp4", [{"frame": frame, **sides}])))
    config = parse_label_config(build_label_config(["disk"]))
    (loaded,) = read_export(tmp_path / "e.json", config, videos=VideoFolder(videos))
    (track,) = loaded.video.objects
    assert (track.frames.tolist(), track.keyframes) == ([1, 2, 3], (1,))


@pytest.mark.parametrize("shape", ["brush", "polygon", "bitmask"])
def test_masks_of_picture_tasks_round_trip(tmp_path, shape):
    xml = build_mask_label_config(["disk", "other"], shape)
    config = parse_label_config(xml)
    track = make_track(6, hidden=(2,))
    regions = config.control.regions([make_result(track, np.arange(6.0))], region_ids=["refam-0123456789"])
    hand_drawn = dict(regions[0], id="by-hand", item_index=2)
    data = {"frames": [f"/data/{i:06}.jpg" for i in range(6)], "times_s": [0, 1, 2, 3, 4, 5]}
    task = {"id": 4, "data": data, "annotations": [{"result": [*regions, hand_drawn]}]}
    (tmp_path / "e.json").write_text(json.dumps([task]))
    (loaded,) = read_export(tmp_path / "e.json", config, videos=None)
    (found,) = loaded.video.objects  # the hand-drawn region belongs to the only object
    assert found.frames.tolist() == [0, 1, 2, 3, 4, 5]
    for frame, rle in zip(found.frames, found.rles, strict=True):
        expected = disk_mask(frame) if frame != 2 else disk_mask(0)
        assert masks.iou(masks.decode(rle), expected) > (0.93 if shape == "polygon" else 0.999)
    assert loaded.video.times.tolist() == [0, 1, 2, 3, 4, 5]
    assert loaded.video.pictures[1] == "task-4/000001.jpg"


def test_several_labels_and_choices_of_masks_on_pictures_are_kept(tmp_path):
    config = parse_label_config(build_mask_label_config(["disk", "parked"], "brush"))
    regions = config.control.regions([make_result(make_track(2, hidden=()), [0, 1])], region_ids=["refam-0123456789"])
    regions[1]["value"]["brushlabels"] = ["disk", "parked"]
    said = {"id": regions[0]["id"], "type": "choices", "from_name": "how", "to_name": "image"}
    result = [*regions, said | {"value": {"choices": ["wet"]}}]
    task = {"id": 4, "data": {"frames": ["a.jpg", "b.jpg"]}, "annotations": [{"result": result}]}
    (tmp_path / "e.json").write_text(json.dumps([task]))
    (loaded,) = read_export(tmp_path / "e.json", config, videos=None)
    (found,) = loaded.video.objects
    assert (found.label, found.attributes) == ("disk", {"labels": ("disk", "parked"), "how": ("wet",)})


def test_the_task_of_an_invalid_mask_is_named(tmp_path):
    config = parse_label_config(build_mask_label_config(["disk"], "brush"))
    base = {"id": "a", "to_name": "image", "item_index": 0, "original_width": 8, "original_height": 8}
    for kind, value in {
        "brushlabels": {"rle": [1, 2, 3]},
        "bitmasklabels": {"imageDataURL": "data:image/png;base64,AAAA"},
        "polygonlabels": {"points": [[1, 2]]},
    }.items():
        task = {
            "id": 4,
            "data": {"frames": ["a.jpg"]},
            "annotations": [{"result": [base | {"type": kind, "value": value}]}],
        }
        (tmp_path / "e.json").write_text(json.dumps([task]))
        with pytest.raises(FormatError, match="task 4"):
            read_export(tmp_path / "e.json", config, videos=None)


SIDES = {"x": 10, "y": 35, "width": 17, "height": 29, "rotation": 0}


def _box(frame=1, **more):
    keyframe = {"frame": frame, **SIDES, "enabled": True, **more}
    value = {"labels": ["disk"], "sequence": [keyframe]}
    return {"id": "r", "type": "videorectangle", "from_name": "box", "to_name": "video", "value": value}


def _annotation(identity, *result, **more):
    return {"id": identity, "result": list(result), **more}


def _read(tmp_path, videos, annotations, *, skipped=None):
    """Return what is read of a task with these annotations, and of a good one beside it."""
    cfr(videos / "disc.mp4", numbered_frames(3, size=(W, H)), fps=10)
    good = {"id": 8, "data": {"video": "disc.mp4", "fps": 10}, "annotations": [_annotation(1, _box())]}
    (tmp_path / "e.json").write_text(json.dumps([{**good, "id": 7, "annotations": annotations}, good]))
    config = parse_label_config(build_label_config(["disk"]))
    return read_export(tmp_path / "e.json", config, videos=VideoFolder(videos), skipped=skipped)


@pytest.mark.parametrize(
    ("result", "said"),
    [
        ([_box(1e300)], "needs 'frame', a whole number"),
        ([_box(10**400)], "needs 'frame', a whole number"),
        ([_box(x=10**400)], "needs finite numbers"),
        ([_box() | {"id": ["x"]}], "a region's 'id' must be a text, got ['x']"),
        ([_box() | {"id": {}, "type": "labels"}], "a region's 'id' must be a text"),
        ([_box() | {"value": None}], "needs 'value', dict"),
        ([_box() | {"value": {"sequence": 5}}], "needs 'sequence', list"),
    ],
    ids=["far", "farther", "wide", "id", "label's id", "value", "sequence"],
)
def test_a_region_that_cannot_be_read_costs_itself(tmp_path, videos, result, said):
    skipped = []
    loaded = _read(tmp_path, videos, [_annotation(1, *result, _box())], skipped=skipped)
    assert [len(one.video.objects) for one in loaded] == [1, 1]
    (line,) = skipped
    assert "task 7" in line
    assert said in line


@pytest.mark.parametrize("annotations", [5, "x", {"id": 1}])
def test_a_task_without_a_list_of_annotations_costs_itself(tmp_path, videos, annotations):
    skipped = []
    (loaded,) = _read(tmp_path, videos, annotations, skipped=skipped)
    assert len(loaded.video.objects) == 1
    assert "task 7 needs 'annotations', list" in skipped[0]


OTHER = {"labels": ["other"], "sequence": [{"frame": 1, **SIDES, "enabled": True}]}


@pytest.mark.parametrize(
    ("used", "other", "said"),
    [
        (
            {"updated_at": "2026-01-02T00:00:00Z", "completed_by": 4},
            {"updated_at": "2026-01-01"},
            "1 of user 4 is exported, for it is the newest",
        ),
        ({"updated_at": "2026-01-02T00:00:00Z"}, {}, "annotation 1 is exported, for it is the newest"),
        ({"updated_at": "2026-01-02T00:00:00Z"}, {"updated_at": "yesterday"}, "the newest"),
        ({"created_at": "2026-01-02T00:00:00Z"}, {"updated_at": "2026-01-01T00:00:00Z"}, "the newest"),
        # 00:30 and 23:30 of the day before
        ({"updated_at": "2026-01-02T00:30:00Z"}, {"updated_at": "2026-01-02T01:30:00+02:00"}, "the newest"),
        ({"ground_truth": True}, {"updated_at": "2026-01-02T00:00:00Z"}, "the ground truth"),
        ({"updated_at": None}, {"updated_at": None, "id": 0}, "the newest"),
    ],
)
@pytest.mark.parametrize("reverse", [False, True])
def test_which_of_several_annotations_is_exported_is_said(tmp_path, videos, used, other, said, reverse):
    several = [_annotation(1, _box(), **used), {**_annotation(2, _box() | {"value": OTHER}), **other}]
    several.append(_annotation(3, was_cancelled=True, updated_at="2027-01-01T00:00:00Z"))
    loaded, alone = _read(tmp_path, videos, several[::-1] if reverse else several)
    assert [one.label for one in loaded.video.objects] == ["disk"]
    (note,) = loaded.video.notes
    assert said in note
    assert note.endswith("; 1 other(s) of the task are not")
    assert alone.video.notes == ()


@pytest.mark.parametrize("sides", [{"x": 120}, {"y": -60}, {"width": 0}, {"height": 0}])
def test_an_object_that_is_not_in_the_picture_is_said(tmp_path, videos, sides):
    loaded, _ = _read(tmp_path, videos, [_annotation(1, _box(**sides), _box())])
    assert len(loaded.video.objects) == 1
    (note,) = loaded.video.notes
    assert "task 7: 'disk' (r) has no area inside the picture on any frame" in note


@pytest.mark.parametrize(
    "harm",
    [
        {"item_index": "x"},
        {"item_index": 9},
        {"original_width": [8]},
        {"original_width": 10**9, "original_height": 10**9},
        {"original_width": 0},
        {"value": None},
        {"id": ["a"]},
    ],
)
def test_a_mask_that_cannot_be_read_is_said(tmp_path, harm):
    config = parse_label_config(build_mask_label_config(["disk"], "polygon"))
    value = {"points": [[10, 10], [90, 10], [90, 90]], "polygonlabels": ["disk"]}
    base = {"id": "a", "type": "polygonlabels", "to_name": "image", "original_width": 8, "original_height": 8}
    task = {"id": 4, "data": {"frames": ["a.jpg"]}, "annotations": [{"result": [base | {"value": value} | harm]}]}
    (tmp_path / "e.json").write_text(json.dumps([task]))
    with pytest.raises(FormatError, match="task 4"):
        read_export(tmp_path / "e.json", config, videos=None)


def test_a_task_without_pictures_is_said(tmp_path):
    config = parse_label_config(build_mask_label_config(["disk"], "polygon"))
    task = {"id": 4, "data": {"frames": []}, "annotations": [{"result": []}]}
    (tmp_path / "e.json").write_text(json.dumps([task]))
    with pytest.raises(FormatError, match="task 4: 'frames' is a list without a picture"):
        read_export(tmp_path / "e.json", config, videos=None)


@pytest.mark.parametrize("times_s", [[1, 0], [0, 0], [0, None], [0, float("nan")]])
def test_times_of_pictures_that_do_not_rise_are_said(tmp_path, times_s):
    config = parse_label_config(build_mask_label_config(["disk"], "polygon"))
    task = {"id": 4, "data": {"frames": ["a.jpg", "b.jpg"], "times_s": times_s}, "annotations": [{"result": []}]}
    (tmp_path / "e.json").write_text(json.dumps([task]))
    with pytest.raises(FormatError, match="task 4: time_s must be a number of seconds that rises"):
        read_export(tmp_path / "e.json", config, videos=None)
