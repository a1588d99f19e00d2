"""`refam serve`, `refam work` and `refam connect`: the commands of whoever runs the backend."""

from __future__ import annotations

from typing import Annotated

import typer

from backend.cli.console import one_line_errors, print_findings


def serve(
    host: Annotated[str | None, typer.Option(help="Address to listen on [env: REFAM_HOST; 127.0.0.1].")] = None,
    port: Annotated[int | None, typer.Option(help="Port to listen on [env: REFAM_PORT; 9090].")] = None,
    backbone: Annotated[str | None, typer.Option(help="See `refam label` [env: REFAM_BACKBONE].")] = None,
    sam2: Annotated[str | None, typer.Option(help="See `refam label` [env: REFAM_SAM2].")] = None,
    device: Annotated[str | None, typer.Option(help="See `refam label` [env: REFAM_DEVICE].")] = None,
) -> None:
    """Serve as a Label Studio ML backend. Everything else is set by REFAM_* variables (see README)."""
    with one_line_errors():
        from backend.service.app import run_server
        from backend.settings import load_settings

        given = {"host": host, "port": port, "backbone": backbone, "sam2": sam2, "device": device}
        run_server(load_settings(**{name: value for name, value in given.items() if value is not None}))


def work(
    backbone: Annotated[str | None, typer.Option(help="See `refam label` [env: REFAM_BACKBONE].")] = None,
    sam2: Annotated[str | None, typer.Option(help="See `refam label` [env: REFAM_SAM2].")] = None,
    device: Annotated[str | None, typer.Option(help="See `refam label` [env: REFAM_DEVICE].")] = None,
    metrics_port: Annotated[int | None, typer.Option(min=1, max=65535, help="Serve metrics for Prometheus.")] = None,
) -> None:
    """Work off the queue of REFAM_QUEUE, on as many machines as you like; ends with the job in hand given back."""
    with one_line_errors():
        from backend.cli.work import run
        from backend.settings import load_settings

        given = {"backbone": backbone, "sam2": sam2, "device": device}
        settings = load_settings(work=False, **{name: value for name, value in given.items() if value is not None})
        run(settings, metrics_port=metrics_port)


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
