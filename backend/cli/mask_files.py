"""Read the pictures that --mask names."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image, UnidentifiedImageError

from refam.pipeline.errors import PromptError
from video.masks import Mask


def read_mask(path: Path) -> Mask:
    """Read a mask from a picture: its white pixels, or the opaque ones, or those of any index but 0.

    In a picture of nothing but 0 and 1, these are the mask.

    Returns:
        (H, W) bool.

    Raises:
        PromptError: If the file is missing or no picture.
    """
    try:
        with Image.open(path) as picture:
            picture.load()
            if picture.mode == "P" and "transparency" not in picture.info:
                return np.asarray(picture) > 0
            has_alpha = "A" in picture.getbands() or "transparency" in picture.info
            if has_alpha and (clear := np.asarray(picture.convert("RGBA"))[..., 3] < 128).any():
                return np.asarray(~clear, np.bool_)
            deep = picture.mode.startswith(("I", "F"))
            grey = np.asarray(picture if deep else picture.convert("L"))
    except FileNotFoundError:
        raise PromptError(f"--mask: there is no file {path}") from None
    except (OSError, UnidentifiedImageError, Image.DecompressionBombError) as error:
        raise PromptError(f"--mask: {path} cannot be read as a picture: {error}") from None
    return np.asarray(grey > 0 if grey.max() <= 1 else grey >= (32768 if deep else 128), np.bool_)
