"""The annotator's last strokes, which Label Studio does not have yet when the words come.

The editor saves a draft 5 s after a change, also while an interactive call is under way (measured on 1.23.2). So a box
that was put right just before Enter is not in the request, and an answer to that request alone would undo it.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from typing import Any

import httpx

from backend.labelstudio.client import AccessError, StudioAccess
from backend.settings import Settings

log = logging.getLogger("refam.jobs")


class DraftReader:
    """Reads drafts with the token; without one it knows none."""

    def __init__(self, settings: Settings) -> None:
        self._access = StudioAccess.of(settings)

    @property
    def possible(self) -> bool:
        """Whether there is an address and a token to ask with."""
        return self._access is not None

    def newer(self, task: Mapping[str, Any]) -> list[dict[str, Any]] | None:
        """The task's drafts, if one was saved since the request was made; None if not, or if it cannot be known."""
        identity = task.get("id")
        if self._access is None or not isinstance(identity, int):
            return None
        try:
            with httpx.Client(trust_env=False, timeout=5) as http:
                address = f"{self._access.url}/api/tasks/{identity}/drafts"
                answer = http.get(address, headers={"Authorization": self._access.header()})
                found = answer.raise_for_status().json()
        except (httpx.HTTPError, AccessError, ValueError) as error:
            log.warning("task %s: its drafts cannot be read: %s", identity, type(error).__name__)
            return None
        drafts = [draft for draft in found if isinstance(draft, dict)] if isinstance(found, list) else []
        return drafts if _stamps(drafts) - _stamps(task.get("drafts")) else None


def _stamps(drafts: Any) -> set[tuple[Any, Any]]:
    if not isinstance(drafts, Sequence):
        return set()
    return {(draft.get("id"), draft.get("updated_at")) for draft in drafts if isinstance(draft, Mapping)}
