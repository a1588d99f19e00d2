"""Of every format: objects that have boxes alone, and files that cannot be read."""

from __future__ import annotations

import pytest
from pycocotools.coco import COCO

from tests.video.formats.two_objects import same, two_objects
from video.formats import coco, cvat, davis, mots, youtube_vis
from video.formats.base import FormatError, ObjectTrack, make_video


def boxes_only(one):
    boxed = [ObjectTrack(o.label, o.frames, o.boxes) for o in one.objects]
    return make_video(one.name, one.size, one.times, boxed)


def test_what_has_boxes_alone(tmp_path):
    one = boxes_only(two_objects("s"))
    for form in (davis, mots):
        with pytest.raises(FormatError, match="boxes and no masks"):
            form.write({"all": [one]}, tmp_path / "no")
    (file,) = coco.write({"all": [one]}, tmp_path / "coco")
    assert all(a["segmentation"] == [] for a in COCO(str(file)).anns.values())
    same(coco.read(file)[0], one, with_masks=False)
    (file,) = youtube_vis.write({"all": [one]}, tmp_path / "ytvis")
    same(youtube_vis.read(file)[0], one, with_masks=False)


BAD = {
    "json": (coco, "x.json", "{", "not JSON"),
    "no categories": (coco, "x.json", "{}", "'categories'"),
    "odd polygon": (
        coco,
        "x.json",
        '{"categories":[{"id":1,"name":"a"}],"images":[{"id":1,"file_name":"p","width":9,"height":9}],'
        '"annotations":[{"id":1,"image_id":1,"category_id":1,"segmentation":[[1,2,3]]}]}',
        "three corners",
    ),
    "runs that end too early": (
        coco,
        "x.json",
        '{"categories":[{"id":1,"name":"a"}],"images":[{"id":1,"file_name":"p","width":9,"height":9}],'
        '"annotations":[{"id":1,"image_id":1,"category_id":1,"segmentation":{"size":[9,9],"counts":"1"}}]}',
        "do not add up",
    ),
    "unknown category": (
        youtube_vis,
        "x.json",
        '{"categories":[],"videos":[{"id":1,"width":9,"height":9,"file_names":["p"]}],'
        '"annotations":[{"id":7,"video_id":1,"category_id":1,"segmentations":[null]}]}',
        "does not list",
    ),
    "youtube-vis of coco": (
        youtube_vis,
        "x.json",
        '{"categories":[],"images":[{"id":1}],"annotations":[{"id":1,"image_id":1},{"id":2,"image_id":1}]}',
        "looks like COCO: it lists 'images', and no video has 'file_names'; give coco as the format",
    ),
    "youtube-vis of coco with videos": (
        youtube_vis,
        "x.json",
        '{"categories":[],"videos":[{"id":1}],"images":[{"id":1,"video_id":1}],"annotations":[{"id":1,"image_id":1}]}',
        "looks like COCO",
    ),
    "youtube-vis videos of another kind": (
        youtube_vis,
        "x.json",
        '{"categories":[],"videos":5,"images":[{"id":1}],"annotations":[]}',
        "looks like COCO",
    ),
    "mots line": (mots, "x.txt", "1 2001 2 9\n", "line 1"),
    "mots size": (mots, "x.txt", "1 2001 2 9 9 a2\n2 2001 2 8 9 a2\n", "the mask's size"),
    "mots empty": (mots, "x.txt", "", "no line"),
    "cvat no xml": (cvat, "x.xml", "<annotations>", "not XML"),
    "cvat images": (cvat, "x.xml", "<annotations><image/></annotations>", "CVAT for video"),
    "cvat no size": (cvat, "x.xml", "<annotations><meta><task/></meta></annotations>", "original_size"),
    "cvat bomb": (cvat, "x.xml", '<!DOCTYPE a [<!ENTITY b "c">]><annotations>&b;</annotations>', "not XML"),
}


@pytest.mark.parametrize("case", list(BAD))
def test_what_is_wrong_is_named(tmp_path, case):
    form, name, text, sentence = BAD[case]
    (tmp_path / name).write_text(text)
    with pytest.raises(FormatError, match=sentence) as error:
        form.read(tmp_path / name)
    assert name in str(error.value)


HEADER = '"categories":[{"id":1,"name":"a"}]'


GOOD = '{"id":1,"image_id":1,"category_id":1,"bbox":[1,1,3,3]}'


IMAGES = '{"id":1,"file_name":"p","width":9,"height":9},{"id":2,"file_name":"q","width":9,"height":9}'


VIDEO = '"width":9,"height":9,"file_names":["p"]'


ONE_BAD = {
    "coco object": (
        coco,
        "x.json",
        f'{{{HEADER},"images":[{IMAGES}],"annotations":[{GOOD},{{"id":2,"image_id":2,"category_id":9,"bbox":[1,1,3,3]}}]}}',
        {"p": 1, "q": 0},
        "annotation 2",
    ),
    "coco annotation of no image": (
        coco,
        "x.json",
        f'{{{HEADER},"images":[{IMAGES}],"annotations":[{GOOD},{{"id":2,"category_id":1}}]}}',
        {"p": 1, "q": 0},
        "'image_id'",
    ),
    "coco image of a video": (
        coco,
        "x.json",
        f'{{{HEADER},"videos":[{{"id":7,"name":"bad"}},{{"id":8,"name":"good"}}],"images":[{{"video_id":7}},'
        '{"id":3,"video_id":7,"file_name":"r","width":9,"height":9},'
        '{"id":1,"video_id":8,"file_name":"p","width":9,"height":9}],"annotations":[]}',
        {"good": 0},
        "video 'bad'",
    ),
    "youtube-vis annotation": (
        youtube_vis,
        "x.json",
        f'{{{HEADER},"videos":[{{"id":1,{VIDEO}}},{{"id":2,{VIDEO}}}],"annotations":['
        '{"id":5,"video_id":1,"category_id":1,"bboxes":[[1,1,3,3]]},{"id":6,"video_id":1,"category_id":1,"bboxes":[]}]}',
        {"1": 1, "2": 0},
        "annotation 6",
    ),
    "youtube-vis video": (
        youtube_vis,
        "x.json",
        f'{{{HEADER},"videos":[{{"id":1,{VIDEO}}},{{"id":2,"width":9,"height":9,"file_names":[]}}],"annotations":[]}}',
        {"1": 0},
        "video 2",
    ),
    "cvat track": (
        cvat,
        "x.xml",
        "<annotations><meta><task><name>v</name><size>3</size><original_size><width>9</width><height>9</height>"
        '</original_size></task></meta><track id="1" label="a"><points frame="0"/></track><track id="2" label="a">'
        '<box frame="0" xtl="1" ytl="1" xbr="3" ybr="3"/></track></annotations>',
        {"v": 1},
        "track 1",
    ),
}


@pytest.mark.parametrize("case", list(ONE_BAD))
def test_a_bad_item_costs_only_itself(tmp_path, case):
    form, name, text, objects, sentence = ONE_BAD[case]
    (tmp_path / name).write_text(text)
    skipped: list[str] = []
    videos = form.read(tmp_path / name, skipped=skipped)
    assert {video.name: len(video.objects) for video in videos} == objects
    assert sentence in " ".join(skipped)


@pytest.mark.parametrize("spoil", ["davis", "mots"])
def test_a_bad_video_costs_only_itself(tmp_path, spoil):
    form = {"davis": davis, "mots": mots}[spoil]
    form.write({"all": [two_objects("good"), two_objects("bad")]}, tmp_path)
    if spoil == "davis":
        next(tmp_path.rglob("Annotations/*/bad/*.png")).write_bytes(b"no picture")
    else:
        (tmp_path / "all/bad/gt/gt.txt").write_bytes(b"\xff\xfe no text")
    with pytest.raises(FormatError):
        form.read(tmp_path if spoil == "davis" else tmp_path / "all")
    skipped: list[str] = []
    (read,) = form.read(tmp_path if spoil == "davis" else tmp_path / "all", skipped=skipped)
    assert (read.name, len(skipped)) == ("good", 1)
