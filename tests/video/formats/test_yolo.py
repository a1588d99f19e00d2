"""YOLO, by its definition."""

from __future__ import annotations

import numpy as np
import pytest
import yaml

from tests.video.formats.two_objects import H, N, W, bars, ring, two_objects
from video.formats import yolo


def test_yolo_by_its_own_rules(tmp_path):
    yolo.write({"train": [two_objects("s")], "val": [two_objects("u")]}, tmp_path)
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
    yolo.write({split: [two_objects(name) for name in names] for split, names in splits.items()}, tmp_path)
    about = yaml.safe_load((tmp_path / "data.yaml").read_text())
    assert {key: about[key] for key in about if key != "names"} == expected
    assert all((tmp_path / folder).is_dir() for folder in expected.values())
    assert not (tmp_path / "images/test").exists() or "test" in expected
