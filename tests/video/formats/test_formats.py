"""Each written format is read by another reader: pycocotools, or one written here from the format's definition."""

from __future__ import annotations

import json
from itertools import pairwise
from xml.etree import ElementTree

import numpy as np
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from pycocotools import mask as pycoco
from pycocotools.coco import COCO

from video import masks
from video.formats import coco, cvat, davis, mots, yolo, youtube_vis
from video.formats.base import (
    FormatError,
    ObjectTrack,
    every_nth_frame,
    frames_at_rate,
    make_video,
    split_videos,
    track_from_boxes,
    track_from_masks,
)

W, H, N = 64, 48, 9
Y, X = np.mgrid[:H, :W]
TIMES = np.arange(N) / 25


def ring(t):
    """A moving ring: it has a hole, and is away on two frames."""
    d = np.hypot(X - 14 - 4 * t, Y - 20)
    return (d < 10) & (d > 4) if t not in (4, 5) else np.zeros((H, W), bool)


def bars(t):
    """Two parts; overlaps the ring."""
    return ((Y > 26) & (Y < 40) & (10 + t < X) & (22 + t > X)) | ((Y > 26) & (Y < 32) & (X > 40) & (X < 60))


def video(name="a/clip", *, times=TIMES):
    shapes = {"ring": ring, "two bars": bars}
    objects = [track_from_masks(label, {t: masks.encode(f(t)) for t in range(N)}) for label, f in shapes.items()]
    return make_video(name, (W, H), times, objects)


def boxes_only(one):
    boxed = [ObjectTrack(o.label, o.frames, o.boxes) for o in one.objects]
    return make_video(one.name, one.size, one.times, boxed)


def same(a, b, *, with_masks=True, atol=0.01):
    """Two videos tell the same of the same objects."""
    assert a.size == b.size
    assert [o.label for o in a.objects] == [o.label for o in b.objects]
    for p, q in zip(a.objects, b.objects, strict=True):
        np.testing.assert_array_equal(p.frames, q.frames)
        np.testing.assert_allclose(p.boxes, q.boxes, atol=atol)
        if with_masks:
            for x, y in zip(p.rles, q.rles, strict=True):
                np.testing.assert_array_equal(masks.decode(x), masks.decode(y))


def test_frames_without_the_object_are_left_out():
    assert video().objects[0].frames.tolist() == [0, 1, 2, 3, 6, 7, 8]
    assert len(video().objects[1].frames) == N


@pytest.mark.parametrize("shape", ["rle", "polygons"])
def test_coco_is_read_by_pycocotools(tmp_path, shape):
    (file,) = coco.write({"all": [video(), video("b")]}, tmp_path, shape=shape)
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
    sampled = video().select_frames(every_nth_frame(video(), 2))
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


def test_youtube_vis_by_its_own_rules(tmp_path):
    (file,) = youtube_vis.write({"train": [video()]}, tmp_path)
    content = json.loads(file.read_text())
    (clip,) = content["videos"]
    assert clip["length"] == len(clip["file_names"]) == N
    names = {c["id"]: c["name"] for c in content["categories"]}
    for annotation in content["annotations"]:
        shape = {"ring": ring, "two bars": bars}[names[annotation["category_id"]]]
        for t in range(N):
            code, box, area = (annotation[k][t] for k in ("segmentations", "bboxes", "areas"))
            if not shape(t).any():
                assert code is box is area is None
                continue
            np.testing.assert_array_equal(pycoco.decode(code), shape(t))
            np.testing.assert_allclose(box, pycoco.toBbox(code))
            assert area == shape(t).sum()
    same(youtube_vis.read(file)[0], video())


def test_davis_pixels_belong_to_the_smallest(tmp_path):
    davis.write({"train": [video("one")], "val": [video("two")]}, tmp_path)
    assert (tmp_path / "ImageSets/2017/val.txt").read_text() == "two\n"
    files = sorted((tmp_path / "Annotations/Full-Resolution/one").glob("*.png"))
    assert [f.name for f in files] == [f"{i:05d}.png" for i in range(N)]
    for t, file in enumerate(files):
        picture = Image.open(file)
        assert picture.mode == "P"
        assert picture.getpalette()[:12] == [0, 0, 0, 128, 0, 0, 0, 128, 0, 128, 128, 0]  # PASCAL VOC's first colours
        small, large = sorted([(ring(t).sum(), 1, ring(t)), (bars(t).sum(), 2, bars(t))], key=lambda s: s[0])
        want = np.zeros((H, W), int)
        want[large[2]] = large[1]
        want[small[2]] = small[1]
        np.testing.assert_array_equal(np.array(picture), want)
    back = davis.read(tmp_path)
    assert [v.name for v in back] == ["one", "two"]
    assert [o.label for o in back[0].objects] == ["ring", "two bars"]


def test_davis_2016_is_white_on_black_and_2017_has_void(tmp_path):
    for name, values in {"white": (255,), "void": (1, 255)}.items():
        (tmp_path / name).mkdir()
        picture = np.zeros((H, W), np.uint8)
        for i, value in enumerate(values):
            picture[10 * i : 10 * i + 5, :8] = value
        Image.fromarray(picture).save(tmp_path / name / "00000.png")
    void, white = davis.read(tmp_path)
    assert [masks.area(o.rles[0]) for o in void.objects] == [40]
    assert [masks.area(o.rles[0]) for o in white.objects] == [40]


def test_mots_by_its_own_rules(tmp_path):
    mots.write({"train": [video("s")]}, tmp_path)
    lines = (tmp_path / "train/s/gt/gt.txt").read_text().splitlines()
    labels = (tmp_path / "labels.txt").read_text().splitlines()
    seen: dict[int, np.ndarray] = {}
    ids = {}
    for line in lines:
        frame, key, kind, h, w, code = line.split()
        mask = pycoco.decode({"size": [int(h), int(w)], "counts": code.encode()})
        assert int(key) // 1000 == int(kind)
        assert labels[int(kind) - 1] in ("ring", "two bars")
        ids.setdefault(labels[int(kind) - 1], set()).add(int(key))
        seen[int(frame)] = seen.get(int(frame), 0) + mask
    assert sorted(seen) == list(range(1, N + 1))
    assert max(total.max() for total in seen.values()) == 1  # no pixel twice
    assert all(len(found) == 1 for found in ids.values())
    for t in range(N):
        np.testing.assert_array_equal(seen[t + 1] > 0, ring(t) | bars(t))
    (back,) = mots.read(tmp_path / "train")
    assert [(o.label, len(o.frames)) for o in back.objects] == [("ring", 7), ("two bars", N)]
    assert len(back.times) == N


@pytest.mark.parametrize(
    ("lines", "frames", "count"),
    [
        ([(0, 1005), (2, 1005), (1, 10000)], [0, 2], 3),
        ([(0, 10000), (1, 1005), (2, 1005)], [1, 2], 3),
        ([(1, 10000), (2, 1005), (3, 10000)], [1], 3),
        ([(2, 1005), (0, 10000), (5, 10000)], [2], 6),
        ([(0, 10000), (1, 10000)], None, 2),
    ],
    ids=["nothing but 10000 between", "first of all 10000", "from 1", "first and last, in any order", "no object"],
)
def test_a_mots_frame_with_only_a_region_to_ignore_is_a_frame(tmp_path, lines, frames, count):
    code = pycoco.encode(np.asfortranarray(ring(0).astype(np.uint8)))["counts"].decode()
    (tmp_path / "0002.txt").write_text("".join(f"{f} {key} {key // 1000} {H} {W} {code}\n" for f, key in lines))
    (one,) = mots.read(tmp_path)
    assert [(o.label, o.frames.tolist()) for o in one.objects] == ([("class 1", frames)] if frames else [])
    assert len(one.times) == count
    assert one.open_end, "frames without a line may follow, as nothing says how many there are"
    (tmp_path / "0002.ini").write_text("[Sequence]\nseqLength=9\n")
    (one,) = mots.read(tmp_path)
    assert (len(one.times), one.open_end) == (9, False)


def test_yolo_by_its_own_rules(tmp_path):
    yolo.write({"train": [video("s")], "val": [video("u")]}, tmp_path)
    about = yaml.safe_load((tmp_path / "data.yaml").read_text())
    assert about["train"] == "images/train"
    assert about["names"] == ["ring", "two bars"]
    for t in range(N):
        rows = [line.split() for line in (tmp_path / f"labels/train/s_{t:06d}.txt").read_text().splitlines()]
        shapes = [(0, ring(t)), (1, bars(t))]
        want = []
        for kind, mask in shapes:
            if mask.any():
                columns, lines = np.flatnonzero(mask.any(0)), np.flatnonzero(mask.any(1))
                x0, x1, y0, y1 = columns[0], columns[-1] + 1, lines[0], lines[-1] + 1
                want.append([kind, (x0 + x1) / 2 / W, (y0 + y1) / 2 / H, (x1 - x0) / W, (y1 - y0) / H])
        np.testing.assert_allclose(np.array(rows, float), want, atol=1e-6)
    assert (tmp_path / "labels/val/u_000004.txt").exists()


@pytest.mark.parametrize(
    ("splits", "expected"),
    [
        ({"all": ["s"]}, {"train": "images/all", "val": "images/all"}),
        ({"train": ["s"], "val": []}, {"train": "images/train", "val": "images/train"}),
        ({"train": [], "val": ["u"]}, {"train": "images/val", "val": "images/val"}),
        ({"train": ["s"], "val": ["u"], "test": []}, {"train": "images/train", "val": "images/val"}),
        (
            {"train": ["s"], "val": ["u"], "test": ["v"]},
            {"train": "images/train", "val": "images/val", "test": "images/test"},
        ),
    ],
)
def test_yolo_names_folders_that_are_there(tmp_path, splits, expected):
    yolo.write({split: [video(name) for name in names] for split, names in splits.items()}, tmp_path)
    about = yaml.safe_load((tmp_path / "data.yaml").read_text())
    assert {key: about[key] for key in about if key != "names"} == expected
    assert all((tmp_path / folder).is_dir() for folder in expected.values())
    assert not (tmp_path / "images/test").exists() or "test" in expected


def naive_cvat(path):
    """{track: {frame: box or None}} by the format's rules: linear between keyframes, nothing while outside."""
    root = ElementTree.parse(path).getroot()
    n = int(root.findtext("meta/task/size"))
    out = {}
    for track in root.findall("track"):
        sides = ("xtl", "ytl", "xbr", "ybr")
        keys = {
            int(b.get("frame")): (np.array([float(b.get(s)) for s in sides]), b.get("outside") == "1")
            for b in track.findall("box")
            if b.get("keyframe") == "1"
        }
        frames: dict[int, np.ndarray | None] = dict.fromkeys(range(n))
        order = sorted(keys)
        for a, b in pairwise(order):
            (start, out_a), (end, _) = keys[a], keys[b]
            for f in range(a, b):
                frames[f] = None if out_a else start + (f - a) / (b - a) * (end - start)
        for f in range(order[-1], n):
            frames[f] = None if keys[order[-1]][1] else keys[order[-1]][0]
        out[track.get("label")] = frames
    return out


def test_cvat_keyframes_keep_every_box(tmp_path):
    one = video("s")
    (file,) = cvat.write({"all": [one]}, tmp_path)
    found = naive_cvat(file)
    for o in one.objects:
        there = dict(zip(o.frames.tolist(), o.boxes, strict=True))
        for t in range(N):
            got = found[o.label][t]
            assert (got is None) == (t not in there)
            if got is not None:
                assert masks.box_iou(got / [W, H, W, H], there[t]) > 0.88
    (back,) = cvat.read(file)
    assert [o.label for o in back.objects] == ["ring", "two bars"]
    for o in back.objects:
        for frame, box in zip(o.frames.tolist(), o.boxes, strict=True):
            np.testing.assert_allclose(box * [W, H, W, H], found[o.label][frame], atol=1e-6)


def test_what_has_boxes_alone(tmp_path):
    one = boxes_only(video("s"))
    for form in (davis, mots):
        with pytest.raises(FormatError, match="boxes and no masks"):
            form.write({"all": [one]}, tmp_path / "no")
    (file,) = coco.write({"all": [one]}, tmp_path / "coco")
    assert all(a["segmentation"] == [] for a in COCO(str(file)).anns.values())
    same(coco.read(file)[0], one, with_masks=False)
    (file,) = youtube_vis.write({"all": [one]}, tmp_path / "ytvis")
    same(youtube_vis.read(file)[0], one, with_masks=False)


def test_an_object_that_is_on_no_kept_frame_goes(tmp_path):
    assert [o.label for o in video().select_frames([4, 5]).objects] == ["two bars"]


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
    form.write({"all": [video("good"), video("bad")]}, tmp_path)
    if spoil == "davis":
        next(tmp_path.rglob("Annotations/*/bad/*.png")).write_bytes(b"no picture")
    else:
        (tmp_path / "all/bad/gt/gt.txt").write_bytes(b"\xff\xfe no text")
    with pytest.raises(FormatError):
        form.read(tmp_path if spoil == "davis" else tmp_path / "all")
    skipped: list[str] = []
    (read,) = form.read(tmp_path if spoil == "davis" else tmp_path / "all", skipped=skipped)
    assert (read.name, len(skipped)) == ("good", 1)


def test_an_object_with_masks_on_some_frames_says_that_it_becomes_boxes(tmp_path):
    images = ",".join(f'{{"id":{i},"video_id":1,"file_name":"{i}","width":9,"height":9}}' for i in (1, 2, 3))
    mask = '"segmentation":[[1,1,4,1,4,4]],'
    rows = ",".join(
        f'{{"id":{i},"image_id":{i},"category_id":1,"track_id":5,{mask if i < 3 else ""}"bbox":[1,1,3,3]}}'
        for i in (1, 2, 3)
    )
    (tmp_path / "x.json").write_text(f'{{{HEADER},"images":[{images}],"annotations":[{rows}]}}')
    (found,) = coco.read(tmp_path / "x.json")
    assert not found.objects[0].has_masks
    assert "masks on 2 of its 3 frames: it is read as boxes" in found.notes[0]


def test_a_coloured_png_is_no_annotation(tmp_path):
    (tmp_path / "v").mkdir()
    Image.new("RGB", (4, 4)).save(tmp_path / "v/00000.png")
    with pytest.raises(FormatError, match="has colours"):
        davis.read(tmp_path)


def test_a_name_that_leads_out_of_its_folder_is_refused(tmp_path):
    for name in ("../x", "/x"):
        with pytest.raises(FormatError, match="leads out"):
            davis.write({"all": [video(name)]}, tmp_path)


@given(st.lists(st.integers(0, 7), min_size=0, max_size=64))
def test_run_length_codes_are_read_as_pycocotools_writes_them(bits):
    mask = np.resize(np.array(bits or [0], np.uint8) > 3, (7, 9))
    runs = coco.runs_of(masks.encode(mask).counts)
    flat, values = mask.T.ravel(), []
    for i, run in enumerate(runs):
        values += [bool(i % 2)] * run
    np.testing.assert_array_equal(values, flat)


@given(
    st.lists(st.text("abcdef", min_size=1, max_size=4), min_size=3, max_size=40, unique=True),
    st.integers(0, 9),
    st.randoms(use_true_random=False),
)
def test_a_split_divides_no_video_and_does_not_depend_on_the_order(names, seed, random):
    parts = split_videos(names, [0.8, 0.1, 0.1], seed=seed)
    assert sorted(n for part in parts for n in part) == sorted(names)
    assert all(parts)
    shuffled = names[:]
    random.shuffle(shuffled)
    assert split_videos(shuffled, [0.8, 0.1, 0.1], seed=seed) == parts
    if len(names) >= 20:
        assert abs(len(parts[0]) - 0.8 * len(names)) <= 2


def test_shares_that_cannot_be():
    with pytest.raises(ValueError, match="without dividing"):
        split_videos(["a"], [0.5, 0.5], seed=0)
    with pytest.raises(ValueError, match="positive"):
        split_videos(["a", "b"], [1, 0], seed=0)


def test_frames_at_a_rate_are_those_that_players_show():
    times = np.array([0.0, 0.1, 0.15, 0.5, 0.9])
    assert frames_at_rate(times, 4).tolist() == [0, 2, 3]  # 0, .25, .5, .75 s
    assert every_nth_frame(video(), 4).tolist() == [0, 4, 8]


def test_boxes_are_clipped_and_those_outside_go():
    one = track_from_boxes("a", {3: (-0.5, 0.2, 0.5, 1.5), 4: (1.2, 0, 1.5, 1)})
    assert one.frames.tolist() == [3]
    np.testing.assert_allclose(one.boxes, [[0, 0.2, 0.5, 1]])
