"""The backend: the only room that knows Label Studio."""

__version__ = "0.1.0"
