"""Broken files: the readable part is answered, and the answer says where it ends."""

from __future__ import annotations

import pytest

from backend.service.model import RefAMBackend
from backend.settings import load_settings
from tests import media
from tests.backend.predict_requests import VIDEO_CONFIG
from tests.doubles import TruthRuntime
from video.io.reader import open_clip

N = 24


@pytest.fixture
def runtime(tmp_path):
    runtime = TruthRuntime(load_settings(media_root=tmp_path, cache_dir=tmp_path / "cache", data_dir=tmp_path / "data"))
    yield runtime
    runtime.close()


def predict(runtime, video):
    task = {"id": 1, "data": {"video": video, "prompt": "the star", "fps": 25}}
    return RefAMBackend(runtime=runtime).predict([task], label_config=VIDEO_CONFIG, project="1.1")


@pytest.mark.parametrize("breaks", [media.truncated, media.damaged])
def test_a_broken_file_is_answered_as_far_as_it_can_be_read(breaks, runtime, tmp_path):
    path = breaks(tmp_path / "broken.mp4", media.numbered_frames(N))
    clip = open_clip(path, partial=True)
    assert 0 < len(clip) < N
    (prediction,) = predict(runtime, path.name)
    (region,) = prediction["result"]
    (told,) = region["meta"]["text"]
    assert told == f"words: the star; lost for a while; {clip.broken}"
    last = region["value"]["sequence"][-1]
    assert (last["frame"], last["enabled"]) == (round(clip.times[-1] * 25) + 1, False)


@pytest.mark.parametrize("make", [media.garbage, media.empty])
def test_a_file_without_frames_is_not_tracked(make, runtime, tmp_path):
    path = make(tmp_path / "broken.mp4")
    predict(runtime, path.name)
    assert runtime.truth.asked == []
