"""A file server on loopback that knows byte ranges and can be told to misbehave."""

from __future__ import annotations

import re
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


@dataclass
class FileServer:
    """What a server has and does.

    Attributes:
        files: Contents by path, with a slash at its beginning.
        asked: (path, value of Range or None) of each request so far.
        stops: How many bytes the next answers send before the connection breaks; None sends all.
        ranges: Whether ranges are answered; else each answer is the whole file.
        status: The status of each answer; 200 also allows 206.
        delay_s: How long each answer takes.
    """

    files: dict[str, bytes]
    asked: list[tuple[str, str | None]] = field(default_factory=list)
    stops: list[int | None] = field(default_factory=list)
    ranges: bool = True
    status: int = 200
    delay_s: float = 0.0
    url: str = ""

    def ranges_of(self, path: str) -> Sequence[str | None]:
        """Return the value of Range in each request for a path, in order."""
        return [wanted for asked, wanted in self.asked if asked == path]


@contextmanager
def serve_files(files: dict[str, bytes]) -> Iterator[FileServer]:
    """Serve contents by path until the block ends."""
    server = FileServer(files)

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            path, wanted = self.path.partition("?")[0], self.headers["Range"]
            server.asked.append((path, wanted))
            threading.Event().wait(server.delay_s)
            content = server.files.get(path)
            if content is None or server.status != 200:
                self.send_error(404 if content is None else server.status)
                return
            first = int(re.fullmatch(r"bytes=(\d+)-", wanted)[1]) if wanted and server.ranges else 0
            if first and first >= len(content):
                self.send_response(416)
                self.send_header("Content-Range", f"bytes */{len(content)}")
                self.send_header("Content-Length", "0")
                self.end_headers()
                return
            self.send_response(206 if first else 200)
            if first:
                self.send_header("Content-Range", f"bytes {first}-{len(content) - 1}/{len(content)}")
            self.send_header("Content-Length", str(len(content) - first))
            self.end_headers()
            stop = server.stops.pop(0) if server.stops else None
            self.wfile.write(content[first:] if stop is None else content[first : first + stop])
            self.close_connection = True

        def log_message(self, *_: object) -> None:
            pass

    httpd = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.url = f"http://127.0.0.1:{httpd.server_port}"
    thread = threading.Thread(target=httpd.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield server
    finally:
        httpd.shutdown()
        httpd.server_close()
