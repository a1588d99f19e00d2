"""The page of `refam pick`: frames, first masks of what is clicked, and the command, served on loopback."""

from __future__ import annotations

import base64
import secrets
import shlex
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
import uvicorn
from fastapi import APIRouter, Depends, FastAPI, HTTPException, Request
from fastapi.responses import HTMLResponse, JSONResponse
from numpy.typing import NDArray
from pydantic import BaseModel, Field

from backend.cli.console import err
from backend.cli.console import out as stdout
from backend.cli.prompts import Drawing, Option, parse_drawing, plan_objects
from backend.cli.targets import make_targets
from refam.pipeline.preview import find_first_mask
from refam.pipeline.roi import RegionOfInterest
from refam.pipeline.types import PromptError
from video.errors import UserError
from video.images import encode_jpeg
from video.io.reader import Clip
from video.types import Segmenter
from video.visualize.overlay import draw_frame

_PAGE = Path(__file__).with_name("pick.html")
_MAX_LINES = 200  # of a run's output that the page shows
_MAX_MARKS = 100
_OPTIONS: dict[str, Option] = {"point": "--point", "not_point": "--not-point", "box": "--box"}


class Mark(BaseModel):
    """A point (x, y) or a box (x0, y0, x1, y1) that was drawn in the page, as fractions of the frame."""

    kind: Literal["point", "not_point", "box"]
    frame: Annotated[int, Field(ge=0)]
    at: Annotated[list[Annotated[float, Field(ge=0, le=1)]], Field(min_length=2, max_length=4)]

    def drawing(self) -> Drawing:
        """Return it as the command line has it. Raises PromptError."""
        option = _OPTIONS[self.kind]
        at = [round(value, 4) for value in self.at]
        if len(at) != (4 if self.kind == "box" else 2):
            raise PromptError(f"{option}: {len(at)} numbers are neither a point nor a box")
        if self.kind == "box":
            at[2:] = [round(at[2] - at[0], 4), round(at[3] - at[1], 4)]
        return parse_drawing(option, f"{','.join(f'{value:g}' for value in at)}@{self.frame}")


class Drawn(BaseModel):
    """All that was drawn, and the frame that is shown."""

    frame: Annotated[int, Field(ge=0)]
    marks: Annotated[list[Mark], Field(max_length=_MAX_MARKS)]

    def drawings(self) -> list[Drawing]:
        """Return the marks as the command line has them; of several boxes on one frame the last. Raises PromptError."""
        boxes = {mark.frame: mark for mark in self.marks if mark.kind == "box"}
        return [mark.drawing() for mark in self.marks if mark.kind != "box" or boxes[mark.frame] is mark]


def run_refam(arguments: Sequence[str]) -> Iterator[str | int]:
    """Run `refam` in a process of its own; yield its lines of output, which are printed too, and last its exit code."""
    command = [sys.executable, "-m", "backend.cli.main", *arguments]
    # The arguments are the command line's own and numbers; no shell reads them.
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as process:  # noqa: S603
        assert process.stdout is not None
        for line in process.stdout:
            err.print(line.rstrip(), markup=False, soft_wrap=True)
            yield line.rstrip()
        yield process.wait()


@dataclass
class Picker:
    """What the page asks for: masks of what was drawn, the command, and its run.

    Args:
        clip: The video.
        segmenter: What outlines objects; one call at a time.
        arguments: Of `refam label`: the video and options, all but what is drawn.
        region: The frames that these options look at, and their size.
        start: Runs `refam` with arguments, and yields lines of output and last the exit code.
    """

    clip: Clip
    segmenter: Segmenter
    arguments: Sequence[str]
    region: RegionOfInterest = field(default_factory=RegionOfInterest)
    start: Callable[[Sequence[str]], Iterator[str | int]] = run_refam
    lines: list[str] = field(default_factory=list)
    exit_code: int | None = None
    running: bool = False
    printed: str = ""
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def command(self, drawings: Sequence[Drawing]) -> list[str]:
        """Return the arguments of `refam` that track what was drawn. Raises PromptError if that is no object."""
        self.region.view(self.clip, make_targets(plan_objects([], drawings), self.clip))
        video, *options = self.arguments
        return ["label", video, *(part for d in drawings for part in (d.option, d.text)), *options]

    def outline(self, frame: int, drawings: Sequence[Drawing]) -> tuple[NDArray[np.uint8], list[str]]:
        """Return a frame, (H, W, 3) uint8 RGB, with the mask of what was drawn on it, and sentences for people.

        Raises:
            PromptError: If the clip has no such frame.
            ClipError: If the frame cannot be read.
        """
        if frame >= len(self.clip):
            raise PromptError(f"there is no frame {frame}; the video has the frames 0 to {len(self.clip) - 1}")
        drawn = [drawing for drawing in drawings if drawing.at == frame]
        with self._lock:
            if not any(drawing.is_positive for drawing in drawn):
                return draw_frame(self.clip, [], frame), []
            (target,) = make_targets(plan_objects([], drawn), self.clip)
            found = find_first_mask(self.clip, target, self.segmenter, region=self.region)
            tracks = [] if found.first_mask is None else [found.first_mask]
            return draw_frame(self.clip, tracks, frame), list(found.notes)

    def run(self, drawings: Sequence[Drawing]) -> bool:
        """Start the command on a thread; return whether it was started: one runs at a time. Raises PromptError."""
        arguments = self.command(drawings)
        with self._lock:
            if self.running:
                return False
            self.running, self.exit_code, self.lines = True, None, []
        threading.Thread(target=self._follow, args=(arguments,), name="refam-pick", daemon=True).start()
        return True

    def _follow(self, arguments: Sequence[str]) -> None:
        code = 1
        try:
            for item in self.start(arguments):
                if isinstance(item, int):
                    code = item
                else:
                    self.lines = [*self.lines, item][-_MAX_LINES:]
        finally:
            self.exit_code, self.running = code, False


def create_app(picker: Picker, token: str) -> FastAPI:
    """Return the application. All its addresses begin with the token; any other is not found."""
    app = FastAPI(docs_url=None, redoc_url=None, openapi_url=None)

    def require_token(request: Request) -> None:
        if not secrets.compare_digest(request.path_params["token"].encode(), token.encode()):
            raise HTTPException(404)

    routes = APIRouter(prefix="/{token}", dependencies=[Depends(require_token)])

    @app.exception_handler(UserError)
    def describe(_: Request, error: Exception) -> JSONResponse:
        return JSONResponse({"error": " ".join(str(error).split())}, status_code=400)

    @routes.get("/")
    def page() -> HTMLResponse:
        nonce = secrets.token_urlsafe(16)
        policy = (
            f"default-src 'none'; script-src 'nonce-{nonce}'; style-src 'nonce-{nonce}'; img-src 'self' data:; "
            "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
        )
        text = _PAGE.read_text(encoding="utf-8").replace("{{nonce}}", nonce)
        headers = {"Content-Security-Policy": policy, "Referrer-Policy": "no-referrer", "Cache-Control": "no-store"}
        return HTMLResponse(text.replace("{{last}}", str(len(picker.clip) - 1)), headers=headers)

    @routes.post("/mask")
    def mask(drawn: Drawn) -> dict[str, Any]:
        """The frame with the mask of what was drawn on it, and the command."""
        drawings = drawn.drawings()
        image, notes = picker.outline(drawn.frame, drawings)
        command = "refam " + shlex.join(picker.command(drawings)) if drawings else ""
        if command and command != picker.printed:
            picker.printed = command
            stdout.print(command, markup=False, soft_wrap=True)
        return {
            "picture": f"data:image/jpeg;base64,{base64.b64encode(encode_jpeg(image, quality=88)).decode()}",
            "notes": notes,
            "command": command,
            "time_s": float(picker.clip.times[drawn.frame]),
        }

    @routes.post("/run")
    def start(drawn: Drawn) -> dict[str, Any]:
        if not picker.run(drawn.drawings()):
            raise HTTPException(409, "a command is running already")
        return state()

    @routes.get("/run")
    def state() -> dict[str, Any]:
        return {"running": picker.running, "exit_code": picker.exit_code, "lines": picker.lines}

    app.include_router(routes)
    return app


def serve(picker: Picker, *, port: int, ready: Callable[[str], None]) -> None:
    """Serve the page on 127.0.0.1 until Ctrl-C.

    Args:
        picker: What the page asks.
        port: The port; 0 for any that is free.
        ready: Called with the page's address once the port is bound.

    Raises:
        PromptError: If the port is taken.
    """
    token = secrets.token_urlsafe(24)
    with socket.socket() as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind(("127.0.0.1", port))
        except OSError as error:
            raise PromptError(
                f"--port {port} cannot be listened on: {error.strerror}; leave it out for a free one"
            ) from None
        ready(f"http://127.0.0.1:{listener.getsockname()[1]}/{token}/")
        # The log of requests would show the token.
        uvicorn.Server(uvicorn.Config(create_app(picker, token), log_level="warning", access_log=False)).run([listener])
