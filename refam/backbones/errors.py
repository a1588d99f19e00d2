"""The error of this package."""

from __future__ import annotations

from video.errors import UserError


class BackboneError(UserError):
    """A backbone cannot be loaded or used; the message says what to do."""
