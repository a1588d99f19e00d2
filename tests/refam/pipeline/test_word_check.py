"""Words that are refused before anything is loaded."""

from __future__ import annotations

import pytest

import refam
from refam.pipeline.errors import WordsError
from refam.pipeline.types import FramePrompt, Target
from refam.pipeline.word_check import check_targets, check_words

CLICK = (FramePrompt(0, points=((0.5, 0.5),), labels=(1,)),)


@pytest.mark.parametrize(
    ("words", "refused"),
    [
        (["the dog"], ["the dog"]),
        (["the dog", "le chat"], ["the dog", "le chat"]),
        (["the dog", "the red star"], []),
        (["the red dog"], []),  # red is known: what is not is a note of the result
        (["on the left"], ["on the left"]),
        ([], []),
    ],
)
def test_words_are_refused_if_none_can_be_looked_for(words, refused):
    if not refused:
        check_words(words, "tiny")
        return
    with pytest.raises(WordsError) as caught:
        check_words(words, "tiny")
    assert [expression for expression, _ in caught.value.errors] == refused


def test_a_drawn_object_can_do_without_words():
    check_targets([Target("dog", words="the dog", prompts=CLICK)], "tiny")
    check_targets([Target("cat", words="the cat"), Target("it", prompts=CLICK)], "tiny")
    with pytest.raises(WordsError, match=r"knows none of the words 'dog'; it knows red, green, .*ring"):
        check_targets([Target("dog", words="the dog")], "tiny")


def test_a_model_refuses_before_it_opens_the_video(tmp_path):
    model = refam.load(segmenter="grabcut", offline=True)
    with pytest.raises(refam.PipelineError, match=r"the xyzzy: .*'xyzzy'"):
        model.track(tmp_path / "no-such-video.mp4", "the xyzzy")
