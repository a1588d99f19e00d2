"""COCO is read by pycocotools as it was written, and read again."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pycocotools.coco import COCO

from tests.video.formats.coco_files import SHAPE, annotation, objects, read
from tests.video.formats.two_objects import H, N, W, bars, ring, two_objects
from video import masks
from video.formats import coco
from video.formats.base import FormatError, every_nth_frame


@pytest.mark.parametrize("shape", ["rle", "polygons"])
def test_coco_is_read_by_pycocotools(tmp_path, shape):
    (file,) = coco.write({"all": [two_objects(), two_objects("b")]}, tmp_path, shape=shape)
    found = COCO(str(file))
    assert len(found.imgs) == 2 * N
    assert {c["name"] for c in found.cats.values()} == {"ring", "two bars"}
    truth = {"ring": ring, "two bars": bars}
    count = 0
    for one in found.anns.values():
        image = found.imgs[one["image_id"]]
        want = truth[found.cats[one["category_id"]]["name"]](image["frame_index"])
        got = found.annToMask(one).astype(bool)
        if shape == "rle":
            np.testing.assert_array_equal(got, want)
            assert one["area"] == want.sum()
        else:
            assert masks.iou(got, want) > 0.9
        columns, rows = np.flatnonzero(want.any(0)), np.flatnonzero(want.any(1))
        box = [columns[0], rows[0], columns[-1] - columns[0] + 1, rows[-1] - rows[0] + 1]
        np.testing.assert_allclose(one["bbox"], box, atol=1e-3)
        count += 1
    assert count == 2 * (7 + 9)
    assert len({a["track_id"] for a in found.anns.values()}) == 4


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


GOOD = annotation(0, 30, track_id=2)


@pytest.mark.parametrize(
    ("harm", "said"),
    [
        ({"bbox": [5, 5, 0, 12]}, "is on no frame"),
        ({"bbox": [500, 5, 20, 12]}, "is on no frame"),
        ({"bbox": [50, 50, -20, -20]}, "is on no frame"),
        ({"segmentation": [[200, 10, 220, 10, 220, 30]]}, "is on no frame"),
        ({"segmentation": {"size": ["a", 3], "counts": "x"}}, "the mask's size is ['a', 3]"),
        ({"segmentation": {"size": [96, 160], "counts": 10**13}}, "needs 'counts', str or list"),
        ({"segmentation": {"size": [96, 160], "counts": [True, 15359]}}, "do not add up"),
        ({"segmentation": {"size": [96, 160], "counts": None}}, "needs 'counts', str or list"),
        ({"segmentation": [5]}, "a polygon needs"),
        ({"segmentation": 5}, "needs 'size'"),
        ({"segmentation": [[None] * 6]}, "must be numbers"),
        ({"segmentation": [[float("nan")] * 6]}, "must be numbers"),
        ({"bbox": None}, "a box must be"),
        ({"category_id": 9}, "which the file does not list"),
        ({"category_id": [1]}, "which the file does not list"),
    ],
)
def test_an_object_that_cannot_be_read_costs_itself(tmp_path, harm, said):
    skipped = []
    video = read(tmp_path, annotation(1, 70, track_id=1) | harm, GOOD, skipped=skipped)
    assert objects(video) == [("disc", {0: 30})]
    (line,) = skipped
    assert "video 'a': track_id 1" in line
    assert said in line
    with pytest.raises(FormatError, match="track_id 1"):
        read(tmp_path, annotation(1, 70, track_id=1) | harm, GOOD)


def _images(**members):
    """Three images of video 1, and one of video 2; a member is a list, or is the same for the three."""

    def value(given, i):
        return given[i] if isinstance(given, list) else given

    images = [
        {"id": i, "file_name": f"a/{i}.jpg", "video_id": 1, **SHAPE, **{k: value(v, i) for k, v in members.items()}}
        for i in range(3)
    ]
    return [*images, {"id": 9, "file_name": "b/9.jpg", "video_id": 2, **SHAPE}]


@pytest.mark.parametrize(
    ("members", "said"),
    [
        ({"width": 0}, "has pictures of 0 x 96 pixels"),
        ({"width": -160}, "has pictures of -160 x 96 pixels"),
        ({"height": 10**12}, "pixels at most are read"),
        ({"time_s": [0, -1, -2]}, "time_s must be a number of seconds that rises"),
        ({"time_s": 1}, "time_s"),
        ({"time_s": [0, 1, float("nan")]}, "time_s"),
        ({"time_s": [0, None, 2]}, "time_s"),
        ({"time_s": [0, True, 2]}, "time_s"),
        ({"file_name": None}, "needs 'file_name'"),
    ],
)
def test_a_video_that_cannot_be_read_costs_itself(tmp_path, members, said):
    skipped = []
    video = read(tmp_path, annotation(9, 30), images=_images(**members), skipped=skipped)
    assert (video.name, objects(video)) == ("b", [("disc", {0: 30})])
    (line,) = skipped
    assert "video 'a'" in line
    assert said in line


@pytest.mark.parametrize(
    ("members", "said"),
    [
        ({"videos": [5, {"id": 1, "name": "a"}]}, "a video needs 'id'"),
        ({"categories": [{"id": 1, "name": "disc"}, {"id": 2}, 7]}, "a category needs"),
        ({"categories": [{"id": 1, "name": "disc"}, {"id": 1, "name": "car"}]}, "'disc' and again 'car'"),
    ],
)
def test_a_bad_item_of_a_list_costs_itself(tmp_path, members, said):
    skipped = []
    video = read(tmp_path, GOOD, skipped=skipped, **members)
    assert (video.name, objects(video)) == ("a", [("disc", {0: 30})])
    assert all(said in line for line in skipped)
    assert skipped


@pytest.mark.parametrize("member", ["videos", "images", "annotations", "categories"])
def test_a_member_that_is_no_list_is_named(tmp_path, member):
    with pytest.raises(FormatError, match=f"needs '{member}', list, got 5"):
        read(tmp_path, **{member: 5})
