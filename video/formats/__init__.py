"""Annotation formats of videos: each module writes one and, where other tools write it, reads it."""
