"""The videos of corrections, by the address that stands in their tasks."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

from backend.media.store import MediaError, MediaStore
from backend.settings import Settings
from video.io.probe import ClipError

if TYPE_CHECKING:
    from backend.feedback.store import StoredCorrection
    from video.io.reader import Clip

log = logging.getLogger("refam.loop")


@contextlib.contextmanager
def opener(settings: Settings) -> Iterator[Callable[[StoredCorrection], Clip | None]]:
    """What opens a row's video; None, and a line in the log, where it is gone or cannot be read.

    The files are kept until the block ends.
    """
    from video.io.reader import open_clip

    media = MediaStore(settings)
    clips: dict[str, Clip | None] = {}
    with contextlib.ExitStack() as held:

        def opened(row: StoredCorrection) -> Clip | None:
            if row.video not in clips:
                try:
                    clips[row.video] = open_clip(held.enter_context(media.local_file(row.video, task_id=row.task)))
                except (MediaError, ClipError) as error:
                    log.warning("task %s: %s", row.task, error)
                    clips[row.video] = None
            return clips[row.video]

        yield opened
