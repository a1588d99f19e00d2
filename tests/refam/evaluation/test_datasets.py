"""Every dataset is read from a small copy of its official layout."""

from __future__ import annotations

import pickle

import numpy as np
import pytest

from refam.evaluation.datasets import load_plain_pickle
from refam.evaluation.synthetic import BLUE, RED
from tests.refam.evaluation.layouts import (
    NAMES,
    TRUTH,
    VOID,
    N,
    read_samples,
    write_davis,
    write_expressions,
    write_mevis,
    write_ref_davis17,
    write_refcoco,
    write_refer_youtube_vos,
)
from video.formats.base import FormatError


def test_refer_youtube_vos(tmp_path):
    write_refer_youtube_vos(tmp_path)
    found = read_samples("refer-youtube-vos", tmp_path, "train")
    assert {k: q.words for k, q in found.items()} == {"v1/0": RED, "v1/1": BLUE}
    for o, q in enumerate(found.values()):
        assert q.frames == tuple(NAMES)
        for k in range(N):
            np.testing.assert_array_equal(q.truth.mask(k), TRUTH[o, k])
            np.testing.assert_array_equal(q.truth.others(k)[0], TRUTH[1 - o, k])
            assert q.truth.void(k) is None
    assert read_samples("refer-youtube-vos", tmp_path, "valid")["v1/0"].truth is None


def test_the_server_does_not_want_the_videos_of_test(tmp_path):
    write_refer_youtube_vos(tmp_path)
    write_expressions(tmp_path / "meta_expressions/test/meta_expressions.json", NAMES, {"0": {"exp": "x"}})
    assert read_samples("refer-youtube-vos", tmp_path, "valid") == {}


def test_ref_davis17_has_four_expressions_an_object_and_void(tmp_path):
    write_ref_davis17(tmp_path)
    found = read_samples("ref-davis17", tmp_path, "valid")
    assert [q.words for q in found.values()] == [RED] * 4 + [BLUE] * 4
    q = found["v1/7"]
    np.testing.assert_array_equal(q.truth.mask(2), TRUTH[1, 2] & ~VOID)
    np.testing.assert_array_equal(q.truth.void(2), VOID)
    assert q.scored_frames == tuple(range(N))


def test_ref_davis17_whose_pictures_stayed_in_davis(tmp_path):
    write_ref_davis17(tmp_path)
    (tmp_path / "DAVIS").mkdir()
    for old, new in {"JPEGImages": "JPEGImages", "Annotations": "Annotations_unsupervised"}.items():
        (tmp_path / "DAVIS" / new).mkdir()
        (tmp_path / "valid" / old).rename(tmp_path / "DAVIS" / new / "480p")
    assert len(read_samples("ref-davis17", tmp_path, "valid")) == 8


def test_mevis_means_the_union(tmp_path):
    write_mevis(tmp_path)
    found = read_samples("mevis", tmp_path, "valid_u")
    for k in range(N):
        np.testing.assert_array_equal(found["v1/0"].truth.mask(k), TRUTH[0, k])
        both = TRUTH[0, k] | TRUTH[1, k] if k else TRUTH[0, k]
        np.testing.assert_array_equal(found["v1/1"].truth.mask(k), both)


def test_davis_leaves_the_first_and_the_last_frame_out(tmp_path):
    write_davis(tmp_path)
    found = read_samples("davis", tmp_path, "val")
    assert {k: q.words for k, q in found.items()} == {"v1/1-0": RED, "v1/2-0": BLUE}
    assert found["v1/1-0"].scored_frames == (1, 2, 3)


@pytest.mark.parametrize(("name", "partition"), [("refcoco", "unc"), ("refcoco+", "unc"), ("refcocog", "umd")])
def test_refcoco(tmp_path, name, partition):
    write_refcoco(tmp_path, name, partition)
    found = read_samples(name, tmp_path, "val")
    assert [q.words for q in found.values()] == [RED, "red star"]
    np.testing.assert_array_equal(next(iter(found.values())).truth.mask(0), TRUTH[0, 0])
    square = next(iter(read_samples(name, tmp_path, "testA").values())).truth.mask(0)
    assert square.sum() == 400
    assert square[10:30, 10:30].all()


class Bomb:
    def __reduce__(self):
        return print, ("it ran",)


def test_a_hostile_pickle_is_refused(tmp_path, capsys):
    file = tmp_path / "refs(unc).p"
    file.write_bytes(pickle.dumps([Bomb()]))
    with pytest.raises(FormatError, match=r"builtins.print"):
        load_plain_pickle(file)
    for content in (b"", b"garbage", pickle.dumps({}), pickle.dumps([1, 2])[:-4]):
        file.write_bytes(content)
        with pytest.raises(FormatError):
            load_plain_pickle(file)
    assert "it ran" not in capsys.readouterr().out
