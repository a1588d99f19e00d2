"""`label-studio-ml start` and gunicorn, each as a process: they start, answer, and end when told."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

import backend
from backend.demo.local_studio import free_port

pytestmark = pytest.mark.slow

FOLDER = Path(backend.__file__).parent / "wsgi"
BIN = Path(sys.executable).parent
LOGIN = ("anna", "s3cret")
START = [str(BIN / "label-studio-ml"), "start", str(FOLDER)]
GUNICORN = [sys.executable, "-m", "gunicorn", "_wsgi:app"]
# The command of label-studio-ml's own Dockerfile.
DOCKER = [*GUNICORN[:-1], "--preload", "--workers", "1", "--threads", "8", "--timeout", "0", "_wsgi:app"]


def environment(**variables: str) -> dict[str, str]:
    """For a command that is to run this checkout: `label-studio-ml start` runs the first python on the PATH."""
    path = os.pathsep.join([str(BIN), os.environ["PATH"]])
    root = os.pathsep.join([str(FOLDER.parents[1]), os.environ.get("PYTHONPATH", "")])
    return {**os.environ, "PATH": path, "PYTHONPATH": root, **variables}


@contextmanager
def running(command: list[str], folder: Path, log: Path, **variables: str) -> Iterator[str]:
    """Run a command until the block ends; its address. All processes that it started end with it."""
    port = free_port()
    env = environment(PORT=str(port), **variables)
    with log.open("w") as out:
        process = subprocess.Popen(
            command, cwd=folder, env=env, stdout=out, stderr=subprocess.STDOUT, start_new_session=True
        )
    try:
        yield f"http://127.0.0.1:{port}"
        os.killpg(process.pid, signal.SIGTERM)
        process.wait(30)
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)


def wait_for(url: str, log: Path) -> httpx.Response:
    for _ in range(600):
        try:
            return httpx.get(f"{url}/health", trust_env=False)
        except httpx.TransportError:
            time.sleep(0.2)
    raise AssertionError(f"it never answered: {log.read_text()}")


@pytest.mark.parametrize(
    ("command", "folder", "said"),
    [
        (START, FOLDER.parents[1], ["WORKERS is set, but this is one process"]),
        (GUNICORN, FOLDER, ["Using worker: asgi", "Booting worker"]),
        (DOCKER, FOLDER, ["Using worker: asgi", "Booting worker"]),
    ],
    ids=["label-studio-ml start", "gunicorn", "gunicorn as in docker"],
)
def test_it_starts_and_answers(command: list[str], folder: Path, said: list[str], tmp_path: Path) -> None:
    log = tmp_path / "log"
    names = {"BASIC_AUTH_USER": LOGIN[0], "BASIC_AUTH_PASS": LOGIN[1], "WORKERS": "2", "THREADS": "8"}
    with running(command, folder, log, **names) as url:
        assert wait_for(url, log).json()["status"] == "UP"
        setup = {"project": "1.1", "schema": "<View/>"}
        with httpx.Client(base_url=url, trust_env=False) as http:
            assert http.post("/setup", json=setup).status_code == 401
            assert http.post("/setup", json=setup, auth=("anna", "guess")).status_code == 401
            answer = http.post("/setup", json=setup, auth=LOGIN)
            assert answer.json()["model_version"].startswith("refam-")
            body = {"tasks": [{"id": 1, "data": {}}], "label_config": "<View/>", "params": {"context": None}}
            (result,) = http.post("/predict", json=body, auth=LOGIN, timeout=60).json()["results"]
            assert "the label config has no <Video" in result["error"]
    text = log.read_text()
    for sentence in ["PORT is read as REFAM_PORT", "THREADS is set, but has no meaning here", *said]:
        assert sentence in text, text
    assert LOGIN[1] not in text


@pytest.mark.parametrize("command", [START, GUNICORN], ids=["label-studio-ml start", "gunicorn"])
def test_a_wrong_value_ends_the_start_and_names_its_variable(command: list[str]) -> None:
    ran = subprocess.run(
        command, cwd=FOLDER, env=environment(LOG_LEVEL="loud"), capture_output=True, text=True, timeout=120
    )
    assert "LOG_LEVEL: input should be 'DEBUG', 'INFO', 'WARNING' or 'ERROR', got 'loud'" in ran.stdout + ran.stderr
