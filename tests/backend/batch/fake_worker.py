"""Fake worker for tests of `refam curate`: needs no models, and a row's first expression selects its outcome.

Each call appends a line with the key of the row and the process id to the file `settings["call_log"]`.
"""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

from backend.batch.isolated import StartError


class FakeWorker:
    def __init__(self, settings):
        self._call_log = Path(settings["call_log"])
        self._slow_s = settings.get("slow_s", 0.1)
        if settings.get("start") == "fails":
            raise StartError("no such weights")

    def __call__(self, row):
        with self._call_log.open("a") as file:
            file.write(f"{row.key} {os.getpid()}\n")
        words = row.expressions[0]
        if words == "segfault":
            os.kill(os.getpid(), signal.SIGSEGV)
        if words == "killed":
            os.kill(os.getpid(), signal.SIGKILL)
        if words == "hangs":
            time.sleep(600)
        if words == "bad":
            raise ValueError("the clip is damaged")
        if words == "bug":
            raise ZeroDivisionError("a bug")
        if words == "busy":
            error = ValueError("the storage is busy")
            error.transient = True
            raise error
        time.sleep(self._slow_s)
        return {"status": "done", "width": 4, "height": 3, "frames": 1, "duration_s": 1.0, "stages_s": {"track": 0.5}}
