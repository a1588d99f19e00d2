"""A media address in a task becomes a local file: checked, fetched within limits, cached."""
