"""The file that `label-studio-ml start` and gunicorn run: see "label-studio-ml and gunicorn" in guides/operations.md.

label-studio-ml start backend/wsgi      # runs `python backend/wsgi/_wsgi.py`
cd backend/wsgi && gunicorn _wsgi:app   # with the gunicorn.conf.py beside this file
"""

from __future__ import annotations

import sys

from backend.runtime import Runtime
from backend.service.app import run_server
from backend.settings import load_settings
from backend.wsgi.application import make_app, parse_arguments
from video.errors import UserError

try:
    if __name__ == "__main__":
        run_server(load_settings(**parse_arguments(sys.argv[1:])), prepare=Runtime.fetch_segmenter)
    else:
        app = make_app()
except UserError as error:
    sys.exit(str(error))
