"""What the names of files say of their content. Imports nothing, so that arguments are told apart at once."""

from __future__ import annotations

VIDEOS = frozenset(
    (
        *(".mp4", ".m4v", ".mov", ".mkv", ".webm", ".avi", ".mpg", ".mpeg", ".ts", ".m2ts", ".mts", ".wmv", ".flv"),
        *(".ogv", ".3gp", ".y4m", ".gif", ".apng", ".mxf", ".vob", ".asf", ".f4v"),
    )
)
"""Endings of video files, in lower case. Others are read as well, if they are named."""
PICTURES = frozenset((".jpg", ".jpeg", ".png", ".webp", ".bmp", ".tif", ".tiff", ".avif"))
"""Endings of pictures, in lower case. A file of them may also be a video: animated PNG, WebP and AVIF."""
