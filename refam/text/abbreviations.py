"""Abbreviations of people who type fast, written out, so that the text encoder reads words that it was trained on."""

from __future__ import annotations

import regex

from refam.text.number_words import write_numbers

_WORDS = {
    "w/": "with",
    "w/o": "without",
    "w": "with",
    "&": "and",
    "+": "and",
    "@": "at",
    "ppl": "people",
    "bg": "background",
    "bkgd": "background",
    "bkgrd": "background",
    "fg": "foreground",
    "lft": "left",
    "rt": "right",
    "btm": "bottom",
    "blk": "black",
    "wht": "white",
    "L": "left",
    "R": "right",
}
# "w/hat" and "w/o glasses" at any place; a sign or a word that stands by itself; a lone "w" only between two words, and
# not as the name of the letter.
_LONE_W = r"(?<=\S\s+)(?<!\b(?:letter|capital|a|the)\s+)w(?=\s+\w)(?!\s+(?:on|in|at|is)\b)"
_SIDE_LETTER = r"(?-i:(?<=\w\s)(?<!(?:size|letter|capital|number|a)\s)[LR](?!\S))"
# Where something else is named first, it is the subject of a clause: "the dog everyone looks at".
_EVERYONE = regex.compile(r"^every(?:one|body)(?![\w'’])", regex.IGNORECASE)
_LETTERS = "|".join(word for word in _WORDS if word.isalpha() and len(word) > 1)
_ABBREVIATION = regex.compile(
    rf"(?<!\S)(?: w/o(?=\s|$) | w/ | {_LONE_W} | [&+@](?=\s) | {_SIDE_LETTER} | (?:{_LETTERS})(?![\w'’/-]) )",
    regex.VERBOSE | regex.IGNORECASE,
)

# "traffic_light", as labels are written, and "_dog_"; "track_1" is a name.
_UNDERSCORES = regex.compile(r"(?<![^\W_])_+|_+(?![^\W_])|(?<=\p{L})_+(?=\p{L})")


def write_out_abbreviations(text: str) -> str:
    """Return a text with its abbreviations written out: "man w/ a hat" as "man with a hat".

    "everyone" becomes "every person". Words with underscores, as labels are written, become several: "traffic_light".
    A number of several words becomes one, see `write_numbers`.

    Args:
        text: An expression as a person typed it.
    """

    def write_out(match: regex.Match[str]) -> str:
        glued = match.group() in ("w/", "W/") and text[match.end() : match.end() + 1].strip()
        written_out = _WORDS.get(match.group()) or _WORDS[match.group().lower()]
        return written_out + (" " if glued else "")

    text = _EVERYONE.sub("every person", " ".join(_UNDERSCORES.sub(" ", text).split()))
    return write_numbers(_ABBREVIATION.sub(write_out, text))
