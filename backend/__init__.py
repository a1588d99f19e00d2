"""The backend: the only floor that knows Label Studio."""
