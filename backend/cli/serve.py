"""`refam serve`, `refam work` and `refam connect`: run the backend, run a worker alone, connect a project."""

from __future__ import annotations

import logging
import signal
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from backend.cli.console import GivenDevice, NoDownload, fetch_at_start, given_settings, one_line_errors, print_findings
from refam.pipeline.device import require_device

if TYPE_CHECKING:
    from backend.runtime import Runtime
    from backend.settings import Settings

log = logging.getLogger("refam.jobs")


def serve(
    host: Annotated[str | None, typer.Option(help="Address to listen on \\[env: REFAM_HOST; 127.0.0.1].")] = None,
    port: Annotated[int | None, typer.Option(help="Port to listen on \\[env: REFAM_PORT; 9090].")] = None,
    backbone: Annotated[str | None, typer.Option(help="See `refam label` \\[env: REFAM_BACKBONE].")] = None,
    sam2: Annotated[str | None, typer.Option(help="See `refam label` \\[env: REFAM_SAM2].")] = None,
    device: GivenDevice = None,
    no_download: NoDownload = False,
) -> None:
    """Serve as a Label Studio ML backend.

    Everything else is set by REFAM_* variables (see backend/guides/operations.md).
    """
    with one_line_errors():
        from backend.settings import load_settings

        given = {"host": host, "port": port, "backbone": backbone, "sam2": sam2, "device": device}
        settings = load_settings(**given_settings(given, no_download))
        if settings.work:  # else the models are on the workers' machines
            require_device(settings.device)
        from backend.service.app import run_server

        run_server(settings, prepare=fetch_at_start)


def work(
    backbone: Annotated[str | None, typer.Option(help="See `refam label` \\[env: REFAM_BACKBONE].")] = None,
    sam2: Annotated[str | None, typer.Option(help="See `refam label` \\[env: REFAM_SAM2].")] = None,
    device: GivenDevice = None,
    metrics_port: Annotated[int | None, typer.Option(min=1, max=65535, help="Serve metrics for Prometheus.")] = None,
    no_download: NoDownload = False,
) -> None:
    """Work off the queue of REFAM_QUEUE, on as many machines as you like; ends with the job in hand given back."""
    with one_line_errors():
        from backend.settings import load_settings

        given = {"backbone": backbone, "sam2": sam2, "device": device}
        settings = load_settings(work=False, **given_settings(given, no_download))
        require_device(settings.device)
        run_worker(settings, metrics_port=metrics_port)


def connect(
    project: Annotated[int, typer.Option(min=1, help="Number of the project, as in its address.", show_default=False)],
    url: Annotated[
        str, typer.Option(help="This backend's address as Label Studio reaches it.")
    ] = "http://localhost:9090",
) -> None:
    """Make this backend a project's model: model, interactive mode, the webhook's password; and say what was found.

    Takes LABEL_STUDIO_URL, LABEL_STUDIO_API_KEY, REFAM_BASIC_AUTH_USER and _PASS from the environment. May be repeated.
    """
    with one_line_errors():
        from backend.labelstudio.connect import connect as wire
        from backend.settings import load_settings

        wrong = print_findings((found.state, found.text) for found in wire(load_settings(), project, url=url))
        if wrong:
            raise typer.Exit(1)


def run_worker(settings: Settings, *, metrics_port: int | None = None) -> None:
    """Process jobs until SIGINT or SIGTERM. Raises SettingsError if the queue cannot be reached."""
    from backend.logging import configure_logging
    from backend.runtime import Runtime
    from backend.settings import SettingsError

    configure_logging(settings)
    runtime = Runtime(settings)
    try:
        waiting = runtime.queue.waiting()
    except Exception as error:
        where = "the queue (REFAM_QUEUE)" if settings.queue != "sqlite" else str(Path(settings.data_dir))
        raise SettingsError(f"{where} cannot be used: {type(error).__name__}: {error}") from None
    fetch_at_start(runtime)
    worker = runtime.make_worker()
    stop = threading.Event()
    for name in (signal.SIGINT, signal.SIGTERM):
        signal.signal(name, lambda *_: stop.set())
    if metrics_port is not None:
        _serve_metrics(runtime, metrics_port)
    worker.start()
    log.info("working as %s with %s; %d job(s) wait", worker.name, runtime.model_version, waiting)
    stop.wait()
    log.info("stopping: the job in hand goes back to the queue")
    worker.stop(wait_s=60.0)
    runtime.close()


def _serve_metrics(runtime: Runtime, port: int) -> None:
    from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            body = runtime.metrics()
            self.send_response(200)
            self.send_header("Content-Type", "text/plain; version=0.0.4; charset=utf-8")
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", port), Handler)
    threading.Thread(target=server.serve_forever, name="refam-metrics", daemon=True).start()
