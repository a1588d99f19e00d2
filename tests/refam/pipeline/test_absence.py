"""What the video does not bear out is not found, with the nearest guess named; what is doubtful scores accordingly."""

from __future__ import annotations

from dataclasses import replace

import pytest

from refam.evaluation.synthetic import ArrayClip
from refam.pipeline.errors import NotFoundError
from refam.pipeline.pipeline import FramePrompt, Pipeline, PipelineError, PipelineOptions, Target
from refam.pipeline.stage_cache import StageCache
from refam.segmenters.grabcut import GrabCutSegmenter
from tests.refam.pipeline.ground_truth import TruthGrounder, star_and_disc
from video import masks
from video.types import Presence

STAR, DISC = "the red star", "the blue circle"


class JudgingGrounder(TruthGrounder):
    """Says how likely each frame shows what was asked for: `surest` from frame 11 on, half of it before."""

    def __init__(self, truth, surest):
        super().__init__(truth)
        self.surest = surest

    def _heatmap(self, expression, frame):
        share = self.surest[expression] * (1.0 if frame >= 11 else 0.5)
        return replace(super()._heatmap(expression, frame), presence=Presence(share, expression.split()[1]))


@pytest.fixture(scope="module")
def scene():
    return star_and_disc(24)


def pipeline(truth, surest, **options):
    grounder = JudgingGrounder(truth, surest)
    return Pipeline(GrabCutSegmenter(), grounder=lambda: grounder, options=PipelineOptions(**options))


def test_what_is_not_there_is_not_found_and_the_nearest_guess_is_named(scene):
    frames, truth = scene
    with pytest.raises(NotFoundError) as error:
        pipeline(truth, {DISC: 0.04}).run(ArrayClip(frames), [Target("it", words=DISC)])
    assert "nothing in this video is 'the blue circle': 'blue' fits least; the nearest guess is" in str(error.value)
    assert "(score 0.04)" in str(error.value)
    frame = int(str(error.value).split("of frame ")[1].split()[0])
    assert frame >= 11, "where it is likeliest"
    x = float(str(error.value).split("guess is ")[1].split("%")[0]) / 100
    x0, _, x1, _ = masks.box_of(truth[DISC][frame])
    assert x0 - 0.05 < x < x1 + 0.05
    assert error.value.guess is not None
    across, down, at = error.value.guess
    assert f"guess is {across:.0%} from the left and {down:.0%} from the top of frame {at} " in str(error.value)


def test_how_the_words_were_read_stands_beside_why_nothing_was_found(scene, monkeypatch):
    frames, truth = scene
    monkeypatch.setattr(JudgingGrounder, "reading_notes", lambda self, words: [f"{words} is read"])
    with pytest.raises(NotFoundError, match=r"it: nothing in this video .*; the blue circle is read$"):
        pipeline(truth, {DISC: 0.04}).run(ArrayClip(frames), [Target("it", words=DISC)])


def test_one_absent_object_costs_that_object_only(scene, tmp_path):
    frames, truth = scene
    targets = [Target("a", words=STAR), Target("b", words=DISC)]
    cache = StageCache(tmp_path, "clip")
    for _ in range(2):  # the second time from the cache
        found, absent = pipeline(truth, {STAR: 0.95, DISC: 0.01}).run(ArrayClip(frames), targets, cache=cache)
        assert found.visible.any()
        assert (absent.visible.any(), absent.score, absent.keyframes) == (False, 0.0, ())
        assert "nothing in this video is 'the blue circle'" in absent.notes[0]


def test_the_score_is_as_doubtful_as_the_presence(scene):
    frames, truth = scene
    scores = [
        pipeline(truth, {STAR: surest}).run(ArrayClip(frames), [Target("a", words=STAR)])[0].score
        for surest in (1.0, 0.5)
    ]
    assert scores[1] == pytest.approx(scores[0] / 2)
    with pytest.raises(PipelineError, match="nothing in this video"):
        pipeline(truth, {STAR: 0.3}, min_presence=0.4).run(ArrayClip(frames), [Target("a", words=STAR)])


def test_what_a_person_drew_is_there_whatever_the_words_say(scene):
    frames, truth = scene
    box = masks.box_of(truth[STAR][6])
    target = Target("a", words=STAR, prompts=(FramePrompt(6, box=box),))
    (found,) = pipeline(truth, {STAR: 0.01}).run(ArrayClip(frames), [target])
    assert found.visible.any()
    assert found.features["presence"] == 1
    assert found.score > 0.1
