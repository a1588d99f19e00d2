"""How many objects an expression means: one ("the dog"), so many ("the two dogs"), or any number ("every dog").

What counts is how it is written, whatever the model knows: the form of the head noun, and the words before it. A noun
whose plural is one thing means one, unless it is counted: "the scissors", but "two scissors". So does a noun whose
plural looks like its singular, unless a word says more: "the sheep", but "all sheep".
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from enum import Enum

import regex

from refam.text.abbreviations import write_out_abbreviations
from refam.text.coordination import skip_opening
from refam.text.instructions import skip_instructions
from refam.text.lexicon import DETERMINERS, word_at, word_set
from refam.text.noun_phrase import NounPhrase, parse_noun_phrase
from refam.text.number_bounds import NumberBound, read_number
from refam.text.partitives import Partitive, PartitiveKind, find_partitives
from refam.text.spatial import find_spatial_cues
from refam.text.typed_text import clean_text
from refam.text.words import MINUS_SIGNS, split_words


@dataclass(frozen=True)
class Quantity:
    """How many objects an expression means.

    Attributes:
        most: So many at most; None is any number, and 0 or a negative number says that there is none.
        said: The words of the expression that say so: "two", "every", "pair".
        least: So many at least, where a number says so.
        uncounted: Numbers that do not say it, too large or no whole ones: "1000", "1.5".
    """

    most: int | None = 1
    said: tuple[str, ...] = ()
    least: int = 1
    uncounted: tuple[str, ...] = ()

    @property
    def is_plural(self) -> bool:
        """Whether it may be more than one."""
        return self.most != 1

    @property
    def is_possible(self) -> bool:
        """Whether it can be met: "zero dogs" and "at least four and at most two dogs" name nothing to outline."""
        return self.most is None or self.most >= self.least

    @property
    def why_uncounted(self) -> list[tuple[str, str]]:
        """The numbers that do not say it, each with a sentence for people."""
        large = f"no more than {_MOST_COUNTED} are counted."
        fraction = "objects are counted in whole numbers, such as: 2."
        return [(w, fraction if _FRACTION.fullmatch(w) else large) for w in self.uncounted]

    def find(self, words: Sequence[str]) -> list[int]:
        """Return the indices of the words that say so, also among words of which some were replaced since."""
        found: list[int] = []
        for word in self.said:
            start = found[-1] + 1 if found else 0
            if word in words[start:]:
                found.append(words.index(word, start))
        return found


ONE = Quantity()


class _Form(Enum):
    """What the form of a noun says."""

    SINGULAR = "singular"
    PLURAL = "plural"
    EITHER = "either"  # its plural looks like its singular: "sheep"
    ONE_THING = "one thing"  # its plural is one thing: "scissors"


_COLLECTIVE_COUNTS = {"pair": 2, "couple": 2, "duo": 2, "trio": 3, "dozen": 12}
_KINDS = word_set("kind type sort breed species style variety mixture mix")
_DISTRIBUTIVES = word_set("every each")
_QUANTIFIERS = word_set("all several many few multiple various numerous hundreds dozens some these those")
_ALSO_BEFORE_ONE_THING = word_set("some these those")  # "these scissors" may be one thing
_SINGULAR_DETERMINERS = word_set("a an this another one")
_SELECT_MANY = word_set("each every all some many several few most ones")
_OF_ONE = ("'s", "’s")
_MEASURES = word_set("year yr day month week door story storey wheel foot feet inch seat seater lane tone piece part")
_FRACTION = regex.compile(rf"[{MINUS_SIGNS}]?\d+[.,]\d+")
_MOST_COUNTED = 50  # a larger number is no count: "the 1950 cars"

_IRREGULAR = word_set("people cattle folk mice geese feet teeth oxen lice cacti octopi fungi dormice")
_IRREGULAR_ENDINGS = ("men", "children", "people")
_NO_MEN = word_set("specimen omen ramen semen abdomen regimen stamen amen acumen bitumen hymen yemen")
_EITHER = word_set(
    """
    sheep fish deer moose bison elk shrimp squid salmon trout tuna carp cod swine aircraft spacecraft hovercraft
    watercraft offspring series species
    """
)
_ONE_THING = word_set(
    """
    scissors trousers pants jeans shorts leggings tights pajamas pyjamas overalls dungarees glasses eyeglasses
    sunglasses spectacles goggles binoculars headphones earphones pliers tongs tweezers clippers shears skis clothes
    stairs woods headquarters barracks remains surroundings goods groceries bleachers
    """
)
# What a glass is for: "the wine glasses" are several, "the glasses" may be worn.
_DRINKS = word_set("wine beer water drinking champagne cocktail shot whisky whiskey martini juice milk glasses")
_SINGULAR_IN_S = word_set(
    """
    bus minibus gas lens canvas christmas pancreas alias atlas texas adidas mercedes rhinoceros cosmos chaos thermos
    news mathematics physics gymnastics athletics tennis chess yes
    """
)
_PLURAL_IN_US_AND_IS = word_set("menus emus gnus taxis kiwis bikinis safaris zucchinis martinis jacuzzis yetis chilis")


def read_quantity(text: str) -> Quantity:
    """Return how many objects an expression means, as a person typed it.

    Args:
        text: The expression.

    Returns:
        The quantity; one for an expression without a head noun.

    Example:
        >>> read_quantity("the two dogs on the left").most
        2
    """
    quantity = find_quantity(*_parse(text))
    opening, rest = skip_opening(clean_text(text))
    return find_quantity(*_parse(rest)) if opening and not quantity.is_plural else quantity  # "London, two cars"


def affirmed_words(text: str) -> str:
    """Return an expression without what it says is not meant: "the dog ," of "the dog, not the cat".

    Args:
        text: The expression, as a person typed it.
    """
    words, phrase = _parse(text)
    negated = {i for one in phrase.negated for i in one} if phrase else set()
    if not negated:
        return text
    return " ".join(word for i, word in enumerate(words) if i not in negated)


def _parse(text: str) -> tuple[list[str], NounPhrase | None]:
    words = [word.text for word in split_words(write_out_abbreviations(clean_text(text)))]
    return words, parse_noun_phrase(words, find_spatial_cues(words))


def find_quantity(words: Sequence[str], phrase: NounPhrase | None) -> Quantity:
    """Return how many objects the head noun phrase of an expression means.

    Args:
        words: Words of the expression, lower case, punctuation as words of its own.
        phrase: Its head noun phrase; None if it has none.
    """
    if phrase is None:
        return ONE
    partitives = find_partitives(words)
    form = _form_of(words, phrase.head)
    around = next((b for b in phrase.bounds if b.words[0] < phrase.head < b.number), None)
    if around is not None and around.low is not None:  # "one dog or two"
        said = tuple(w for w in (words[around.words[0]], words[around.number]) if read_number(w))
        return Quantity(read_number(words[around.number]), said, around.low)
    bounds = [b for b in phrase.bounds if b.number < phrase.head]
    start = partitives[-1].end if partitives else skip_instructions(words)
    quantity = _count_head(words, start, phrase.head, form, bounds)
    for partitive in reversed(partitives):
        if partitive.kind is PartitiveKind.SELECTION:
            quantity = _count_selection(words, partitive)
        elif partitive.kind is PartitiveKind.COLLECTIVE:
            quantity = _count_collective(words, partitive, quantity, form)
    selections = [p for p in partitives if p.kind is PartitiveKind.SELECTION]
    for bound in bounds:
        if not any(p.of < bound.number < p.end for p in selections):  # "the leftmost of at least three dogs"
            quantity = _apply_bound(words, quantity, bound)
    uncounted = tuple(_find_uncounted(words, phrase)) if form is _Form.PLURAL else ()
    return replace(quantity, uncounted=uncounted)


def _find_uncounted(words: Sequence[str], phrase: NounPhrase) -> Iterator[str]:
    """Yield the numbers before a plural that do not count its objects: "1.5 dogs", "1000 birds"."""
    for i in sorted(phrase.kept):
        word, is_measure = words[i], word_at(words, i + 1).removesuffix("s") in _MEASURES
        has_many_digits = word.isdecimal() and len(word.lstrip("0")) > 3
        is_large = has_many_digits or (read_number(word) or 0) > _MOST_COUNTED
        if i < phrase.head and not is_measure and (is_large or _FRACTION.fullmatch(word)):
            yield word


def _apply_bound(words: Sequence[str], quantity: Quantity, bound: NumberBound) -> Quantity:
    """ "at least two dogs" are two or more, "two to four pairs of shoes" four to eight."""
    number = read_number(words[bound.number]) or 0
    counted = quantity.most
    if counted in (None, 0, 1):
        if number > 1:
            return quantity  # no number of objects
        counted = number  # "more than one dog", "at most zero dogs"
    count = counted + bound.shift
    said = quantity.said or (words[bound.number],)
    if bound.low is not None:
        return Quantity(count, said, max(bound.low * (counted // number if number else 1), 1))
    if bound.is_least:
        return Quantity(None, said, max(count, 1))
    return Quantity(count, said, 1 if bound.is_most or count < 1 else quantity.least)


def _count_head(words: Sequence[str], start: int, head: int, form: _Form, bounds: Sequence[NumberBound]) -> Quantity:
    """Count by the words from `start` to the head noun, and by its form."""
    bounding = {i for bound in bounds for i in bound.words}
    before = [i for i in range(start, head) if i not in bounding]
    for i in before:
        if words[i] in _DISTRIBUTIVES and words[i + 1] != "other":
            return Quantity(None, (words[i],))
    lows = {i: n for i in before if (n := read_number(words[i])) is not None and n < 1}
    lows = {i: n for i, n in lows.items() if form is not _Form.SINGULAR or i == before[0]}  # "the 0 key"
    if lows and not any(bound.number in lows for bound in bounds):
        first_low = min(lows)
        return Quantity(lows[first_low], (words[first_low],))
    if form is _Form.SINGULAR:
        first = skip_instructions(words)
        ones = [i for i in before if words[i] in ("one", "1") and DETERMINERS.issuperset(words[first:i])]
        return Quantity(1, tuple(words[i] for i in ones))  # "one dog", but not "terminal 1 gate"
    counts = {i: count for i in before if (count := _read_count(words, i)) > 1}
    if counts:
        said = tuple(words[i] for i in counts)
        return Quantity(max(counts.values()), said, min(counts.values()))  # "two or three": at most three
    for i in before:
        if words[i] in _QUANTIFIERS and not (form is _Form.ONE_THING and words[i] in _ALSO_BEFORE_ONE_THING):
            return Quantity(None, (words[i],))
    possessor = next((i for i in before if words[i].endswith(_OF_ONE)), start)  # "a man's dogs"
    if any(words[i] in _SINGULAR_DETERMINERS for i in range(possessor, head)):
        return ONE
    return Quantity(None) if form is _Form.PLURAL else ONE


def _read_count(words: Sequence[str], i: int) -> int:
    """Return the number that a word is; 0 if it is none, or counts something else than objects ("a two-door car")."""
    count, following = read_number(words[i]) or 0, word_at(words, i + 1)
    return count if count <= _MOST_COUNTED and following.removesuffix("s") not in _MEASURES else 0


def _count_selection(words: Sequence[str], partitive: Partitive) -> Quantity:
    """ "one of the dogs", "two of the dogs", "each of the dogs", "the leftmost of the three"."""
    for i in range(partitive.start, partitive.of):
        if (count := read_number(words[i])) is not None and 1 < count <= _MOST_COUNTED:
            return Quantity(count, (words[i],), count)
        if words[i] in _SELECT_MANY:
            return Quantity(None, (words[i],))
    return ONE


def _count_collective(words: Sequence[str], partitive: Partitive, counted: Quantity, form: _Form) -> Quantity:
    """ "a pair of dogs", "two pairs of scissors", "a group of people", "a group of three people", "a kind of dog"."""
    content = range(partitive.start, partitive.of)
    if counted.most not in (None, 1) or form is _Form.SINGULAR or _indices(words, content, _KINDS):
        return counted
    pairs = _indices(words, content, _COLLECTIVE_COUNTS)
    times = next((i for i in content if i not in pairs and (read_number(words[i]) or 0) > 1), None)
    factor = 1 if times is None else read_number(words[times]) or 1
    said = tuple(words[i] for i in (times, *pairs) if i is not None)
    if form is _Form.ONE_THING:  # "a pair of scissors"
        return Quantity(factor, said, factor) if pairs else ONE
    if pairs and (times is not None or words[pairs[0]] in _COLLECTIVE_COUNTS):  # "dozens of birds" are any number
        factor *= _COLLECTIVE_COUNTS[words[pairs[0]].removesuffix("s")]
        return Quantity(factor, said, factor)
    return Quantity(None, tuple(words[i] for i in content[-1:]))


def _indices(words: Sequence[str], among: Iterable[int], wanted: Iterable[str]) -> list[int]:
    """Return which of some words, or their singulars, are wanted."""
    known = frozenset(wanted)
    return [i for i in among if words[i] in known or words[i].removesuffix("s") in known]


def _form_of(words: Sequence[str], head: int) -> _Form:
    word = words[head].rpartition("-")[2]
    if word.endswith(_OF_ONE):
        return _Form.SINGULAR
    if word == "glasses" and (word_at(words, head + 1) == "of" or (head > 0 and words[head - 1] in _DRINKS)):
        return _Form.PLURAL
    if word in _ONE_THING:
        return _Form.ONE_THING
    if word in _EITHER:
        return _Form.EITHER
    return _Form.PLURAL if _is_plural(word) else _Form.SINGULAR


def _is_plural(word: str) -> bool:
    """Whether a noun looks like a plural."""
    if word in _IRREGULAR or word in _PLURAL_IN_US_AND_IS:
        return True
    if word.endswith(_IRREGULAR_ENDINGS):
        return word not in _NO_MEN
    return len(word) > 2 and word.endswith("s") and word not in _SINGULAR_IN_S and not word.endswith(("ss", "us", "is"))
