"""COCO is read by pycocotools as it was written, and read again."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pycocotools.coco import COCO

from tests.video.formats.two_objects import H, N, W, bars, ring, two_objects
from video import masks
from video.formats import coco
from video.formats.base import every_nth_frame


@pytest.mark.parametrize("shape", ["rle", "polygons"])
def test_coco_is_read_by_pycocotools(tmp_path, shape):
    (file,) = coco.write({"all": [two_objects(), two_objects("b")]}, tmp_path, shape=shape)
    read = COCO(str(file))
    assert len(read.imgs) == 2 * N
    assert {c["name"] for c in read.cats.values()} == {"ring", "two bars"}
    truth = {"ring": ring, "two bars": bars}
    count = 0
    for annotation in read.anns.values():
        image = read.imgs[annotation["image_id"]]
        want = truth[read.cats[annotation["category_id"]]["name"]](image["frame_index"])
        got = read.annToMask(annotation).astype(bool)
        if shape == "rle":
            np.testing.assert_array_equal(got, want)
            assert annotation["area"] == want.sum()
        else:
            assert masks.iou(got, want) > 0.9
        columns, rows = np.flatnonzero(want.any(0)), np.flatnonzero(want.any(1))
        box = [columns[0], rows[0], columns[-1] - columns[0] + 1, rows[-1] - rows[0] + 1]
        np.testing.assert_allclose(annotation["bbox"], box, atol=1e-3)
        count += 1
    assert count == 2 * (7 + 9)
    assert len({a["track_id"] for a in read.anns.values()}) == 4


def test_coco_round_trip_keeps_tracks_times_and_sampling(tmp_path):
    sampled = two_objects().select_frames(every_nth_frame(two_objects(), 2))
    (file,) = coco.write({"all": [sampled]}, tmp_path)
    (back,) = coco.read(file)
    assert back.times.tolist() == pytest.approx([0, 0.08, 0.16, 0.24, 0.32])
    assert back.pictures[1] == "a/clip/000002.jpg"
    assert back.objects[0].frames.tolist() == [0, 1, 3, 4]  # clip frames 0, 2, 6, 8


def test_coco_without_videos_is_pictures(tmp_path):
    content = {
        "images": [{"id": 5, "file_name": "x/p.jpg", "width": W, "height": H}],
        "categories": [{"id": 3, "name": "ring"}],
        "annotations": [
            {"id": 1, "image_id": 5, "category_id": 3, "segmentation": [[10, 10, 20, 10, 20, 30, 10, 30]]},
            {"id": 2, "image_id": 5, "category_id": 3, "segmentation": {"size": [H, W], "counts": [5, 10, H * W - 15]}},
            {"id": 3, "image_id": 5, "category_id": 3, "bbox": [1, 2, 3, 4]},
        ],
    }
    (tmp_path / "i.json").write_text(json.dumps(content))
    (one,) = coco.read(tmp_path / "i.json")
    assert (one.name, len(one.objects)) == ("p", 3)
    square, runs, box = one.objects
    assert masks.decode(square.rles[0])[10:30, 10:20].all()
    assert masks.area(square.rles[0]) == 200
    assert masks.area(runs.rles[0]) == 10
    np.testing.assert_allclose(box.boxes[0] * [W, H, W, H], [1, 2, 4, 6])
    assert not box.has_masks


def test_an_object_with_masks_on_some_frames_says_that_it_becomes_boxes(tmp_path):
    images = ",".join(f'{{"id":{i},"video_id":1,"file_name":"{i}","width":9,"height":9}}' for i in (1, 2, 3))
    mask = '"segmentation":[[1,1,4,1,4,4]],'
    rows = ",".join(
        f'{{"id":{i},"image_id":{i},"category_id":1,"track_id":5,{mask if i < 3 else ""}"bbox":[1,1,3,3]}}'
        for i in (1, 2, 3)
    )
    (tmp_path / "x.json").write_text(
        f'{{"categories":[{{"id":1,"name":"a"}}],"images":[{images}],"annotations":[{rows}]}}'
    )
    (found,) = coco.read(tmp_path / "x.json")
    assert not found.objects[0].has_masks
    assert "masks on 2 of its 3 frames: it is read as boxes" in found.notes[0]


@given(st.lists(st.integers(0, 7), min_size=0, max_size=64))
def test_run_length_codes_are_read_as_pycocotools_writes_them(bits):
    mask = np.resize(np.array(bits or [0], np.uint8) > 3, (7, 9))
    runs = coco.runs_of(masks.encode(mask).counts)
    flat, values = mask.T.ravel(), []
    for i, run in enumerate(runs):
        values += [bool(i % 2)] * run
    np.testing.assert_array_equal(values, flat)
