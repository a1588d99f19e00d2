"""Talking to Label Studio: its own client, the `Authorization` header, and drafts.

A legacy token is sent as it is. A personal access token is a JWT *refresh* token: it is exchanged for an access token
that lives some minutes (300 s measured), which is renewed before it expires.
"""

from __future__ import annotations

import base64
import binascii
import json
import logging
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import httpx
from pydantic import SecretStr

from backend.labelstudio.editor_state import drafts_of_caller
from backend.settings import Settings
from video.errors import UserError

if TYPE_CHECKING:
    from label_studio_sdk import LabelStudio

log = logging.getLogger("refam.jobs")

HOW_TO_GET_ACCESS = (
    "copy a token from Account & Settings > Personal Access Token; a legacy token is valid only where the organization "
    "allows them"
)
"""What to do where Label Studio refuses a token."""
_RENEW_BEFORE_S = 30.0  # renewed this long before it expires, so that it does not expire on its way
_DEFAULT_LIFE_S = 90.0  # for an access token that does not say when it expires


def label_studio_client(settings: Settings) -> LabelStudio | None:
    """Return Label Studio's own client, which takes either kind of token; None if address or token is not set.

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

    Attributes:
        transient: Whether another try may succeed.
    """

    def __init__(self, message: str, *, transient: bool = False) -> None:
        super().__init__(message)
        self.transient = transient


class LabelStudioAuth:
    """The `Authorization` header for one Label Studio. Safe to use from several threads.

    Args:
        url: Label Studio's address.
        token: A legacy token or a personal access token.
        clock: Returns Unix seconds.
    """

    def __init__(self, url: str, token: SecretStr, *, clock: Callable[[], float] = time.time) -> None:
        self.url = url.rstrip("/")
        self._token = token
        self._clock = clock
        self._access_token, self._expires_at = "", 0.0
        self._lock = threading.Lock()

    @classmethod
    def from_settings(cls, settings: Settings) -> LabelStudioAuth | None:
        """Return the one for the Label Studio of the settings, None if its address or token is not set."""
        if settings.label_studio_url is None or settings.label_studio_api_key is None:
            return None
        return cls(settings.label_studio_url, settings.label_studio_api_key)

    @property
    def kind(self) -> str:
        """The kind of token: "personal" for a personal access token, else "legacy"."""
        return "personal" if _jwt_payload(self._token.get_secret_value()) is not None else "legacy"

    def header(self) -> str:
        """Return the value of the `Authorization` header.

        Raises:
            LabelStudioAuthError: If a personal access token cannot be exchanged.
        """
        if self.kind == "legacy":
            return f"Token {self._token.get_secret_value()}"
        with self._lock:
            if self._clock() > self._expires_at - _RENEW_BEFORE_S:
                self._renew()
            return f"Bearer {self._access_token}"

    def _renew(self) -> None:
        address = f"{self.url}/api/token/refresh/"
        try:
            with httpx.Client(trust_env=False, timeout=15) as http:
                answer = http.post(address, json={"refresh": self._token.get_secret_value()})
        except httpx.HTTPError as error:
            text = f"{address} cannot be reached: {type(error).__name__}"
            raise LabelStudioAuthError(text, transient=True) from None
        if answer.status_code in (401, 403):
            raise LabelStudioAuthError(f"LABEL_STUDIO_API_KEY is not valid (any longer) at {self.url}: make a new one")
        try:
            access_token = str(answer.raise_for_status().json()["access"])
        except (httpx.HTTPError, ValueError, KeyError, TypeError):
            text = f"{address} answered {answer.status_code} without an access token"
            raise LabelStudioAuthError(text, transient=answer.status_code >= 500) from None
        expires_at = (_jwt_payload(access_token) or {}).get("exp")
        self._access_token = access_token
        if isinstance(expires_at, int | float):
            self._expires_at = float(expires_at)
        else:
            self._expires_at = self._clock() + _DEFAULT_LIFE_S


def _jwt_payload(token: str) -> dict[str, object] | None:
    """Return the payload of a JWT, unchecked (only Label Studio can check it); None for what is no JWT."""
    parts = token.split(".")
    if len(parts) != 3:
        return None
    try:
        payload = json.loads(base64.urlsafe_b64decode(parts[1] + "=" * (-len(parts[1]) % 4)))
    except (binascii.Error, ValueError):
        return None
    return payload if isinstance(payload, dict) else None


class DraftReader:
    """Reads the drafts of a task that Label Studio does not send along with a request.

    The editor saves a draft 5 s after a change, also while an interactive call is under way (measured on 1.23.2). So a
    box that was put right just before Enter is not in the request, and an answer to that request alone would undo it.
    """

    def __init__(self, settings: Settings) -> None:
        self._auth = LabelStudioAuth.from_settings(settings)

    @property
    def available(self) -> bool:
        """Whether there is an address and a token to ask with."""
        return self._auth is not None

    def newer_drafts(
        self, task: Mapping[str, Any], context: Mapping[str, Any] | None = None
    ) -> list[Mapping[str, Any]] | None:
        """Return the caller's drafts of a task if one was saved since the request was made; None if none was.

        None is returned, too, where they cannot be read.

        Args:
            task: The task as the request holds it.
            context: The context of the interactive call.
        """
        identity = task.get("id")
        if self._auth is None or not isinstance(identity, int):
            return None
        try:
            with httpx.Client(trust_env=False, timeout=5) as http:
                address = f"{self._auth.url}/api/tasks/{identity}/drafts"
                answer = http.get(address, headers={"Authorization": self._auth.header()})
                content = answer.raise_for_status().json()
        except (httpx.HTTPError, LabelStudioAuthError, ValueError) as error:
            log.warning("task %s: its drafts cannot be read: %s", identity, type(error).__name__)
            return None
        # Label Studio lists the drafts of all users here, and only the caller's in the request (1.23.2).
        listed = [draft for draft in content if isinstance(draft, Mapping)] if isinstance(content, list) else []
        drafts = drafts_of_caller(listed, task, context)
        return drafts if _versions(drafts) - _versions(task.get("drafts")) else None


def _versions(drafts: Any) -> set[tuple[Any, Any]]:
    """Return the id and time of each draft."""
    if not isinstance(drafts, Sequence):
        return set()
    return {(draft.get("id"), draft.get("updated_at")) for draft in drafts if isinstance(draft, Mapping)}
