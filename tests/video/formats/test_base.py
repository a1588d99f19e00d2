"""Annotated videos: objects, the frames that are kept, splits."""

from __future__ import annotations

import codecs
import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.video.formats.two_objects import N, two_objects
from video.formats.base import (
    FormatError,
    every_nth_frame,
    frames_at_rate,
    read_json,
    split_videos,
    track_from_boxes,
)


@pytest.mark.parametrize("mark", [b"", codecs.BOM_UTF8])
def test_json_is_read_with_and_without_a_byte_order_mark(tmp_path, mark):
    (tmp_path / "a.json").write_bytes(mark + json.dumps({"a": "ä"}, ensure_ascii=False).encode())
    assert read_json(tmp_path / "a.json") == {"a": "ä"}
    (tmp_path / "a.json").write_bytes(mark + b"{")
    with pytest.raises(FormatError, match="is not JSON"):
        read_json(tmp_path / "a.json")


def test_frames_without_the_object_are_left_out():
    assert two_objects().objects[0].frames.tolist() == [0, 1, 2, 3, 6, 7, 8]
    assert len(two_objects().objects[1].frames) == N


def test_an_object_that_is_on_no_kept_frame_goes(tmp_path):
    assert [o.label for o in two_objects().select_frames([4, 5]).objects] == ["two bars"]


def test_boxes_are_clipped_and_those_outside_go():
    one = track_from_boxes("a", {3: (-0.5, 0.2, 0.5, 1.5), 4: (1.2, 0, 1.5, 1)})
    assert one.frames.tolist() == [3]
    np.testing.assert_allclose(one.boxes, [[0, 0.2, 0.5, 1]])


def test_frames_at_a_rate_are_those_that_players_show():
    times = np.array([0.0, 0.1, 0.15, 0.5, 0.9])
    assert frames_at_rate(times, 4).tolist() == [0, 2, 3]  # 0, .25, .5, .75 s
    assert every_nth_frame(two_objects(), 4).tolist() == [0, 4, 8]


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
