"""What the loop asks Label Studio for."""

from __future__ import annotations

import httpx

from backend.access import studio_client
from backend.labels import LabelConfigError, parse_label_config
from backend.loop.order import Waiting, waiting_of
from backend.request import FALLBACK_FIELDS
from backend.settings import Settings


class LoopError(ValueError):
    """The project cannot be read, or nothing can be learnt from it; a sentence for people."""


def waiting(settings: Settings, project: int) -> list[Waiting]:
    """The project's tasks that have a prediction and no annotation. Raises LoopError."""
    from label_studio_sdk.core.api_error import ApiError

    studio = studio_client(settings)
    if studio is None:
        raise LoopError("set LABEL_STUDIO_URL and LABEL_STUDIO_API_KEY, of somebody who may see the project")
    try:
        config = parse_label_config(studio.projects.get(id=project).label_config)
        tasks = list(studio.tasks.list(project=project, fields="all", page_size=500))
        predictions = list(studio.predictions.list(project=project))
    except ApiError as error:
        known = {401: "the token is refused", 403: "the token may not see it", 404: "there is no such project"}
        raise LoopError(f"project {project}: {known.get(error.status_code or 0, error.status_code)}") from None
    except httpx.HTTPError as error:
        raise LoopError(f"{settings.label_studio_url} cannot be reached: {type(error).__name__}") from None
    except LabelConfigError as error:
        raise LoopError(f"project {project}: {error}") from None
    fields = (*config.word_fields, *FALLBACK_FIELDS)
    return waiting_of(tasks, predictions, video_field=config.video_field, word_fields=fields)
