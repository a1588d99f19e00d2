"""A fake Label Studio on loopback, a runtime beside it whose models answer with known boxes, and labelled videos."""

from __future__ import annotations

import shutil
import threading
from http.server import ThreadingHTTPServer

import pytest

from backend.settings import load_settings
from tests.backend.fake_studio import TOKEN, FakeStudio
from tests.backend.moving_disk import write_labelled
from tests.doubles import TruthRuntime
from tests.media import cfr, numbered_frames


@pytest.fixture(scope="module")
def media(tmp_path_factory):
    """A folder with one good video of ten frames."""
    folder = tmp_path_factory.mktemp("media")
    cfr(folder / "good.mp4", numbered_frames(10))
    return folder


@pytest.fixture
def fake_studio():
    """A server whose lists a test fills and reads: stored predictions, deleted tasks, drafts, the requests seen."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), FakeStudio)
    server.banned = ()
    server.stored, server.deleted, server.seen, server.status, server.drafts = [], set(), [], 200, []
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield server
    server.shutdown()


@pytest.fixture
def runtime(media, tmp_path, fake_studio, monkeypatch):
    """A runtime beside the fake Label Studio: known boxes for every request, short deadlines."""
    monkeypatch.setattr("backend.jobs.worker._NICENESS", 0)  # or a busy machine never comes to the jobs
    monkeypatch.setattr("backend.jobs.push.GRACE_S", 0.3)
    monkeypatch.setattr("backend.jobs.worker._HEARTBEAT_S", 0.1)
    settings = load_settings(
        media_root=media,
        cache_dir=tmp_path / "cache",
        data_dir=tmp_path / "data",
        deadline_s=1.0,
        page_deadline_s=0.5,
        draft_wait_s=0.3,
        label_studio_url=f"http://127.0.0.1:{fake_studio.server_port}",
        label_studio_api_key=TOKEN,
    )
    runtime = TruthRuntime(settings)
    yield runtime
    runtime.close()


@pytest.fixture
def patient_runtime(runtime):
    """A runtime that waits for its answers however slow the machine is."""
    runtime.settings.__dict__.update(deadline_s=60.0, page_deadline_s=60.0)
    return runtime


@pytest.fixture(scope="session")
def labelled_once(tmp_path_factory):
    """What `write_labelled` writes, for all tests to copy."""
    folder = tmp_path_factory.mktemp("labelled")
    write_labelled(folder)
    return folder


@pytest.fixture
def labelled(labelled_once, tmp_path):
    """The test's own folder, with what `write_labelled` writes."""
    shutil.copytree(labelled_once, tmp_path, dirs_exist_ok=True)
    return tmp_path


@pytest.fixture
def videos(tmp_path):
    """The folder `videos` of the test's own folder."""
    folder = tmp_path / "videos"
    folder.mkdir()
    return folder
