"""Lists of pictures: a file with one JSON object in each line."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TypeVar

from video.checked_json import JsonError, parse_json
from video.errors import Skipped, UserError, leave_out

Row = TypeVar("Row")
Made = TypeVar("Made")
_BYTE_ORDER_MARK = b"\xef\xbb\xbf"


def read_listing(
    file: Path, kind: type[Row], make: Callable[[Row], Made], *, form: str, skipped: Skipped = None
) -> list[Made]:
    """Read a list of pictures. Blank lines are passed over.

    Args:
        file: UTF-8 text with one JSON object in each line.
        kind: What each line must be, see `parse_json`.
        make: Makes what is returned of a row, and may raise UserError.
        form: What a line should be, for errors.
        skipped: Gets a sentence for each line that cannot be used; if it is None, the first one is an error.

    Raises:
        UserError: If the file cannot be read, or if none of its lines can be used.
    """
    try:
        content = file.read_bytes().removeprefix(_BYTE_ORDER_MARK)
    except OSError as error:
        raise UserError(f"{file} cannot be read: {error.strerror}") from error
    if b"\0" in content:
        raise UserError(f"{file} is no UTF-8 text; save it as UTF-8")
    left_out: list[str] = []
    made = list(_read_lines(file, content, kind, make, form, None if skipped is None else left_out))
    if not made:
        reason = f"{left_out[0]}; its other lines cannot be used either" if len(left_out) > 1 else "".join(left_out)
        raise UserError(reason or f"{file} lists no pictures: it is empty")
    if skipped is not None:
        skipped += left_out
    return made


def _read_lines(
    file: Path, content: bytes, kind: type[Row], make: Callable[[Row], Made], form: str, skipped: Skipped
) -> Iterator[Made]:
    for number, line in enumerate(content.split(b"\n"), 1):
        if not line.strip():
            continue
        made: list[Made] = []
        with leave_out(skipped):
            try:
                made.append(make(parse_json(line, kind)))
            except JsonError as error:
                raise UserError(f"{file}, line {number} is not {form}: {error}") from error
            except UserError as error:
                raise UserError(f"{file}, line {number}: {error}") from error
        yield from made
