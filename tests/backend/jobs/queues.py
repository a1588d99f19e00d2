"""Queues for tests: SQLite in a folder, and a real redis-server where Debian's is installed."""

from __future__ import annotations

import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from backend.jobs.models import JobSpec
from backend.labelstudio.request import PredictRequest
from refam.pipeline.types import Target


def spec(name: str = "a", *, task_id: int | None = 1, words: str = "the star") -> JobSpec:
    work = PredictRequest(f"task {task_id}", "good.mp4", 25.0, (Target("Star", words),), (f"refam-{name}",))
    return JobSpec(id=name, task_id=task_id, project="1", work=work, label_config="<View/>", model_version="v1")


@contextmanager
def redis_server(folder: Path) -> Iterator[str]:
    """A redis-server of its own on loopback; its address."""
    program = shutil.which("redis-server")
    if program is None:
        pytest.skip("redis-server is not installed (Debian: apt install redis-server)")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [program, "--port", str(port), "--bind", "127.0.0.1", "--save", "", "--dir", str(folder)]
    server = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        for _ in range(200):
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", port)) == 0:
                    break
            time.sleep(0.05)
        yield f"redis://127.0.0.1:{port}/0"
    finally:
        server.terminate()
        server.wait(10)
