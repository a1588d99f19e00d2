"""The control tags that take objects: one class, and one file, for each tag.

To support another tag, write a class like those here and add it to `CONTROLS`.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from xml.etree.ElementTree import Element

from backend.labelstudio.controls.base import Control
from backend.labelstudio.controls.bitmask import BitmaskControl
from backend.labelstudio.controls.brush import BrushControl
from backend.labelstudio.controls.polygon import PolygonControl
from backend.labelstudio.controls.timeline_labels import TimelineLabelsControl
from backend.labelstudio.controls.video_rectangle import VideoRectangleControl
from backend.labelstudio.controls.video_vector import VideoVectorControl

CONTROLS: tuple[type[Control], ...] = (
    VideoRectangleControl,
    VideoVectorControl,
    TimelineLabelsControl,
    BrushControl,
    PolygonControl,
    BitmaskControl,
)
_BY_TYPE = {tag: control for control in CONTROLS for tag in control.TAGS}


def find_control(tags: Sequence[Element], media: Collection[str], *, on_pictures: bool) -> Control | None:
    """Return the tag of a label config that takes the objects, None without one.

    Of several tags the one whose class has the lowest `PRIORITY` is taken, then the first in the config.

    Args:
        tags: All tags of the label config, in order.
        media: Names of the `<Video>` tags, or of the `<Image>` tags.
        on_pictures: Whether the media are lists of pictures.

    Raises:
        LabelConfigError: If the tag's attributes contradict each other.
    """
    kinds = [control for control in CONTROLS if on_pictures == control.ON_PICTURES]
    for priority in sorted({control.PRIORITY for control in kinds}):
        for tag in tags:
            for control in kinds:
                if priority == control.PRIORITY and (found := control.from_tag(tag, tags, media)) is not None:
                    return found
    return None


def find_timeline(tags: Sequence[Element], control: Control) -> TimelineLabelsControl | None:
    """Return the `<TimelineLabels>` beside a control that draws objects on the same video, None without one."""
    if control.ON_PICTURES or isinstance(control, TimelineLabelsControl):
        return None
    found = (TimelineLabelsControl.from_tag(tag, tags, (control.media,)) for tag in tags)
    return next((timeline for timeline in found if timeline is not None), None)


def explain_missing_control(tags: Sequence[Element], video: str) -> str | None:
    """Return why no tag of a label config takes objects on this video, None where there is no tag to mend."""
    reasons = (control.explain_unusable(tags, video) for control in CONTROLS if not control.ON_PICTURES)
    return next((reason for reason in reasons if reason is not None), None)


def control_for_type(region_type: str) -> type[Control] | None:
    """Return the control class of a region by the region's `type`, such as "brushlabels"; None for other types."""
    return _BY_TYPE.get(region_type)
