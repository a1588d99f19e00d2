"""A project's label config -> the tags this backend writes to and reads words from. Names are never assumed.

The editor reads tags and attributes without regard to case, so do we. Only what is needed for videos, and for masks on
lists of pictures, is kept.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from xml.etree.ElementTree import Element

from backend.labelstudio.config_tags import (
    SHORTEST_EXAMPLE,
    LabelConfigError,
    attribute,
    inner_variable,
    is_on,
    names_in,
    of_kind,
    root_of,
    variable,
)
from backend.labelstudio.timeline import DEFAULT_RATE, editor_rate

_FASTEST = 1000.0  # frames per second; more is a slip, and would make millions of editor frames
_MASK_KINDS = ("brushlabels", "polygonlabels", "bitmasklabels", "brush", "polygon", "bitmask")
OUTLINE_KINDS = ("videovector", "videovectorlabels")


@dataclass(frozen=True)
class MaskControl:
    """The tag that takes masks. kind: as the type of a result, such as "brushlabels" or "brush".

    labels_name: the <Labels> that goes with a tag that has no labels of its own.
    """

    name: str
    kind: str
    labels_name: str | None = None

    @property
    def own_labels(self) -> bool:
        """Whether the tag has the labels inside, as BrushLabels has and Brush has not."""
        return self.kind.endswith("labels")

    @property
    def shape(self) -> str:
        """How it keeps a mask: "brush", "polygon" or "bitmask"."""
        return self.kind.removesuffix("labels")


@dataclass(frozen=True)
class OutlineControl:
    """The tag that takes closed outlines on video. kind: "videovector" or "videovectorlabels", as a result's type.

    least, most: vertices that it allows; where it says nothing, what a person can still handle.
    """

    name: str
    kind: str
    least: int = 3
    most: int = 48

    @property
    def own_labels(self) -> bool:
        """Whether the tag has the labels inside."""
        return self.kind.endswith("labels")


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
    outline: where the config has a <VideoVector closable="true">; `box` is that tag's name then.
    masks: where the config has an <Image valueList> instead of a video; then `video` and `video_field` are that
    tag's, the field holds a list of addresses, and `box` is the name of the tag that takes the masks.
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
    masks: MaskControl | None = None
    outline: OutlineControl | None = None

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
    tags = list(root_of(xml).iter())
    videos = {name: tag for tag in of_kind(tags, "video") if (name := attribute(tag, "name"))}
    images = {
        name: tag for tag in of_kind(tags, "image") if (name := attribute(tag, "name")) and attribute(tag, "valueList")
    }
    if not videos and images:
        return _mask_config(tags, images)
    if not videos:
        raise LabelConfigError(f"the label config has no <Video name=...>: add {SHORTEST_EXAMPLE}")
    outline, video = _outline_and_video(tags, list(videos))
    if outline:
        box = outline.name
    else:
        box, video = _box_and_video(tags, list(videos))
    value, rate = attribute(videos[video], "value"), attribute(videos[video], "frameRate")
    field = variable(value)
    if field is None:
        raise LabelConfigError(f'<Video name="{video}"> needs value="$field", a field of the task, got {value!r}')
    if outline and outline.own_labels:
        labels, labels_field = _labels(tags, video, kind=outline.kind, name=outline.name)
    else:
        labels, labels_field = _labels(tags, video)
    text_areas, word_fields = _words(tags, field)
    return LabelConfig(
        video=video,
        video_field=field,
        box=box,
        frame_rate=None if variable(rate) else rate,
        frame_rate_field=variable(rate),
        labels=labels,
        labels_field=labels_field,
        text_areas=text_areas,
        word_fields=word_fields,
        outline=outline,
    )


def _mask_config(tags: Sequence[Element], images: Mapping[str, Element]) -> LabelConfig:
    name, target = None, next(iter(images))
    for tag in tags:
        kind = tag.tag.lower() if isinstance(tag.tag, str) else ""
        shown = [image for image in names_in(attribute(tag, "toName")) if image in images]
        if kind in _MASK_KINDS and shown and (name := attribute(tag, "name")):
            target = shown[0]
            break
    if not name:
        raise LabelConfigError(
            "the label config has no tag that takes masks on its pictures: "
            f'add <BrushLabels name="mask" toName="{target}"><Label value="Object"/></BrushLabels>'
        )
    value = attribute(images[target], "valueList")
    field = variable(value)
    if field is None:
        raise LabelConfigError(f'<Image name="{target}"> needs valueList="$field", a field of the task, got {value!r}')
    own = kind.endswith("labels")
    labels, labels_field = _labels(tags, target, kind=kind if own else "labels", name=name if own else None)
    groups = [g for g in of_kind(tags, "labels") if target in names_in(attribute(g, "toName")) and attribute(g, "name")]
    text_areas, word_fields = _words(tags, field)
    return LabelConfig(
        video=target,
        video_field=field,
        box=name,
        labels=labels,
        labels_field=labels_field,
        text_areas=text_areas,
        word_fields=word_fields,
        masks=MaskControl(name, kind, None if own or not groups else attribute(groups[0], "name")),
    )


def _words(tags: Sequence[Element], field: str) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """The names of the TextAreas, and the fields that words are shown from, in order, each once."""
    texts = [tag for tag in of_kind(tags, "textarea") if attribute(tag, "name")]
    words = [variable(attribute(tag, "value")) for tag in texts]
    words += [inner_variable(attribute(tag, "value")) for tag in of_kind(tags, "header")]
    names = tuple(str(attribute(tag, "name")) for tag in texts)
    return names, tuple(dict.fromkeys(w for w in words if w and w != field))


def _box_and_video(tags: Sequence[Element], videos: Sequence[str]) -> tuple[str, str]:
    boxes = of_kind(tags, "videorectangle")
    for tag in boxes:
        name = attribute(tag, "name")
        for target in names_in(attribute(tag, "toName")):
            if name and target in videos:
                return name, target
    if not boxes and any(of_kind(tags, kind) for kind in OUTLINE_KINDS):
        raise LabelConfigError(
            "<VideoVector> takes outlines only where it may be closed and is no skeleton: "
            'give it name, toName and closable="true", and no skeleton="true"'
        )
    if not boxes:
        raise LabelConfigError(
            "the label config has no tag that takes boxes on video: "
            f'add <VideoRectangle name="box" toName="{videos[0]}"/> beside <Video name="{videos[0]}">'
        )
    got = f"name={attribute(boxes[0], 'name')!r} toName={attribute(boxes[0], 'toName')!r}"
    raise LabelConfigError(f'<VideoRectangle> needs a name and toName="{videos[0]}", got {got}')


def _outline_and_video(tags: Sequence[Element], videos: Sequence[str]) -> tuple[OutlineControl | None, str]:
    """The first tag for closed outlines on a video, and that video. Open lines and skeletons are no outlines."""
    for tag in tags:
        kind = tag.tag.lower() if isinstance(tag.tag, str) else ""
        name, shown = attribute(tag, "name"), [v for v in names_in(attribute(tag, "toName")) if v in videos]
        if kind in OUTLINE_KINDS and name and shown and is_on(tag, "closable") and not is_on(tag, "skeleton"):
            least, most = _points(tag, "minPoints", 3), _points(tag, "maxPoints", OutlineControl.most)
            if most < max(3, least):
                raise LabelConfigError(
                    f'<{tag.tag} name="{name}"> allows {most} points at most and needs {max(3, least)} for an outline'
                )
            return OutlineControl(name, kind, max(3, least), most), shown[0]
    return None, ""


def _points(tag: Element, name: str, otherwise: int) -> int:
    written = (attribute(tag, name) or "").strip()
    return int(written) if written.isdecimal() else otherwise


def _labels(
    tags: Sequence[Element], video: str, *, kind: str = "labels", name: str | None = None
) -> tuple[tuple[Label, ...], str | None]:
    """The choices of every <Labels> (or `kind`, of that name) for this video, and the field that has more of them."""
    found: dict[Label, None] = {}
    field = None
    for group in of_kind(tags, kind):
        if video not in names_in(attribute(group, "toName")) or (name and attribute(group, "name") != name):
            continue
        field = field or variable(attribute(group, "value"))
        for tag in of_kind(list(group.iter()), "label"):
            if value := attribute(tag, "value"):
                found[Label(value, attribute(tag, "alias") or value)] = None
    return tuple(found), field


def _dynamic_labels(value: Any) -> Iterator[Label]:
    for item in value if isinstance(value, list) else []:
        name = item.get("value") if isinstance(item, Mapping) else item
        if isinstance(name, str) and name:
            alias = item.get("alias") if isinstance(item, Mapping) else None
            yield Label(name, str(alias or name))
