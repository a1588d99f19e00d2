"""The head noun phrase (NP): RefAM's noun-phrase filter, which keeps the tokens of the thing that is meant.

"the man in a blue shirt next to the dog" is about a man: what he looks like helps to find him, the dog does not. A
small grammar over word classes: an expression is a phrase with the head noun, followed by clauses that each begin with
a preposition, a verb, a relative pronoun or a comma. Clauses that say what the thing looks like or does are kept; what
they say of another thing is left out, with a sentence that says so.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from refam.text.instructions import find_instructions, skip_instructions
from refam.text.lexicon import (
    ADJECTIVES,
    AFTER_ORDINAL_IN_NAMES,
    APPEARANCE_WORDS,
    CLOTHES,
    COLOURS,
    FRAME_WORDS,
    MEASURE_NOUNS,
    NOUNS_IN_ING_AND_ED,
    ORDINALS,
    RELATION_WORDS,
    RELATIVE_PRONOUNS,
    STOP_WORDS,
    word_at,
    word_set,
)
from refam.text.motion import find_directions
from refam.text.negation import find_negated_phrases
from refam.text.number_bounds import NumberBound, find_number_bounds
from refam.text.partitives import PartitiveKind, find_bare_sets, find_partitives
from refam.text.relative_clauses import is_bare_verb, is_pronoun, read_object_relative
from refam.text.spatial import SpatialCue
from refam.text.word_classes import PLACE_NOUNS, Tagger, classify_words

_NEGATIONS = word_set("without except excluding")
_WHAT_IT_IS_NOT = "this says what the thing is not or does not have, and is not looked for."
_BEFORE_RELATION = PLACE_NOUNS | {"next", "in", "on", "at", "to", "the"}
_PRONOUNS = word_set("it him her them me us you this that these those")  # another thing: "behind it", "chasing him"


class IgnoredWords(NamedTuple):
    """Words of an expression that do not guide the search, and a sentence that says why."""

    words: str
    reason: str


@dataclass
class NounPhrase:
    """The words of an expression, sorted by what they are about.

    Attributes:
        head: Index of the head noun.
        kept: Indices of the words to look for, the head included.
        ignored: What is said of other things.
        cue_words: Indices of the words of place and size that are about the head, and not about another noun ("a small
            hat").
        fillers: Indices of words that name nothing: "a group of", "of the three", "at least".
        negated: Phrases that say what is not meant, by their words' indices: "not red".
        bounds: Words that bound a number: "at least".
    """

    head: int
    kept: set[int]
    ignored: list[IgnoredWords] = field(default_factory=list)
    cue_words: frozenset[int] = frozenset()
    fillers: frozenset[int] = frozenset()
    negated: tuple[range, ...] = ()
    bounds: tuple[NumberBound, ...] = ()

    def excluded(self, count: int) -> frozenset[int]:
        """Return which of `count` words are neither to be looked for nor words of place or size."""
        return frozenset(range(count)) - self.kept - self.cue_words


def parse_noun_phrase(
    words: Sequence[str], cues: Sequence[SpatialCue] = (), *, tagger: Tagger | None = None
) -> NounPhrase | None:
    """Find the head noun phrase of an expression.

    Args:
        words: Words of the expression in lower case; each punctuation mark is a word of its own.
        cues: The words of place and size. They are never looked for as part of the phrase.
        tagger: A part-of-speech tagger; None classifies words by their endings and by short lists.

    Returns:
        The phrase. None if the expression has no head noun, or if its first noun only says where the object is ("next
        to the dog"); the caller then looks for every word.
    """
    return _PhraseParser(words, cues, tagger(words) if tagger else None).parse()


class _PhraseParser:
    """One pass over the words, each of which has a class of one letter, see `refam.text.word_classes`."""

    def __init__(self, words: Sequence[str], cues: Sequence[SpatialCue], tags: Sequence[str] | None) -> None:
        self.words = words
        self.cue_words = {i for cue in cues for i in cue.words}
        self.instructions = find_instructions(words)
        self.first = skip_instructions(words)
        directions = find_directions(words)
        self.direction_words = {i for direction in directions for i in direction.words}
        self.unused = {d.words[0]: IgnoredWords(d.text, d.reason) for d in directions}  # by their first word
        self.partitives = find_partitives(words)
        self.described = {i for p in self.partitives for i in p.described} - self.cue_words
        self.fillers = {i for p in self.partitives for i in range(p.start, p.end)} | find_bare_sets(words)
        self.bounds = find_number_bounds(words, self.first)
        for bound in self.bounds:  # "at least one red star" is no "one" that is red
            self.fillers |= {*bound.words, *([bound.number] if words[bound.number] == "one" else [])}
        if self._begins_with_one_of_a_kind():
            self.fillers.add(self.first)
        self.fillers -= self.cue_words | self.described
        self._note_unused()
        self.about_other = False  # whether the clause that is being read is about another thing
        self.has_parts = False  # whether what it has was read, behind which "it" is no other thing: "with oil on it"
        fixed = dict.fromkeys(self.cue_words, "c") | dict.fromkeys(self.direction_words, "d")
        fixed |= dict.fromkeys((*self.fillers, *self.instructions), ".")
        self.classes = classify_words(words, fixed=fixed, first=self.first, tags=tags)
        self.negated = find_negated_phrases(words, self.classes, {i for b in self.bounds for i in b.words})
        for phrase in self.negated:
            self._leave_out_negated(phrase)

    def parse(self) -> NounPhrase | None:
        asks = self.words[self.first : self.first + 1] in (["what"], ["whatever"])
        if asks and read_object_relative(
            self.words, [*"w" * (self.first + 1), *self.classes[self.first + 1 :]], self.first
        ):
            return None  # "what the man is holding"
        opening = self.partitives[-1].end if self.partitives else 0
        start, end = self._first_phrase(opening)
        head = self._head_noun(start, end)
        before = [c for c in self.classes[opening:start] if c in "pc"]
        if head is None or before[-1:] == ["p"]:  # "next to the dog" does not name what is next to it
            return None
        kept = {i for i in range(start, end) if self.classes[i] in "NJVR" and i not in self.cue_words}
        phrase = NounPhrase(head, kept | self.described | {head}, fillers=frozenset(self.fillers))
        phrase.negated, phrase.bounds = self.negated, self.bounds
        for i in range(end):
            self._ignore_unused(i, phrase)
        at = end
        while at < len(self.words):
            at = self._read_clause(at, phrase)
        phrase.cue_words = frozenset(self.cue_words)
        for negated in self.negated:
            phrase.ignored.append(IgnoredWords(" ".join(self.words[i] for i in negated), _WHAT_IT_IS_NOT))
        return phrase

    def _begins_with_one_of_a_kind(self) -> bool:
        """Whether "one" counts what follows it ("one red star") and is no thing itself ("one in red")."""
        if word_at(self.words, self.first) != "one":
            return False
        after = self.first + 1
        while after in self.cue_words:
            after += 1
        word = word_at(self.words, after)
        no_noun = STOP_WORDS | RELATION_WORDS | APPEARANCE_WORDS | RELATIVE_PRONOUNS | PLACE_NOUNS
        is_participle = len(word) > 4 and word.endswith(("ing", "ed")) and word not in NOUNS_IN_ING_AND_ED
        return word.isalpha() and word not in no_noun and not is_participle

    def _leave_out_negated(self, phrase: range) -> None:
        """Read no word of a phrase that says what is not meant."""
        for i in phrase:
            self.classes[i] = "."
            self.unused.pop(i, None)
        self.cue_words.difference_update(phrase)
        self.described.difference_update(phrase)
        self.fillers |= set(phrase)

    def _note_unused(self) -> None:
        """Parts without a look of their own, and ordinals that do not say from where to count."""
        for partitive in self.partitives:
            if partitive.kind is PartitiveKind.PART:
                text = " ".join(self.words[partitive.start : partitive.of + 1])
                reason = "which part is meant is not read, only what it is a part of."
                self.unused[partitive.start] = IgnoredWords(text, reason)
        for i, word in enumerate(self.words):
            counts = word in ORDINALS and "".join(self.words[i + 1 : i + 2]) not in AFTER_ORDINAL_IN_NAMES
            counts = counts or (word == "last" and i in self.fillers)
            if counts and i not in self.cue_words | self.direction_words:
                self.fillers.add(i)
                reason = "it does not say from where to count. Write, for instance: the second from the left."
                self.unused[i] = IgnoredWords(word, reason)

    # --- the head noun phrase

    def _first_phrase(self, opening: int) -> tuple[int, int]:
        """From the first word that may belong to it, not before `opening`, to the first that begins a clause."""
        start = next((i for i in range(opening, len(self.words)) if self.classes[i] in "NJR"), opening)
        end = start
        has_noun = False
        while end < len(self.words):
            word_class = self.classes[end]
            if word_class in ",pwV" and not (word_class == "," and not has_noun):
                break
            if has_noun and (word_class in "cd" or (word_class == "J" and self.words[end] in ADJECTIVES)):
                break  # "girl far left pink", "guy blue shirt"
            if has_noun and read_object_relative(self.words, self.classes, end) > end:
                break  # "the thing the man is holding"
            has_noun = has_noun or word_class == "N"
            end += 1
        return start, end

    def _head_noun(self, start: int, end: int) -> int | None:
        nouns = [i for i in range(start, end) if self.classes[i] == "N"]
        if len(nouns) > 1 and self.words[nouns[-1]] == "number":
            nouns.pop()  # "player number 10"
        elif len(nouns) > 2 and [self.words[i] for i in nouns[-2:]] == ["number", "one"]:
            del nouns[-2:]
        if nouns:
            return nouns[-1]
        # "the red", "orange on the left": an adjective stands for the thing.
        return next((i for i in reversed(range(start, end)) if self.classes[i] == "J"), None)

    # --- the clauses after it

    def _read_clause(self, at: int, phrase: NounPhrase) -> int:
        """Read the clause that begins at `at`, and return where the next one begins."""
        word, word_class = self.words[at], self.classes[at]
        self._ignore_unused(at, phrase)
        if not self.about_other and (end := read_object_relative(self.words, self.classes, at)) > at:
            self._ignore_clause(at, end, phrase)
            return end
        if word_class in ".cdR,w":
            self.about_other = self.about_other and word_class not in "c,"
            self.has_parts = self.has_parts and word_class != ","
            phrase.kept.update({at} if word_class == "R" and not self.about_other else ())
            return at + 1
        if self.about_other and word_class == "V":
            end = max(self._phrase_end(at + 1), at + 1)
            self._ignore_clause(at, end, phrase)
            return end
        if self.about_other:  # "by a woman in a green coat": it is her coat
            return self._ignore_other_thing(at + (word_class == "p"), phrase, at)
        if word_class == "V":
            phrase.kept.add(at)
            return self._ignore_other_thing(at + 1, phrase, at)
        end = self._phrase_end(at if word_class in "NJ" else at + 1)  # without a preposition: "guy blue shirt"
        content = self._content(at, end)
        if content and word in _NEGATIONS:
            phrase.ignored.append(IgnoredWords(" ".join(self.words[at:end]), _WHAT_IT_IS_NOT))
            phrase.negated += (range(at, end),)
            return end
        is_appearance = (word in APPEARANCE_WORDS and not self._is_pronoun(at + 1, end)) or (
            word == "in" and any(self.words[i] in CLOTHES | COLOURS for i in content)
        )
        self.has_parts = self.has_parts or (is_appearance and bool(content))
        measures = {self.words[at - 1], self.words[at - 1].removesuffix("s")} & MEASURE_NOUNS
        is_measure = word == "of" and bool(measures) and at - 1 in phrase.kept
        if word_class in "NJ" or is_appearance or is_measure:
            phrase.kept.update(i for i in content if self.words[i] not in ("one", "ones"))  # ", the taller one"
            phrase.kept.update({at} if word in ("wearing", "dressed") else ())
            return end
        self.about_other = bool(content)
        return self._ignore_other_thing(at + 1, phrase, at)

    def _ignore_clause(self, start: int, end: int, phrase: NounPhrase) -> None:
        """Leave out a clause that has a subject of its own."""
        subject: list[str] = []
        for i in range(start, end):
            if self.classes[i] == "V" or (subject and self.classes[i] in ".p"):
                break
            if not subject and is_pronoun(self.words[i]):  # "the cup she holds": holds is no thing
                break
            if is_bare_verb(self.words, self.classes, i, end):
                break
            subject += [self.words[i]] if self.classes[i] in "NJ" else []
        phrase.ignored.append(IgnoredWords(" ".join(self.words[start:end]), _reason_for(" ".join(subject))))

    def _ignore_unused(self, at: int, phrase: NounPhrase) -> None:
        """Say of words that begin at `at` that they are not used, if any do."""
        if ignored := self.unused.get(at):
            phrase.ignored.append(ignored)

    def _ignore_other_thing(self, start: int, phrase: NounPhrase, opener: int) -> int:
        """Leave out what follows a verb or a preposition, since it is another thing; return where that ends."""
        while start < len(self.words) and self.classes[start] == "R":
            phrase.kept.add(start)
            start += 1
        end = max(self._phrase_end(start), opener + 1)
        is_viewer = word_at(self.words, start) in FRAME_WORDS and opener - 1 in self.cue_words  # "closest to us"
        is_pronoun = self._is_pronoun(start, end) and not self.has_parts and not is_viewer
        if is_pronoun or any(self.words[i] not in FRAME_WORDS for i in self._content(start, end)):
            first = opener
            while (
                first > 0
                and self.words[first - 1] in _BEFORE_RELATION
                and first - 1 not in self.cue_words | self.direction_words | phrase.kept
            ):
                first -= 1
            end = start + 1 if is_pronoun else end  # not the stop words behind it: "behind it and ..."
            thing = " ".join(self.words[i] for i in range(start, end) if is_pronoun or self.classes[i] in "NJ")
            phrase.ignored.append(IgnoredWords(" ".join(self.words[first:end]), _reason_for(thing)))
        return end

    def _is_pronoun(self, start: int, end: int) -> bool:
        """Whether a pronoun, and no noun, stands for another thing there: "it" of "behind it", but not "her mother"."""
        return start < end and self.words[start] in _PRONOUNS and not self._content(start, end)

    def _phrase_end(self, start: int) -> int:
        """The end of the noun phrase that begins at `start`. Cue words inside it become adjectives of its noun."""
        end, has_noun = start, False
        while end < len(self.words):
            word_class = self.classes[end]
            stops = word_class in "pwV" or (has_noun and word_class in "cd")
            stops = stops or (word_class == "," and self.classes[end - 1] != "J")  # "the brown, black and yellow snake"
            stops = stops or (word_class == "d" and self.classes[end + 1 : end + 2] not in (["J"], ["N"]))
            if stops and not (self.words[end] == "of" and has_noun):
                break
            has_noun = has_noun or word_class == "N"
            end += 1
        for i in self.cue_words.intersection(range(start, end)):
            if "N" in self.classes[i:end]:  # "with a small hat", "behind the left door"
                self.classes[i] = "J"
        self.cue_words = {i for i in self.cue_words if self.classes[i] == "c"}
        return end

    def _content(self, start: int, end: int) -> list[int]:
        return [i for i in range(start, end) if self.classes[i] in "NJVR"]


def _reason_for(thing: str) -> str:
    """Why what is said of another thing is left out."""
    if not thing:
        return "this is said of another thing, which is not looked for."
    return f"{thing!r} is another thing, which is not looked for, and how the two stand to each other is not read."
