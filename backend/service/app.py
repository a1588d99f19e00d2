"""The HTTP application: routes for Label Studio and probes, middleware, errors, and the server that runs it.

Measured on Label Studio 1.23: GET /health must answer within 1 s and POST /setup within 3 s, both again whenever
somebody opens a page; a webhook delays every Submit by as long as it takes. So none of them touches a model. /setup
carries the creator's API token in clear: bodies are never logged.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from typing import Any

import uvicorn
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from pydantic import BaseModel, ConfigDict, field_validator, model_validator
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException

from backend.logging import configure_logging
from backend.runtime import Runtime
from backend.service.dashboard import dashboard_routes
from backend.service.middleware import BasicAuth, BodyLimit, RateLimit, RequestLog
from backend.service.model import RefAMBackend
from backend.service.surrogates import replace_surrogates
from backend.settings import Settings, ignored_aliases, read_aliases, unknown_variables
from refam.version import __version__

log = logging.getLogger("refam.server")


class _Body(BaseModel):
    """A body in which all text can be stored and printed: JSON may hold lone surrogates, which neither can be."""

    @model_validator(mode="before")
    @classmethod
    def _replace_surrogates(cls, body: Any) -> Any:
        return replace_surrogates(body)


class PredictBody(_Body):
    """What Label Studio posts to /predict. Other fields are ignored."""

    tasks: list[Any]
    label_config: str | None = None
    params: dict[str, Any] | None = None
    project: str | int | None = None

    @field_validator("tasks")
    @classmethod
    def _has_an_object(cls, tasks: list[Any]) -> list[Any]:
        """One bad task of several costs only itself; a list without any good one is no request."""
        if tasks and not any(isinstance(task, dict) for task in tasks):
            raise ValueError("each task must be an object")
        return tasks


class WebhookBody(_Body):
    """What Label Studio posts to /webhook: an action, and fields that depend on it."""

    model_config = ConfigDict(extra="allow")

    action: str

    def payload(self) -> dict[str, Any]:
        """Return all fields but the action."""
        return dict(self.model_extra or {})


def create_app(settings: Settings, runtime: Runtime | None = None) -> FastAPI:
    """Return the application. Starting it loads no model.

    Args:
        settings: The server's authentication and limits.
        runtime: Models and jobs; made from the settings unless given.
    """
    runtime = runtime or Runtime(settings)

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        await run_in_threadpool(lambda: runtime.queue)  # jobs that an earlier process left go on at once
        await run_in_threadpool(lambda: runtime.collector)
        yield
        await run_in_threadpool(runtime.close)

    app = FastAPI(title="RefAM for Label Studio", version=__version__, docs_url=None, redoc_url=None, lifespan=lifespan)
    _add_errors(app)
    _add_routes(app, runtime)
    # The last one added is the outermost: every answer is logged, also those of the other middleware.
    app.add_middleware(BodyLimit, max_bytes=int(settings.max_body_mb * 1e6))
    if settings.basic_auth_user is not None and settings.basic_auth_pass is not None:
        app.add_middleware(
            BasicAuth, user=settings.basic_auth_user, password=settings.basic_auth_pass.get_secret_value()
        )
    if settings.rate_per_minute:
        app.add_middleware(RateLimit, per_minute=settings.rate_per_minute)
    app.add_middleware(RequestLog)
    return app


def run_server(settings: Settings, *, prepare: Callable[[Runtime], None] | None = None) -> None:
    """Serve until SIGINT or SIGTERM; requests that are under way are answered first.

    Args:
        settings: What the process is configured with.
        prepare: Called before the server listens.
    """
    configure_process(settings)
    runtime = Runtime(settings)
    if prepare is not None:
        prepare(runtime)
    log.info("serving %s on %s:%d", runtime.model_version, settings.host, settings.port)
    log_problems(runtime)
    _Server(settings, runtime).run()


def configure_process(settings: Settings, *, workers: bool = False) -> None:
    """Configure the log, and say there which variables of the environment are not read as they may be meant.

    Args:
        settings: What the process is configured with.
        workers: Whether WORKERS has been read, as gunicorn.conf.py does.
    """
    configure_logging(settings)
    for name in unknown_variables():
        log.warning("%s is set, but no setting has that name", name)
    for sentence in read_aliases():
        log.info("%s", sentence)
    for sentence in ignored_aliases(workers=workers):
        log.warning("%s", sentence)


def log_problems(runtime: Runtime) -> None:
    """Log what is wrong before the first request."""
    for problem in runtime.ready()["problems"]:
        log.warning("%s", problem)


class BackgroundServer:
    """The application on a thread of this process, for demos and tests. A context manager.

    Attributes:
        url: Its address.

    Raises:
        RuntimeError: It cannot listen.
    """

    def __init__(self, settings: Settings, runtime: Runtime | None = None) -> None:
        self.url = f"http://{settings.host}:{settings.port}"
        self._server = _Server(settings, runtime or Runtime(settings))
        self._thread = threading.Thread(target=self._server.run, name="refam-server", daemon=True)

    def __enter__(self) -> BackgroundServer:
        self._thread.start()
        while not self._server.started:
            if not self._thread.is_alive():
                raise RuntimeError(f"the backend could not listen at {self.url}: is the port taken?")
            time.sleep(0.02)
        return self

    def __exit__(self, *_: object) -> None:
        self._server.should_exit = True
        self._thread.join()  # each part of its end has a limit; the last one gives the running job back


class _Server(uvicorn.Server):
    """On a stop first answers the requests that wait for a job, and ends the live connections of open pages."""

    def __init__(self, settings: Settings, runtime: Runtime) -> None:
        super().__init__(uvicorn.Config(create_app(settings, runtime), **_uvicorn_options(settings)))
        self._runtime = runtime

    async def shutdown(self, sockets: Any = None) -> None:
        """See uvicorn."""
        self._runtime.closing.set()
        await super().shutdown(sockets)


def _uvicorn_options(settings: Settings) -> dict[str, Any]:
    return {
        "host": settings.host,
        "port": settings.port,
        "log_config": None,
        "access_log": False,  # `RequestLog` writes them, with a request's id and without its query
        "server_header": False,
        "timeout_graceful_shutdown": 10,
    }


def _add_routes(app: FastAPI, runtime: Runtime) -> None:
    app.include_router(dashboard_routes(runtime))

    @app.get("/health")
    async def health() -> dict[str, str]:
        return {"status": "UP", "version": __version__}

    @app.get("/ready")
    async def ready() -> JSONResponse:
        state = runtime.ready()
        return JSONResponse(state, status_code=200 if state["ready"] else 503)

    @app.post("/setup")
    async def setup() -> dict[str, str]:
        return {"model_version": runtime.model_version}  # the body holds a token: it is not read

    @app.get("/versions")
    async def versions() -> dict[str, list[str]]:
        return {"versions": [runtime.model_version]}

    @app.post("/predict")
    async def predict(body: PredictBody) -> dict[str, Any]:
        results = await run_in_threadpool(_predict, runtime, body)
        return {"results": results, "model_version": runtime.model_version}

    @app.post("/webhook", status_code=201)
    async def webhook(body: WebhookBody) -> dict[str, Any]:
        log.info("webhook %s", body.action[:60])
        # Submit waits for this: storing an annotation is one small write, it is compared later.
        return await run_in_threadpool(RefAMBackend(runtime=runtime).fit, body.action, body.payload())


def _predict(runtime: Runtime, body: PredictBody) -> list[dict[str, Any]]:
    context = (body.params or {}).get("context")
    return RefAMBackend(runtime=runtime).predict(
        body.tasks,
        context=context if isinstance(context, Mapping) else None,
        label_config=body.label_config,
        project=body.project,
    )


def _describe_unread_body(error: BaseException | None) -> str | None:
    """Say why a body could not be read where FastAPI says only that; None for other errors."""
    if isinstance(error, RecursionError):
        return "the body is JSON that is nested too deeply"
    if isinstance(error, UnicodeDecodeError):
        return "the body is no UTF-8 text"
    if isinstance(error, ValueError):  # Python reads no integer of more than 4300 digits
        return "the body has a number with too many digits"
    return None


def _describe_invalid(error: Mapping[str, Any]) -> str:
    """Say what is wrong with a field of a body, or with a body that is no JSON."""
    if error["type"] == "json_invalid":
        why = f"{error['ctx']['error']} at character {error['loc'][-1]}"
        return f"the body is no JSON ({why}): a JSON object is expected, sent as application/json"
    if error["loc"] == ("body",) and error["type"] == "missing":
        return "the body is empty: a JSON object is expected, sent as application/json"
    return f"{'.'.join(str(x) for x in error['loc'])}: {error['msg']}"


def _add_errors(app: FastAPI) -> None:
    @app.exception_handler(HTTPException)
    async def http_error(_: Request, error: HTTPException) -> JSONResponse:
        text = _describe_unread_body(error.__cause__) or str(error.detail)
        return JSONResponse({"error": text}, status_code=error.status_code, headers=error.headers)

    @app.exception_handler(RequestValidationError)
    async def invalid_body(_: Request, error: RequestValidationError) -> JSONResponse:
        # Values are left out: a body may hold secrets.
        text = "; ".join(map(_describe_invalid, error.errors()[:5]))
        return JSONResponse({"error": text}, status_code=422)

    @app.exception_handler(Exception)
    async def unexpected_error(request: Request, error: Exception) -> JSONResponse:
        log.error("request %s failed", request.scope.get("request_id"), exc_info=error)
        text = f"an error of this backend: its log says more (request {request.scope.get('request_id')})"
        # This handler runs outside of `RequestLog`, which gives other answers their id.
        return JSONResponse({"error": text}, status_code=500, headers={"X-Request-ID": request.scope["request_id"]})
