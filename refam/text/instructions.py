"""Words that tell somebody what to do, around the words that name the thing: "please segment the red car for me"."""

from __future__ import annotations

from collections.abc import Sequence

import regex

from refam.text.lexicon import (
    COLOURS,
    DETERMINERS,
    NUMBERS,
    RELATION_WORDS,
    RELATIVE_PRONOUNS,
    word_at,
    word_set,
)
from refam.text.number_bounds import read_number_bound

_POLITE = word_set("hey hi hello ok okay so now kindly please pls plz just only also then , !")
_INTERJECTIONS = word_set("yes yeah yep yup no nope oh ah aha um er hmm hm well sure right ok okay hey hi hello so now")
_ASKING = sorted(
    (
        tuple(phrase.split())
        for phrase in (
            *("can you", "could you", "would you", "will you", "can we", "could we", "do you", "i want you to"),
            *("i want to", "i want", "we want to", "we want", "i need you to", "i need to", "i need", "we need to"),
            *("we need", "i would like you to", "i would like to", "i would like", "i'd like you to", "i'd like to"),
            *("i'd like", "we would like to", "we'd like to", "i am looking for", "i'm looking for", "i wish to"),
            *("keep track of", "keep an eye on", "keep a box on"),
            *("we are looking for", "we're looking for", "looking for", "searching for", "search for", "look for"),
            *("let us", "let me", "let's", "help me", "help us", "try to", "your task is to", "the task is to"),
            *("where is", "where are", "where's", "who is", "who's", "what is", "what's", "which is", "which one is"),
            *("there is", "there are", "there's", "here is", "here are", "here's", "this is", "it is", "it's"),
            *("that is", "that's", "i see", "i mean", "i think", "you see", "segmentation of", "segmentation mask of"),
            *("segmentation mask for", "bounding box of", "bounding box for", "bounding box around"),
        )
    ),
    key=len,
    reverse=True,
)
_CLEAR_VERBS = word_set(
    """
    segment detect locate identify annotate highlight select choose outline find delineate pinpoint localize localise
    """
)
# These are nouns and names of things as well ("track suit", "mask man"): before a determiner or the like only.
_OTHER_VERBS = word_set(
    """
    track label mark mask show follow point pick give get draw box circle tag cut isolate extract trace capture keep
    ground count see look search put make create generate add place
    """
)
_TRACKING = word_set("tracking segmenting detecting labeling labelling annotating finding locating highlighting")
_VERBS = _CLEAR_VERBS | _OTHER_VERBS
_VERB_PARTICLES = word_set("out for to at up me us please only just where all both every each any")
_DRAWN = word_set("box boxes mask masks outline outlines contour polygon rectangle line circle annotation label dot")
_DRAWN_ADJECTIVES = word_set("bounding segmentation tight binary instance")
_THEM = word_set("it him her them this that these those")
_HAS_OR_IS = word_set("is are was were has have had")
_ENDS = sorted(
    (
        tuple(phrase.split())
        for phrase in (
            *("please", "pls", "plz", "thanks", "thank you", "thank you very much", "many thanks", "thx", "cheers"),
            *("asap", "for me", "for us", "if you can", "if possible", "at all times", "all the time", "i want"),
            *("the whole time", "until the end", "to the end", "from start to finish", "from start to end"),
            *("from beginning to end", "from the beginning to the end", "i mean", "i need", "we want", "we need"),
        )
    ),
    key=len,
    reverse=True,
)
_TO_VERB = "(?:" + "|".join(sorted(_CLEAR_VERBS | {"track", "label", "mark", "mask", "follow"})) + ")"
_VERB = "(?:" + "|".join(sorted(_VERBS)) + ")"
_PAST = "(?:" + "|".join(sorted({regex.sub("e?$", "ed", verb) for verb in _VERBS} | {"found", "tagged", "shown"})) + ")"
_END_PATTERNS = (
    rf"(?:(?:and|then|please|,) )*{_VERB} (?:{'|'.join(sorted(_THEM))})",
    rf"(?:(?:that|which|who) )?(?:(?:is|are|should|must|needs?|has|have|will|ought) )?(?:to )?be {_PAST}",
    r"(?:(?:that|which) )?(?:(?:(?:i|we|you) (?:want|need|have|would like|should|must|are|am)|i'd like) )?to "
    rf"{_TO_VERB}",
    r"(?:in|throughout|across|through|over|during|for) (?:(?:all|every|each|whole|entire|of|the|this|our|these) )+"
    r"(?:videos?|clips?|frames?|footage|sequence|film|movie|images?|pictures?)",
)
_END_PATTERN = regex.compile(r"(?:^|(?<= ))(?:" + "|".join(_END_PATTERNS) + ")$")
_NAMES_OF_FIELDS = word_set(
    """
    object target label query prompt expression class category text item subject description phrase name of interest to
    the my
    """
)


def find_instructions(words: Sequence[str]) -> frozenset[int]:
    """Find the words that tell somebody what to do.

    "track the man" is an instruction, "track and field athlete" and "the label on the bottle" name things.

    Args:
        words: Words of an expression, lower case, punctuation as words of its own.

    Returns:
        Their indices; none if nothing else would be left.
    """
    start = _read_beginning(words)
    end = _read_ending(words, start)
    if not any(word.isalnum() for word in words[start:end]):
        return frozenset()
    return frozenset((*range(start), *range(end, len(words))))


def skip_instructions(words: Sequence[str]) -> int:
    """Return the index of the first word that is no instruction.

    Args:
        words: Words of an expression, lower case, punctuation as words of its own.
    """
    instructions = find_instructions(words)
    return next(i for i in range(len(words) + 1) if i not in instructions)


def read_clock_time(words: Sequence[str]) -> int:
    """Return where a time with which an expression begins ends, its last colon included: "10:30: the dog"; else 0.

    Args:
        words: Words of an expression, lower case, punctuation as words of its own.
    """
    number = int(word_at(words, 0) == "at")
    at = number
    while word_at(words, at).isdecimal() and word_at(words, at + 1) == ":":
        at += 2
    return at if at > number + 2 else 0


def _read_beginning(words: Sequence[str]) -> int:
    """Return where what is asked for begins."""
    at = 0
    while word_at(words, at) in _INTERJECTIONS and word_at(words, at + 1) == ",":
        at += 2  # "yes, the dog"
    at = max(at, read_clock_time(words))
    interjections = at
    if ":" in words[at:] and all(w in _NAMES_OF_FIELDS | _VERBS for w in words[at : words.index(":", at)]):
        at = words.index(":", at) + 1  # "object to track: red car"
    while True:
        after = _skip_asking(words, at)
        verb = _read_order(words, after)
        if verb == at:
            break
        at = verb
    return at if set(words[:at]) - _POLITE or set(words[:at]) & {"please", "pls", "plz", "kindly"} else interjections


def _skip_asking(words: Sequence[str], at: int) -> int:
    while word_at(words, at) in _POLITE:
        at += 1
    phrase = next((p for p in _ASKING if tuple(words[at : at + len(p)]) == p), ())
    return _skip_asking(words, at + len(phrase)) if phrase else at


def _read_order(words: Sequence[str], verb: int) -> int:
    """ "find", "point out", "show me where", "draw a box around", each before what is to be found."""
    if word_at(words, verb) in _TRACKING and word_at(words, verb + 1) in DETERMINERS:
        return verb + 1
    if word_at(words, verb) not in _VERBS:
        return verb
    at = verb + 1
    while word_at(words, at) in _VERB_PARTICLES and read_number_bound(words, at) is None:  # "up to three"
        at += 1
    if word_at(words, at) in ("and", "then", ",") and _read_order(words, at + 1) > at + 1:
        return _read_order(words, at + 1)  # "find and track"
    drawn = at + (word_at(words, at) in DETERMINERS)
    while word_at(words, drawn) in _DRAWN_ADJECTIVES:
        drawn += 1
    if word_at(words, drawn) in _DRAWN and word_at(words, drawn + 1) in (
        "around",
        "over",
        "on",
        "of",
        "for",
        "round",
        "to",
    ):
        return drawn + 2
    if words[verb] in _CLEAR_VERBS or at > verb + 1:
        return at if _begins_a_thing(words, at) else verb
    next_word = word_at(words, at)
    opens = next_word in DETERMINERS or next_word in COLOURS or next_word == "one" or next_word in NUMBERS
    opens = opens or read_number_bound(words, at) is not None
    return at if opens and not _is_said_of(words, at) else verb


def _begins_a_thing(words: Sequence[str], at: int) -> bool:
    return word_at(words, at) not in ("", "of", "on", "in", "with", "by", "is", "are", ",", ".")


def _is_said_of(words: Sequence[str], at: int) -> bool:
    """Whether a clause without a relative pronoun says which thing the first word is: "mask the man is wearing"."""
    for i in range(at, len(words)):
        if words[i] in RELATIVE_PRONOUNS and i > at:
            return False
        if words[i] in _HAS_OR_IS and (i + 1 == len(words) or words[i + 1].endswith("ing")):
            return True
    return words[-1] in RELATION_WORDS


def _read_ending(words: Sequence[str], start: int) -> int:
    """Return where what is asked for ends."""
    end = len(words)
    while end > start:
        before = end
        while end > start and not any(c.isalnum() for c in words[end - 1]):
            end -= 1
        phrase = next((p for p in _ENDS if tuple(words[max(start, end - len(p)) : end]) == p), ())
        pattern = _END_PATTERN.search(" ".join(words[start:end]))
        if not phrase and pattern is None:
            return before
        end -= len(phrase) if phrase else len(pattern.group().split())
    return end
