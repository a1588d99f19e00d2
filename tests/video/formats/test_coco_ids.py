"""COCO files of videos by other tools: what names an object, and ids that are texts."""

from __future__ import annotations

import json

import pytest

from tests.video.formats.coco_files import SHAPE, annotation, objects, read
from video.formats import coco, youtube_vis
from video.formats.base import FormatError


@pytest.mark.parametrize(
    "named",
    [
        lambda k, frame: {"track_id": k},
        lambda k, frame: {"track_id": f"object {k}"},
        lambda k, frame: {"instance_id": k},
        lambda k, frame: {"track_id": None, "instance_id": f"{k}"},
        lambda k, frame: {"track_id": -1, "attributes": {"track_id": k, "occluded": False}},
        lambda k, frame: {"attributes": {"instance_id": k}},
        lambda k, frame: {"track_id": [k, str(k), float(k)][frame]},  # as several tools leave it
        lambda k, frame: {"track_id": [k, f"00{k}", f"{k}.0"][frame]},
        lambda k, frame: {"object_id": k},
        lambda k, frame: {"attributes": {"object_id": f"{k}", "track_id": None}},
        lambda k, frame: {"attributes": [{"name": "occluded", "value": False}, {"name": "track_id", "value": k}, 5]},
        lambda k, frame: {"track_id": "None", "instance_id": k},
    ],
)
def test_annotations_that_name_one_object_are_one(tmp_path, named):
    rows = [annotation(f, 10 * f + 50 * k, **named(k, f)) for f in range(3) for k in (0, 1)]
    assert objects(read(tmp_path, *rows)) == [("disc", {0: 0, 1: 10, 2: 20}), ("disc", {0: 50, 1: 60, 2: 70})]


@pytest.mark.parametrize(
    "nameless",
    [
        {},
        {"track_id": None},
        {"track_id": -1},
        {"track_id": ""},
        {"attributes": None},
        {"track_id": True},
        {"track_id": 3.5},
        {"track_id": [3]},
        {"track_id": "None"},
        {"track_id": " null "},
        {"track_id": "nan"},
        {"track_id": "-1.0"},
        {"attributes": "x"},
        {"attributes": ["track_id", {"name": ["track_id"], "value": 1}]},
    ],
)
@pytest.mark.parametrize("identity", [{}, {"id": None}])
def test_annotations_that_name_no_object_are_never_merged(tmp_path, nameless, identity):
    rows = [annotation(f, 10 * f, **nameless, **identity) for f in (0, 2)] + [annotation(0, 70, **nameless, **identity)]
    video = read(tmp_path, *rows)
    assert objects(video) == [("disc", {0: 0}), ("disc", {0: 70}), ("disc", {2: 20})]
    (note,) = video.notes
    assert "video 'a': 3 annotations name no object" in note
    assert all(f"{name} is {value!r}" in note for name, value in nameless.items() if name == "track_id")


def test_pictures_need_no_objects_with_names(tmp_path):
    assert read(tmp_path, annotation(0, 10), annotation(0, 30), frames=1).notes == ()


def test_an_id_that_stands_twice_on_a_frame_names_an_object_of_each_category(tmp_path):
    rows = [annotation(f, 10 * k, track_id=1, category=k) for f in range(2) for k in (1, 2)]
    assert objects(read(tmp_path, *rows)) == [("box", {0: 20, 1: 20}), ("disc", {0: 10, 1: 10})]


def test_two_annotations_of_one_object_on_one_frame_are_reported(tmp_path):
    video = read(tmp_path, annotation(0, 10, track_id=1), annotation(0, 30, track_id=1), annotation(1, 12, track_id=1))
    assert objects(video) == [("disc", {0: 10, 1: 12})]
    (note,) = video.notes
    assert "track_id 1 of category 1 is annotated twice on frame 0" in note


def test_ids_may_be_texts(tmp_path):
    images = [{"id": f"p{f}", "file_name": f"{f}.jpg", "video_id": "v", "frame_id": str(f), **SHAPE} for f in (10, 9)]
    members = {
        "images": images,
        "videos": [{"id": "v", "name": "a"}],
        "categories": [{"id": "c", "name": "disc"}],
        "annotations": [annotation(f"p{f}", 10 * (f - 8), category="c", track_id="t") for f in (9, 10)],
    }
    video = read(tmp_path, **members)
    assert video.name == "a"
    assert video.pictures == ("9.jpg", "10.jpg")
    assert objects(video) == [("disc", {0: 10, 1: 20})]


def test_pictures_without_frame_numbers_are_in_the_order_of_the_numbers_in_their_names(tmp_path):
    images = [{"id": f, "file_name": f"a/frame_{f}.jpg", "video_id": 1, **SHAPE} for f in (10, 2, 1)]
    assert read(tmp_path, images=images).pictures == ("a/frame_1.jpg", "a/frame_2.jpg", "a/frame_10.jpg")


def _numbered(*frames, key="frame_id"):
    return [{"id": i, "file_name": f"{i}.jpg", "video_id": 1, key: f, **SHAPE} for i, f in enumerate(frames)]


@pytest.mark.parametrize(
    ("images", "order"),
    [
        (_numbered(2, 1, 0), "210"),
        (_numbered(30, 20, 10, key="frame_index"), "210"),
        (_numbered("10", "9", "8.0"), "210"),
        (_numbered(None, None, None), "012"),
        (_numbered(1, 1, 0), "201"),  # two of one number: by their names
        ([image | {"frame_index": None if image["id"] else 7} for image in _numbered(2, 1, 0)], "210"),
    ],
)
def test_images_are_in_the_order_of_their_frames(tmp_path, images, order):
    assert read(tmp_path, images=images).pictures == tuple(f"{number}.jpg" for number in order)


@pytest.mark.parametrize("wrong", ["zz", None, [1], True, float("nan"), 10**400])
def test_an_image_whose_place_is_unknown_costs_its_video(tmp_path, wrong):
    """At any place it would move others, and boxes with them."""
    other = {"id": 9, "file_name": "b/9.jpg", "video_id": 2, **SHAPE}
    skipped = []
    assert read(tmp_path, images=[*_numbered(0, wrong, 2), other], skipped=skipped).name == "b"
    (line,) = skipped
    assert "video 'a': 'frame_id' must be a number in all images or in none" in line
    assert "in '1.jpg'" in line


@pytest.mark.parametrize(("repeated", "lost"), [(0, "a"), ("0", "a"), (9, "ab")])
def test_two_images_of_one_id_cost_their_videos(tmp_path, repeated, lost):
    """Nothing says which of them an annotation is on."""
    images = _numbered(0, 1, 2)
    images[2]["id"] = repeated
    others = [{"id": i, "file_name": f"{name}/1.jpg", "video_id": name, **SHAPE} for i, name in ((9, "b"), (10, "c"))]
    content = {"videos": [{"id": 1, "name": "a"}], "categories": [], "images": [*images, *others], "annotations": []}
    (tmp_path / "a.json").write_text(json.dumps(content))
    skipped = []
    left = coco.read(tmp_path / "a.json", skipped=skipped)
    assert "".join(video.name for video in left) == "abc".replace(lost, "")
    for name, line in zip(lost, skipped, strict=True):
        assert f"video '{name}': several images have the id '{repeated}'" in line


@pytest.mark.parametrize(
    ("files", "listed", "names"),
    [
        (("x/disc/1.jpg", "x/disc/2.jpg", "y/1.jpg"), None, ["x/disc", "y"]),
        (("all/1.jpg", "all/2.jpg", "all/3.jpg"), None, ["1", "2"]),  # one folder for all: it names no video
        (("1.jpg", "2.jpg", "3.jpg"), None, ["1", "2"]),
        (("x/1.jpg", "y/2.jpg", "z/3.jpg"), None, ["1", "z"]),
        (("x/1.jpg", "x/2.jpg", "y/3.jpg"), [{"id": 1, "name": "disc"}], ["disc", "y"]),
        (("x/1.jpg", "x/2.jpg", "y/3.jpg"), [{"id": 1}], ["1", "y"]),
    ],
)
def test_a_video_that_is_not_listed_has_the_name_of_its_folder(tmp_path, files, listed, names):
    images = [{"id": i, "file_name": f, "video_id": 1 + i // 2, **SHAPE} for i, f in enumerate(files)]
    (tmp_path / "a.json").write_text(
        json.dumps({"videos": listed, "categories": [], "images": images, "annotations": []})
    )
    assert [video.name for video in coco.read(tmp_path / "a.json")] == names


@pytest.mark.parametrize(
    ("members", "message"),
    [
        ({"annotations": [{"id": 1, "category_id": 1}]}, "needs 'image_id', a whole number or a text, got None"),
        ({"annotations": [annotation(0, 1, category=9)]}, "has the category 9, which the file does not list"),
        ({"categories": [{"id": [1], "name": "x"}]}, "a category needs 'id'"),
        ({"images": [{"id": 1.5}]}, "an image needs 'id'"),
        ({"images": ["a.jpg"]}, "an image needs 'id'"),
    ],
)
def test_ids_that_are_none_are_refused(tmp_path, members, message):
    with pytest.raises(FormatError, match=message):
        read(tmp_path, **members)


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("a\ud800", r"category 1: its name 'a\ud800' has the character '\ud800', which no label can hold"),
        ("a\0b\n", r"category 1: its name 'a\x00b\n' has the character '\x00', which no label can hold"),
        ("\uffff", r"category 1: its name '\uffff' has the character '\uffff', which no label can hold"),
        ("", "category 1: its name '' is blank"),
        (" \t", r"category 1: its name ' \t' is blank"),
    ],
)
def test_a_category_whose_name_can_be_no_label_costs_its_objects(tmp_path, name, said):
    skipped = []
    categories = [{"id": 1, "name": name}, {"id": 2, "name": "a\tb\U0001f600 ä"}]
    rows = [annotation(0, 30, track_id=1), annotation(0, 70, category=2, track_id=2)]
    assert objects(read(tmp_path, *rows, categories=categories, skipped=skipped)) == [("a\tb\U0001f600 ä", {0: 70})]
    of_category, of_object = skipped
    assert of_category.startswith(f"{tmp_path}/a.json: {said}")
    assert of_object.endswith("track_id 1 has the category 1, which the file does not list with a valid name")


@pytest.mark.parametrize("form", [coco, youtube_vis])
def test_a_category_that_is_not_listed_is_named_once_with_its_objects(tmp_path, form):
    """Three objects of the category 9, one of "x" and one of the category 1, which is listed."""
    shape = {"width": 100, "height": 50}
    rows = [{"id": k, "category_id": c, "track_id": k} for k, c in enumerate([9, 1, 9, "x", 9])]
    if form is coco:
        items = {"images": [{"id": 1, "file_name": "a.jpg", **shape}]}
        rows = [{**row, "image_id": 1, "bbox": [1, 1, 9, 9]} for row in rows]
    else:
        items = {"videos": [{"id": 1, "file_names": ["a/0.jpg"], **shape}]}
        rows = [{**row, "video_id": 1, "bboxes": [[1, 1, 9, 9]]} for row in rows]
    (tmp_path / "a.json").write_text(json.dumps({"categories": [{"id": 1, "name": "x"}], "annotations": rows, **items}))
    where = f"{tmp_path}/a.json: " + ("video 'a': track_id" if form is coco else "video 1: annotation")
    skipped = []
    (video,) = form.read(tmp_path / "a.json", skipped=skipped)
    assert [one.label for one in video.objects] == ["x"]
    assert skipped == [
        f"{where} 0 and 2 more have the category 9, which the file does not list with a valid name",
        f"{where} 3 has the category 'x', which the file does not list with a valid name",
    ]


@pytest.mark.parametrize(
    ("ids", "said"),
    [
        ([7], "of 1 annotation(s) is not the 'id' of any of the file's 3 {}(s): '7'"),
        (["x", 7, "x"], "of 3 annotation(s) is not the 'id' of any of the file's 3 {}(s): 'x', '7'"),
        ([3, 4, 5, 6, 7], "of 5 annotation(s) is not the 'id' of any of the file's 3 {}(s): '3', '4', '5', '6', '7'"),
        (
            [*range(3, 10), 3],
            "of 8 annotation(s) is not the 'id' of any of the file's 3 {}(s): '3', '4', '5', '6', '7' and 2 more",
        ),
    ],
)
@pytest.mark.parametrize(("form", "item"), [(coco, "image"), (youtube_vis, "video")])
def test_annotations_of_what_is_not_listed_are_counted_and_named(tmp_path, form, item, ids, said):
    """The items 0 and "1" are listed, and so is 2, although it cannot be read."""
    items = [{"id": 0, **SHAPE}, {"id": "1", **SHAPE}, {"id": 2, **SHAPE, "width": 0}]
    for k, one in enumerate(items):
        one |= {"file_name": f"{k}.jpg"} if item == "image" else {"file_names": [f"{k}/0.jpg"]}
    row = {"category_id": 1, "bbox": [16, 10, 20, 20], "bboxes": [[16, 10, 20, 20]]}
    rows = [{"id": k, f"{item}_id": name, **row} for k, name in enumerate([0, 1.0, 2, *ids])]
    content = {"categories": [{"id": 1, "name": "disc"}], f"{item}s": items, "annotations": rows}
    (tmp_path / "a.json").write_text(json.dumps(content))
    skipped = []
    videos = form.read(tmp_path / "a.json", skipped=skipped)
    assert [objects(video) for video in videos] == [[("disc", {0: 16})]] * 2
    unlisted, too_small = skipped
    assert unlisted == f"{tmp_path}/a.json: '{item}_id' " + said.format(item)
    assert "0 x 96 pixels" in too_small
    with pytest.raises(FormatError, match=f"'{item}_id' of {len(ids)} annotation"):
        form.read(tmp_path / "a.json")


def test_youtube_vis_with_ids_that_are_texts(tmp_path):
    content = {
        "videos": [{"id": "v", "file_names": ["a/0.jpg", "a/1.jpg"], **SHAPE}],
        "categories": [{"id": "c", "name": "disc"}],
        "annotations": [{"id": "x", "video_id": "v", "category_id": "c", "bboxes": [None, [16, 10, 20, 20]]}],
    }
    (tmp_path / "a.json").write_text(json.dumps(content))
    (video,) = youtube_vis.read(tmp_path / "a.json")
    assert objects(video) == [("disc", {1: 16})]
