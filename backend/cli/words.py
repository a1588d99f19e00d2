"""`refam words`: which words the models that ship know, and how an expression is read."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated

import typer

from backend.cli.console import NOTHING_DONE, SOME_DONE, one_line_errors
from backend.cli.console import out as stdout

if TYPE_CHECKING:
    from refam.text.quantity import Quantity


def words(
    expressions: Annotated[
        list[str] | None,
        typer.Argument(metavar="[WORDS]...", help="What to find, such as 'the brown puppy'.", show_default=False),
    ] = None,
) -> None:
    """List the words that the models which ship know, or say how expressions are read by them. Loads no model.

    The exit code is 1 if all expressions are refused, and 3 if some are.
    """
    from backend.cli.prompts import split_expressions

    refused, given = 0, split_expressions(expressions or ())
    with one_line_errors():
        for is_refused, line in _describe(given) if given else _list_known():
            refused += is_refused
            stdout.print(line, markup=False, highlight=False, soft_wrap=True)
    if refused:
        raise typer.Exit(SOME_DONE if refused < len(given) else NOTHING_DONE)


def _list_known() -> Iterator[tuple[bool, str]]:
    for line in _known_lines():
        yield False, line


def _known_lines() -> Iterator[str]:
    from refam.photos import PHOTOS_DIRECTORY, VOCABULARY_NAME
    from refam.photos.colours import COLOURS
    from refam.photos.vocabulary import load_vocabulary
    from refam.tiny.language import ATTRIBUTES

    vocabulary = load_vocabulary(PHOTOS_DIRECTORY / VOCABULARY_NAME)
    yield f"on photographs, {len(vocabulary.nouns)} nouns and {len(vocabulary.read_as)} more words read as one of them:"
    themes: dict[str, list[str]] = {}
    for noun in vocabulary.nouns.values():
        themes.setdefault(noun.theme, []).append(noun.name)
    for theme, nouns in themes.items():
        yield f"  {theme.replace('-', ' ')}: {', '.join(nouns)}"
    yield f"  colours: {', '.join(COLOURS)}"
    yield f"in drawn scenes: {', '.join(ATTRIBUTES)}"
    yield "everywhere: places (left, right, top, bottom, middle), sizes, order (second from the left)"


def _describe(expressions: list[str]) -> Iterator[tuple[bool, str]]:
    """Whether each expression is refused, and how it is read or why it is refused."""
    from refam.backbones.presets import DEFAULT_BACKBONE
    from refam.backbones.word_reader import open_group
    from refam.text.expression import ExpressionError
    from refam.text.labelled import NoWordsError, split_label
    from refam.text.typed_text import replace_no_text
    from video.errors import shorten, shorten_values

    reader = open_group(DEFAULT_BACKBONE)
    for expression in expressions:
        try:
            text = split_label(expression)[1]
            name, parsed = reader.choose(text), reader.parse(text)
        except (ExpressionError, NoWordsError) as error:
            yield True, f"{shorten(replace_no_text(expression))}: {error}"
            continue
        used = list(dict.fromkeys(parsed.tokens[word[0]].word for word in parsed.content_words()))
        said = [f"{', '.join(map(str, used))}, read by {name}"]
        if parsed.quantity.is_plural:
            said.append(_describe_quantity(parsed.quantity))
        if parsed.cues:
            said.append(f"chosen by {', '.join(repr(cue.text) for cue in parsed.cues)}")
        said += [f"{word!r} is not known" for word in parsed.unchecked] + parsed.notes
        yield False, f"{shorten(expression)}: {'; '.join(map(shorten_values, said))}"


def _describe_quantity(quantity: Quantity) -> str:
    """Say how many objects a plural may be."""
    if quantity.most is not None and 1 < quantity.least < quantity.most:
        return f"{quantity.least} to {quantity.most} objects"
    if quantity.most is not None:
        return f"at most {quantity.most} objects"
    return f"at least {quantity.least} objects" if quantity.least > 1 else "any number of objects"
