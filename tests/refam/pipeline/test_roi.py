"""A clip that can no longer be read on the way: the track so far is the answer, it says where it stopped, and heals."""

import numpy as np
import pytest

from backend.runtime import Runtime
from backend.service.model import RefAMBackend
from backend.settings import load_settings
from refam.evaluation.synthetic import red_star_and_blue_ring
from refam.pipeline.pipeline import FramePrompt, Pipeline, Target
from refam.segmenters.grabcut import GrabCutSegmenter
from tests.backend.predict_requests import VIDEO_CONFIG
from tests.doubles import ColourGrounder
from tests.media import cfr
from tests.video.clips import FailingClip
from video import masks
from video.io.probe import ReadingError

N = 30


@pytest.fixture(scope="module")
def scene():
    frames, truth = red_star_and_blue_ring(N, size=(192, 108))
    return frames, truth


def pointed(truth, frame):
    return FramePrompt(frame, box=masks.box_of(truth[frame]))


def run(clip, *targets):
    return Pipeline(GrabCutSegmenter(), grounder=ColourGrounder).run(clip, targets)


@pytest.mark.parametrize("bad", [[20], [9, 10, 11], range(18, N)])
def test_words_are_grounded_and_tracked_in_the_readable_part(scene, bad):
    frames, truth = scene
    (found,) = run(FailingClip(frames, bad=bad), Target("star", "the red star"))
    seen = [f for f in range(N) if f not in bad]  # behind a hole it is found again by the words
    assert np.flatnonzero(found.track.visible).tolist() == list(seen)
    assert min(masks.iou(masks.decode(found.track.rles[f]), truth[0, f]) for f in seen) > 0.8
    assert (bad[0] - 1, False) in [(k.frame, k.enabled) for k in found.keyframes]
    assert any(f"stopped at frame {bad[0]}" in text for text in found.read_errors)
    assert any("ask again for the rest" in note for note in found.notes)


def test_a_prompt_beyond_the_read_error_is_tracked_there(scene):
    frames, truth = scene
    target = Target("star", None, (pointed(truth[0], 2), pointed(truth[0], N - 2)))
    (found,) = run(FailingClip(frames, bad=[15]), target)
    assert np.flatnonzero(~found.track.visible).tolist() == [15]
    assert found.read_errors


def test_a_prompt_on_a_frame_that_cannot_be_read_leaves_the_other_object(scene):
    frames, truth = scene
    star, ring = run(
        FailingClip(frames, bad=[15]),
        Target("star", None, (pointed(truth[0], 15),)),
        Target("ring", None, (pointed(truth[1], 3),)),
    )
    assert "stopped at frame 15" in star.notes[0]
    assert not star.track.visible.any()
    assert ring.track.visible[:15].all()


@pytest.mark.parametrize("words", ["the red star", None])
def test_an_unreadable_clip_raises_the_read_error(scene, words):
    frames, truth = scene
    prompts = () if words else (pointed(truth[0], 0),)
    with pytest.raises(ReadingError, match="stopped at frame 0"):
        run(FailingClip(frames, bad=range(N)), Target("star", words, prompts))


class CutShort(ColourGrounder):
    """While words are looked for, somebody overwrites the file with a part of itself. `whole` is kept beside."""

    path = None

    def ground(self, *args, **how):
        if self.path is not None:
            self.path.write_bytes(self.path.read_bytes()[: self.path.stat().st_size // 2])
            self.path = None
        return super().ground(*args, **how)


def test_the_service_predicts_up_to_the_read_error_and_all_once_the_file_is_back(tmp_path, scene):
    path = cfr(tmp_path / "clip.mkv", scene[0])
    whole = path.read_bytes()
    grounder = CutShort()
    runtime = Runtime(
        load_settings(
            media_root=tmp_path,
            cache_dir=tmp_path / "cache",
            data_dir=tmp_path / "data",
            sam2="grabcut",
            deadline_s=95,
            page_deadline_s=95,
        ),
        grounder=lambda: grounder,
    )

    def asked(task_id):
        task = {"id": task_id, "data": {"video": path.name, "prompt": "the red star", "fps": 25}}
        (prediction,) = RefAMBackend(runtime=runtime).predict([task], label_config=VIDEO_CONFIG, project="1.1")
        (region,) = prediction["result"]
        return region["value"]["sequence"], " ".join(region.get("meta", {}).get("text", ()))

    try:
        grounder.path = path
        part, told = asked(1)
        path.write_bytes(whole)
        all_of_it, then = asked(2)
    finally:
        runtime.close()
    assert "reading stopped at frame" in told
    assert 3 < part[-1]["frame"] < N - 3
    assert not part[-1]["enabled"]
    assert "stopped" not in then
    assert all_of_it[-1]["frame"] == N
