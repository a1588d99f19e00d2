"""What an expression names, as a short noun phrase for models that find every instance of one: "brown dogs".

Words of place, size and number are left out, and so are clauses: such models (SAM3; Carion et al. 2025) read nouns and
what these are like. The words that are left out choose among the instances.
"""

from __future__ import annotations

from dataclasses import dataclass

from refam.text.abbreviations import write_out_abbreviations
from refam.text.coordination import skip_opening
from refam.text.lexicon import GENERIC_NOUNS
from refam.text.negation import find_negated_cues
from refam.text.noun_phrase import parse_noun_phrase
from refam.text.number_bounds import read_number
from refam.text.quantity import find_quantity
from refam.text.spatial import SpatialCue, find_spatial_cues
from refam.text.typed_text import clean_text
from refam.text.words import split_words


@dataclass(frozen=True)
class Concept:
    """What is looked for, and what chooses among its instances.

    Attributes:
        noun_phrase: The head noun with what stands before it, without determiners.
        cues: The words of place and size that are said of it.
    """

    noun_phrase: str
    cues: tuple[SpatialCue, ...] = ()


def read_concept(text: str) -> Concept | None:
    """Return what an expression names, as a person typed it.

    Args:
        text: The expression.

    Returns:
        The concept; None for words that name no single kind of thing: without a noun, with one that any thing can be
        called by ("the black one"), or with several ("cat or dog"; "Paris, the red car" may be two things).

    Example:
        >>> read_concept("the two small brown dogs on the left").noun_phrase
        'brown dogs'
    """
    text = clean_text(text)
    if (rest := skip_opening(text)[1]) != text and read_concept(rest) is not None:
        return None
    words = [word.text for word in split_words(write_out_abbreviations(text))]
    cues = find_spatial_cues(words)
    phrase = parse_noun_phrase(words, cues)
    if phrase is None or words[phrase.head] in GENERIC_NOUNS or read_number(words[phrase.head]) is not None:
        return None
    quantity = find_quantity(words, phrase)
    uncounted = {i for i in phrase.kept if words[i] in quantity.uncounted}
    left_out = {*quantity.find(words), *uncounted, *phrase.cue_words, *phrase.fillers}
    named = [i for i in sorted(phrase.kept) if i <= phrase.head and i not in left_out]
    if any(i not in left_out and i not in phrase.kept for i in range(named[0], phrase.head)):
        return None
    cues = tuple(cue for cue in cues if phrase.cue_words.issuperset(cue.words))
    negated = find_negated_cues(words, cues)
    return Concept(" ".join(words[i] for i in named), tuple(cue for cue in cues if cue not in negated))
