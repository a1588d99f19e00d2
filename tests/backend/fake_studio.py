"""The part of Label Studio's API that the backend calls, served from lists in memory."""

from __future__ import annotations

import json
from http.server import BaseHTTPRequestHandler

TOKEN = "t0ken-that-is-never-told"


class FakeStudio(BaseHTTPRequestHandler):
    """Label Studio's API as far as a push needs it. State is on the server object."""

    def do_GET(self):
        self._note()
        path = self.path.split("?")[0].rstrip("/")
        if path in ("/api/version", "/api/current-user/whoami"):
            return self._say(200, {"release": "1.23.2", "email": "anna@example.com"})
        if path.endswith("/drafts"):
            return self._say(200, self.server.drafts)
        if path.startswith("/api/tasks/"):
            task = int(path.rsplit("/", 1)[1])
            return self._say(404 if task in self.server.deleted else 200, {"id": task, "data": {}, "project": 1})
        wanted = int(self.path.split("task=")[1].split("&")[0])
        return self._say(200, [p for p in self.server.stored if p["task"] == wanted])

    def do_POST(self):
        self._note()
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        if self.path == "/api/ml/":  # asked without a project, as `refam doctor` does: answers as seen in 1.23.2
            banned = body["url"].startswith(tuple(f"http://{start}" for start in self.server.banned))
            said = "URL resolves to a reserved network address (block: 10.0.0.0/8)" if banned else "Validation error"
            return self._say(403 if banned else 400, {"detail": said})
        if self.server.status == 200:
            self.server.stored.append({"id": len(self.server.stored) + 1, **body})
        return self._say(201, self.server.stored[-1] if self.server.stored else {})

    def _note(self):
        self.server.seen.append((self.command, self.path, self.headers.get("Authorization")))

    def _say(self, status, content):
        body = json.dumps(content).encode()
        self.send_response(self.server.status if self.server.status != 200 else status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass
