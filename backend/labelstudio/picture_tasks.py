"""Tasks that show a video as a list of pictures: their JPEG files and the label config that takes masks on them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from video.io.reader import Clip

MaskTag = Literal["brush", "polygon", "bitmask"]
_TAGS = {"brush": "BrushLabels", "polygon": "PolygonLabels", "bitmask": "BitmaskLabels"}
_JPEG_QUALITY = 95


def write_frames(clip: Clip, chosen: list[int], folder: Path) -> list[str]:
    """Write frames as JPEG files, in the shape in which players show them, and return their names.

    Args:
        clip: The video.
        chosen: Frame numbers, 0-based, which name the files.
        folder: Where to write; it is made if it does not exist.
    """
    from video.io.display import resize_image  # OpenCV, which the command line's help does not need

    folder.mkdir(parents=True, exist_ok=True)
    names = []
    for indices, images in clip.batches(chosen):
        for i, image in zip(indices, images, strict=True):
            names.append(f"{int(i):06}.jpg")
            (folder / names[-1]).write_bytes(encode_jpeg(resize_image(image, clip.display_size)))
    return names


def encode_jpeg(image: NDArray[np.uint8]) -> bytes:
    """Return an image (H, W, 3) uint8 RGB as a JPEG of quality 95."""
    from video import images  # OpenCV, which the command line's help does not need

    return images.encode_jpeg(image, quality=_JPEG_QUALITY)


def build_mask_label_config(labels: list[str], masks: MaskTag) -> str:
    """Return a label config for such a task: words above the pictures, these labels, this way to keep masks.

    Args:
        labels: The labels to offer.
        masks: How the editor keeps masks.
    """
    from xml.sax.saxutils import quoteattr  # imports urllib, which the command line's help does not need

    choices = "\n".join(f"    <Label value={quoteattr(name)}/>" for name in dict.fromkeys(labels))
    return f"""<View>
  <TextArea name="words" toName="image" value="$prompt" editable="true" maxSubmissions="1"
            placeholder="What to find, for example: the red star"/>
  <{_TAGS[masks]} name="mask" toName="image">
{choices}
  </{_TAGS[masks]}>
  <Image name="image" valueList="$frames"/>
</View>
"""
