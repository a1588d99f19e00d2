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


def _line(frame, key, mask, size=(W, H)):
    code = pycoco.encode(np.asfortranarray(mask.astype(np.uint8)))["counts"].decode()
    return f"{frame} {key} {key // 1000} {size[1]} {size[0]} {code}\n"


def test_an_object_without_pixels_costs_itself(tmp_path):
    (tmp_path / "s.txt").write_text(_line(1, 1001, ring(0)) + _line(2, 1002, np.zeros((H, W), bool)))
    skipped = []
    (video,) = mots.read(tmp_path / "s.txt", skipped=skipped)
    assert [o.frames.tolist() for o in video.objects] == [[0]]
    (line,) = skipped
    assert "s.txt: object 1002 is on no frame" in line


@pytest.mark.parametrize(
    ("harm", "said"),
    [
        ({"a.ini": b"no sections"}, "a.ini cannot be read: File contains no section headers"),
        ({"a.ini": b"[Sequence]\nseqLength=1\nseqLength=2\n"}, "a.ini cannot be read"),
        ({"a.ini": b"[Sequence]\nseqLength=%(x)s\n"}, "a.ini: seqLength must be a whole number of frames, got '%(x)s'"),
        ({"a.ini": b"[Sequence]\nseqLength=-3\n"}, "a.ini: seqLength must be a whole number"),
        ({"a.ini": b"[Sequence]\nseqLength=99999999999\n"}, "a.ini tells of 99999999999 frames"),
        ({"a.ini": b"[Sequence]\nframeRate=nan\n"}, "a.ini: frameRate must be a positive number, got 'nan'"),
        ({"a.ini": b"[Sequence]\nframeRate=inf\n"}, "a.ini: frameRate"),
        ({"a.ini": b"\xff\xfe"}, "a.ini is no text"),
        ({"a.txt": b"\xff\xfe"}, "a.txt is no text"),
        ({"a.txt": _line(99_999_999, 1001, ring(0)).encode()}, "a.txt tells of 99999999 frames"),
        ({"a.txt": _line(1, 1001, ring(0), (10**9, 10**9)).encode()}, "pixels at most are read"),
        ({"a.txt": _line("9" * 5000, 1001, ring(0)).encode()}, "line 1 is not"),
    ],
)
@pytest.mark.parametrize("length_of", [None, lambda name, file_name: {"a": 20}[name]])
def test_a_file_that_cannot_be_read_costs_its_video(tmp_path, harm, said, length_of):
    for name in ("a", "b"):
        (tmp_path / f"{name}.txt").write_text(_line(1, 1001, ring(0)))
    (tmp_path / "a.ini").write_text("[Sequence]\nname=50 % of a\nframeRate=25\n")
    assert [v.name for v in mots.read(tmp_path)] == ["a", "b"]
    for name, content in harm.items():
        (tmp_path / name).write_bytes(content)
    skipped = []
    assert [v.name for v in mots.read(tmp_path, skipped=skipped, length_of=length_of)] == ["b"]
    (line,) = skipped
    assert said in line
    assert "\n" not in line
