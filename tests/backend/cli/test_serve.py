"""`refam serve` as a process: secrets in the log, graceful shutdown, a full disk, kill -9, a damaged database."""

from __future__ import annotations

import json
import os
import resource
import signal
import subprocess
import sys
import threading
import time
from collections import Counter

import httpx
import pytest

from backend.demo.local_studio import free_port
from refam.evaluation.synthetic import RED, red_star_and_blue_ring
from tests.backend.predict_requests import VIDEO_CONFIG, task
from tests.media import cfr

pytestmark = pytest.mark.slow
SECRETS = {
    "LABEL_STUDIO_API_KEY": "odd\"key'with\\all/of+it=%",
    "REFAM_BASIC_AUTH_PASS": "pa:ss word?&#@",
}


class ServeProcess:
    """A running `refam serve` on the videos of a folder; `log` is the path of its log file."""

    def __init__(self, folder, *, preexec=None, **environment):
        self.port = environment.pop("port", None) or free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.log = folder / "log"
        self._file = self.log.open("ab")
        paths = {"REFAM_MEDIA_ROOT": folder, "REFAM_CACHE_DIR": folder / "cache", "REFAM_DATA_DIR": folder / "jobs"}
        self.process = subprocess.Popen(
            [sys.executable, "-m", "backend.cli.main", "serve", "--port", str(self.port)],
            env={**os.environ, **{k: str(v) for k, v in paths.items()}, **environment},
            stdout=self._file,
            stderr=self._file,
            preexec_fn=preexec,
        )
        for _ in range(600):
            try:
                if httpx.get(f"{self.url}/health", trust_env=False).status_code == 200:
                    return
            except httpx.HTTPError:
                time.sleep(0.1)
        raise AssertionError(self.log.read_text())

    def predict(self, *tasks, timeout=100, **options):
        body = {"tasks": list(tasks), "project": "1.1", "label_config": VIDEO_CONFIG, "params": {"context": None}}
        return httpx.post(f"{self.url}/predict", json=body, trust_env=False, timeout=timeout, **options)

    def jobs(self, **options):
        return httpx.get(f"{self.url}/jobs", trust_env=False, timeout=60, **options).json()["jobs"]

    def wait_until_final(self, n, *, timeout_s=200, **options):
        """Wait until there are `n` jobs and all of them are final; return them."""
        deadline = time.monotonic() + timeout_s
        while time.monotonic() < deadline:
            found = self.jobs(**options)
            if len(found) >= n and all(job["state"] in ("done", "failed", "cancelled") for job in found):
                return found
            time.sleep(0.5)
        raise AssertionError(Counter(job["state"] for job in found))

    def stop(self, sign=signal.SIGTERM):
        if self.process.poll() is None:
            self.process.send_signal(sign)
        return self.process.wait(60)


@pytest.fixture
def folder(tmp_path):
    cfr(tmp_path / "good.mp4", red_star_and_blue_ring(24, size=(320, 180))[0])
    return tmp_path


@pytest.mark.parametrize("form", ["json", "text"])
def test_secrets_are_not_logged_and_shutdown_is_graceful(form, folder, fake_studio):
    auth = httpx.BasicAuth("anna", SECRETS["REFAM_BASIC_AUTH_PASS"])
    serve = ServeProcess(
        folder,
        LABEL_STUDIO_URL=f"http://127.0.0.1:{fake_studio.server_port}",
        REFAM_BASIC_AUTH_USER="anna",
        REFAM_LOG=form,
        REFAM_LOG_LEVEL="DEBUG",
        **SECRETS,
    )
    signed = "https://b.s3.invalid/clip.mp4?X-Amz-Signature=s1gnature-s3cret"
    refused = [
        serve.predict(task(1, words=RED, video=video), auth=auth, headers={"X-Request-ID": "find-me"})
        for video in (signed, f"{signed}/../x", "http://who:s1gnature-s3cret@h/a.mp4", "/data/upload/x.mp4")
    ]
    assert all("error" in response.json()["results"][0] for response in refused)
    assert "s1gnature" not in "".join(response.text for response in refused)
    assert httpx.post(
        f"{serve.url}/setup", json={"access_token": "t0ken-s3cret"}, auth=auth, trust_env=False
    ).is_success
    assert httpx.post(f"{serve.url}/webhook?key=qu3ry-s3cret", json={"action": "X"}, trust_env=False).status_code == 401
    httpx.get(f"{serve.url}/%0aforged INFO line", auth=auth, trust_env=False)
    responses = []
    request_thread = threading.Thread(
        target=lambda: responses.append(serve.predict(task(9, words="the blue ring"), auth=auth))
    )
    request_thread.start()
    time.sleep(1.0)  # the models are still loading
    start = time.monotonic()
    assert serve.stop() in (0, -signal.SIGTERM)
    assert time.monotonic() - start < 30
    request_thread.join(30)
    assert responses  # the pending request was answered
    assert responses[0].status_code == 200
    text = serve.log.read_text()
    for secret in (*SECRETS.values(), "s1gnature", "t0ken-s3cret", "qu3ry-s3cret"):
        for escaped in (
            secret,
            repr(secret)[1:-1],
            json.dumps(secret)[1:-1],
            httpx.QueryParams({"": secret}).__str__()[1:],
        ):
            assert escaped not in text
    assert "find-me" in text
    if form == "json":
        records = [json.loads(line) for line in text.splitlines()]  # every line, also those of libraries
        assert any(record.get("request") == "find-me" and record.get("job") for record in records)
        assert not any(record["message"].startswith("forged") for record in records)
    else:
        assert not any(line.startswith("forged") for line in text.splitlines())


def test_a_full_disk_and_recovery(folder):
    """A file size limit simulates the full disk: SQLite and all other writers get an error."""

    def limit_file_size():
        resource.setrlimit(resource.RLIMIT_FSIZE, (300_000, resource.RLIM_INFINITY))

    serve = ServeProcess(
        folder, preexec=limit_file_size, REFAM_PAGE_DEADLINE_S="0.3", REFAM_DEADLINE_S="1", REFAM_LOG_LEVEL="ERROR"
    )
    try:
        outcomes = []
        for i in range(40):
            (result,) = serve.predict(task(i, words=RED)).json()["results"]
            outcomes.append(result.get("error", "") or "done")
        refused = sum("cannot be" in text for text in outcomes)
        resource.prlimit(serve.process.pid, resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
        jobs = serve.wait_until_final(1)
        assert all(job["state"] == "done" or job["error"] for job in jobs)
        assert len(jobs) + refused >= 40  # every task that was not refused has a job
        assert serve.predict(task(100, words=RED)).status_code == 200
        serve.wait_until_final(len(jobs) + 1)
    finally:
        serve.stop()


def test_two_servers_on_one_data_directory_and_kill_9(folder):
    options = {"REFAM_PAGE_DEADLINE_S": "0.2", "REFAM_LOG_LEVEL": "ERROR"}
    servers = [ServeProcess(folder, **options) for _ in range(2)]
    try:
        for i in range(16):
            assert servers[i % 2].predict(task(i, words=RED)).status_code == 200
            if i == 7:
                servers[0].stop(signal.SIGKILL)
                servers[0] = ServeProcess(folder, port=servers[0].port, **options)
        for server in servers:
            jobs = server.wait_until_final(16)
            assert Counter(job["state"] for job in jobs) == {"done": 16}
    finally:
        for server in servers:
            server.stop()


def test_a_damaged_database_is_replaced_at_start(folder):
    serve = ServeProcess(folder, REFAM_LOG_LEVEL="ERROR")
    serve.predict(task(1, words=RED))
    serve.wait_until_final(1)
    serve.stop()
    (folder / "jobs" / "refam.db").write_bytes(b"no database at all" * 1000)
    serve = ServeProcess(folder, REFAM_LOG_LEVEL="ERROR")
    try:
        ready = httpx.get(f"{serve.url}/ready", trust_env=False).json()
        assert any("refam.db was damaged" in problem for problem in ready["problems"])
        assert ready["ready"]
        assert serve.predict(task(1, words=RED)).json()["results"][0]["result"]
    finally:
        serve.stop()
