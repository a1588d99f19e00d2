"""Jobs that take longer than a real Label Studio waits: each prediction is stored once, whatever happens meanwhile."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time

import httpx
import pytest

from backend.labelstudio.import_tasks import build_label_config
from backend.service.app import BackgroundServer
from refam.evaluation.synthetic import red_star_and_blue_ring
from tests.backend.predict_requests import hold_back, wait_until
from tests.doubles import TruthRuntime
from tests.media import cfr
from tests.studio import settings_beside

pytestmark = pytest.mark.e2e


@pytest.fixture(scope="module")
def video(tmp_path_factory):
    frames, _ = red_star_and_blue_ring(24, size=(192, 108))
    return cfr(tmp_path_factory.mktemp("clips") / "good.mp4", frames)


@pytest.fixture
def settings(studio, tmp_path):
    return settings_beside(
        studio,
        tmp_path,
        deadline_s=3.0,
        page_deadline_s=3.0,
    )


def project_of(studio, video, words):
    number, (address,) = studio.create_project("long jobs", build_label_config(["Object"]), [video])
    return number, studio.import_tasks(number, [{"video": address, "prompt": w, "fps": 25} for w in words])


def prediction_counts(studio, tasks):
    return [len(studio.predictions(task)) for task in tasks]


def retrieve_before_they_are_done(studio, number, tasks, released):
    """Retrieve predictions; the tasks' jobs are finished only after the page has its answer."""
    studio.retrieve_predictions(number)
    assert prediction_counts(studio, tasks) == [0] * len(tasks)
    released.set()


@pytest.mark.parametrize(("n", "late"), [(1, 0), (1, 1), (3, 2), (40, 20), (40, 0)])
def test_every_task_gets_one_prediction_whenever_it_is_done(n, late, studio, settings, video, monkeypatch):
    """late: this many of the jobs are not done before the page has its answer; their predictions are pushed."""
    words = [f"the star number {i}" for i in range(n)]
    number, tasks = project_of(studio, video, words)
    runtime = TruthRuntime(settings)
    released = hold_back(runtime, monkeypatch, *words[n - late :])
    with BackgroundServer(settings, runtime) as backend:
        studio.connect(number, backend.url)
        retrieve_before_they_are_done(studio, number, tasks[n - late :], released)
        assert studio.wait_for_predictions(tasks, timeout_s=600)
        studio.retrieve_predictions(number)  # everything has one: nothing may be added
        wait_until(lambda: not runtime.queue.scheduled_pushes())
        assert prediction_counts(studio, tasks) == [1] * n
        assert len(runtime.truth.asked) == n


def test_half_late_and_one_that_fails(studio, settings, video, monkeypatch):
    words = ["quick", "late", "quick too", "nothing", "late too"]
    number, tasks = project_of(studio, video, words)
    runtime = TruthRuntime(settings)
    released = hold_back(runtime, monkeypatch, "late", "late too")
    with BackgroundServer(settings, runtime) as backend:
        studio.connect(number, backend.url)
        retrieve_before_they_are_done(studio, number, [tasks[1], tasks[4]], released)
        assert studio.wait_for_predictions(
            [t for t, w in zip(tasks, words, strict=True) if w != "nothing"], timeout_s=600
        )
        wait_until(lambda: not runtime.queue.scheduled_pushes())
    assert prediction_counts(studio, tasks) == [1, 1, 1, 0, 1]


def test_a_task_deleted_meanwhile(studio, settings, video, monkeypatch):
    number, tasks = project_of(studio, video, ["late", "late too"])
    runtime = TruthRuntime(settings)
    released = hold_back(runtime, monkeypatch, "late", "late too")
    with BackgroundServer(settings, runtime) as backend:
        studio.connect(number, backend.url)
        studio.retrieve_predictions(number)
        studio.api("DELETE", f"/api/tasks/{tasks[1]}/")
        released.set()
        assert studio.wait_for_predictions(tasks[:1], timeout_s=600)
        queue = runtime.queue
        wait_until(lambda: not queue.scheduled_pushes())
        outcomes = {run.task_id: queue.delivered(run.id)[0] for run in queue.records()}
    assert "deleted" in outcomes[tasks[1]]


def _serve(settings, log):
    environment = {
        **os.environ,
        "LABEL_STUDIO_URL": settings.label_studio_url,
        "LABEL_STUDIO_API_KEY": settings.label_studio_api_key.get_secret_value(),
        "REFAM_PORT": str(settings.port),
        "REFAM_CACHE_DIR": str(settings.cache_dir),
        "REFAM_DATA_DIR": str(settings.data_dir),
        "REFAM_DEADLINE_S": "60",
        "HF_HUB_OFFLINE": "1",
        "REFAM_OFFLINE": "1",
    }
    process = subprocess.Popen([sys.executable, "-m", "backend.cli.main", "serve"], env=environment, stderr=log)
    url = f"http://127.0.0.1:{settings.port}"
    with httpx.Client(trust_env=False) as http:
        for _ in range(600):
            try:
                if http.get(url + "/health").status_code == 200:
                    return process, url
            except httpx.HTTPError:
                time.sleep(0.1)
    process.kill()
    raise AssertionError("the backend did not start")


def list_jobs(url):
    return httpx.get(url + "/jobs", trust_env=False, timeout=60).json()["jobs"]


def test_kill_9_in_the_middle_of_a_request_with_the_real_models(studio, settings, video, tmp_path):
    words = ["the red star", "the blue ring", "the star on the left", "the large red star"]
    number, tasks = project_of(studio, video, words)
    with (tmp_path / "log").open("w") as log:
        process, url = _serve(settings, log)
        try:
            studio.connect(number, url)
            request = threading.Thread(target=studio.retrieve_predictions, args=(number,))
            request.start()
            wait_until(lambda: {"done", "running"} <= {job["state"] for job in list_jobs(url)}, timeout_s=120)
            process.send_signal(signal.SIGKILL)
            process.wait(10)
            request.join(60)
            assert prediction_counts(studio, tasks) == [0] * len(tasks)  # Label Studio has lost the whole answer
            process, url = _serve(settings, log)
            assert studio.wait_for_predictions(tasks, timeout_s=600), (tmp_path / "log").read_text()[-3000:]
            wait_until(lambda: all(job["delivered"] for job in list_jobs(url)))
            assert prediction_counts(studio, tasks) == [1] * len(tasks)
        finally:
            process.terminate()
            process.wait(30)
    text = (tmp_path / "log").read_text()
    assert "was left by a worker that ended" in text
    assert settings.label_studio_api_key.get_secret_value() not in text
