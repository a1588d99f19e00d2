"""Numbers of several words, written as digits: "twenty-five", "two hundred", "half a dozen", "1,000"; and "2-3"."""

from __future__ import annotations

import regex

from refam.text.lexicon import NUMBERS

_ONES = {"one": 1, **{word: n for word, n in NUMBERS.items() if n < 10}}
_TENS = {word: n for word, n in NUMBERS.items() if n >= 20}
_FEW = {**_ONES, **NUMBERS}
_LARGE = {"hundred": 100, "thousand": 1000, "million": 10**6}


def _any_of(words: dict[str, int]) -> str:
    return "(?:" + "|".join(sorted(words, key=len, reverse=True)) + ")"


_BELOW_HUNDRED = rf"(?:{_any_of(_TENS)}[- ]{_any_of(_ONES)}|{_any_of(_FEW)}|\d{{1,3}})"
_BEGINS, _ENDS = r"(?<![\w.,:'’-])", r"(?![\w'’-]|[.,:]\d)"
_GROUPED = regex.compile(rf"{_BEGINS}\d{{1,3}}(?:,\d{{3}})+{_ENDS}|{_BEGINS}\d{{1,3}}(?: \d{{3}})+(?= \p{{L}})")
_WRITTEN = regex.compile(
    rf"{_BEGINS}(?:(?P<half>half a dozen|a half dozen|half dozen)|(?P<dozens>{_BELOW_HUNDRED}) dozen"
    rf"|(?P<times>{_BELOW_HUNDRED}|a) (?P<large>{_any_of(_LARGE)})(?: (?:and )?(?P<rest>{_BELOW_HUNDRED}))?"
    rf"|(?P<few>{_any_of(_TENS)}[- ]{_any_of(_ONES)})){_ENDS}",
    regex.IGNORECASE,
)
_LIMIT = rf"(?:\d{{1,3}}|{_any_of(_FEW)})"
_RANGE = regex.compile(rf"{_BEGINS}({_LIMIT}) ?[-‐‑–—] ?({_LIMIT})(?= \p{{L}})", regex.IGNORECASE)
_JOINED = regex.compile(rf"{_BEGINS}at(least|most){_ENDS}", regex.IGNORECASE)


def write_numbers(text: str) -> str:
    """Return a text in which each number is one word: "twenty-five dogs" as "25 dogs", "2-3 dogs" as "2 to 3 dogs".

    Numbers that are one word already stay: "twenty".

    Args:
        text: An expression with single spaces.
    """
    text = _GROUPED.sub(lambda match: match.group().replace(",", "").replace(" ", ""), text)
    text = _WRITTEN.sub(_write_number, text)
    text = _RANGE.sub(_write_range, text)
    return _JOINED.sub(r"at \1", text)


def _write_number(match: regex.Match[str]) -> str:
    if match["half"]:
        return "6"
    if match["dozens"]:
        return str(12 * _read(match["dozens"]))
    if match["few"]:
        return str(_read(match["few"]))
    times = 1 if match["times"].lower() == "a" else _read(match["times"])
    return str(times * _LARGE[match["large"].lower()] + (_read(match["rest"]) if match["rest"] else 0))


def _write_range(match: regex.Match[str]) -> str:
    is_range = _read(match[1]) < _read(match[2])  # "a 4-3 win"
    return f"{match[1]} to {match[2]}" if is_range else match.group()


def _read(text: str) -> int:
    """Read a number below one thousand, of one or two words."""
    return int(text) if text.isdecimal() else sum(_FEW[word] for word in regex.split("[- ]", text.lower()))
