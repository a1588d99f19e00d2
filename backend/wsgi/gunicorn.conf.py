# ruff: noqa: N999 - gunicorn's own name for this file
"""How gunicorn runs `_wsgi:app`: gunicorn reads this file where it is started in this folder. Options win over it.

A request may wait for its job for a minute, and pages hold a connection open: the ASGI worker does both in one thread.
"""

from __future__ import annotations

import os

from backend.settings import load_settings

_settings = load_settings()

bind = f"{_settings.host}:{_settings.port}"
workers = int(os.environ.get("WORKERS") or 1)  # each loads the models; they share the queue of REFAM_DATA_DIR
worker_class = "asgi"
preload_app = True  # weights are fetched once; threads begin with the worker (see `lifespan` in backend.service.app)
keepalive = 75  # seconds: gunicorn's own 2 close a connection just as a busy client sends its next request
timeout = 120  # seconds without a sign of life: loading a model keeps the processor busy for long
