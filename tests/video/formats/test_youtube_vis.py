"""YouTube-VIS, by its definition."""

from __future__ import annotations

import json

import numpy as np
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
