"""The registry of control tags: each tag is found by its name, and each region by its type."""

from __future__ import annotations

import pytest

from backend.labelstudio.controls import CONTROLS, control_for_type
from backend.labelstudio.controls.base import Control
from backend.labelstudio.controls.bitmask import BitmaskControl
from backend.labelstudio.controls.brush import BrushControl
from backend.labelstudio.controls.polygon import PolygonControl
from backend.labelstudio.controls.video_rectangle import VideoRectangleControl
from backend.labelstudio.controls.video_vector import VideoVectorControl
from backend.labelstudio.label_config import parse_label_config


@pytest.mark.parametrize(
    ("tag", "control"),
    [
        ('<VideoRectangle name="c" toName="m"/>', VideoRectangleControl),
        ('<VideoVector name="c" toName="m" closable="true"/>', VideoVectorControl),
        (
            '<VideoVectorLabels name="c" toName="m" closable="true"><Label value="A"/></VideoVectorLabels>',
            VideoVectorControl,
        ),
        ('<Brush name="c" toName="m"/>', BrushControl),
        ('<BrushLabels name="c" toName="m"><Label value="A"/></BrushLabels>', BrushControl),
        ('<Polygon name="c" toName="m"/>', PolygonControl),
        ('<PolygonLabels name="c" toName="m"><Label value="A"/></PolygonLabels>', PolygonControl),
        ('<Bitmask name="c" toName="m"/>', BitmaskControl),
        ('<BitmaskLabels name="c" toName="m"><Label value="A"/></BitmaskLabels>', BitmaskControl),
    ],
)
def test_each_tag_is_recognised(tag: str, control: type[Control]) -> None:
    media = '<Image name="m" valueList="$f"/>' if control.ON_PICTURES else '<Video name="m" value="$f"/>'
    config = parse_label_config(f"<View>{media}{tag}</View>")
    assert type(config.control) is control
    assert (config.control.name, config.media, config.media_field) == ("c", "m", "f")
    assert control_for_type(config.control.tag) is control
    assert f'"{config.control.name}"' in config.control.description


def test_no_two_controls_share_a_tag() -> None:
    tags = [tag for control in CONTROLS for tag in control.TAGS]
    assert len(set(tags)) == len(tags)
    assert control_for_type("textarea") is None


def test_of_two_mask_tags_the_first_is_taken() -> None:
    tags = '<PolygonLabels name="p" toName="m"><Label value="A"/></PolygonLabels><Brush name="b" toName="m"/>'
    config = parse_label_config(f'<View><Image name="m" valueList="$f"/>{tags}</View>')
    assert isinstance(config.control, PolygonControl)
