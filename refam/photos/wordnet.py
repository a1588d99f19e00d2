"""WordNet's nouns, read from its own database files; needed only to build the vocabulary anew.

Source: WordNet 3.0 (wordnet.princeton.edu), the files `index.noun` and `data.noun` as wndb(5WN) describes them; on
Debian: apt install wordnet-base.
"""

from __future__ import annotations

from functools import cached_property
from pathlib import Path

from video.errors import UserError

WORDNET_DIRECTORY = Path("/usr/share/wordnet")
_HYPERNYMS = ("@", "@i")


class WordNet:
    """Nouns and what they are kinds of. A synset is named by its offset in `data.noun`, 8 digits.

    Raises:
        UserError: If the directory does not hold WordNet.
    """

    def __init__(self, directory: Path = WORDNET_DIRECTORY) -> None:
        if not (directory / "data.noun").is_file():
            raise UserError(f"{directory} has no WordNet (data.noun); on Debian: apt install wordnet-base")
        self._senses: dict[str, list[str]] = {}
        self._lemmas: dict[str, tuple[str, ...]] = {}
        self._hypernyms: dict[str, tuple[str, ...]] = {}
        self._ancestors: dict[str, frozenset[str]] = {}
        for fields in _entries(directory / "index.noun"):
            self._senses[fields[0].replace("_", " ")] = fields[-int(fields[2]) :]
        for fields in _entries(directory / "data.noun"):
            n_words = int(fields[3], 16)
            pointers = fields[5 + 2 * n_words :]
            self._lemmas[fields[0]] = tuple(w.replace("_", " ") for w in fields[4 : 4 + 2 * n_words : 2])
            self._hypernyms[fields[0]] = tuple(
                pointers[i + 1] for i in range(0, len(pointers) - 3, 4) if pointers[i] in _HYPERNYMS
            )

    def senses(self, noun: str) -> list[str]:
        """Return the synsets of a noun, its most frequent sense first; none if it is not known."""
        return self._senses.get(noun.lower(), [])

    def lemmas(self, synset: str) -> tuple[str, ...]:
        """Return the words for a synset, the most usual first."""
        return self._lemmas[synset]

    def parents(self, synset: str) -> tuple[str, ...]:
        """Return what the synset is directly a kind of."""
        return self._hypernyms[synset]

    def ancestors(self, synset: str) -> frozenset[str]:
        """Return the synset and all that it is a kind of."""
        if synset not in self._ancestors:
            above = (self.ancestors(parent) for parent in self._hypernyms[synset])
            self._ancestors[synset] = frozenset({synset}).union(*above)
        return self._ancestors[synset]

    @cached_property
    def nouns(self) -> tuple[str, ...]:
        """All nouns, in alphabetical order."""
        return tuple(sorted(self._senses))


def _entries(file: Path) -> list[list[str]]:
    """The fields of each entry without its explanation; lines that begin with a space are the licence."""
    lines = file.read_text("utf-8").splitlines()
    return [line.split("|")[0].split() for line in lines if line and not line.startswith(" ")]
