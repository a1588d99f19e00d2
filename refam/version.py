"""The package's version; a module of its own, so that every other can import it."""

__version__ = "0.3.0"
