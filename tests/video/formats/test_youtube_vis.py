"""YouTube-VIS, by its definition."""

from __future__ import annotations

import json

import numpy as np
import pytest
from pycocotools import mask as pycoco

from tests.video.formats.two_objects import N, bars, ring, same, two_objects
from video.formats import youtube_vis


def test_youtube_vis_by_its_own_rules(tmp_path):
    (file,) = youtube_vis.write({"train": [two_objects()]}, tmp_path)
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
    same(youtube_vis.read(file)[0], two_objects())


@pytest.mark.parametrize(
    ("harm", "said"),
    [
        ({"bboxes": [None, None]}, "is on no frame"),
        ({"bboxes": [[500, 1, 9, 9]] * 2}, "is on no frame"),
        ({"bboxes": 5}, "needs 'bboxes', list"),
        ({"bboxes": [[1, 1, 9, 9]]}, "has 1 boxes, its video 2 frames"),
        ({"segmentations": 5}, "needs 'segmentations', list"),
        ({"segmentations": [5, None]}, "needs 'size'"),
        ({"segmentations": [[[200, 1, 210, 1, 210, 9]], None]}, "is on no frame"),
        ({"category_id": 9}, "which the file does not list"),
    ],
)
def test_an_object_that_cannot_be_read_costs_itself(tmp_path, harm, said):
    good = {"id": 1, "video_id": 1, "category_id": 1, "bboxes": [[16, 24, 16, 24], None], "segmentations": None}
    shape = {"width": 160, "height": 96, "file_names": ["a/0.jpg", "a/1.jpg"]}
    content = {
        "videos": [{"id": 1, **shape}, {"id": 2, **shape, "width": 0}, 5],
        "categories": [{"id": 1, "name": "disc"}],
        "annotations": [good, {**good, "id": 2, **harm}],
    }
    (tmp_path / "a.json").write_text(json.dumps(content))
    skipped = []
    (video,) = youtube_vis.read(tmp_path / "a.json", skipped=skipped)
    assert [o.boxes.tolist() for o in video.objects] == [[pytest.approx([0.1, 0.25, 0.2, 0.5])]]
    assert [
        next(text for text in ("annotation 2", "video 2 has pictures of 0 x 96", "a video needs 'id'") if text in line)
        for line in skipped
    ] == ["annotation 2", "video 2 has pictures of 0 x 96", "a video needs 'id'"]
    assert said in skipped[0]
