"""Which noun a word is read as, with the vocabulary that ships."""

from __future__ import annotations

import gzip
import json

import pytest

from refam.photos import TEXT_LENGTH
from refam.photos.vocabulary import (
    Noun,
    Vocabulary,
    VocabularyError,
    build_vocabulary,
    load_class_synsets,
    load_vocabulary,
    save_vocabulary,
    singular_forms,
)
from refam.photos.wordnet import WordNet
from refam.photos.words import model_words, restrict
from video.errors import UserError

SHIPPED = load_vocabulary()


@pytest.mark.parametrize(
    ("word", "noun"),
    [
        ("dog", "dog"),
        ("dogs", "dog"),
        ("puppy", "dog"),
        ("labrador", "retriever"),
        ("kittens", "cat"),
        ("cars", "car"),
        ("automobile", "car"),
        ("suv", "car"),
        ("lorry", "truck"),
        ("men", "man"),
        ("women", "woman"),
        ("people", "person"),
        ("skater", "person"),
        ("policemen", "person"),
        ("wolves", "wolf"),
        ("tv", "television"),
        ("couch", "sofa"),
        ("cell phone", "cell phone"),
        ("police car", "car"),
        ("old man", "man"),
        ("hot dog", "hot dog"),
        ("teddy bear", "teddy bear"),
        ("guinea pig", "hamster"),
        ("trousers", "pants"),
        ("boulder", "rock"),
        ("driver", "person"),
        ("oranges", "orange"),
        ("boxes", "box"),
        ("queen", "woman"),
        ("mango", "fruit"),
        ("wasp", "insect"),
        ("hotdog", "hot dog"),
        ("hot-dogs", "hot dog"),
        ("firetruck", "truck"),
        ("motor bike", "motorcycle"),
        ("skate-board", "skateboard"),
        ("teacup", "cup"),
        ("black bird", None),
        ("blue bell", None),
        ("bridges", "bridge"),
        ("fields", "field"),
        ("banks", None),
        ("poles", None),
        ("shakespeare", None),
        ("drone", None),
        ("fireman", "person"),
        ("mum", "person"),
        ("cushion", "pillow"),
        ("tumbler", "glass"),
        ("ruler", None),
        ("hose", None),
        ("brush", None),
        ("game controller", None),
        ("website", None),
        ("xyzzy", None),
        ("scanner", None),
        ("factory", None),
        ("lower", None),
        ("same", None),
        ("poster", None),
    ],
)
def test_words_of_annotators(word, noun):
    assert SHIPPED.noun_for(word) == noun


def test_there_are_many_nouns_and_each_class_of_a_kind_is_one_of_what_it_is_a_kind_of():
    nouns = SHIPPED.nouns
    assert len(nouns) >= 500
    assert len(load_class_synsets()) == 1000
    for noun in nouns.values():
        for above in noun.above:
            if nouns[above].classes:
                assert set(noun.classes) <= set(nouns[above].classes), (noun.name, above)


@pytest.mark.parametrize(
    ("plural", "singular"), [("boxes", "box"), ("horses", "horse"), ("knives", "knife"), ("babies", "baby")]
)
def test_plurals(plural, singular):
    assert singular in singular_forms(plural)


def test_a_word_in_s_is_no_plural():
    assert singular_forms("glass") == ()


def small() -> Vocabulary:
    nouns = [
        Noun("animal", "animals", (1, 2, 3), ()),
        Noun("dog", "animals", (1, 2), ("animal",)),
        Noun("terrier", "dogs", (2,), ("animal", "dog")),
        Noun("wine glass", "kitchen", (), ()),
    ]
    return Vocabulary({n.name: n for n in nouns}, {"puppy": "dog", "airedale": "terrier", "goblet": "wine glass"})


def test_a_noun_that_is_left_out_is_read_as_the_nearest_that_stays():
    kept = restrict(small(), ["animal", "dog"])
    assert [kept.noun_for(w) for w in ("terrier", "airedale", "puppy", "wine glass", "goblet")] == [
        "dog",
        "dog",
        "dog",
        None,
        None,
    ]


def test_a_word_by_hand_for_a_noun_that_is_left_out_is_read_as_said():
    vocabulary = Vocabulary(small().nouns, {"wine glass": "terrier"})
    assert restrict(vocabulary, ["animal", "dog"]).noun_for("wine glass") == "dog"


def test_a_vocabulary_is_read_as_it_was_written(tmp_path):
    save_vocabulary(small(), tmp_path / "vocabulary.json.gz")
    assert load_vocabulary(tmp_path / "vocabulary.json.gz") == small()


def test_the_tokenizer_has_every_word_of_every_noun_once():
    words = model_words(small())
    assert len(words) == len(set(words))
    assert {"wine", "glass", "terrier", "red", "the", "."} <= set(words)
    assert TEXT_LENGTH > 20


# --- built from a small WordNet, in the form of its database files

INDEX = """  1 the licence
animal n 1 1 @ 1 0 00000001
dog n 2 1 @ 2 0 00000002 00000009
puppy n 1 1 @ 1 0 00000003
whelp n 1 1 @ 1 0 00000003
young n 1 1 @ 1 0 00000003
tell n 1 1 @ 1 0 00000003
fido n 2 1 @ 2 0 00000004 00000009
chair n 1 1 @ 1 0 00000009
big_chair n 1 1 @ 1 0 00000003
old_chair n 1 1 @ 1 0 00000003
red_puppy n 1 1 @ 1 0 00000003
german_chair n 1 1 @ 1 0 00000003
gold n 1 1 @ 1 0 00000010
gold_chair n 1 1 @ 1 0 00000003
toy_chair n 1 1 @ 1 0 00000003
sea_lion n 1 1 @ 1 0 00000003
"""
DATA = """  1 the licence
00000001 05 n 01 animal 0 000 | a living thing
00000002 05 n 02 dog 0 domestic_dog 0 001 @ 00000001 n 0000 | an animal
00000003 05 n 01 puppy 0 001 @ 00000002 n 0000 | a young dog
00000004 05 n 01 Fido 0 001 @i 00000002 n 0000 | a dog of this name
00000009 06 n 01 chair 0 000 | a seat
00000010 27 n 01 gold 0 000 | a metal
"""
ADJECTIVES = """  1 the licence
young a 1 2 ! & 1 1 00000001
ancient a 1 1 & 1 1 00000002
german a 1 1 \\ 1 1 00000003
"""
COUNTS = """young%3:00:00:: 1 90
young%1:05:00:: 1 2
tell%2:32:00:: 1 500
puppy%1:05:00:: 1 3
"""


@pytest.fixture
def wordnet(tmp_path):
    (tmp_path / "index.noun").write_text(INDEX)
    (tmp_path / "data.noun").write_text(DATA)
    (tmp_path / "index.adj").write_text(ADJECTIVES)
    (tmp_path / "cntlist.rev").write_text(COUNTS)
    return WordNet(tmp_path)


def test_wordnet_is_read_from_its_own_files(wordnet):
    assert wordnet.senses("dog") == ["00000002", "00000009"]
    assert wordnet.lemmas("00000002") == ("dog", "domestic dog")
    assert wordnet.ancestors("00000003") == {"00000001", "00000002", "00000003"}
    assert wordnet.senses("cat") == []


def test_a_vocabulary_is_built_from_nouns_and_wordnet(wordnet, tmp_path):
    (tmp_path / "nouns.txt").write_text("# head\nanimals: animal, dog\nfurniture: chair=-\n")
    built = build_vocabulary(wordnet, ["00000003", "00000009"], tmp_path / "nouns.txt")
    assert built.nouns == {
        "animal": Noun("animal", "animals", (0,), ()),
        "dog": Noun("dog", "animals", (0,), ("animal",)),
        "chair": Noun("chair", "furniture", (), ()),
    }
    read = {
        **{"puppy": "dog", "whelp": "dog", "toy chair": "dog", "german chair": "dog", "sea lion": "dog"},
        **{"young": None, "tell": None},  # an adjective and a verb first of all
        "fido": "chair",  # not the name
        **{"big chair": None, "old chair": None, "gold chair": None},  # what a chair is like
        "red puppy": None,  # a puppy, and red
    }
    assert {word: built.noun_for(word) for word in read} == read


def test_a_folder_without_wordnet_is_named(tmp_path):
    with pytest.raises(UserError, match="wordnet-base"):
        WordNet(tmp_path)


def _zip(content: bytes) -> bytes:
    """The same bytes at any time of day: they are part of tests' names, which all workers must agree on."""
    return gzip.compress(content, mtime=0)


def stored(**changes):
    """A vocabulary as JSON, with some of its fields changed."""
    fields = {"nouns": [["dog", "animals", [151], []], ["cat", "animals", [], ["dog"]]], "words": {"dog": ["puppy"]}}
    return _zip(json.dumps(fields | changes).encode())


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "EOF"),
        (b"{}", "Not a gzip"),
        (stored()[:-9], "ended before"),
        (stored()[:-8] + b"12345678", "CRC"),
        (stored()[:20] + b"\xff" + stored()[21:], r"invalid|CRC|Error"),
        (_zip(b"{}"), "nouns: field required"),
        (_zip(b"[]"), "should be an object"),
        (_zip(b"[" * 100_000), "recursion limit"),
        (_zip(b"\xff"), "invalid JSON|not UTF-8"),
        (stored(nouns=[]), "at least 1"),
        (stored(nouns=[["dog"]]), r"nouns\.0\.1"),
        (stored(nouns=[["dog", "animals", [1000], []]]), "less than 1000"),
        (stored(nouns=[["dog", "animals", ["151"], []]]), "valid integer"),
        (stored(words="x"), "words: "),
        (stored(words={"dog": "puppy"}), r"words\.dog: "),
        (stored(words={"dog": [None]}), r"words\.dog\.0: "),
        (stored(words={"ghost": ["phantom"]}), "read as 'ghost', which is none of its 2 nouns"),
    ],
)
def test_a_broken_vocabulary_is_named(tmp_path, content, message):
    file = tmp_path / "vocabulary.json.gz"
    file.write_bytes(stored())
    assert load_vocabulary(file).noun_for("puppies") == "dog"
    file.write_bytes(content)
    with pytest.raises(VocabularyError, match=rf"vocabulary\.json\.gz is no vocabulary \(.*({message}).*; fetch"):
        load_vocabulary(file)


def test_a_missing_vocabulary_is_named(tmp_path):
    with pytest.raises(VocabularyError, match=r"is not complete: vocabulary\.json\.gz is missing"):
        load_vocabulary(tmp_path / "vocabulary.json.gz")
