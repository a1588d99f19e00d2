from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from refam.pipeline.pipeline import Pipeline, Target, TrackResult
from refam.pipeline.stage_cache import StageCache, hash_file, trim_cache
from refam.segmenters.grabcut import GrabCutSegmenter
from tests.doubles import moving_box
from tests.refam.pipeline.ground_truth import TruthGrounder, random_heatmap, star_and_disc
from tests.video.clips import ArrayClip
from video.types import Mode

KEY = ("model", 1, ("a", 2.5))


@pytest.fixture
def cache(tmp_path):
    return StageCache(tmp_path / "stages", "content")


def assert_same_track(a, b):
    assert (a.label, a.size, a.rles) == (b.label, b.size, b.rles)
    for name in ("frames", "boxes", "scores", "visible"):
        assert np.array_equal(getattr(a, name), getattr(b, name)), name


def test_stages_are_loaded_as_saved(cache):
    cache.save_heatmap(KEY, random_heatmap())
    cache.save_tracks(KEY, [moving_box(5)])
    again = cache.load_heatmap(KEY)
    assert np.array_equal(again.grid, random_heatmap().grid)
    assert (again.frame, again.peak, again.confidence) == (3, (0.25, 0.75), 0.5)
    assert_same_track(cache.load_tracks(KEY)[0], moving_box(5))


def test_several_objects_of_one_target_are_loaded_as_saved(cache):
    targets = [Target("dogs", "the dogs"), Target("cat", "the cat")]
    order = [(0, 1), (0, 2), (1, 1)]
    saved = [TrackResult(targets[t], moving_box(5), (), 0.5, 0, (), instance=k) for t, k in order]
    cache.save_results(KEY, saved)
    again = cache.load_results(KEY, targets)
    assert [(targets.index(r.target), r.instance) for r in again] == order
    modes = (Mode(0.25, 0.5, 0.9), Mode(0.75, 0.5, 0.1))
    cache.save_heatmap(KEY, replace(random_heatmap(), modes=modes))
    assert cache.load_heatmap(KEY).modes == modes


@pytest.mark.parametrize("other", [("model", 1, ("a", 2.6)), ("model", 2, ("a", 2.5)), ("model", 1), ()])
def test_another_key_is_not_found(other, cache):
    cache.save_heatmap(KEY, random_heatmap())
    assert cache.load_heatmap(other) is None


def test_another_video_is_not_found(cache, tmp_path):
    cache.save_heatmap(KEY, random_heatmap())
    assert StageCache(tmp_path / "stages", "other").load_heatmap(KEY) is None


@pytest.mark.parametrize("damage", [b"", b"rubbish", b"half"])
def test_a_damaged_file_is_ignored(damage, cache, tmp_path):
    cache.save_heatmap(KEY, random_heatmap())
    (path,) = (tmp_path / "stages").iterdir()
    path.write_bytes(path.read_bytes()[:40] if damage == b"half" else damage)
    assert cache.load_heatmap(KEY) is None
    assert not path.exists()
    cache.save_heatmap(KEY, random_heatmap())
    assert cache.load_heatmap(KEY) is not None


def test_trimming_deletes_what_was_unused_longest(cache, tmp_path):
    for i in range(4):
        cache.save_heatmap((i,), random_heatmap())
    import os

    paths = sorted((tmp_path / "stages").iterdir())
    for age, path in enumerate(paths):
        os.utime(path, (1000 - age, 1000 - age))
    size = paths[0].stat().st_size
    trim_cache(tmp_path / "stages", most_bytes=2 * size + 10)
    assert sorted((tmp_path / "stages").iterdir()) == paths[:2]


def test_hash_file_depends_on_content_only(tmp_path):
    for name, content in (("a.mp4", b"x" * 3_000_000), ("b.mp4", b"x" * 3_000_000), ("c.mp4", b"x" * 2_999_999 + b"y")):
        (tmp_path / name).write_bytes(content)
    a, b, c = (hash_file(tmp_path / f"{name}.mp4") for name in "abc")
    assert a == b != c


class Counting(GrabCutSegmenter):
    """A segmenter that counts how often it is asked."""

    asked = 0

    def segment(self, *args, **kwargs):
        self.asked += 1
        return super().segment(*args, **kwargs)


def test_a_pipeline_grounds_and_tracks_once(cache):
    frames, truth = star_and_disc(10, size=(240, 135))
    clip, targets = ArrayClip(frames), [Target("Star", words) for words in list(truth)[:1]]
    grounder, segmenter = TruthGrounder(truth), Counting()
    pipeline = Pipeline(segmenter, grounder=lambda: grounder)
    (first,) = pipeline.run(clip, targets, cache=cache)
    grounded, asked = len(grounder.grounded), segmenter.asked
    (second,) = pipeline.run(clip, targets, cache=cache)
    assert len(grounder.grounded) == grounded > 0
    assert segmenter.asked - asked < 5 < asked  # what was lost is searched: no outline again, no tracking
    assert_same_track(first.track, second.track)
    assert (first.score, first.notes, first.keyframes) == (second.score, second.notes, second.keyframes)
    (plain,) = pipeline.run(clip, targets)
    assert_same_track(first.track, plain.track)
    cache.save_results(KEY, [first])
    (kept,) = cache.load_results(KEY, targets)
    assert_same_track(kept.track, first.track)
    assert (kept.target, kept.keyframes, kept.score, kept.anchor_frame, kept.notes) == (
        first.target,
        first.keyframes,
        first.score,
        first.anchor_frame,
        first.notes,
    )


def test_an_interrupted_track_is_resumed_in_another_process(cache, tmp_path):
    """And what was kept on the way goes once the track is there."""
    frames, truth = star_and_disc(16)
    targets = [Target("star", words="the red star")]

    def pipeline():
        return Pipeline(GrabCutSegmenter(), grounder=lambda: TruthGrounder(truth))

    class StoppingError(Exception):
        pass

    def stop_in_the_middle(stage, fraction):
        told.append(fraction)
        if stage == "track" and fraction > 0.8:
            raise StoppingError

    told = []
    with pytest.raises(StoppingError):
        pipeline().run(ArrayClip(frames), targets, progress=stop_in_the_middle, cache=cache)
    assert list((tmp_path / "stages").glob("*.pass"))
    first, again = ArrayClip(frames), ArrayClip(frames)
    (plain,) = pipeline().run(first, targets, cache=StageCache(tmp_path / "elsewhere", "content"))
    (resumed,) = pipeline().run(again, targets, cache=cache)
    assert_same_track(resumed.track, plain.track)
    assert len(again.frames_read) < len(first.frames_read) - 10
    assert not list((tmp_path / "stages").glob("*.pass"))
