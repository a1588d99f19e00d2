"""Reading the XML of a label config: tags, attributes and labels.

The editor reads tags and attributes without regard to case, and so do these functions. The XML comes from whoever
wrote the project, so it is parsed without entities.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from xml.etree.ElementTree import Element, ParseError

from defusedxml.common import DefusedXmlException
from defusedxml.ElementTree import fromstring

from video.errors import UserError

SHORTEST_EXAMPLE = '<Video name="video" value="$video"/><VideoRectangle name="box" toName="video"/>'


class LabelConfigError(UserError):
    """The label config cannot take boxes on video or masks on pictures; the message says which tag to add or mend."""


@dataclass(frozen=True)
class Label:
    """One `<Label>`.

    value: the name that the editor shows. result: the name that a region must carry: the alias, where there is one.
    """

    value: str
    result: str


def parse_xml(xml: str | None) -> Element:
    """Return the outermost tag of a label config.

    Raises:
        LabelConfigError: If the text is empty, is not well-formed or declares entities.
    """
    if not xml or not xml.strip():
        raise LabelConfigError(f"the label config is empty: add {SHORTEST_EXAMPLE}")
    try:
        return fromstring(xml)
    except DefusedXmlException:
        raise LabelConfigError("the label config declares XML entities: write the characters instead") from None
    except ParseError as error:
        raise LabelConfigError(f"the label config is not well-formed XML: {error}") from None


def tag_name(tag: Element) -> str:
    """Return the name of a tag in lower case, "" for a comment."""
    return tag.tag.lower() if isinstance(tag.tag, str) else ""


def tags_named(tags: Sequence[Element], name: str) -> list[Element]:
    """Return the tags of a name, which is given in lower case."""
    return [tag for tag in tags if tag_name(tag) == name]


def attribute(tag: Element, name: str) -> str | None:
    """Return the value of an attribute, None where the tag does not have it."""
    return next((value for key, value in tag.attrib.items() if key.lower() == name.lower()), None)


def is_true(tag: Element, name: str) -> bool:
    """Return whether an attribute is "true"."""
    return (attribute(tag, name) or "").strip().lower() == "true"


def integer(tag: Element, name: str, default: int) -> int:
    """Return a non-negative integer attribute, the default where it is missing or is no such number."""
    text = (attribute(tag, name) or "").strip()
    return int(text) if text.isdecimal() else default


def split_names(text: str | None) -> list[str]:
    """Split "a, b" into ["a", "b"]."""
    return [name.strip() for name in (text or "").split(",") if name.strip()]


def variable_name(text: str | None) -> str | None:
    """Return "name" for "$name", None for anything else."""
    text = (text or "").strip()
    return text[1:] if text.startswith("$") and len(text) > 1 and " " not in text else None


def first_variable(text: str | None) -> str | None:
    """Return "prompt" for a sentence such as "Find: $prompt": the first variable in it, None without one."""
    for word in (text or "").split():
        if (name := variable_name(word.rstrip(".,:;!?"))) is not None:
            return name
    return None


def read_labels(
    tags: Sequence[Element], media: str, *, tag: str = "labels", name: str | None = None
) -> tuple[tuple[Label, ...], str | None]:
    """Read the labels that objects on a video or an image can have.

    Args:
        tags: All tags of the label config.
        media: Name of the `<Video>` or `<Image>` that the labels must be for.
        tag: The tag that holds the labels, in lower case.
        name: Read only the tag of this name.

    Returns:
        The labels in order, each once, and the field of the task that has more of them (None without one).
    """
    labels: dict[Label, None] = {}
    field = None
    for group in tags_named(tags, tag):
        if media not in split_names(attribute(group, "toName")) or (name and attribute(group, "name") != name):
            continue
        field = field or variable_name(attribute(group, "value"))
        for label in tags_named(list(group.iter()), "label"):
            if value := attribute(label, "value"):
                labels[Label(value, attribute(label, "alias") or value)] = None
    return tuple(labels), field
