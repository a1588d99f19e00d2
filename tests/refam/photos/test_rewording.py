"""Expressions in the model's words."""

from __future__ import annotations

import pytest

from refam.backbones.word_reader import open_group
from refam.photos import PHOTOS_DIRECTORY, VOCABULARY_NAME
from refam.photos.rewording import make_rewording, reword
from refam.photos.vocabulary import load_vocabulary
from refam.photos.words import model_words
from tests.refam.photos.small_data import small_vocabulary

VOCABULARY = small_vocabulary()
KNOWN = frozenset(model_words(VOCABULARY))


@pytest.mark.parametrize(
    ("text", "read", "noted"),
    [
        ("the dog on the left", "the dog on the left", []),
        ("the dogs", "the dog", []),
        ("the terrier", "the dog", [("terrier", "dog")]),
        ("The Puppy, on the left", "The dog, on the left", [("puppy", "dog")]),
        ("a goblet beside the puppy", "a wine glass beside the dog", [("goblet", "wine glass"), ("puppy", "dog")]),
        ("the wine glass", "the wine glass", []),
        ("the dog drinking water", "the dog drinking water", []),  # not the beverage
        ("the wine glasses", "the wine glass", []),
        ("the red xyzzy", "the red xyzzy", []),
        ("", "", []),
    ],
)
def test_words_are_replaced_by_nouns_that_are_known(text, read, noted):
    rewording = reword(text, VOCABULARY, KNOWN)
    assert rewording.text == read
    assert list(rewording.read_as) == noted


SHIPPED = make_rewording(load_vocabulary(PHOTOS_DIRECTORY / VOCABULARY_NAME))
# Phrases that are one thing, and what they are read as.
COMPOUNDS = {
    "hot dog": "hot dog",
    "teddy bear": "teddy bear",
    "the polar bear": "the bear",
    "the grizzly bear": "the bear",
    "golden retriever": "golden retriever",
    "german shepherd": "sheepdog",
    "the great dane": "the dog",
    "guinea pig": "animal",
    "sea lion": "animal",
    "killer whale": "whale",
    "the police car": "the car",
    "the fire truck": "the truck",
    "a school bus": "a bus",
    "the station wagon": "the car",
    "mountain bike": "bicycle",
    "the dining table": "the table",
    "table lamp": "lamp",
    "street sign": "sign",
    "the wall clock": "the wall clock",
    "the old man": "the man",
    "baseball player": "person",
    "the taxi driver": "the person",
    "top hat": "hat",
    "bathing suit": "swimsuit",
    "palm tree": "tree",
    "christmas tree": "tree",
    "electric guitar": "electric guitar",
}
# Phrases whose first words say what a thing is like, how large, where or which one, and what is left of them.
DESCRIBED = {
    "the small white dog": "the small white dog",
    "the large white car": "the large white car",
    "the big fish": "the big fish",
    "the top dog": "the top dog",
    "the bottom dog": "the bottom dog",
    "the old bag": "the old bag",
    "the big wheel": "the big wheel",
    "the fat cat": "the fat cat",
    "the crazy horse": "the crazy horse",
    "the blue cat": "the blue cat",
    "the white sheep": "the white sheep",
    "black bear and brown bear": "black bear and brown bear",
    "black sheep": "black sheep",
    "red squirrel": "red animal",
    "red carpet": "red rug",
    "black woman": "black woman",
    "white house": "white house",
    "the giant turtle": "the giant turtle",
    "the second papaya": "the second fruit",
    "the first lady": "the first woman",
    "cow number one": "cow number one",
    "the stone wall": "the stone wall",
    "the lower dog": "the lower dog",
    "the young dog": "the young dog",
    "the same dog": "the same dog",
    "the chocolate dog": "the chocolate dog",
    "the salmon shirt": "the salmon shirt",
    "the female dog": "the female dog",
}


@pytest.mark.parametrize(("text", "read"), [*COMPOUNDS.items(), *DESCRIBED.items()])
def test_a_pair_of_words_is_one_thing_only_if_it_is_a_compound(text, read):
    assert SHIPPED(text).text == read


@pytest.mark.parametrize(
    ("text", "torn"),
    [
        ("the light blue car", ("light",)),
        ("a hot bus", ("hot",)),
        ("the machine", ("machine",)),
        ("the lights", ("lights",)),
        ("the races", ("races",)),
        ("the wine glasses", ()),
        ("the store", ()),
        ("the traffic light", ()),
        ("the light of the traffic light", ()),
        ("the washing machine", ()),
        ("the blue car", ()),
        ("the lighter car", ("lighter",)),
        ("the lighter blue car", ("lighter",)),
        ("the lighter", ()),
        ("the red lighter", ()),
    ],
)
def test_parts_of_a_noun_mean_nothing_on_their_own(text, torn):
    assert SHIPPED(text).torn == torn


@pytest.mark.parametrize(
    ("text", "read"),
    [
        ("the man with the bat", "the man with the bat"),
        ("the monitor on the desk", "the monitor on the desk"),
        ("the queen", "the woman"),
        ("the young one", "the young one"),
        ("the skater swims", "the person swims"),
        ("guy blue shirt", "man blue shirt"),
        ("the puppies", "the dog"),
        ("the jet black dog", "the jet black dog"),
        ("the jet", "the airplane"),
        ("the hammer", "the tool"),
        ("the car I saw", "the car I saw"),
        ("the nails she hammers", "the nails she hammers"),
    ],
)
def test_a_word_is_read_by_the_sense_that_pictures_show(text, read):
    assert SHIPPED(text).text == read


@pytest.mark.parametrize(
    ("text", "note"),
    [
        ("the man", 'The model hardly tells "man" from other words for a person, so it may find any person'),
        ("two women", 'The model hardly tells "woman" from other words for a person, so it may find any person'),
        (
            "the lady",
            'The model has a smaller vocabulary: "lady" is read as "woman". The model hardly tells "woman" from',
        ),
        ("the person next to the man", ""),
        ("the dog", ""),
    ],
)
def test_where_any_person_may_be_found_is_said(text: str, note: str) -> None:
    said = open_group("small").parse(text).notes
    assert said[0].startswith(note) if note else not any("it may find any" in one for one in said)
