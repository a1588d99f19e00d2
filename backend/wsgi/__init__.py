"""The layout that `label-studio-ml start` and gunicorn users expect."""
