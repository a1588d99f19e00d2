"""`refam work`: a worker without a server, for machines that share a Redis queue."""

from __future__ import annotations

import logging
import signal
import threading
from pathlib import Path

from backend.logging import configure_logging
from backend.runtime import Runtime
from backend.settings import Settings, SettingsError

log = logging.getLogger("refam.jobs")


def run(settings: Settings, *, metrics_port: int | None = None) -> None:
    """Works until SIGINT or SIGTERM. Raises SettingsError when the queue cannot be reached."""
    configure_logging(settings)
    runtime = Runtime(settings)
    try:
        waiting = runtime.queue.waiting()
    except Exception as error:
        where = "the queue (REFAM_QUEUE)" if settings.queue != "sqlite" else str(Path(settings.data_dir))
        raise SettingsError(f"{where} cannot be used: {type(error).__name__}: {error}") from None
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
