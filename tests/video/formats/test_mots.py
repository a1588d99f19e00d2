"""MOTS, by a reader that is written here from its definition."""

from __future__ import annotations

import numpy as np
import pytest
from pycocotools import mask as pycoco

from tests.video.formats.two_objects import H, N, W, bars, ring, two_objects
from video.formats import mots


def test_mots_by_its_own_rules(tmp_path):
    mots.write({"train": [two_objects("s")]}, tmp_path)
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
