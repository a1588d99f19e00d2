"""A project's label config -> the tags this backend writes to and reads words from. Names are never assumed.

The editor reads tags and attributes without regard to case, so do we. Only what videos need is kept.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from xml.etree.ElementTree import Element, ParseError

from defusedxml.common import DefusedXmlException
from defusedxml.ElementTree import fromstring

from video.timeline import DEFAULT_RATE, editor_rate

_FASTEST = 1000.0  # frames per second; more is a slip, and would make millions of editor frames
_SHORTEST_EXAMPLE = '<Video name="video" value="$video"/><VideoRectangle name="box" toName="video"/>'


class LabelConfigError(ValueError):
    """The label config cannot take boxes on video; the message says which tag to add or mend."""


@dataclass(frozen=True)
class Label:
    """One <Label>. value: what the config shows; result: what a region must carry (the alias, if any)."""

    value: str
    result: str


@dataclass(frozen=True)
class LabelConfig:
    """What matters of a label config. Field names are keys of the task's data, without the `$`.

    video, video_field: the <Video> tag's name and the field that holds the address.
    box: the <VideoRectangle> tag that draws on it.
    frame_rate, frame_rate_field: the <Video>'s rate as written, or the field that holds it; None: see `fps`.
    labels: choices for `box`, empty when the config has no <Labels> (or they come from `labels_field`).
    text_areas: names of <TextArea>s. word_fields: fields that their or a <Header>'s `$name` points at.
    """

    video: str
    video_field: str
    box: str
    frame_rate: str | None = None
    frame_rate_field: str | None = None
    labels: tuple[Label, ...] = ()
    labels_field: str | None = None
    text_areas: tuple[str, ...] = ()
    word_fields: tuple[str, ...] = ()

    def fps(self, data: Mapping[str, Any]) -> float:
        """Frames per second of the editor's grid for a task with this data; 24 where nothing is said.

        Below 1 the editor takes it as seconds per frame. Raises LabelConfigError for what is no rate.
        """
        written: Any = data.get(self.frame_rate_field) if self.frame_rate_field else self.frame_rate
        if written is None or written == "":
            return DEFAULT_RATE
        where = f'the field "{self.frame_rate_field}"' if self.frame_rate_field else "<Video frameRate>"
        try:
            rate = editor_rate(float(written))
        except (TypeError, ValueError):
            rate = 0.0
        if not 0 < rate <= _FASTEST:
            raise LabelConfigError(f"{where} must be a number of frames per second up to {_FASTEST:g}, got {written!r}")
        return rate

    def labels_for(self, data: Mapping[str, Any]) -> tuple[Label, ...]:
        """The labels a region of a task with this data can carry; some configs keep them in the task."""
        if self.labels_field is None:
            return self.labels
        return self.labels + tuple(_dynamic_labels(data.get(self.labels_field)))


def parse_label_config(xml: str | None) -> LabelConfig:
    """Read a label config. Raises LabelConfigError, in words for whoever wrote it."""
    tags = list(_root(xml).iter())
    videos = {name: tag for tag in _of_kind(tags, "video") if (name := _get(tag, "name"))}
    if not videos:
        raise LabelConfigError(f"the label config has no <Video name=...>: add {_SHORTEST_EXAMPLE}")
    box, video = _box_and_video(tags, list(videos))
    value, rate = _get(videos[video], "value"), _get(videos[video], "frameRate")
    field = _variable(value)
    if field is None:
        raise LabelConfigError(f'<Video name="{video}"> needs value="$field", a field of the task, got {value!r}')
    labels, labels_field = _labels(tags, video)
    texts = [tag for tag in _of_kind(tags, "textarea") if _get(tag, "name")]
    words = [_variable(_get(tag, "value")) for tag in texts]
    words += [_inner_variable(_get(tag, "value")) for tag in _of_kind(tags, "header")]
    return LabelConfig(
        video=video,
        video_field=field,
        box=box,
        frame_rate=None if _variable(rate) else rate,
        frame_rate_field=_variable(rate),
        labels=labels,
        labels_field=labels_field,
        text_areas=tuple(str(_get(tag, "name")) for tag in texts),
        word_fields=tuple(dict.fromkeys(w for w in words if w and w != field)),  # in order, each once
    )


def _root(xml: str | None) -> Element:
    if not xml or not xml.strip():
        raise LabelConfigError(f"the label config is empty: add {_SHORTEST_EXAMPLE}")
    try:
        return fromstring(xml)
    except DefusedXmlException:
        raise LabelConfigError("the label config declares XML entities: write the characters instead") from None
    except ParseError as error:
        raise LabelConfigError(f"the label config is not well-formed XML: {error}") from None


def _of_kind(tags: Sequence[Element], kind: str) -> list[Element]:
    return [tag for tag in tags if isinstance(tag.tag, str) and tag.tag.lower() == kind]


def _get(tag: Element, attribute: str) -> str | None:
    return next((value for key, value in tag.attrib.items() if key.lower() == attribute.lower()), None)


def _box_and_video(tags: Sequence[Element], videos: Sequence[str]) -> tuple[str, str]:
    boxes = _of_kind(tags, "videorectangle")
    for tag in boxes:
        name = _get(tag, "name")
        for target in _names(_get(tag, "toName")):
            if name and target in videos:
                return name, target
    if not boxes:
        raise LabelConfigError(
            "the label config has no tag that takes boxes on video: "
            f'add <VideoRectangle name="box" toName="{videos[0]}"/> beside <Video name="{videos[0]}">'
        )
    got = f"name={_get(boxes[0], 'name')!r} toName={_get(boxes[0], 'toName')!r}"
    raise LabelConfigError(f'<VideoRectangle> needs a name and toName="{videos[0]}", got {got}')


def _labels(tags: Sequence[Element], video: str) -> tuple[tuple[Label, ...], str | None]:
    """The choices of every <Labels> for this video, and the field that one of them takes more from."""
    found: dict[Label, None] = {}
    field = None
    for group in _of_kind(tags, "labels"):
        if video not in _names(_get(group, "toName")):
            continue
        field = field or _variable(_get(group, "value"))
        for tag in _of_kind(list(group.iter()), "label"):
            if value := _get(tag, "value"):
                found[Label(value, _get(tag, "alias") or value)] = None
    return tuple(found), field


def _dynamic_labels(value: Any) -> Iterator[Label]:
    for item in value if isinstance(value, list) else []:
        name = item.get("value") if isinstance(item, Mapping) else item
        if isinstance(name, str) and name:
            alias = item.get("alias") if isinstance(item, Mapping) else None
            yield Label(name, str(alias or name))


def _names(text: str | None) -> list[str]:
    return [name.strip() for name in (text or "").split(",") if name.strip()]


def _variable(text: str | None) -> str | None:
    """`$name` -> name; anything else -> None."""
    text = (text or "").strip()
    return text[1:] if text.startswith("$") and len(text) > 1 and " " not in text else None


def _inner_variable(text: str | None) -> str | None:
    """The first `$name` inside a sentence such as "Find: $prompt"."""
    for word in (text or "").split():
        if (name := _variable(word.rstrip(".,:;!?"))) is not None:
            return name
    return None
