"""CVAT's keyframes, by a reader that is written here from its definition."""

from __future__ import annotations

from itertools import pairwise
from xml.etree import ElementTree

import numpy as np

from tests.video.formats.two_objects import H, N, W, two_objects
from video import masks
from video.formats import cvat


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
    one = two_objects("s")
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
