"""The presence of nouns is fitted on pictures whose labels say what is there: red ones have a dog, blue ones a car."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace

import cv2
import numpy as np
import pytest

from refam.evaluation.photo_presence import calibrate_presence_on_photos, sample_nouns
from refam.photos.labels import Photo
from refam.text.expression import UnknownWordsError
from video.errors import UserError

CHANNEL = {"dog": 0, "car": 2}


class SeesColours:
    """Gives a noun attention by its colour's channel; knows dogs and cars."""

    def unknown_words(self, expression):
        if expression.removeprefix("the ") not in CHANNEL:
            raise UnknownWordsError(expression, [])
        return []

    def read_token_maps(self, frames, expressions, indices):
        return [[expression] for expression in expressions]

    def compute_heatmap(self, expression, frame):
        noun = expression.removeprefix("the ")
        return SimpleNamespace(word_attention=((noun, frame[..., CHANNEL[noun]].mean() / 100 - 4),))

    def heatmap_settings(self):
        return {"weights": "1"}


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    folder, rng = tmp_path_factory.mktemp("photos"), np.random.default_rng(0)
    made = []
    for i in range(40):
        noun = ("dog", "car")[i % 2]
        picture = np.zeros((16, 16, 3), np.uint8)
        picture[..., CHANNEL[noun]] = rng.integers(120, 255)
        cv2.imwrite(str(folder / f"{i}.png"), picture[..., ::-1])
        made.append(Photo(folder / f"{i}.png", (noun, "unicorn"), ("dog", "car", "griffin")))
    return [*made, Photo(folder / "unlabelled.png"), Photo(folder / "all-there.png", ("dog",), ("dog",))]


def test_the_fitted_model_tells_what_is_there(photos):
    model = calibrate_presence_on_photos(SeesColours(), photos, 30)
    assert (model.scenes, model.made_with) == (60, {"weights": "1"})
    assert model((("dog", -2.0),)).probability > 0.8
    assert model((("dog", -4.0),)).probability < 0.2


def test_pictures_and_nouns_are_sampled_once_and_by_the_seed(photos):
    def known(noun):
        return noun in CHANNEL

    sampled = list(sample_nouns(photos, known, 100, seed=1))
    assert len({photo.file for photo, _ in sampled}) == len(sampled) == 40  # those with something on both sides
    for photo, nouns in sampled:
        other = {"dog": "car", "car": "dog"}[photo.labels[0]]
        assert sorted(nouns) == sorted([(photo.labels[0], True), (other, False)])
    assert [p.file for p, _ in sampled] == [p.file for p, _ in sample_nouns(photos, known, 100, seed=1)]
    assert [p.file for p, _ in sampled] != [p.file for p, _ in sample_nouns(photos, known, 100, seed=2)]
    assert len(list(sample_nouns(photos, known, 7, seed=1))) == 7


def test_pictures_that_say_nothing_of_absence_are_refused(photos):
    with pytest.raises(UserError, match="no picture has a label and"):
        calibrate_presence_on_photos(SeesColours(), photos[-2:], 10)


@pytest.mark.parametrize(("count", "words"), [(1, "1 expressions whose object is there and 1"), (7, "at least 8")])
def test_too_few_pictures_are_refused_before_any_is_read(photos, count, words):
    class Reads(SeesColours):
        def read_token_maps(self, frames, expressions, indices):
            raise AssertionError("it read a picture")

    with pytest.raises(UserError, match=words):
        calibrate_presence_on_photos(Reads(), photos, count)


def test_a_model_that_sees_no_difference_is_refused(photos):
    class SeesNothing(SeesColours):
        def compute_heatmap(self, expression, frame):
            return SimpleNamespace(word_attention=((expression.removeprefix("the "), -2.0),))

    with pytest.raises(UserError, match="do not tell what is there"):
        calibrate_presence_on_photos(SeesNothing(), photos, 30)


def test_a_picture_that_cannot_be_read_costs_only_itself(photos):
    lost = [replace(photo, file=photo.file.with_name("lost.png")) for photo in photos[:3]]
    with pytest.raises(UserError, match=r"lost\.png cannot be read"):
        calibrate_presence_on_photos(SeesColours(), [*lost, *photos], 50)
    skipped = []
    model = calibrate_presence_on_photos(SeesColours(), [*lost, *photos], 50, skipped=skipped)
    assert (model.scenes, len(skipped)) == (80, 3)
