"""What `_wsgi.py` runs: the application for gunicorn, and the options of `label-studio-ml start`."""

from __future__ import annotations

import argparse
import logging
import os
from collections.abc import Sequence
from typing import Any

from fastapi import FastAPI

from backend.runtime import Runtime
from backend.service.app import configure_process, create_app, log_problems
from backend.settings import load_settings

log = logging.getLogger("refam.server")


def make_app() -> FastAPI:
    """Return the ASGI application of a gunicorn worker, configured by the environment. Loads no model.

    Raises:
        SettingsError: The environment cannot be used.
    """
    settings = load_settings()
    configure_process(settings, workers=True)
    runtime = Runtime(settings)
    runtime.fetch_segmenter()
    log.info("serving %s", runtime.model_version)
    log_problems(runtime)
    return create_app(settings, runtime)


def parse_arguments(arguments: Sequence[str]) -> dict[str, Any]:
    """Return settings by field from the options that `label-studio-ml start` passes on.

    Those of label-studio-ml's own `_wsgi.py` that have no meaning here end the process with a sentence.

    Args:
        arguments: The command line without the program.
    """
    parser = argparse.ArgumentParser(
        prog="_wsgi.py", description="Serve as a Label Studio ML backend. Everything else is set by REFAM_* variables."
    )
    parser.add_argument("-p", "--port", help="port to listen on")
    parser.add_argument("--host", help="address to listen on")
    parser.add_argument("--log-level", dest="log_level", help="as REFAM_LOG_LEVEL")
    parser.add_argument("--model-dir", dest="data_dir", help="as REFAM_DATA_DIR")
    for part in ("user", "pass"):
        variable = f"ML_SERVER_BASIC_AUTH_{part.upper()}"
        text = f"as REFAM_BASIC_AUTH_{part.upper()}; else {variable}"
        parser.add_argument(f"--basic-auth-{part}", default=os.environ.get(variable), help=text)
    for names in (("--kwargs", "--with"), ("-d", "--debug"), ("--check",)):
        parser.add_argument(*names, nargs="*", action=_NoMeaning, default=argparse.SUPPRESS, help=argparse.SUPPRESS)
    return {name: value for name, value in vars(parser.parse_args(arguments)).items() if value}


class _NoMeaning(argparse.Action):
    def __call__(self, parser: argparse.ArgumentParser, *_: Any, **__: Any) -> None:
        name = "/".join(self.option_strings)
        parser.error(f"{name} has no meaning here: set REFAM_* variables; `refam doctor` checks the installation")
