"""A web server on loopback whose answers a test decides, and settings for a store that fetches from it."""

from __future__ import annotations

import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from backend.settings import load_settings

BODY = bytes(range(256)) * 40


class Site:
    """A server on loopback whose answer to each path is a function; it notes every request."""

    def __init__(self) -> None:
        self.answers: dict[str, Callable[[BaseHTTPRequestHandler], None]] = {}
        self.requests: list[tuple[str, dict[str, str]]] = []
        site = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def log_message(self, *_: object) -> None:
                pass

            def do_GET(self) -> None:
                site.requests.append((self.path, {k.lower(): v for k, v in self.headers.items()}))
                site.answers.get(self.path.split("?")[0], site.body)(self)
                self.close_connection = True

            do_POST = do_GET  # noqa: N815

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.port = self._server.server_port
        self.url = f"http://127.0.0.1:{self.port}"
        threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True).start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()

    @staticmethod
    def send(handler: Any, status: int, headers: dict[str, str], body: bytes = b"") -> None:
        handler.send_response(status)
        for name, value in headers.items():
            handler.send_header(name, value)
        handler.end_headers()
        handler.wfile.write(body)

    @classmethod
    def body(cls, handler: Any) -> None:
        cls.send(handler, 200, {"Content-Length": str(len(BODY))}, BODY)

    def redirect(self, path: str, to: str) -> None:
        self.answers[path] = lambda h: self.send(h, 302, {"Location": to, "Content-Length": "0"})


def cached_files(tmp_path: Path) -> list[str]:
    """What lies in the cache, but for the locks."""
    return sorted(path.name for path in (tmp_path / "cache").iterdir() if not path.name.startswith(".turn-"))


def settings_for(tmp_path: Path, site: Site | None = None, **more: Any) -> Any:
    studio = {"label_studio_url": site.url, "label_studio_api_key": "t0ken"} if site else {}
    return load_settings(cache_dir=tmp_path / "cache", **studio, **more)
