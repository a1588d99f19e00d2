"""The base class of the control tags, and the base class of those on video."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, ClassVar, Self, cast
from xml.etree.ElementTree import Element

from backend.labelstudio.config_xml import Label, attribute, read_labels, split_names, tag_name, tags_named
from backend.labelstudio.editor_state import EditorState
from backend.labelstudio.edits import UserEdit, region_words
from backend.labelstudio.regions import (
    BoxKeyframe,
    Region,
    VectorKeyframe,
    VideoValue,
    round_score,
)
from backend.labelstudio.timeline import TimedClip, editor_frame_count
from refam.pipeline.types import Target, TrackResult
from video.keyframes import KEYFRAME_IOU

if TYPE_CHECKING:
    from video.formats.base import ObjectTrack
    from video.io.reader import Clip


@dataclass(frozen=True)
class UneditedMask:
    """A mask of this backend that the editor shows and nobody edited.

    Attributes:
        region: The region's id.
        picture: Index of the picture, 0-based.
        size: (width, height) of the picture in pixels.
        label: The region's label, "" without one.
    """

    region: str
    picture: int
    size: tuple[int, int]
    label: str


@dataclass(frozen=True)
class Control(ABC):
    """A tag of the label config that takes objects. A subclass knows how its regions are written and read.

    Attributes:
        name: The tag's name, which its regions carry as `from_name`.
        tag: The tag in lower case, which its regions carry as `type`, such as "videorectangle" or "brushlabels".
        media: Name of the `<Video>` or `<Image>` that it draws on; its regions carry it as `to_name`.
        labels: The labels of the config that its regions can have.
        labels_field: Key of the task's data with more labels, or None.
    """

    TAGS: ClassVar[tuple[str, ...]]
    """The tags of this class in lower case."""
    ON_PICTURES: ClassVar[bool] = False
    """Whether the tag draws on lists of pictures instead of videos."""
    PRIORITY: ClassVar[int] = 0
    """Where a config has several controls, the one of the lowest number is taken."""
    BOXES_ONLY: ClassVar[bool] = False
    """Whether its regions are made of boxes alone, so that a preview without masks can be shown."""

    name: str
    tag: str
    media: str
    labels: tuple[Label, ...] = ()
    labels_field: str | None = None

    # --- recognising the tag -----------------------------------------------------------------------------------------

    @classmethod
    def from_tag(cls, tag: Element, tags: Sequence[Element], media: Collection[str]) -> Self | None:
        """Return the control that a tag stands for, None if it is not a usable tag of this class.

        Args:
            tag: The tag to look at.
            tags: All tags of the label config.
            media: Names of the `<Video>` or `<Image>` tags that it may draw on.

        Raises:
            LabelConfigError: If the tag's attributes contradict each other.
        """
        kind, name = tag_name(tag), attribute(tag, "name")
        targets = [target for target in split_names(attribute(tag, "toName")) if target in media]
        if kind not in cls.TAGS or not name or not targets or not cls.accepts(tag):
            return None
        own = {"tag": kind, "name": name} if kind.endswith("labels") else {}
        labels, labels_field = read_labels(tags, targets[0], **own)
        return cls(name, kind, targets[0], labels, labels_field, **cls.options(tag, tags, targets[0]))

    @classmethod
    def accepts(cls, tag: Element) -> bool:
        """Return whether a tag of this class can take objects as its attributes stand."""
        return True

    @classmethod
    def options(cls, tag: Element, tags: Sequence[Element], media: str) -> dict[str, Any]:
        """Read the fields that a subclass adds."""
        return {}

    @classmethod
    def explain_unusable(cls, tags: Sequence[Element], media: str) -> str | None:
        """Return what is wrong with the tags of this class, none of which is usable; None if there are none."""
        return None

    @property
    def own_labels(self) -> bool:
        """Whether the tag holds the labels itself, as BrushLabels does and Brush does not."""
        return self.tag.endswith("labels")

    def with_labels(self, names: Sequence[str]) -> Self:
        """Return the control for a task whose regions can have these labels (`Label.result`), and no others."""
        return replace(self, labels=tuple(Label(name, name) for name in names), labels_field=None)

    def offers(self, label: str) -> bool:
        """Return whether a region can have this label. The editor draws one that no tag offers as "Empty".

        Where labels stand in the tasks as well, every label counts as offered: see `with_labels`.
        """
        return self.labels_field is not None or any(label == offered.result for offered in self.labels)

    @property
    @abstractmethod
    def description(self) -> str:
        """A clause that says which objects go to which tag."""

    # --- writing regions ---------------------------------------------------------------------------------------------

    @abstractmethod
    def regions(
        self,
        results: Sequence[TrackResult],
        clip: TimedClip,
        *,
        fps: float,
        region_ids: Sequence[str],
        edits: Sequence[Sequence[UserEdit]] = (),
        keyframe_iou: float = KEYFRAME_IOU,
    ) -> list[Region]:
        """Return the regions of tracked objects, in order; none for an object that is never visible.

        Args:
            results: The tracked objects. A target's label must be what a region carries (the alias, where a label has
                one).
            clip: The clip's presentation times and duration.
            fps: Frame rate of the editor's timeline (`LabelConfig.fps`).
            region_ids: One per object; the editor replaces a region of the same id.
            edits: For each object the keyframes that a person set. They come back exactly as they are.
            keyframe_iou: IoU with the track's boxes that interpolated boxes must keep on every frame.

        Raises:
            ValueError: If there are not as many region ids as results.
        """

    @classmethod
    @abstractmethod
    def empty_value(cls, region: Mapping[str, Any]) -> dict[str, Any]:
        """Return the keys of a region's value with which the editor draws nothing."""

    # --- reading what a person made of them --------------------------------------------------------------------------

    @abstractmethod
    def shown_regions(self, state: EditorState) -> list[Mapping[str, Any]]:
        """Return the regions of this tag that the caller sees."""

    def replaceable_regions(self, state: EditorState) -> list[Mapping[str, Any]]:
        """Return the regions that stand for a whole object each, so that a new answer can take one over by its id."""
        return []

    def kept_regions(self, state: EditorState) -> tuple[str, ...]:
        """Return the ids of the regions that no answer may replace, since a person's edits are all that they hold."""
        return ()

    def read_words(self, region: Mapping[str, Any]) -> str | None:
        """Return the words that a region was found with, None for one that a person drew."""
        return None

    def is_locked(self, region: Mapping[str, Any]) -> bool:
        """Return whether the editor keeps what a person drew in the region, whatever replaces it."""
        return False

    def add_mask_prompts(
        self, targets: Sequence[Target], region_ids: Sequence[str], state: EditorState
    ) -> tuple[Target, ...]:
        """Return the targets, each with the masks that a person drew of it on pictures as prompts.

        Args:
            targets: The objects to find.
            region_ids: One per target.
            state: What the caller sees.

        Raises:
            MaskError: If a region cannot be read as a mask.
        """
        return tuple(targets)

    def edited_instances(self, region_id: str, state: EditorState) -> tuple[str, ...]:
        """Return the ids of the objects of some words of which a person edited a mask on a picture.

        Args:
            region_id: Of the words; those of their objects are made of it (`instance_region_id`).
            state: What the caller sees.
        """
        return ()

    def unedited_masks(self, state: EditorState, region_ids: Sequence[str]) -> tuple[UneditedMask, ...]:
        """Return the masks of these objects that the editor shows and nobody edited."""
        return ()

    def clear_missing_masks(self, masks: Sequence[UneditedMask], answer: Sequence[Region]) -> list[Region]:
        """Return an empty region for each of these masks that the answer does not replace."""
        return []


class VideoControl(Control):
    """A tag on video: one region per object, with a sequence of keyframes on the editor's timeline.

    The editor (1.23, measured) counts frames from 1 on its own timeline, which is not the clip's (see
    `backend.labelstudio.timeline`). Between keyframes it interpolates by frame number. A keyframe with `enabled` false
    is drawn itself and hides the object from the next frame on; without one the last keyframe stays for ever.
    """

    @abstractmethod
    def keyframes(
        self,
        result: TrackResult,
        clip: TimedClip,
        *,
        fps: float,
        edits: Sequence[UserEdit],
        keyframe_iou: float,
    ) -> tuple[Sequence[BoxKeyframe | VectorKeyframe], list[str]]:
        """Return an object's keyframes, [] if it is never visible, and notes for the annotator. See `regions`."""

    @classmethod
    @abstractmethod
    def read_object(cls, value: Mapping[str, Any], clip: Clip, *, fps: float, where: str) -> ObjectTrack:
        """Read the value of an exported region as an object on the frames of the clip.

        Args:
            value: The region's value.
            clip: The video.
            fps: Frame rate of the editor's timeline.
            where: What error messages call the region.

        Raises:
            FormatError: If it has no sequence of keyframes.
        """

    def owns(self, region: Mapping[str, Any]) -> bool:
        """Return whether a region was made with this tag."""
        return region.get("type") == self.tag and region.get("from_name") == self.name

    def regions(
        self,
        results: Sequence[TrackResult],
        clip: TimedClip,
        *,
        fps: float,
        region_ids: Sequence[str],
        edits: Sequence[Sequence[UserEdit]] = (),
        keyframe_iou: float = KEYFRAME_IOU,
    ) -> list[Region]:
        """See `Control.regions`: one region per object."""
        check_region_ids(results, region_ids)
        regions: list[Region] = []
        for i, (result, region_id) in enumerate(zip(results, region_ids, strict=True)):
            own_edits = edits[i] if edits else ()
            sequence, more_notes = self.keyframes(result, clip, fps=fps, edits=own_edits, keyframe_iou=keyframe_iou)
            if not sequence:
                continue
            value: dict[str, Any] = {
                "framesCount": editor_frame_count(clip.duration_s, fps),
                "duration": round(float(clip.duration_s), 6),
                "sequence": sequence,
            }
            if self.offers(result.target.label):
                value["labels"] = [result.target.label]
                if self.own_labels:
                    value[self.tag] = value["labels"]
            region: Region = {
                "id": region_id,
                "from_name": self.name,
                "to_name": self.media,
                "type": self.tag,
                "origin": "prediction",
                "score": round_score(result.score),
                "value": cast(VideoValue, value),
            }
            if text := describe_object(result, more_notes):  # shown when the region is selected (measured)
                region["meta"] = {"text": [text]}
            regions.append(region)
        return regions

    def shown_regions(self, state: EditorState) -> list[Mapping[str, Any]]:
        """Return the regions of this tag."""
        return [region for region in state.regions if self.owns(region) and region.get("id")]

    def replaceable_regions(self, state: EditorState) -> list[Mapping[str, Any]]:
        """Return all regions that are shown, for each of them is one object."""
        return self.shown_regions(state)

    def read_words(self, region: Mapping[str, Any]) -> str | None:
        """Return the words that the keyframes carry."""
        return region_words(region)


def check_region_ids(results: Sequence[TrackResult], region_ids: Sequence[str]) -> None:
    """Raise ValueError if there are not as many region ids as results."""
    if len(region_ids) != len(results):
        raise ValueError(f"{len(results)} results need as many region ids, got {len(region_ids)}")


def describe_object(result: TrackResult, more_notes: Sequence[str] = ()) -> str:
    """Return the words that an object was found with, and all notes on it, in one line; "" without any."""
    words = [f"words: {result.target.words}"] if result.target.words else []
    return "; ".join([*words, *result.notes, *more_notes])


def tags_of(tags: Sequence[Element], control: type[Control]) -> list[Element]:
    """Return the tags of a control class, usable or not."""
    return [tag for kind in control.TAGS for tag in tags_named(tags, kind)]
