"""The error of this package."""

from __future__ import annotations


class BackboneError(ValueError):
    """A backbone cannot be loaded or used; the message says what to do."""
