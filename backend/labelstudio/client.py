"""Label Studio's token, turned into the header that it wants now.

A legacy token is sent as it is. A personal access token is a JWT *refresh* token: it buys an access token
that lives some minutes (300 s measured), which is bought again before it ends.
"""

from __future__ import annotations

import base64
import binascii
import json
import threading
import time
from collections.abc import Callable
from typing import TYPE_CHECKING

import httpx
from pydantic import SecretStr

from backend.settings import Settings
from video.errors import UserError

if TYPE_CHECKING:
    from label_studio_sdk import LabelStudio
import logging
from collections.abc import Mapping, Sequence
from typing import Any

_MARGIN_S = 30.0  # renewed this long before it ends, so that it does not end on its way
_UNKNOWN_LIFE_S = 90.0  # for an access token that does not say when it ends


def label_studio_client(settings: Settings) -> LabelStudio | None:
    """Label Studio's own client, which takes either kind of token; None where address or token is not set.

    Environment proxies are not used: the token goes to Label Studio and nowhere else.
    """
    if settings.label_studio_url is None or settings.label_studio_api_key is None:
        return None
    from label_studio_sdk import LabelStudio

    http = httpx.Client(trust_env=False, timeout=30.0)
    key = settings.label_studio_api_key.get_secret_value()
    return LabelStudio(base_url=settings.label_studio_url, api_key=key, httpx_client=http)


class LabelStudioAuthError(UserError):
    """Label Studio refused the token or could not be asked; the message never holds the token.

    transient: whether it may heal by itself.
    """

    def __init__(self, message: str, *, transient: bool = False) -> None:
        super().__init__(message)
        self.transient = transient


class LabelStudioAuth:
    """The `Authorization` header for one Label Studio. Safe to use from several threads."""

    def __init__(self, url: str, token: SecretStr, *, clock: Callable[[], float] = time.time) -> None:
        self.url = url.rstrip("/")
        self._token = token
        self._clock = clock
        self._access, self._ends_at = "", 0.0
        self._lock = threading.Lock()

    @classmethod
    def from_settings(cls, settings: Settings) -> LabelStudioAuth | None:
        """For the Label Studio of the settings; None where its address or token is not set."""
        if settings.label_studio_url is None or settings.label_studio_api_key is None:
            return None
        return cls(settings.label_studio_url, settings.label_studio_api_key)

    @property
    def kind(self) -> str:
        """`personal` for a personal access token, else `legacy`."""
        return "personal" if _claims(self._token.get_secret_value()) is not None else "legacy"

    def header(self) -> str:
        """The value of `Authorization`. Raises LabelStudioAuthError when a personal access token cannot be renewed."""
        if self.kind == "legacy":
            return f"Token {self._token.get_secret_value()}"
        with self._lock:
            if self._clock() > self._ends_at - _MARGIN_S:
                self._renew()
            return f"Bearer {self._access}"

    def _renew(self) -> None:
        address = f"{self.url}/api/token/refresh/"
        try:
            with httpx.Client(trust_env=False, timeout=15) as http:
                answer = http.post(address, json={"refresh": self._token.get_secret_value()})
        except httpx.HTTPError as error:
            raise LabelStudioAuthError(f"{address} cannot be reached: {type(error).__name__}", transient=True) from None
        if answer.status_code in (401, 403):
            raise LabelStudioAuthError(f"LABEL_STUDIO_API_KEY is not valid (any longer) at {self.url}: make a new one")
        try:
            access = str(answer.raise_for_status().json()["access"])
        except (httpx.HTTPError, ValueError, KeyError, TypeError):
            text = f"{address} answered {answer.status_code} without an access token"
            raise LabelStudioAuthError(text, transient=answer.status_code >= 500) from None
        ends = (_claims(access) or {}).get("exp")
        self._access = access
        known = isinstance(ends, int | float)
        self._ends_at = float(ends) if known else self._clock() + _UNKNOWN_LIFE_S  # type: ignore[arg-type]


def _claims(token: str) -> dict[str, object] | None:
    """The payload of a JWT, unchecked (only Label Studio can check it); None for what is no JWT."""
    parts = token.split(".")
    if len(parts) != 3:
        return None
    try:
        payload = json.loads(base64.urlsafe_b64decode(parts[1] + "=" * (-len(parts[1]) % 4)))
    except (binascii.Error, ValueError):
        return None
    return payload if isinstance(payload, dict) else None


log = logging.getLogger("refam.jobs")


class DraftReader:
    """Reads drafts with the token; without one it knows none."""

    def __init__(self, settings: Settings) -> None:
        self._access = LabelStudioAuth.from_settings(settings)

    @property
    def available(self) -> bool:
        """Whether there is an address and a token to ask with."""
        return self._access is not None

    def newer_drafts(self, task: Mapping[str, Any]) -> list[dict[str, Any]] | None:
        """The task's drafts, if one was saved since the request was made; None if not, or if it cannot be known."""
        identity = task.get("id")
        if self._access is None or not isinstance(identity, int):
            return None
        try:
            with httpx.Client(trust_env=False, timeout=5) as http:
                address = f"{self._access.url}/api/tasks/{identity}/drafts"
                answer = http.get(address, headers={"Authorization": self._access.header()})
                found = answer.raise_for_status().json()
        except (httpx.HTTPError, LabelStudioAuthError, ValueError) as error:
            log.warning("task %s: its drafts cannot be read: %s", identity, type(error).__name__)
            return None
        drafts = [draft for draft in found if isinstance(draft, dict)] if isinstance(found, list) else []
        return drafts if _stamps(drafts) - _stamps(task.get("drafts")) else None


def _stamps(drafts: Any) -> set[tuple[Any, Any]]:
    if not isinstance(drafts, Sequence):
        return set()
    return {(draft.get("id"), draft.get("updated_at")) for draft in drafts if isinstance(draft, Mapping)}
