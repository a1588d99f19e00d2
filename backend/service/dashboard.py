"""The dashboard at / and what it reads: jobs as JSON, their thumbnails, live changes; and metrics."""

from __future__ import annotations

import asyncio
import json
import secrets
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

from fastapi import APIRouter, Header, HTTPException, Request, Response
from fastapi.responses import HTMLResponse, JSONResponse, StreamingResponse
from starlette.concurrency import run_in_threadpool

from backend.jobs.models import JobRecord
from backend.runtime import Runtime
from refam.version import __version__

_PAGE = Path(__file__).with_name("dashboard.html")
_POLL_S = 0.5  # between two snapshots of the jobs for an open page
_MAX_JOBS = 200  # on the page and in /jobs
_KEEP_ALIVE_S = 15.0  # of silence, after which a comment is sent so that proxies keep the connection


def dashboard_routes(runtime: Runtime) -> APIRouter:
    """Return the routes for people and for Prometheus."""
    router = APIRouter()

    @router.get("/", response_model=None)
    async def root(request: Request) -> Response:
        """The dashboard for a browser; for Label Studio and probes the answer of /health."""
        if "text/html" not in request.headers.get("accept", ""):
            return JSONResponse({"status": "UP", "version": __version__})
        nonce = secrets.token_urlsafe(16)
        policy = (
            f"default-src 'none'; script-src 'nonce-{nonce}'; style-src 'nonce-{nonce}'; img-src 'self' data:; "
            "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
        )
        page = _PAGE.read_text(encoding="utf-8").replace("{{nonce}}", nonce)
        return HTMLResponse(page, headers={"Content-Security-Policy": policy, "Referrer-Policy": "no-referrer"})

    @router.get("/jobs")
    async def jobs() -> dict[str, Any]:
        """The newest jobs, and what is in use."""
        return await run_in_threadpool(_snapshot, runtime)

    @router.get("/jobs/events")
    async def events(request: Request) -> StreamingResponse:
        """The same as server-sent events, whenever something has changed."""
        headers = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
        return StreamingResponse(_stream_changes(request, runtime), media_type="text/event-stream", headers=headers)

    @router.get("/jobs/{job}")
    async def job_details(job: str) -> dict[str, Any]:
        """One job with its prediction."""
        queue = runtime.queue
        record = await run_in_threadpool(queue.record, job)
        if record is None:
            raise HTTPException(404, f"there is no job {job[:40]!r}")
        return {**_to_json(record, runtime), "prediction": await run_in_threadpool(queue.prediction, job)}

    @router.get("/jobs/{job}/thumbnail", response_model=None)
    async def thumbnail(job: str) -> Response:
        """A JPEG of the result."""
        image = await run_in_threadpool(runtime.queue.thumbnail, job)
        if image is None:
            raise HTTPException(404, f"job {job[:40]!r} has no picture")
        return Response(image, media_type="image/jpeg", headers={"Cache-Control": "private, max-age=60"})

    @router.post("/jobs/{job}/{what}")
    async def change_job(job: str, what: str, x_refam: str | None = Header(default=None)) -> dict[str, str]:
        """Cancel or retry. The header keeps other sites' forms out: a browser sends it across origins only if asked."""
        if x_refam is None:
            raise HTTPException(403, "send the header X-Refam: 1")
        queue = runtime.queue
        actions = {"cancel": queue.cancel, "retry": queue.retry}
        if what not in actions:
            raise HTTPException(404, f"a job can be told to {' or '.join(actions)}")
        if not await run_in_threadpool(actions[what], job):
            raise HTTPException(409, f"job {job[:40]!r} is not in a state to {what}")
        return {"status": "ok"}

    @router.get("/metrics", response_model=None)
    async def metrics() -> Response:
        """For Prometheus."""
        body = await run_in_threadpool(runtime.metrics)
        return Response(body, media_type="text/plain; version=0.0.4; charset=utf-8")

    return router


async def _stream_changes(request: Request, runtime: Runtime) -> AsyncIterator[str]:
    """Server-sent events with a snapshot whenever it has changed, until the page or the server closes."""
    last, silent_s = "", 0.0
    while not await request.is_disconnected() and not runtime.closing.is_set():
        current = json.dumps(await run_in_threadpool(_snapshot, runtime), sort_keys=True)
        if current != last:
            yield f"data: {current}\n\n"
            last, silent_s = current, 0.0
        elif silent_s >= _KEEP_ALIVE_S:
            yield ": still here\n\n"
            silent_s = 0.0
        await asyncio.sleep(_POLL_S)
        silent_s += _POLL_S


def _snapshot(runtime: Runtime) -> dict[str, Any]:
    queue = runtime.queue
    records = queue.records()
    counts: dict[str, int] = {}
    for record in records:
        counts[record.state] = counts.get(record.state, 0) + 1
    ready = runtime.ready()
    return {
        "version": __version__,
        "models": {
            "version": ready["model_version"],
            "backbone": ready["backbone"],
            "segmenter": ready["segmenter"],
        },
        "problems": ready["problems"],
        "counts": counts,
        "jobs": [_to_json(record, runtime) for record in records[:_MAX_JOBS]],
    }


def _to_json(record: JobRecord, runtime: Runtime) -> dict[str, Any]:
    """A job as people and scripts see it."""
    delivered = runtime.queue.delivered(record.id)
    number = record.project.split(".")[0]  # Label Studio names project 60 "60.1795..."
    studio, link = runtime.settings.label_studio_url, None
    if studio and number.isdigit() and record.task_id:
        link = f"{studio}/projects/{number}/data?task={record.task_id}"
    fields = record.model_dump(mode="json", exclude={"worker"})
    return {**fields, "urgency": record.urgency.name.lower(), "delivered": delivered and delivered[0], "link": link}
