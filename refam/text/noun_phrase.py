"""The head noun phrase: RefAM's noun-phrase filter (NP).

"the man in a blue shirt next to the dog" is about a man: what he looks like helps to find him, the dog does not. A
small grammar over parts of speech: an expression is a phrase with the head noun, then pieces that each begin with a
preposition, a verb, "who" or a comma. Pieces that say what the thing looks like or does are kept; what they say of
another thing is left out, with a sentence that says so.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from refam.text.lexicon import (
    ADJECTIVES,
    ADVERBS,
    CLOTHES,
    COLOURS,
    FRAME,
    LOOKS,
    MEASURES,
    PARTICIPLES,
    RELATIONS,
    RELATIVES,
    STOP_WORDS,
    STRESSED,
    listed,
)
from refam.text.spatial import Cue

Tagger = Callable[[Sequence[str]], Sequence[str]]
"""Words -> one tag of the Penn Treebank for each (NN, NNS, JJ, VBG, VBN, VBZ, ...)."""

_POINTING = listed("left right top bottom front back side middle center centre corner edge end closest nearest close")
_BEFORE = _POINTING | {"next", "in", "on", "at", "to", "the"}


class Ignored(NamedTuple):
    """Words of an expression that do not guide the search, and a sentence that says why."""

    said: str
    why: str


@dataclass
class NounPhrase:
    """head: which word is the head noun. keep: the words that are looked for, the head too.

    ignored: what is not. cue: words of place and size that are about it, and not about another noun ("a small hat").
    """

    head: int
    keep: set[int]
    ignored: list[Ignored] = field(default_factory=list)
    cue: frozenset[int] = frozenset()

    def left_out(self, count: int) -> frozenset[int]:
        """Of `count` words those that are neither looked for nor words of place or size."""
        return frozenset(range(count)) - self.keep - self.cue


def read_phrase(words: Sequence[str], cues: Sequence[Cue] = (), *, tagger: Tagger | None = None) -> NounPhrase | None:
    """The head noun phrase of an expression (lower case, punctuation as words of its own).

    cues: their words are in no phrase. tagger: None: words are told by their endings and by short lists.
    None where no head noun is found: then every word must be read.
    """
    return _Reading(words, cues, tagger(words) if tagger else None).phrase()


class _Reading:
    """One pass over the words. kinds: N noun, J adjective, V verb, R adverb, and of closed lists: "." for the rest."""

    def __init__(self, words: Sequence[str], cues: Sequence[Cue], tags: Sequence[str] | None) -> None:
        self.words = words
        self.cue = {i for cue in cues for i in cue.words}
        self.about_other = False  # whether what is being read hangs on another thing
        self.kinds: list[str] = []
        for i in range(len(words)):
            self.kinds.append(self._kind(i, tags[i] if tags else None))

    def phrase(self) -> NounPhrase | None:
        start, end = self._first_phrase()
        head = self._head(start, end)
        before = [k for k in self.kinds[:start] if k in "pc"]
        if head is None or before[-1:] == ["p"]:  # "next to the dog": what is?
            return None
        keep = {i for i in range(start, end) if self.kinds[i] in "NJVR" and i not in self.cue}
        found = NounPhrase(head, keep | {head})
        at = end
        while at < len(self.words):
            at = self._piece(at, found)
        found.cue = frozenset(self.cue)
        return found

    def _kind(self, i: int, tag: str | None) -> str:
        word = self.words[i]
        if i in self.cue:
            return "c"
        if not any(c.isalnum() for c in word):
            return ","
        if word in LOOKS or word in RELATIONS or word == "in":
            return "p"
        if word in RELATIVES:
            return "w"
        if word in STOP_WORDS or self._points(i):
            return "."
        if word.endswith(("'s", "’s")) or (word == "light" and "".join(self.words[i + 1 : i + 2]) in COLOURS):
            return "J"
        if (word in ADVERBS and i > 0) or (
            word.endswith("ly") and len(word) > 6 and word not in ("butterfly", "dragonfly")
        ):
            return "R"
        if word in ADJECTIVES or word[0].isdigit():
            return "J"
        if i > 0 and self.kinds[-1] == "w":
            return "V"  # "the cat that jumps"
        if tag is None:
            return self._by_ending(i, word)
        if tag.startswith(("VBG", "VBN", "VBD")) or (tag.startswith("NN") and word.endswith("ing")):
            return self._by_ending(i, word, participle=True)
        if tag.startswith("VB"):
            return "V" if "N" in self.kinds else "N"
        return "J" if tag.startswith("JJ") else "R" if tag.startswith("RB") else "N"

    def _points(self, i: int) -> bool:
        """ "left" of "left of", "front" of "in front of", "closest" of "closest to"; "right" of "right there"."""
        after = "".join(self.words[i + 1 : i + 2])
        if self.words[i] == "right" and after in STRESSED:
            return True
        return self.words[i] in _POINTING and after in ("of", "to") and "N" in self.kinds

    def _by_ending(self, i: int, word: str, *, participle: bool = False) -> str:
        """A participle after a noun is a verb ("a dog running"), before one it is an adjective ("a running dog")."""
        if participle or word in PARTICIPLES or (len(word) > 4 and word.endswith(("ing", "ed"))):
            return "V" if self._after_noun(i) else "J"
        third_person = word.endswith("s") and not word.endswith(("ss", "us", "is", "'s", "’s"))
        one = self.words[0] in ("a", "an") and i > 1 and self.kinds[i - 1] == "N" and "p" not in self.kinds
        return "V" if third_person and one else "N"  # "a cat jumps off the bed"

    def _after_noun(self, i: int) -> bool:
        """Whether a noun came, with nothing since but words that may stand between it and its verb."""
        before = [k for k in self.kinds[:i] if k not in ".cR"]
        return bool(before) and before[-1] in "NwVpJ" and "N" in before

    def _first_phrase(self) -> tuple[int, int]:
        """From the first word that may be in it to the first that begins another piece."""
        start = next((i for i, k in enumerate(self.kinds) if k in "NJR"), 0)
        end = start
        noun = False
        while end < len(self.words):
            kind = self.kinds[end]
            if kind in ",pwV" and not (kind == "," and not noun):
                break
            if noun and (kind == "c" or (kind == "J" and self.words[end] in ADJECTIVES)):
                break  # "girl far left pink", "guy blue shirt"
            noun = noun or kind == "N"
            end += 1
        return start, end

    def _head(self, start: int, end: int) -> int | None:
        nouns = [i for i in range(start, end) if self.kinds[i] == "N"]
        if len(nouns) > 1 and self.words[nouns[-1]] == "number":
            nouns.pop()  # "player number 10"
        if nouns:
            return nouns[-1]
        # "the red", "orange on the left": an adjective stands for the thing.
        return next((i for i in reversed(range(start, end)) if self.kinds[i] == "J"), None)

    def _piece(self, at: int, found: NounPhrase) -> int:
        """Reads the piece that begins at `at`; returns where the next one does."""
        word, kind = self.words[at], self.kinds[at]
        if kind in ".cR,w":
            self.about_other = self.about_other and kind not in "c,"
            found.keep.update({at} if kind == "R" and not self.about_other else ())
            return at + 1
        if self.about_other:  # "by a woman in a green coat": it is her coat
            return self._leave_out(at + (kind == "p"), found, at)
        if kind == "V":
            found.keep.add(at)
            return self._leave_out(at + 1, found, at)
        end = self._run(at if kind in "NJ" else at + 1)  # without a preposition: "guy blue shirt"
        inside = self._content(at, end)
        looks = word in LOOKS or (word == "in" and any(self.words[i] in CLOTHES | COLOURS for i in inside))
        measure = word == "of" and self.words[at - 1] in MEASURES and at - 1 in found.keep
        if kind in "NJ" or looks or measure:
            found.keep.update(inside)
            found.keep.update({at} if word in ("wearing", "dressed") else ())
            return end
        self.about_other = bool(inside)
        return self._leave_out(at + 1, found, at)

    def _leave_out(self, start: int, found: NounPhrase, opener: int) -> int:
        """What follows a verb or a preposition is another thing."""
        while start < len(self.words) and self.kinds[start] == "R":
            found.keep.add(start)
            start += 1
        end = max(self._run(start), opener + 1)
        if any(self.words[i] not in FRAME for i in self._content(start, end)):
            first = opener
            while first > 0 and self.words[first - 1] in _BEFORE and first - 1 not in self.cue | found.keep:
                first -= 1
            said = " ".join(self.words[first:end])
            thing = " ".join(self.words[i] for i in range(start, end) if self.kinds[i] in "NJ")
            found.ignored.append(
                Ignored(
                    said,
                    f"{thing!r} is another thing: not looked for, and how the two stand to each other is not read.",
                )
            )
        return end

    def _run(self, start: int) -> int:
        """To the end of a phrase with a noun: where a piece of its own begins."""
        end, noun = start, False
        while end < len(self.words):
            kind = self.kinds[end]
            stops = kind in "pwV," or (noun and kind == "c")
            if stops and not (self.words[end] == "of" and noun):
                break
            noun = noun or kind == "N"
            end += 1
        for i in self.cue.intersection(range(start, end)):
            if "N" in self.kinds[i:end]:  # "with a small hat", "behind the left door"
                self.kinds[i] = "J"
        self.cue = {i for i in self.cue if self.kinds[i] == "c"}
        return end

    def _content(self, start: int, end: int) -> list[int]:
        return [i for i in range(start, end) if self.kinds[i] in "NJVR"]
