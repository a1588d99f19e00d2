"""`refam export`: every format, the frames as pictures, and what cannot be exported."""

from __future__ import annotations

import json
import os
from pathlib import Path
from xml.etree import ElementTree

import cv2
import numpy as np
import pytest
from pycocotools.coco import COCO

from backend.labelstudio.import_tasks import build_label_config
from tests.backend.moving_disk import H, N, W, disk_mask, make_export, refam
from tests.media import cfr, numbered_frames, read_number
from tests.small_files import small_files


@pytest.mark.parametrize("form", ["coco", "coco-polygons", "youtube-vis", "davis", "mots", "yolo", "cvat"])
def test_export_writes_every_format(labelled, form):
    result = refam("export", labelled / "found", "--format", form, "--out", labelled / "out", "--split", "0.5,0.5")
    assert result.exit_code == 0, result.output
    assert "train: 1 videos, 1 objects, 30 frames" in result.output
    assert [p for p in (labelled / "out").rglob("*") if p.is_file()]


def test_a_sampled_export_has_the_images_of_its_annotations(labelled):
    args = ("--format", "coco", "--every", 7, "--images", "--videos", labelled / "videos", "--out", labelled / "out")
    result = refam("export", labelled / "found", *args)
    assert result.exit_code == 0, result.output
    coco = COCO(str(labelled / "out/annotations/instances_all.json"))
    assert len(coco.imgs) == 2 * 5
    for image in coco.imgs.values():
        picture = cv2.imread(str(labelled / "out/images" / image["file_name"]))[..., ::-1]
        assert picture.shape == (H, W, 3)
        assert read_number(picture) == image["frame_index"]
    for annotation in coco.anns.values():
        frame = coco.imgs[annotation["image_id"]]["frame_index"]
        np.testing.assert_array_equal(coco.annToMask(annotation), disk_mask(frame))


def test_images_are_read_from_the_video_that_was_labelled(labelled):
    result = refam("export", labelled / "found/two", "--format", "yolo", "--images", "--out", labelled / "out")
    assert result.exit_code == 0, result.output
    pictures = sorted((labelled / "out/images/all").iterdir())
    assert [read_number(cv2.imread(str(path))[..., ::-1]) for path in pictures] == list(range(N))


def _other_video(path):
    path.unlink()
    cfr(path, numbered_frames(N - 1, size=(W, H)))


@pytest.mark.parametrize("form", ["yolo", "coco", "davis"])
@pytest.mark.parametrize(
    ("harm", "message"),
    [
        (Path.unlink, "--images needs the video file: give --videos FOLDER, with one.mp4 in it"),
        (lambda path: path.write_bytes(b"no video"), "one.mp4"),
        (_other_video, "not the video that was annotated: it has 29 frames of 160x96, and 30 of 160x96 are expected"),
    ],
)
def test_nothing_is_written_where_images_cannot_be(labelled, form, harm, message):
    harm(labelled / "videos/one.mp4")
    args = ("--format", form, "--images", "--out", labelled / "out")
    result = refam("export", labelled / "found/one", *args)
    assert result.exit_code == 1
    assert message in " ".join(result.output.split())
    assert not (labelled / "out").exists()
    result = refam("export", labelled / "found", *args)  # the other video is whole
    assert result.exit_code == 3
    assert "1 videos, 1 objects, 30 frames" in result.output
    assert {path.parent.name for path in (labelled / "out").rglob("*.jpg")} <= {"all", "two"}


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (["--images", "--format", "cvat"], "CVAT takes the video itself"),
        (["--split", "1,2,3"], "without dividing"),
        (["--split", "1"], "two or three"),
        (["--split", "1,x"], "two or three"),
        (["--every", "2", "--fps", "3"], "not both"),
        (["--fps", "0"], "positive"),
        (["--videos", "nowhere"], "no folder"),
    ],
)
def test_invalid_export_options_are_explained(labelled, args, message):
    result = refam("export", labelled / "found", "--format", "coco", "--out", labelled / "out", *args)
    assert result.exit_code in (1, 2)
    assert message in " ".join(result.output.replace("│", " ").split())


@pytest.mark.parametrize("below", ["", "parts"])
def test_results_of_curate_are_told_to_be_exported_by_curate(tmp_path, below):
    (tmp_path / "found" / "parts").mkdir(parents=True)
    (tmp_path / "found" / "parts" / "part-000001.parquet").touch()
    result = refam("export", tmp_path / "found" / below, "--format", "coco", "--out", tmp_path / "out")
    assert result.exit_code == 1
    assert "`refam curate MANIFEST --out FOLDER --export FORMAT`" in " ".join(result.output.split())


def _export_at(frame):
    sides = {"x": 10, "y": 35, "width": 17, "height": 29, "rotation": 0, "enabled": True}
    return make_export("there.mp4", [{"frame": frame, **sides}])


@pytest.mark.parametrize(
    ("change", "args", "message"),
    [
        (lambda e: e, [], "--config"),
        (lambda e: e, ["--config", "c.xml"], "--videos FOLDER is needed"),
        (lambda e: [{"id": 1, "data": {"video": "v"}}], ["--config", "c.xml"], "no annotations: it was exported"),
        (lambda e: [{"id": 1, "video": "v", "box": []}], ["--config", "c.xml"], "JSON-MIN; export the project again"),
        (lambda e: ["v"], ["--config", "c.xml"], "no data and no annotations"),
        (lambda e: {"images": [], "annotations": []}, ["--config", "c.xml"], "neither a tracks.json"),
        (lambda _: _export_at(1.5), ["--config", "c.xml", "--videos", "videos"], "a whole number"),
        (lambda _: _export_at(True), ["--config", "c.xml", "--videos", "videos"], "a whole number"),
        (lambda _: _export_at("1"), ["--config", "c.xml", "--videos", "videos"], "a whole number"),
        (lambda e: [e[0] | {"annotations": []}], ["--config", "c.xml"], "nothing is annotated"),
        (lambda e: e, ["--config", "c.xml", "--videos", "videos"], "there is no gone.mp4"),
    ],
)
def test_a_missing_input_of_an_export_is_named(tmp_path, videos, monkeypatch, change, args, message):
    monkeypatch.chdir(tmp_path)
    cfr(videos / "there.mp4", numbered_frames(2, size=(W, H)))
    Path("c.xml").write_text(build_label_config(["disk"]))
    Path("e.json").write_text(json.dumps(change(make_export("/data/upload/1/gone.mp4", []))))
    result = refam("export", "e.json", "--format", "yolo", "--out", "out", *args)
    assert result.exit_code == 1
    assert message in result.output


@pytest.mark.parametrize(
    ("spoil", "code", "said"),
    [
        (lambda folder: (folder / "found/two/tracks.json").write_text("{"), 3, "two/tracks.json"),
        (lambda folder: (folder / "found/two/tracks.json").write_text('{"video": {}, "objects": []}'), 3, "'name'"),
        (lambda folder: (folder / "videos/two.mp4").unlink(), 3, "there is no two.mp4"),
        (lambda folder: [path.write_text("{") for path in folder.glob("found/*/tracks.json")], 1, "tracks.json"),
    ],
)
def test_a_bad_source_of_an_export_costs_only_itself(labelled, spoil, code, said):
    spoil(labelled)
    args = ("--format", "coco", "--out", labelled / "out", "--videos", labelled / "videos")
    result = refam("export", labelled / "found", *args)
    assert result.exit_code == code, result.output
    assert said in result.stderr
    if code == 3:
        assert "videos done; left out:" in result.stderr
        assert COCO(str(labelled / "out/annotations/instances_all.json")).anns
    else:
        assert not (labelled / "out").exists()


def test_a_bad_task_or_region_costs_only_itself(labelled):
    good = {"id": "a", "type": "videorectangle", "to_name": "video", "from_name": "box", "value": {"labels": ["disk"]}}
    box = {"frame": 1, "x": 10, "y": 10, "width": 20, "height": 20, "enabled": False}
    good["value"] |= {"sequence": [box], "framesCount": N, "duration": 1.0}
    bad = {**good, "id": "b", "value": {**good["value"], "sequence": [{**box, "frame": "one"}]}}
    tasks = [
        {"id": 1, "data": {"video": "one.mp4"}, "annotations": [{"result": [good, bad]}]},
        {"id": 2, "data": {"video": "gone.mp4"}, "annotations": [{"result": [good]}]},
        {"id": 3, "data": {"video": 7}, "annotations": [{"result": []}]},
    ]
    (labelled / "e.json").write_text(json.dumps(tasks))
    (labelled / "c.xml").write_text(build_label_config(["disk"]).replace("$fps", "30"))
    args = ("--config", labelled / "c.xml", "--videos", labelled / "videos", "--format", "coco")
    result = refam("export", labelled / "e.json", *args, "--out", labelled / "out")
    assert result.exit_code == 3, result.output
    assert all(name in result.stderr for name in ("task 1", "task 2", "there is no gone.mp4", "task 3"))
    assert len(COCO(str(labelled / "out/annotations/instances_all.json")).anns) == 1


def answer(kind, **value):
    return {"id": "r", "type": kind, "from_name": f"the-{kind}", "to_name": "video", "value": {"sequence": [], **value}}


SAID = [
    (["disk", "parked"], [], {"labels": ["disk", "parked"]}),
    (["disk"], [answer("choices", choices=["half hidden"])], {"the-choices": "half hidden"}),
    (["disk"], [answer("choices", choices=["wet", "old"])], {"the-choices": ["wet", "old"]}),
    (["disk"], [answer("rating", rating=4), answer("number", number=2.5)], {"the-rating": "4", "the-number": "2.5"}),
    (["disk"], [answer("number", number=1234567.5)], {"the-number": "1234567.5"}),
    (["disk"], [answer("number", number=3.0)], {"the-number": "3"}),
    (["disk"], [answer("number", number=0.1)], {"the-number": "0.1"}),
    (["disk"], [answer("textarea", text=["seen from behind"])], {"the-textarea": "seen from behind"}),
    (["disk"], [answer("taxonomy", taxonomy=[["car", "van"]])], {"the-taxonomy": "car / van"}),
    ([], [answer("labels", labels=["disk", "parked"])], {"labels": ["disk", "parked"]}),
    (["disk"], [answer("choices", choices=[]) | {"id": "another"}], {}),
]


@pytest.mark.parametrize(("labels", "more", "attributes"), SAID)
def test_all_that_was_said_of_a_region_is_exported(tmp_path, videos, labels, more, attributes):
    export = make_export("disc.mp4", [{"frame": 1, "x": 1, "y": 2, "width": 30, "height": 40, "enabled": True}])
    result = export[0]["annotations"][0]["result"]
    result[0]["value"]["labels"] = labels
    result += more
    cfr(videos / "disc.mp4", numbered_frames(2, size=(W, H)))
    (tmp_path / "e.json").write_text(json.dumps(export))
    (tmp_path / "c.xml").write_text(build_label_config(["disk"]))
    source = (tmp_path / "e.json", "--config", tmp_path / "c.xml", "--videos", videos, "--out", tmp_path)
    for form in ("coco", "youtube-vis", "cvat", "yolo"):
        ran = refam("export", *source, "--format", form)
        assert ran.exit_code == 0, ran.output
    coco = COCO(str(tmp_path / "annotations/instances_all.json"))
    assert [c["name"] for c in coco.cats.values()] == ["disk"]
    assert [a.get("attributes", {}) for a in coco.anns.values()] == [attributes] * 2
    (track,) = json.loads((tmp_path / "all/instances.json").read_text())["annotations"]
    assert track.get("attributes", {}) == attributes
    root = ElementTree.parse(tmp_path / "all/disc.xml").getroot()
    flat = {name: ", ".join(v) if isinstance(v, list) else v for name, v in attributes.items()}
    assert [{a.get("name"): a.text for a in box.iter("attribute")} for box in root.iter("box")] == [flat] * 2
    assert {a.findtext("name") for a in root.findall("meta//attribute")} == flat.keys()
    assert ("yolo has no attributes" in ran.stderr) == bool(attributes)
    assert all(f"'{name}' of 1 object" in ran.stderr for name in attributes if name != "labels")


def test_pictures_that_were_labelled_are_never_written_over(labelled):
    """An export in DAVIS's own layout, into the folder whose pictures were labelled."""
    one = labelled / "found/one/tracks.json"
    folder = labelled / "set/JPEGImages/Full-Resolution/one"
    folder.mkdir(parents=True)
    for i, picture in enumerate(numbered_frames(N, size=(W, H))):
        cv2.imwrite(str(folder / f"{i:05d}.jpg"), picture)
    content = json.loads(one.read_text())
    content["video"] |= {"path": os.path.relpath(folder, one.parent), "times_s": [i / 24 for i in range(N)]}
    one.write_text(json.dumps(content))
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    ran = refam("export", one, "--format", "davis", "--images", "--out", labelled / "set")
    assert (ran.exit_code, "choose another --out" in ran.output) == (1, True), ran.output
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before
    assert [path.name for path in (labelled / "set").iterdir()] == ["JPEGImages"]


@pytest.mark.parametrize("form", ["coco", "davis", "yolo", "mots"])
def test_an_export_that_fails_leaves_the_one_that_was_there(form, labelled):
    def export(*more):
        return refam("export", labelled / "found", "--format", form, "--out", labelled / "out", *more)

    def written():
        return {path: path.read_bytes() for path in (labelled / "out").rglob("*") if path.is_file()}

    assert export().exit_code == 0
    before = written()
    with small_files(40):
        ran = export("--every", 2)
    assert (ran.exit_code, "out cannot be written to: File too large" in ran.stderr) == (1, True), ran.output
    assert written() == before
