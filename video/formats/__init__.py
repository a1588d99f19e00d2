"""File formats of annotated videos: a module each, that writes it and, where others write it, reads it."""
