"""DAVIS: indexed pictures in which each pixel belongs to one object."""

from __future__ import annotations

import json

import numpy as np
import pytest
from PIL import Image

from tests.video.formats.two_objects import H, N, W, bars, ring, two_objects
from video import masks
from video.formats import davis
from video.formats.base import FormatError


def test_davis_pixels_belong_to_the_smallest(tmp_path):
    davis.write({"train": [two_objects("one")], "val": [two_objects("two")]}, tmp_path)
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


def test_a_coloured_png_is_no_annotation(tmp_path):
    (tmp_path / "v").mkdir()
    Image.new("RGB", (4, 4)).save(tmp_path / "v/00000.png")
    with pytest.raises(FormatError, match="has colours"):
        davis.read(tmp_path)


def test_a_name_that_leads_out_of_its_folder_is_refused(tmp_path):
    for name in ("../x", "/x"):
        with pytest.raises(FormatError, match="leads out"):
            davis.write({"all": [two_objects(name)]}, tmp_path)


@pytest.mark.parametrize(
    ("file", "content", "said", "left"),
    [
        ("davis_semantics.json", {"a": 5}, "needs 'a', dict, got 5", ["b"]),
        ("davis_semantics.json", [1], "davis_semantics.json must be an object with a member for each video", None),
        ("video_lengths.json", 7, "video_lengths.json must be an object", None),
        ("video_lengths.json", {"a": "x"}, None, ["a", "b"]),
    ],
)
def test_a_file_beside_the_pictures_that_cannot_be_read_is_named(tmp_path, file, content, said, left):
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        Image.fromarray(np.full((H, W), 1, np.uint8)).save(tmp_path / name / "00000.png")
    (tmp_path / file).write_text(json.dumps(content))
    skipped = []
    if left is None:
        with pytest.raises(FormatError, match=said):
            davis.read(tmp_path, skipped=skipped)
    else:
        assert [video.name for video in davis.read(tmp_path, skipped=skipped)] == left
        assert [said in line for line in skipped] == [True] * (said is not None)
