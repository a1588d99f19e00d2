"""A project's label config: which tag takes the objects, and which tags and fields hold the words.

Names are read from the config and never assumed. Only what matters for videos, and for masks on lists of pictures, is
read.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from xml.etree.ElementTree import Element

from backend.labelstudio.config_xml import (
    SHORTEST_EXAMPLE,
    Label,
    LabelConfigError,
    attribute,
    first_variable,
    parse_xml,
    tags_named,
    variable_name,
)
from backend.labelstudio.controls import explain_missing_control, find_control, find_timeline
from backend.labelstudio.controls.base import Control
from backend.labelstudio.controls.timeline_labels import TimelineLabelsControl
from backend.labelstudio.editor_state import EditorState
from backend.labelstudio.edits import UserEdit
from backend.labelstudio.regions import Region
from backend.labelstudio.text_areas import NO_TEXT_AREA, WordsTextArea, find_words_text_area
from backend.labelstudio.timeline import DEFAULT_RATE, MAX_RATE, TimedClip, editor_rate
from refam.pipeline.types import TrackResult
from video.keyframes import KEYFRAME_IOU

IN_SIGHT = "-seen"  # ends the id of the region with an object's times in sight, after the id of its boxes or outlines


@dataclass(frozen=True)
class LabelConfig:
    """What this backend needs of a label config.

    Attributes:
        control: The tag that takes the objects, with its labels.
        timeline: The `<TimelineLabels>` beside it, which takes the times that objects of its labels are in sight.
        media_field: Key of the task's data (without the `$`) that holds the video's address, or the list of the
            pictures' addresses.
        frame_rate: The `<Video>`'s frame rate as written, None where it is missing or stands in a field.
        frame_rate_field: Key of the task's data that holds the frame rate, or None.
        text_area: The `<TextArea>` that words are typed into.
        word_fields: Keys of the task's data that this `<TextArea>` or a `<Header>` shows.
    """

    control: Control
    media_field: str
    frame_rate: str | None = None
    frame_rate_field: str | None = None
    text_area: WordsTextArea = NO_TEXT_AREA
    word_fields: tuple[str, ...] = ()
    timeline: TimelineLabelsControl | None = None

    @property
    def media(self) -> str:
        """The name of the `<Video>` or `<Image>` tag."""
        return self.control.media

    @property
    def on_pictures(self) -> bool:
        """Whether the project shows lists of pictures instead of videos."""
        return self.control.ON_PICTURES

    @property
    def labels(self) -> tuple[Label, ...]:
        """The labels that stand in the label config; empty without any, or where they come with the task."""
        return self._labelled.labels

    @property
    def controls(self) -> tuple[Control, ...]:
        """The control, then the timeline beside it."""
        return (self.control,) if self.timeline is None else (self.control, self.timeline)

    @property
    def _labelled(self) -> Control:
        """The control with the labels of objects: the timeline where the other has none."""
        bare = not self.control.labels and self.control.labels_field is None
        return self.timeline if bare and self.timeline is not None else self.control

    def fps(self, data: Mapping[str, Any]) -> float:
        """Return the frames per second of the editor's timeline for a task: 24 where nothing is given.

        Args:
            data: The task's data.

        Raises:
            LabelConfigError: If the frame rate is no number above 0 and at most 1000. (The editor takes a number
                below 1 as seconds per frame.)
        """
        rate: Any = data.get(self.frame_rate_field) if self.frame_rate_field else self.frame_rate
        if rate is None or rate == "":
            return DEFAULT_RATE
        where = f'the field "{self.frame_rate_field}"' if self.frame_rate_field else "<Video frameRate>"
        try:
            return editor_rate(float(rate))
        except (TypeError, ValueError):
            text = f"{where} must be a number of frames per second up to {MAX_RATE:g}, got {rate!r}"
            raise LabelConfigError(text) from None

    def labels_for(self, data: Mapping[str, Any]) -> tuple[Label, ...]:
        """Return the labels that regions of a task can have: those of the config, then those of the task's data."""
        field = self._labelled.labels_field
        return self.labels if field is None else self.labels + tuple(_labels_in_task(data.get(field)))

    def shown_regions(self, state: EditorState) -> list[tuple[Control, Mapping[str, Any]]]:
        """Return the regions that the caller of an interactive call sees, each with its control."""
        return [(control, region) for control in self.controls for region in control.shown_regions(state)]

    def kept_regions(self, state: EditorState) -> tuple[str, ...]:
        """Return the ids of the regions that no answer may replace. See `Control.kept_regions`."""
        return tuple(name for control in self.controls for name in control.kept_regions(state))

    def regions(
        self,
        results: Sequence[TrackResult],
        clip: TimedClip,
        *,
        fps: float,
        region_ids: Sequence[str],
        edits: Sequence[Sequence[UserEdit]] = (),
        keyframe_iou: float = KEYFRAME_IOU,
        labels: Sequence[str] | None = None,
    ) -> list[Region]:
        """Return the regions of tracked objects for all controls: see `Control.regions`.

        Args:
            results, clip, fps, region_ids, edits, keyframe_iou: As there.
            labels: The labels that the task's regions can have, as regions carry them; None: those of the label config.
        """
        regions: list[Region] = []
        for control, suffix in zip(self.controls, ("", IN_SIGHT), strict=False):
            offered = control if labels is None else control.with_labels([n for n in labels if control.offers(n)])
            ids = [region_id + suffix for region_id in region_ids]
            regions += offered.regions(results, clip, fps=fps, region_ids=ids, edits=edits, keyframe_iou=keyframe_iou)
        return regions


def parse_label_config(xml: str | None) -> LabelConfig:
    """Read a label config.

    A config with a `<Video>` is one for videos; without one, an `<Image valueList>` makes it one for lists of pictures.

    Args:
        xml: The label config as Label Studio sends it.

    Raises:
        LabelConfigError: If there is no tag that takes objects, or the video's or pictures' field is missing.
    """
    tags = list(parse_xml(xml).iter())
    videos = {name: tag for tag in tags_named(tags, "video") if (name := attribute(tag, "name"))}
    images = {
        name: tag
        for tag in tags_named(tags, "image")
        if (name := attribute(tag, "name")) and attribute(tag, "valueList")
    }
    if videos:
        return _video_config(tags, videos)
    if images:
        return _picture_config(tags, images)
    raise LabelConfigError(f"the label config has no <Video name=...>: add {SHORTEST_EXAMPLE}")


def _video_config(tags: Sequence[Element], videos: Mapping[str, Element]) -> LabelConfig:
    control = _find_control(tags, videos, on_pictures=False)
    video = videos[control.media]
    value, rate = attribute(video, "value"), attribute(video, "frameRate")
    field = variable_name(value)
    if field is None:
        raise LabelConfigError(
            f'<Video name="{control.media}"> needs value="$field", a field of the task, got {value!r}'
        )
    text_area, word_fields = _text_tags(tags, control.media, field)
    return LabelConfig(
        control=control,
        media_field=field,
        frame_rate=None if variable_name(rate) else rate,
        frame_rate_field=variable_name(rate),
        text_area=text_area,
        word_fields=word_fields,
        timeline=find_timeline(tags, control),
    )


def _picture_config(tags: Sequence[Element], images: Mapping[str, Element]) -> LabelConfig:
    control = _find_control(tags, images, on_pictures=True)
    value = attribute(images[control.media], "valueList")
    field = variable_name(value)
    if field is None:
        raise LabelConfigError(
            f'<Image name="{control.media}"> needs valueList="$field", a field of the task, got {value!r}'
        )
    text_area, word_fields = _text_tags(tags, control.media, field)
    return LabelConfig(control=control, media_field=field, text_area=text_area, word_fields=word_fields)


def _find_control(tags: Sequence[Element], media: Collection[str], *, on_pictures: bool) -> Control:
    control = find_control(tags, media, on_pictures=on_pictures)
    if control is not None:
        return control
    first = next(iter(media))
    if on_pictures:
        raise LabelConfigError(
            "the label config has no tag that takes masks on its pictures: "
            f'add <BrushLabels name="mask" toName="{first}"><Label value="Object"/></BrushLabels>'
        )
    if (reason := explain_missing_control(tags, first)) is not None:
        raise LabelConfigError(reason)
    raise LabelConfigError(
        "the label config has no tag that takes boxes on video: "
        f'add <VideoRectangle name="box" toName="{first}"/> beside <Video name="{first}">'
    )


def _text_tags(tags: Sequence[Element], media: str, media_field: str) -> tuple[WordsTextArea, tuple[str, ...]]:
    """Return the `<TextArea>` for words, and the fields that words are shown from, in order, each once."""
    text_area = find_words_text_area(tags, media)
    fields = [text_area.field, *(first_variable(attribute(tag, "value")) for tag in tags_named(tags, "header"))]
    return text_area, tuple(dict.fromkeys(field for field in fields if field and field != media_field))


def _labels_in_task(value: Any) -> Iterator[Label]:
    """Read labels from a task's data: a list of names, or of {"value", "alias"}."""
    for item in value if isinstance(value, list) else []:
        name = item.get("value") if isinstance(item, Mapping) else item
        if isinstance(name, str) and name:
            alias = item.get("alias") if isinstance(item, Mapping) else None
            yield Label(name, str(alias or name))
