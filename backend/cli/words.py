"""`refam words`: which words the models that ship know, and how an expression is read."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated, Any

import typer

from backend.cli.console import NOTHING_DONE, SOME_DONE, one_line_errors
from backend.cli.console import out as stdout

if TYPE_CHECKING:
    from refam.text.expression import Expression
    from refam.text.quantity import Quantity


def words(
    expressions: Annotated[
        list[str] | None,
        typer.Argument(metavar="[WORDS]...", help="What to find, such as 'the brown puppy'.", show_default=False),
    ] = None,
    *,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print a JSON object a line, one for each expression.")
    ] = False,
) -> None:
    """List the words that the models which ship know, or say how expressions are read by them. Loads no model.

    With --json: expression, model, looked_for, read_as (from a word to the model's), cues of place and size, quantity
    (most is null for any number), unknown words and notes; expression and error if it is refused.

    The exit code is 1 if all expressions are refused, and 3 if some are.
    """
    from backend.cli.prompts import split_expressions

    refused, given = 0, split_expressions(expressions or ())
    if as_json and not given:
        raise typer.BadParameter(
            "give the words that are to be read, for example 'the brown puppy'", param_hint="--json"
        )
    with one_line_errors():
        if not given:
            for line in _known_lines():
                _print(line)
            return
        for expression, read in _read(given):
            refused += isinstance(read, str)
            as_line = _as_json if as_json else _as_text
            _print(as_line(expression, read))
    if refused:
        raise typer.Exit(SOME_DONE if refused < len(given) else NOTHING_DONE)


def _print(line: str) -> None:
    stdout.print(line, markup=False, highlight=False, soft_wrap=True)


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


_Read = tuple[str, "Expression"] | str
"""The model that reads an expression, and how; or why it is refused."""


def _read(expressions: list[str]) -> Iterator[tuple[str, _Read]]:
    """Yield each expression, as text that can be printed, and how it is read."""
    from refam.backbones.presets import DEFAULT_BACKBONE
    from refam.backbones.word_reader import open_group
    from refam.text.expression import ExpressionError
    from refam.text.labelled import NoWordsError, split_label
    from refam.text.typed_text import replace_no_text

    reader = open_group(DEFAULT_BACKBONE)
    for expression in expressions:
        try:
            text = split_label(expression)[1]
            yield expression, (reader.choose(text), reader.parse(text))
        except (ExpressionError, NoWordsError) as error:
            yield replace_no_text(expression), str(error)


def _looked_for(parsed: Expression) -> list[str]:
    return list(dict.fromkeys(str(parsed.tokens[word[0]].word) for word in parsed.content_words()))


def _as_text(expression: str, read: _Read) -> str:
    from video.errors import shorten, shorten_values

    if isinstance(read, str):
        return f"{shorten(expression)}: {read}"
    model, parsed = read
    said = [f"{', '.join(_looked_for(parsed))}, read by {model}"]
    if parsed.quantity.is_plural:
        said.append(_describe_quantity(parsed.quantity))
    if parsed.cues:
        said.append(f"chosen by {', '.join(repr(cue.text) for cue in parsed.cues)}")
    said += [f"{word!r} is not known" for word in parsed.unchecked] + parsed.notes
    return f"{shorten(expression)}: {'; '.join(map(shorten_values, said))}"


def _as_json(expression: str, read: _Read) -> str:
    content: dict[str, Any] = {"expression": expression}
    if isinstance(read, str):
        return json.dumps(content | {"error": read})
    model, parsed = read
    content |= {
        "model": model,
        "looked_for": _looked_for(parsed),
        "read_as": dict(parsed.read_as),
        "cues": [cue.text for cue in parsed.cues],
        "quantity": {"least": parsed.quantity.least, "most": parsed.quantity.most},
        "unknown": list(parsed.unchecked),
        "notes": parsed.notes,
    }
    return json.dumps(content)


def _describe_quantity(quantity: Quantity) -> str:
    """Say how many objects a plural may be."""
    if quantity.most is not None and 1 < quantity.least < quantity.most:
        return f"{quantity.least} to {quantity.most} objects"
    if quantity.most is not None:
        return f"at most {quantity.most} objects"
    return f"at least {quantity.least} objects" if quantity.least > 1 else "any number of objects"
