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
