"""A pass that is interrupted is resumed, with the same masks as without the interruption."""

import io
import pickle

import numpy as np
import pytest

from refam.evaluation.synthetic import red_star_and_blue_ring
from refam.segmenters.grabcut import GrabCutSegmenter
from tests.video.clips import ArrayClip
from tests.video.tracking.drawn_clips import ColourSegmenter
from video.tracking.propagate import TrackStart, propagate_all
from video.tracking.state import deserialize, serialize
from video.types import Rle

N = 16
TOTAL = (N - 3) + (12 + 1)  # frames of both passes from the anchors below


class Interrupted(BaseException):
    """Stands for a worker that is stopped."""


class MemoryStore(dict):
    """Checkpoints in memory."""

    def load(self):
        return self.get("state")

    def save(self, state):
        self["state"] = state


@pytest.fixture(scope="module")
def scene():
    frames, truth = red_star_and_blue_ring(N, size=(96, 54))
    frames = frames.copy()
    frames[9] = 250  # a flash of light: what was before it is held, too
    starts = [TrackStart("star", {3: truth[0, 3], 12: truth[0, 12]}), TrackStart("ring", {5: truth[1, 5]})]
    return frames, starts


@pytest.fixture(scope="module", params=[GrabCutSegmenter, ColourSegmenter], ids=["flow", "memory"])
def segmenter(request):
    return request.param


@pytest.fixture(scope="module")
def uninterrupted(scene, segmenter):
    frames, starts = scene
    return propagate_all(ArrayClip(frames), starts, segmenter())


def same(tracks, others):
    return all(
        a.rles == b.rles and np.array_equal(a.scores, b.scores) and np.array_equal(a.visible, b.visible)
        for a, b in zip(tracks, others, strict=True)
    )


def interrupted_after(count, scene, segmenter, store):
    frames, starts = scene

    def report(fraction):
        if round(fraction * TOTAL) >= count:
            raise Interrupted

    with pytest.raises(Interrupted):
        propagate_all(ArrayClip(frames), starts, segmenter(), progress=report, checkpoints=store)


@pytest.mark.parametrize(
    "count",
    [1, pytest.param(7, marks=pytest.mark.slow), TOTAL // 2 + 1, pytest.param(TOTAL - 4, marks=pytest.mark.slow)],
)
def test_a_resumed_pass_gives_the_same_masks_and_reads_only_the_rest(count, scene, segmenter, uninterrupted):
    frames, starts = scene
    store, clip, fractions = MemoryStore(), ArrayClip(frames), []
    interrupted_after(count, scene, segmenter, store)
    resumed = propagate_all(clip, starts, segmenter(), progress=fractions.append, checkpoints=store)
    assert same(resumed, uninterrupted)
    assert len(clip.frames_read) == TOTAL - count
    assert fractions[0] >= (min(count, N - 3)) / TOTAL
    assert fractions == sorted(fractions)
    assert fractions[-1] == 1.0


def test_a_pass_can_be_interrupted_repeatedly(scene, segmenter, uninterrupted):
    frames, starts = scene
    store, stops = MemoryStore(), 0
    for count in (4, 9, 15, 22):
        interrupted_after(count, scene, segmenter, store)
        stops += 1
    clip = ArrayClip(frames)
    assert same(propagate_all(clip, starts, segmenter(), checkpoints=store), uninterrupted)
    assert (stops, len(clip.frames_read)) == (4, TOTAL - 22)


@pytest.mark.parametrize("damage", [b"", b"rubbish", "half"])
def test_a_damaged_checkpoint_is_ignored(damage, scene, segmenter, uninterrupted):
    frames, starts = scene
    store = MemoryStore(state=damage)
    if damage == "half":
        interrupted_after(9, scene, segmenter, store)
        store["state"] = store["state"][: len(store["state"]) // 2]
    clip = ArrayClip(frames)
    assert same(propagate_all(clip, starts, segmenter(), checkpoints=store), uninterrupted)
    assert len(clip.frames_read) == TOTAL


class Harmful:
    def __reduce__(self):
        return print, ("this must not run",)


@pytest.mark.parametrize("content", [Harmful(), open, {"a": [Harmful()]}])
def test_a_prepared_pickle_runs_nothing(content, capsys):
    assert deserialize(pickle.dumps(content)) is None
    file = io.BytesIO()
    np.savez(file, structure=np.array([content], object))
    assert deserialize(file.getvalue()) is None
    assert "must not" not in capsys.readouterr().out


def test_plain_data_comes_back_exactly():
    state = {
        "array": np.arange(6).reshape(2, 3),
        "empty": np.zeros((0, 4), np.float32),
        "mask": np.eye(3, dtype=bool),
        "list": [1, 2.5, None, "text", True, 0.1 + 0.2],
        "nested": {"scalar": np.float32(0.1), "none": None},
    }
    resumed = deserialize(serialize(state))
    for name in ("array", "empty", "mask"):
        np.testing.assert_array_equal(resumed[name], state[name])
        assert resumed[name].dtype == state[name].dtype
    assert resumed["list"] == state["list"]
    assert resumed["nested"] == state["nested"]
    assert isinstance(resumed["nested"]["scalar"], np.float32)


@pytest.mark.parametrize("content", [{1: "a"}, {"a": object()}, {"a": Rle((4, 4), b"0")}])
def test_a_state_holds_plain_data_only(content):
    with pytest.raises(TypeError):
        serialize(content)
