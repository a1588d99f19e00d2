"""What Label Studio is answered, by when, and what is pushed afterwards; against a Label Studio that does as told."""

from __future__ import annotations

import json
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from backend.jobs.models import JobState
from backend.jobs.push import GRACE_S
from backend.jobs.worker import TransientError
from backend.service.model import RefAMBackend
from backend.settings import load_settings
from tests.backend.service.test_app import XML
from tests.doubles import TruthServices
from tests.media import cfr, numbered_frames

TOKEN = "t0ken-that-is-never-told"


@pytest.fixture(scope="module")
def media(tmp_path_factory):
    folder = tmp_path_factory.mktemp("media")
    cfr(folder / "good.mp4", numbered_frames(10))
    return folder


class Studio(BaseHTTPRequestHandler):
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


@pytest.fixture
def studio():
    server = ThreadingHTTPServer(("127.0.0.1", 0), Studio)
    server.banned = ()
    server.stored, server.deleted, server.seen, server.status, server.drafts = [], set(), [], 200, []
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield server
    server.shutdown()


@pytest.fixture
def services(media, tmp_path, studio, monkeypatch):
    monkeypatch.setattr("backend.jobs.push.GRACE_S", 0.3)
    monkeypatch.setattr("backend.jobs.worker._CARE_S", 0.1)
    settings = load_settings(
        media_root=media,
        cache_dir=tmp_path / "cache",
        data_dir=tmp_path / "data",
        deadline_s=1.0,
        page_deadline_s=0.5,
        draft_wait_s=0.3,
        label_studio_url=f"http://127.0.0.1:{studio.server_port}",
        label_studio_api_key=TOKEN,
    )
    services = TruthServices(settings)
    yield services
    services.close()


def task(identity, words="the star", video="good.mp4"):
    return {"id": identity, "data": {"video": video, "prompt": words}}


def predict(services, *tasks, context=None):
    return RefAMBackend(services=services).predict(tasks, context=context, label_config=XML, project="1.1")


def slow(services, monkeypatch, seconds):
    """Objects whose words hold a number of seconds take that long."""
    run = services.truth.run

    def slowly(clip, targets, progress, **kwargs):
        for i in range(20):
            progress("track", i / 20)
            time.sleep(seconds.get(targets[0].words, 0) / 20)
        return run(clip, targets, **kwargs)

    monkeypatch.setattr(services.truth, "run", slowly)


def wait_until(true, *, most_s=15.0):
    end = time.monotonic() + most_s
    while time.monotonic() < end and not true():
        time.sleep(0.02)
    assert true()


def settled(services):
    """Everything is done and nobody is to be told of anything any more."""
    board = services.office().board
    return all(run.state.final for run in board.runs()) and not board.expecting()


@pytest.mark.parametrize("n", [1, 3, 40])
def test_what_is_done_in_time_is_answered_and_nothing_is_pushed(n, services, studio, monkeypatch):
    monkeypatch.setattr("backend.service.predict._JUST_NOW_S", 0.0)
    services.settings.__dict__["deadline_s"] = services.settings.__dict__["page_deadline_s"] = 30.0
    results = predict(services, *[task(i) for i in range(n)])
    assert [r["result"][0]["from_name"] for r in results] == ["box"] * n
    wait_until(lambda: settled(services))
    time.sleep(0.5)
    assert studio.stored == []
    started = time.monotonic()
    assert predict(services, *[task(i) for i in range(n)]) == results
    assert len(services.truth.asked) <= n  # the second time nothing was computed
    assert time.monotonic() - started < 0.2 + 0.05 * n


def test_half_slow_the_fast_half_is_answered_the_slow_half_is_pushed_once(services, studio, monkeypatch):
    slow(services, monkeypatch, {"slow one": 4.0, "slow two": 0.2})
    started = time.monotonic()
    results = predict(services, task(1, "quick"), task(2, "slow one"), task(3, "quick too"), task(4, "slow two"))
    assert time.monotonic() - started < 3.5
    assert "result" in results[0]
    for late in (results[1], results[3]):
        assert set(late) == {"error"}
        assert "stored when it is finished" in late["error"]
    assert "task 2" in results[1]["error"]
    wait_until(lambda: settled(services))
    answered = {i + 1 for i, r in enumerate(results) if "result" in r}
    assert sorted(p["task"] for p in studio.stored) == sorted({1, 2, 3, 4} - answered)
    assert all(p["model_version"] == services.model_version and p["result"] for p in studio.stored)
    assert {authorization for _, _, authorization in studio.seen} == {f"Token {TOKEN}"}


def test_one_task_of_an_opened_page_waits_less(services, monkeypatch):
    services.settings.__dict__["deadline_s"] = 30.0
    slow(services, monkeypatch, {"slow": 8})
    started = time.monotonic()
    (result,) = predict(services, task(1, "slow"))
    assert 0.4 < time.monotonic() - started < 5
    assert "error" in result


def test_one_that_fails_does_not_hold_up_the_others(services, studio):
    results = predict(services, task(1), task(2, "nothing"), task(3, video="missing.mp4"), {"id": 4}, task(5))
    assert ["result" in r for r in results] == [True, False, False, False, True]
    assert "no object fits" in results[1]["error"]
    assert "missing.mp4" in results[2]["error"]
    wait_until(lambda: settled(services))
    assert studio.stored == []


def test_what_is_tried_again_after_the_deadline_is_not_waited_for(services, monkeypatch):
    services.settings.__dict__["deadline_s"] = services.settings.__dict__["page_deadline_s"] = 30.0
    monkeypatch.setattr("backend.jobs.worker.RETRY_AFTER_S", (0.1, 60.0))
    run, tries = services.truth.run, []

    def away(clip, targets, progress, **kwargs):
        if targets[0].words == "away":
            tries.append(time.monotonic())
            raise TransientError("the host did not answer in time")
        return run(clip, targets, **kwargs)

    monkeypatch.setattr(services.truth, "run", away)
    started = time.monotonic()
    results = predict(services, task(1, "away"), task(2))
    assert time.monotonic() - started < 15
    assert len(tries) == 2, "what is tried again before the deadline is"
    assert "result" in results[1]
    assert "the host did not answer in time" in results[0]["error"]
    assert "is tried again in" in results[0]["error"]
    assert "stored when it is finished" in results[0]["error"]
    predict(services, task(1, "away"))  # by itself, as when its page is opened: that is more urgent, and tried at once
    assert len(tries) == 3


def test_a_task_deleted_meanwhile_gets_nothing(services, studio, monkeypatch):
    slow(services, monkeypatch, {"slow": 1})
    assert "error" in predict(services, task(1, "slow"))[0]
    studio.deleted.add(1)
    wait_until(lambda: settled(services))
    assert studio.stored == []
    (run,) = services.office().board.runs()
    assert services.office().board.delivered(run.id)[0] == "not pushed: the task was deleted"


def test_nothing_is_stored_twice_at_one_version(services, studio, monkeypatch):
    slow(services, monkeypatch, {"slow": 1})
    assert "error" in predict(services, task(1, "slow"))[0]
    studio.stored.append({"id": 9, "task": 1, "model_version": services.model_version, "result": []})
    wait_until(lambda: settled(services))
    assert len(studio.stored) == 1


def test_two_requests_for_one_task_store_one_prediction(services, monkeypatch):
    services.settings.__dict__["page_deadline_s"] = 30.0
    slow(services, monkeypatch, {"slow": 0.3})
    answers = []
    threads = [threading.Thread(target=lambda: answers.append(predict(services, task(1, "slow"))[0])) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sum("result" in answer for answer in answers) == 1
    assert sum("stored already" in answer.get("error", "") for answer in answers) == 2


@pytest.mark.parametrize("status", [401, 500, 503])
def test_a_label_studio_in_trouble_gets_it_later(status, services, studio, monkeypatch):
    monkeypatch.setattr("backend.jobs.push._FIRST_WAIT_S", 0.3)
    slow(services, monkeypatch, {"slow": 0.7})
    studio.status = status
    assert "error" in predict(services, task(1, "slow"))[0]
    wait_until(lambda: any("cannot be pushed" in p for p in services.ready()["problems"]))
    assert all(TOKEN not in p for p in services.ready()["problems"])
    studio.status = 200
    wait_until(lambda: settled(services))
    assert [p["task"] for p in studio.stored] == [1]
    assert not any("cannot be pushed" in p for p in services.ready()["problems"])


def test_a_server_that_ended_meanwhile_pushes_when_it_is_back(services, studio, monkeypatch):
    slow(services, monkeypatch, {"slow": 1.0})
    ended = threading.Thread(target=services.close)
    answers = []
    asking = threading.Thread(target=lambda: answers.extend(predict(services, task(1, "slow"), task(2, "slow"))))
    asking.start()
    time.sleep(0.3)
    ended.start()
    asking.join(5)
    ended.join(15)
    assert all("error" in answer for answer in answers)
    assert studio.stored == []
    again = TruthServices(services.settings)
    again.office()
    wait_until(lambda: settled(again))
    assert sorted(p["task"] for p in studio.stored) == [1, 2]
    again.close()


def test_an_interactive_answer_that_comes_late_is_there_at_the_next_enter(services, studio, monkeypatch):
    slow(services, monkeypatch, {"the ring": 1.5})
    typed = {"result": [{"type": "textarea", "from_name": "say", "value": {"text": ["the ring"]}}]}
    (late,) = predict(services, task(1), context=typed)
    assert late["result"][0]["value"]["text"][0].startswith("the ring (not finished: task 1 ")
    wait_until(lambda: settled(services))
    (result,) = predict(services, task(1), context=typed)
    assert result["result"]
    time.sleep(0.5)
    assert studio.stored == []  # it belongs to what was typed, not to the task


def _draft(stamp, *keyframes):
    region = {"id": "mine", "type": "videorectangle", "from_name": "box", "value": {"sequence": list(keyframes)}}
    return {"id": 3, "updated_at": stamp, "result": [region]}


def test_what_was_drawn_just_before_enter_is_waited_for(services, studio, monkeypatch):
    services.settings.__dict__.update(draft_wait_s=5.0, deadline_s=20.0)
    slow(services, monkeypatch, {"the ring": 0.2})
    drawn = {"frame": 4, "enabled": True, "x": 11.5, "y": 12.25, "width": 13.0, "height": 14.0, "rotation": 0}
    old, new = _draft("10:00"), _draft("10:05", drawn)
    studio.drafts = [old]
    threading.Timer(1.0, lambda: studio.drafts.__setitem__(0, new)).start()
    typed = {"result": [{"type": "textarea", "from_name": "say", "value": {"text": ["the ring"]}}]}
    began = time.monotonic()
    (result,) = predict(services, {**task(1, "the star"), "drafts": [old]}, context=typed)
    assert 1.0 < time.monotonic() - began < 5
    (region,) = result["result"]
    assert region["id"] == "mine"
    (kept,) = [k for k in region["value"]["sequence"] if k["frame"] == 4]
    assert {name: kept[name] for name in ("x", "y", "width", "height")} == {
        name: drawn[name] for name in ("x", "y", "width", "height")
    }
    assert services.truth.asked[-1][1][0].prompts[0].box == pytest.approx((0.115, 0.1225, 0.245, 0.2625))


def test_an_answer_that_a_stroke_has_outdated_is_not_computed_to_its_end_and_did_not_fail(
    services, studio, monkeypatch
):
    services.settings.__dict__.update(draft_wait_s=5.0, deadline_s=20.0)
    slow(services, monkeypatch, {"the ring": 3.0})
    drawn = {"frame": 4, "enabled": True, "x": 11.5, "y": 12.25, "width": 13.0, "height": 14.0, "rotation": 0}
    threading.Timer(0.5, lambda: studio.drafts.append(_draft("10:05", drawn))).start()
    typed = {"result": [{"type": "textarea", "from_name": "say", "value": {"text": ["the ring"]}}]}
    (result,) = predict(services, task(1, "the star"), context=typed)
    assert result["result"][0]["id"] == "mine"
    after, before = services.office().board.runs()
    assert (after.state, before.state) == (JobState.DONE, JobState.CANCELLED)
    assert before.error == "asked again with what was drawn since"


def test_without_a_token_it_says_what_it_cannot_do(media, tmp_path, monkeypatch):
    settings = load_settings(
        media_root=media, cache_dir=tmp_path / "c", data_dir=tmp_path / "d", deadline_s=0.5, page_deadline_s=0.5
    )
    services = TruthServices(settings)
    slow(services, monkeypatch, {"slow": 1})
    assert "retrieve again later" in predict(services, task(1, "slow"))[0]["error"]
    assert any("cannot be pushed" in problem for problem in services.ready()["problems"])
    wait_until(lambda: all(run.state is JobState.DONE for run in services.office().board.runs()))
    assert "result" in predict(services, task(1, "slow"))[0]
    services.close()


def test_a_queue_that_cannot_be_written_is_said_and_nothing_is_accepted(services, monkeypatch):
    import sqlite3

    def full(*_, **__):
        raise sqlite3.OperationalError("database or disk is full")

    services.office()
    monkeypatch.setattr(services.office().board, "submit", full)
    results = predict(services, task(1), task(2))
    assert all("queue cannot be written" in result["error"] for result in results)


def test_the_grace_is_longer_than_label_studio_needs_to_store():
    assert GRACE_S >= 2
