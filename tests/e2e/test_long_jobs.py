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
from tests.backend.predict_requests import slow_down, wait_until
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


@pytest.mark.parametrize(("n", "seconds"), [(1, 0.0), (1, 6.0), (3, 2.0), (40, 0.3), (40, 0.0)])
def test_every_task_gets_one_prediction_however_long_it_takes(n, seconds, studio, settings, video, monkeypatch):
    number, tasks = project_of(studio, video, [f"the star number {i}" for i in range(n)])
    runtime = TruthRuntime(settings)
    slow_down(runtime, monkeypatch, {f"the star number {i}": seconds for i in range(n)})
    with BackgroundServer(settings, runtime) as backend:
        studio.connect(number, backend.url)
        began = time.monotonic()
        studio.retrieve_predictions(number)
        # It answers at the deadline; storing forty predictions takes a busy Label Studio ten seconds.
        assert time.monotonic() - began < settings.deadline_s + 20
        assert studio.wait_for_predictions(tasks, timeout_s=60)
        studio.retrieve_predictions(number)  # everything has one: nothing may be added
        wait_until(lambda: not runtime.queue.scheduled_pushes())
        assert prediction_counts(studio, tasks) == [1] * n
        assert len(runtime.truth.asked) == n


def test_half_slow_and_one_that_fails(studio, settings, video, monkeypatch):
    words = ["quick", "slow", "quick too", "nothing", "slow too"]
    number, tasks = project_of(studio, video, words)
    runtime = TruthRuntime(settings)
    slow_down(runtime, monkeypatch, {"slow": 4.0, "slow too": 4.0})
    with BackgroundServer(settings, runtime) as backend:
        studio.connect(number, backend.url)
        studio.retrieve_predictions(number)
        assert studio.wait_for_predictions(
            [t for t, w in zip(tasks, words, strict=True) if w != "nothing"], timeout_s=60
        )
        wait_until(lambda: not runtime.queue.scheduled_pushes())
    assert prediction_counts(studio, tasks) == [1, 1, 1, 0, 1]


def test_a_task_deleted_meanwhile(studio, settings, video, monkeypatch):
    number, tasks = project_of(studio, video, ["slow", "slow too"])
    runtime = TruthRuntime(settings)
    slow_down(runtime, monkeypatch, {"slow": 3.0, "slow too": 3.0})
    with BackgroundServer(settings, runtime) as backend:
        studio.connect(number, backend.url)
        studio.retrieve_predictions(number)
        studio.api("DELETE", f"/api/tasks/{tasks[1]}/")
        assert studio.wait_for_predictions(tasks[:1], timeout_s=60)
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


def test_kill_9_in_the_middle_of_a_request_with_the_real_models(studio, settings, video, tmp_path):
    words = ["the red star", "the blue ring", "the star", "the ring", "the red thing", "the blue thing"]
    words[4:] = ["the star on the left", "the large red star"]
    number, tasks = project_of(studio, video, words)
    with (tmp_path / "log").open("w") as log:
        process, url = _serve(settings, log)
        try:
            studio.connect(number, url)
            request = threading.Thread(target=studio.retrieve_predictions, args=(number,))
            request.start()
            with httpx.Client(trust_env=False) as http:
                end = time.monotonic() + 120
                while time.monotonic() < end:
                    states = http.get(url + "/jobs").json()["counts"]
                    if states.get("done", 0) >= 1 and states.get("running", 0) == 1:
                        break
                    time.sleep(0.02)
            process.send_signal(signal.SIGKILL)
            process.wait(10)
            request.join(60)
            assert prediction_counts(studio, tasks) == [0] * len(tasks)  # Label Studio has lost the whole answer
            process, url = _serve(settings, log)
            assert studio.wait_for_predictions(tasks, timeout_s=240), (tmp_path / "log").read_text()[-3000:]
            time.sleep(4)
            assert prediction_counts(studio, tasks) == [1] * len(tasks)
        finally:
            process.terminate()
            process.wait(30)
    text = (tmp_path / "log").read_text()
    assert "was left by a worker that ended" in text
    assert settings.label_studio_api_key.get_secret_value() not in text
