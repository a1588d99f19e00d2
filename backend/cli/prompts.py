"""What is drawn on the command line: --point, --not-point, --box and --mask, and which objects they mean."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from refam.pipeline.errors import PromptError
from refam.text.labelled import NoWordsError, remove_number, split_label

if TYPE_CHECKING:
    from video.types import Rle

Option = Literal["--point", "--not-point", "--box", "--mask"]
UNNAMED = "object"  # the label of an object without words
_FORMS = {2: "x,y@frame, for example 0.5,0.4@0", 4: "x,y,w,h@frame, for example 0.4,0.3,0.2,0.25@0"}
_NAMES = {2: "x and y", 4: "x, y, w and h"}
_AT = re.compile(r"(\d{1,18})|(\d+(?:\.\d*)?|\.\d+)\s*s")
_NUMBER = re.compile(r"([+-]?(?:\d+\.?\d*|\.\d+))\s*(px|%)?")


@dataclass(frozen=True)
class Drawing:
    """A point, a box or a mask on one frame.

    Attributes:
        option: What it was given as.
        text: As it was given, for errors.
        name: Which object it belongs to; "" unless it was said.
        values: x, y of a point; x, y, width, height of a box.
        in_pixels: Whether the values are pixels; otherwise fractions of the frame.
        at: The frame (int), counted from 0, or the time in seconds (float).
        mask: The mask of --mask.
        file: The file of the mask.
    """

    option: Option
    text: str
    name: str
    values: tuple[float, ...]
    in_pixels: bool
    at: int | float
    mask: Rle | None = None
    file: Path | None = None

    @property
    def is_positive(self) -> bool:
        """Whether it says where the object is, not only where it is not."""
        return self.option != "--not-point"


@dataclass(frozen=True)
class ObjectPlan:
    """One object to find.

    Attributes:
        label: What it is called in the output.
        words: Its expression, if it has one.
        drawings: What was drawn for it.
        names: What drawings may call it, in lower case.
    """

    label: str
    words: str | None = None
    drawings: tuple[Drawing, ...] = ()
    names: frozenset[str] = frozenset()

    @property
    def files(self) -> list[Path]:
        """The files of its masks."""
        return [drawing.file for drawing in self.drawings if drawing.file is not None]


def parse_drawing(option: Option, text: str) -> Drawing:
    """Parse `[NAME:] X,Y[@WHEN]`, `[NAME:] X,Y,W,H[@WHEN]` or `[NAME:] FILE[@WHEN]`, WHEN a frame or seconds (`1.2s`).

    Raises:
        PromptError: If it is malformed, out of range, or its file cannot be read.
    """
    if option == "--mask":
        return _parse_mask(text)
    count = 4 if option == "--box" else 2
    name, _, rest = text.rpartition(":")
    place, _, when = rest.partition("@")
    numbers = [_NUMBER.fullmatch(part.strip()) for part in place.split(",")]
    if len(numbers) != count or not all(numbers):
        if any(part.strip().lower() in ("nan", "inf", "-inf") for part in place.split(",")):
            raise PromptError(
                f"{option} {text}: {_NAMES[count]} are numbers: fractions of the frame, from 0 to 1, or pixels"
            )
        raise PromptError(f"{text!r} is not of the form {_FORMS[count]}")
    found = [number for number in numbers if number is not None]
    values = [float(number[1]) / (100 if number[2] == "%" else 1) for number in found]
    in_pixels = _in_pixels(option, text, values, [number[2] for number in found])
    if not in_pixels:
        _check_fractions(option, text, values)
    elif min(values) < 0 or (count == 4 and min(values[2:]) <= 0):
        raise PromptError(f"{option} {text}: pixels count from 0, and a box has a width and a height")
    return Drawing(option, text, name.strip(), tuple(values), in_pixels, _parse_time(text, when))


def describe_corner(drawing: Drawing) -> str:
    """Return a sentence for people if a point that reads like pixels is a corner of the frame ("1,1"), else "".

    In fractions 1 is the frame's far edge, where hardly an object is; whoever writes 1.0 means that.
    """
    place = drawing.text.rpartition(":")[2].partition("@")[0]
    written = [part.strip() for part in place.split(",")]
    if drawing.in_pixels or drawing.option not in ("--point", "--not-point") or not {"0", "1"}.issuperset(written):
        return ""
    if "1" not in written:  # the top left corner either way
        return ""
    side = f"{'bottom' if written[1] == '1' else 'top'} {'right' if written[0] == '1' else 'left'}"
    pixels = ",".join(f"{part}px" for part in written)
    return f"{drawing.option} {drawing.text} is the {side} corner, in fractions of the frame; for pixels write {pixels}"


def _in_pixels(option: Option, text: str, values: Sequence[float], units: Sequence[str | None]) -> bool:
    """Return whether values are pixels: if they say so, or are whole and too large for fractions."""
    if any(unit == "px" for unit in units):
        if all(unit == "px" or value == 0 for unit, value in zip(units, values, strict=True)):
            return True
    elif max(values) < 2 or any(units):
        return False
    elif all(value.is_integer() for value in values):
        return True
    elif not any(0 < value < 1 for value in values):  # 1.5,2 may be wrong fractions as well as pixels
        raise PromptError(
            f"{option} {text}: fractions of the frame are from 0 to 1, and pixels are whole numbers; parts of "
            f"pixels are written {','.join(f'{value:g}px' for value in values)}"
        )
    names = _NAMES[len(values)]
    raise PromptError(f"{option} {text}: {names} are fractions of the frame, from 0 to 1, or pixels, but not both")


def _check_fractions(option: Option, text: str, values: Sequence[float]) -> None:
    if len(values) == 2:
        if not all(0 <= value <= 1 for value in values):
            hint = "fractions of the frame, from 0 to 1, or pixels (12px)"
            raise PromptError(f"{option} {text}: x and y are {hint}")
        return
    x, y, w, h = values
    if not (w > 0 and h > 0):
        raise PromptError(f"{option} {text}: the width and the height must be more than 0")
    if not (x >= 0 and y >= 0 and x + w <= 1 + 1e-6 and y + h <= 1 + 1e-6):
        raise PromptError(f"{option} {text}: x, y, w, h are fractions of the frame, and x + w and y + h at most 1")


def _parse_time(text: str, when: str) -> int | float:
    if not when:
        return 0
    match = _AT.fullmatch(when.strip())
    if match is None:
        raise PromptError(f"{text!r}: frames are counted from 0 (@12), and times are in seconds (@1.2s)")
    return int(match[1]) if match[1] else float(match[2])


def _parse_mask(text: str) -> Drawing:
    from backend.cli.mask_files import read_mask
    from video.masks import encode

    name, colon, rest = text.partition(": ")  # with a space: C:\mask.png is a file
    name, file = (name.strip(), rest.strip()) if colon and not _exists(text) else ("", text)
    path, at, when = file.rpartition("@")
    if not at:
        path, when = file, ""
    elif _AT.fullmatch(when) is None:
        raise PromptError(f"--mask {text} is not of the form FILE@frame, for example mask.png@12")
    mask = read_mask(Path(path))
    if not mask.any():
        raise PromptError(f"--mask {text}: the mask is empty; the object is to be white (or opaque)")
    return Drawing("--mask", text, name, (), False, _parse_time(text, when), encode(mask), Path(path))


def _exists(file: str) -> bool:
    try:
        return Path(file).exists()
    except OSError:  # longer than a name may be
        return False


def split_expressions(words: Sequence[str]) -> list[str]:
    """Split words at semicolons into expressions, as in a task or a manifest: "the girl; the boy" is two.

    What is empty between semicolons is left out; words that hold nothing else stay as they are, to be refused.

    Args:
        words: As they were given.
    """
    parts = [[part.strip() for part in text.split(";") if part.strip()] or [text] for text in words]
    return [part for of_one in parts for part in of_one]


def plan_objects(
    words: Sequence[str], drawings: Sequence[Drawing] = (), labels: Sequence[str] = ()
) -> list[ObjectPlan]:
    """Return the objects that words and drawings mean: one for each expression, then one for each other name.

    A drawing without a name belongs to the only expression. Without expressions such drawings are one object, but
    several boxes or several masks on one frame are as many. `Car#1` and `Car#2` are two objects with the label `Car`.

    Args:
        words: Expressions; `Car: the red square` has the label Car.
        drawings: What was drawn.
        labels: Labels for the objects in this order, or one for all of them.

    Raises:
        PromptError: If they do not say what to find.
    """
    plans = _plan_expressions(words)
    named: dict[str, list[Drawing]] = {}
    for drawing in drawings if words else _name_negative_points(drawings):
        named.setdefault(drawing.name.casefold(), []).append(drawing)
    for name, group in named.items():
        fits = [i for i in range(len(words)) if name in plans[i].names or (not name and len(words) == 1)]
        if len(fits) > 1:
            raise PromptError(f"{group[0].text!r}: {len(fits)} expressions are called {group[0].name!r}: number them, "
                              f"as in '{plans[fits[0]].label}#1: {plans[fits[0]].words}'")  # fmt: skip
        if fits:
            _check_one_object(group)
            plans[fits[0]] = replace(plans[fits[0]], drawings=tuple(group))
        elif not name and words:
            raise PromptError(
                f"what is drawn goes with one expression, and {len(words)} were given: say which one it is, as in "
                f"--{group[0].option[2:]} '{plans[0].label}: {group[0].text}'"
            )
        else:
            plans += _plan_drawn(group)
    if not plans:
        raise PromptError("say what to find: words, or --point x,y@frame, or --box x,y,w,h@frame, or --mask FILE@frame")
    return _with_labels(plans, labels)


def _name_negative_points(drawings: Sequence[Drawing]) -> list[Drawing]:
    """Give points off the object that have no name to the only named object; nothing else can be meant.

    Raises:
        PromptError: If there are several named objects.
    """
    unnamed = [drawing for drawing in drawings if not drawing.name]
    names = list(dict.fromkeys(drawing.name for drawing in drawings if drawing.name))
    if not names or any(drawing.is_positive for drawing in unnamed):
        return list(drawings)
    if unnamed and len({name.casefold() for name in names}) > 1:
        raise PromptError(
            f"which object is {unnamed[0].text!r} off? "
            f"Say it, as in {unnamed[0].option} '{names[0]}: {unnamed[0].text}'"
        )
    return [drawing if drawing.name else replace(drawing, name=names[0]) for drawing in drawings]


def _plan_expressions(words: Sequence[str]) -> list[ObjectPlan]:
    plans = []
    for text in words:
        if not text.strip():
            raise PromptError("an expression is empty: say what to find, for example 'the red star'")
        label, expression = _split_label(" ".join(text.split()))
        names = frozenset(name.casefold() for name in (label, expression) if name)
        plans.append(ObjectPlan(remove_number(label) or expression, expression, names=names))
    expressions = [plan.words for plan in plans]
    repeated = next((w for i, w in enumerate(expressions) if w in expressions[:i]), None)
    if repeated is not None:
        raise PromptError(f"{repeated!r} was given twice; two objects need words that tell them apart")
    return plans


def _split_label(text: str) -> tuple[str, str]:
    try:
        return split_label(text)
    except NoWordsError as error:
        raise PromptError(str(error)) from None


def _plan_drawn(group: Sequence[Drawing]) -> list[ObjectPlan]:
    """Return the object that drawings of one name mean, or the objects, if they are boxes or masks on one frame."""
    label = remove_number(group[0].name) or UNNAMED
    several = len(group) > 1 and all(drawing.at == group[0].at for drawing in group)
    if several and {drawing.option for drawing in group} in ({"--box"}, {"--mask"}):
        return [ObjectPlan(label, drawings=(drawing,)) for drawing in group]
    _check_one_object(group)
    if not any(drawing.is_positive for drawing in group):
        raise PromptError(
            "--not-point says only what is not the object: give words, a --point, a --box or a --mask too"
        )
    return [ObjectPlan(label, drawings=tuple(group))]


def _check_one_object(group: Iterable[Drawing]) -> None:
    seen: dict[tuple[str, int | float], Drawing] = {}
    for drawing in group:
        first = seen.setdefault((drawing.option, drawing.at), drawing)
        if first is not drawing and drawing.option in ("--box", "--mask"):
            what = {"--box": ("boxes", "box"), "--mask": ("masks", "mask")}[drawing.option]
            when = f"frame {drawing.at}" if isinstance(drawing.at, int) else f"{drawing.at:g} s"
            raise PromptError(
                f"two {what[0]} were given on {when}; one object has one {what[1]} on a frame: name two objects, as in "
                f"{drawing.option} 'Car#1: ...' {drawing.option} 'Car#2: ...'"
            )


def _with_labels(plans: Sequence[ObjectPlan], labels: Sequence[str]) -> list[ObjectPlan]:
    if not labels:
        return list(plans)
    if any(not label.strip() for label in labels):
        raise PromptError("--label is empty: give the name that the object is to have in the output")
    if len(labels) not in (1, len(plans)):
        names = ", ".join(plan.label for plan in plans)
        raise PromptError(f"{len(labels)} labels for {len(plans)} object(s), {names}: give one each, or one for all")
    return [replace(plans[i], label=labels[i % len(labels)].strip()) for i in range(len(plans))]
