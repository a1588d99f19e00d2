"""Refuse words that cannot be looked for, at once, and print the commands that would help."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import typer

from backend.cli.console import err, one_line_errors
from video.errors import shorten

if TYPE_CHECKING:
    from backend.cli.prompts import ObjectPlan
    from refam.pipeline.errors import WordsError
    from refam.text.magnets import Magnets

_KNOWS_MORE = "flux-schnell"
_RANGE_START = re.compile(r"(?P<frame>\d+)\s*-|(?P<seconds>\d+(?:\.\d+)?)s\s*-\s*(?P<end>\d+(?:\.\d+)?)?")
_AFTER_START_S = 0.1  # the frame that is shown at a range's first second may begin before it


def refuse_words(
    command: str,
    video: str,
    words: Sequence[str],
    *,
    backbone: str,
    magnets: Magnets,
    download: bool,
    frame_range: str = "",
) -> None:
    """If none of the words can be looked for, print why and what would help, and exit with code 1.

    Args:
        command: "label" or "explain": how it was asked for.
        video: The video as it was given.
        words: Of each object that nothing but words describes.
        backbone: What reads the words.
        magnets: Attention magnets to append.
        download: Whether the backbone may be fetched.
        frame_range: The part of the video that is looked at, as it was given; "" for all of it.
    """
    from refam.pipeline.errors import WordsError
    from refam.pipeline.word_check import check_words

    with one_line_errors():
        try:
            check_words(words, backbone, magnets=magnets, download=download)
        except WordsError as error:
            err.print(f"refam: {error}", markup=False, soft_wrap=True)
            if commands := list(_commands_that_help(command, video, error, backbone, frame_range)):
                _print_commands(commands)
            raise typer.Exit(1) from None


def _commands_that_help(command: str, video: str, error: WordsError, backbone: str, frame_range: str) -> Iterator[str]:
    from refam.backbones.presets import PRESETS
    from refam.backbones.weights import BackboneError, find_pipeline_directory
    from refam.text.expression import UnknownWordsError

    reasons = [reason for _, reason in error.errors]
    words = [words for words, _ in error.errors]
    unknown = any(isinstance(reason, UnknownWordsError) for reason in reasons)
    if unknown and backbone != _KNOWS_MORE and words == list(map(shorten, words)):  # a command is shown as a whole
        preset = PRESETS[_KNOWS_MORE]
        if find_pipeline_directory(preset.source, preset.revision) is None:
            yield f"refam models pull {_KNOWS_MORE}    # {preset.size_gb:.0f} GB, for a GPU; then:"
        options = [*range_option(frame_range), "--backbone", _KNOWS_MORE]
        like_options = any(text.startswith("-") for text in words)
        yield shlex.join(["refam", command, video, *([*options, "--", *words] if like_options else [*words, *options])])
    if any(isinstance(reason, UnknownWordsError | BackboneError) for reason in reasons):
        yield from _commands_to_draw(video, frame_range)


def _commands_to_draw(video: str, frame_range: str, guess: tuple[float, float, int] | None = None) -> Iterator[str]:
    arguments = shlex.join([video, *range_option(frame_range)])
    yield f"refam pick {arguments}    # click on it in the browser"
    when, said = _first_moment(frame_range)
    click = f"--point 0.42,0.61@{when}    # a click: 42 % of the width, 61 % of the height, {said}"
    if guess is not None:
        x, y, frame = guess
        click = f"--point {x:.2f},{y:.2f}@{frame}    # the nearest guess, if that is what you mean"
    yield f"refam label {arguments} {click}"


def _first_moment(frame_range: str) -> tuple[str, str]:
    """Return a moment in a range, as --point has it, and in words: "100" and "frame 100" for "100-250"."""
    low = _RANGE_START.match(frame_range.strip())
    if low is None or low["seconds"] is None:  # also of a range that is none: it is refused once the words are not
        frame = low["frame"] if low else "0"
        return frame, f"frame {frame}"
    start, end = float(low["seconds"]), float(low["end"] or "inf")
    seconds = f"{min(start + _AFTER_START_S, end):g}"
    return f"{seconds}s", f"at {seconds} s"


def range_option(frame_range: str) -> list[str]:
    """Return the arguments that give a range, none for all of the video."""
    return ["--range", frame_range] if frame_range else []


def print_commands_to_draw(video: str, guess: tuple[float, float, int] | None = None, *, frame_range: str = "") -> None:
    """Print how an object is drawn that its words did not find.

    Args:
        video: As it was given.
        guess: Where the words point nevertheless: x and y as fractions of the frame, and the frame; None if nowhere.
        frame_range: The part of the video that was looked at, as it was given; "" for all of it.
    """
    _print_commands(list(_commands_to_draw(video, frame_range, guess)))


def note_several(command: str, videos: Sequence[str], plans: Sequence[ObjectPlan], *, frame_range: str = "") -> None:
    """If an expression names several things, say before the search that one is looked for, and how all would be.

    Args:
        command: How it was asked for.
        videos: The videos as they were given.
        plans: The objects that are to be found.
        frame_range: The part of the videos that is looked at, as it was given; "" for all of them.
    """
    from refam.text.coordination import split_several

    parts = [split_several(plan.words or "") for plan in plans]
    several = next((words for words in parts if len(words) > 1), None)
    if several is not None:
        arguments = ["refam", command, *videos, *(word for words in parts for word in words if word)]
        arguments += range_option(frame_range)
        note = f"note: {'; '.join(several)}: several things are named, and one object is looked for; for each of them:"
        err.print(f"{note} {_quote(arguments)}", markup=False, soft_wrap=True)


def _quote(arguments: Sequence[str]) -> str:
    """Join arguments as a shell reads them, those with spaces in double quotes where they may be."""
    return " ".join(f'"{a}"' if " " in a and not set(a) & set('"$`\\!') else shlex.quote(a) for a in arguments)


def _print_commands(commands: Sequence[str]) -> None:
    err.print("\n  ".join(["commands that help:", *commands]), markup=False, soft_wrap=True)
