"""Tracks objects through a clip. The entry point is `propagate.propagate_all`."""
