"""What the loop asks Label Studio for."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import httpx

from backend.feedback.next_tasks import WaitingTask, waiting_of
from backend.labelstudio.client import label_studio_client
from backend.labelstudio.config_xml import LabelConfigError
from backend.labelstudio.label_config import LabelConfig, parse_label_config
from backend.labelstudio.request import FALLBACK_FIELDS
from backend.settings import Settings
from video.errors import UserError

_REFUSED = {401: "the token is refused", 403: "the token may not see it", 404: "there is no such project"}


class FeedbackError(UserError):
    """The project cannot be read, or nothing can be learnt from it; a sentence for people."""


@contextmanager
def asking(settings: Settings, project: int) -> Iterator[tuple[Any, LabelConfig]]:
    """Label Studio's client and the project's label config; what goes wrong in the block becomes a FeedbackError."""
    from label_studio_sdk.core.api_error import ApiError

    studio = label_studio_client(settings)
    if studio is None:
        raise FeedbackError("set LABEL_STUDIO_URL and LABEL_STUDIO_API_KEY, of somebody who may see the project")
    try:
        yield studio, parse_label_config(studio.projects.get(id=project).label_config)
    except ApiError as error:
        raise FeedbackError(f"project {project}: {_REFUSED.get(error.status_code or 0, error.status_code)}") from None
    except httpx.HTTPError as error:
        raise FeedbackError(f"{settings.label_studio_url} cannot be reached: {type(error).__name__}") from None
    except LabelConfigError as error:
        raise FeedbackError(f"project {project}: {error}") from None


def waiting(settings: Settings, project: int) -> list[WaitingTask]:
    """The project's tasks that have a prediction and no annotation. Raises FeedbackError."""
    with asking(settings, project) as (studio, config):
        tasks = list(studio.tasks.list(project=project, fields="all", page_size=500))
        predictions = list(studio.predictions.list(project=project))
    fields = (*config.word_fields, *FALLBACK_FIELDS)
    return waiting_of(tasks, predictions, video_field=config.media_field, word_fields=fields)
