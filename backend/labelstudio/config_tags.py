"""The tags of a label config as XML: without regard to case, and safe to read from a stranger."""

from __future__ import annotations

from collections.abc import Sequence
from xml.etree.ElementTree import Element, ParseError

from defusedxml.common import DefusedXmlException
from defusedxml.ElementTree import fromstring

from video.errors import UserError

SHORTEST_EXAMPLE = '<Video name="video" value="$video"/><VideoRectangle name="box" toName="video"/>'


class LabelConfigError(UserError):
    """The label config cannot take boxes on video or masks on pictures; the message says which tag to add or mend."""


def root_of(xml: str | None) -> Element:
    """A label config's outermost tag. Raises LabelConfigError."""
    if not xml or not xml.strip():
        raise LabelConfigError(f"the label config is empty: add {SHORTEST_EXAMPLE}")
    try:
        return fromstring(xml)
    except DefusedXmlException:
        raise LabelConfigError("the label config declares XML entities: write the characters instead") from None
    except ParseError as error:
        raise LabelConfigError(f"the label config is not well-formed XML: {error}") from None


def of_kind(tags: Sequence[Element], kind: str) -> list[Element]:
    """Those of a kind, given in small letters."""
    return [tag for tag in tags if isinstance(tag.tag, str) and tag.tag.lower() == kind]


def attribute(tag: Element, name: str) -> str | None:
    """Its value; None where the tag has none of that name."""
    return next((value for key, value in tag.attrib.items() if key.lower() == name.lower()), None)


def is_on(tag: Element, name: str) -> bool:
    """Whether an attribute says true."""
    return (attribute(tag, name) or "").strip().lower() == "true"


def names_in(text: str | None) -> list[str]:
    """`a, b` -> [a, b]."""
    return [name.strip() for name in (text or "").split(",") if name.strip()]


def variable(text: str | None) -> str | None:
    """`$name` -> name; anything else -> None."""
    text = (text or "").strip()
    return text[1:] if text.startswith("$") and len(text) > 1 and " " not in text else None


def inner_variable(text: str | None) -> str | None:
    """The first `$name` inside a sentence such as "Find: $prompt"."""
    for word in (text or "").split():
        if (name := variable(word.rstrip(".,:;!?"))) is not None:
            return name
    return None
