"""Answers within the deadline and pushes afterwards, against a fake Label Studio."""

from __future__ import annotations

import threading
import time

import pytest

from backend.jobs.models import JobState
from backend.jobs.push import GRACE_S
from backend.jobs.worker import TransientError
from backend.settings import load_settings
from tests.backend.fake_studio import TOKEN
from tests.backend.predict_requests import VIDEO_CONFIG, hold_back, predict, slow_down, task, wait_until
from tests.doubles import TruthRuntime


def all_delivered(runtime):
    """Whether all jobs are final and no push is left."""
    queue = runtime.queue
    return all(record.state.final for record in queue.records()) and not queue.scheduled_pushes()


@pytest.mark.parametrize("n", [1, 3, 40])
def test_jobs_done_in_time_are_answered_and_not_pushed(n, runtime, fake_studio, monkeypatch):
    monkeypatch.setattr("backend.service.predict._JUST_NOW_S", 0.0)
    runtime.settings.__dict__["deadline_s"] = runtime.settings.__dict__["page_deadline_s"] = 90.0
    results = predict(runtime, *[task(i) for i in range(n)])
    assert [r["result"][0]["from_name"] for r in results] == ["box"] * n
    wait_until(lambda: all_delivered(runtime))
    time.sleep(0.5)
    assert fake_studio.stored == []
    started = time.monotonic()
    assert predict(runtime, *[task(i) for i in range(n)]) == results
    assert len(runtime.truth.asked) <= n  # the second time nothing was computed
    assert time.monotonic() - started < 15


def test_fast_jobs_are_answered_and_slow_ones_pushed_once(runtime, fake_studio, monkeypatch):
    runtime.settings.__dict__["deadline_s"] = 3.0
    released = hold_back(runtime, monkeypatch, "slow one")
    started = time.monotonic()
    results = predict(runtime, task(1, "quick"), task(2, "slow one"), task(3, "quick too"), task(4, "slow two"))
    assert time.monotonic() - started < 45
    assert "result" in results[0]
    for late in (results[1], results[3]):
        assert set(late) == {"error"}
        assert "stored when it is finished" in late["error"]
    assert "task 2" in results[1]["error"]
    released.set()
    wait_until(lambda: all_delivered(runtime))
    answered = {i + 1 for i, r in enumerate(results) if "result" in r}
    assert sorted(p["task"] for p in fake_studio.stored) == sorted({1, 2, 3, 4} - answered)
    assert all(p["model_version"] == runtime.model_version and p["result"] for p in fake_studio.stored)
    assert {authorization for _, _, authorization in fake_studio.seen} == {f"Token {TOKEN}"}


@pytest.mark.parametrize(
    ("labels", "data", "written"),
    [
        ('value="$kinds"', {"kinds": [{"value": "Car", "alias": "c"}, {"value": "Star"}]}, ["Star"]),
        ('value="$kinds"', {"kinds": [{"value": "Car", "alias": "c"}]}, ["c"]),
        ('value="$kinds"', {}, None),
        ('value="$kinds"', {"kinds": []}, None),
        ('value="$kinds"', {"kinds": None}, None),
        ('value="$kinds"', {"kinds": "Star"}, None),
        ('value="$kinds"', {"kinds": [{"alias": "c"}, {"value": ""}]}, None),
        ('value="$kinds"><Label value="Ring"/', {}, ["Ring"]),
    ],
)
def test_a_region_has_only_labels_that_its_task_offers(runtime, labels, data, written):
    runtime.settings.__dict__["page_deadline_s"] = 60.0
    config = VIDEO_CONFIG.replace('toName="v"><Label value="Star"/>', f'toName="v" {labels}>')
    asked = task(1)
    asked["data"] |= data
    (answer,) = predict(runtime, asked, config=config)
    (region,) = answer["result"]
    assert region["value"].get("labels") == written


def test_a_request_with_one_task_has_a_shorter_deadline(runtime, monkeypatch):
    runtime.settings.__dict__["deadline_s"] = 30.0
    hold_back(runtime, monkeypatch, "slow")
    started = time.monotonic()
    (result,) = predict(runtime, task(1, "slow"))
    assert 0.4 < time.monotonic() - started < 25
    assert "error" in result


def test_failed_tasks_do_not_delay_the_others(runtime, fake_studio):
    runtime.settings.__dict__["deadline_s"] = 5.0  # less than the third wait of what is tried again
    results = predict(runtime, task(1), task(2, "nothing"), task(3, video="missing.mp4"), {"id": 4}, task(5))
    assert ["result" in r for r in results] == [True, False, False, False, True]
    assert "no object fits" in results[1]["error"]
    assert "missing.mp4" in results[2]["error"]
    wait_until(lambda: all_delivered(runtime))
    assert fake_studio.stored == []


def test_a_retry_after_the_deadline_is_not_waited_for(runtime, monkeypatch):
    runtime.settings.__dict__["deadline_s"] = runtime.settings.__dict__["page_deadline_s"] = 30.0
    monkeypatch.setattr("backend.jobs.worker.RETRY_AFTER_S", (0.1, 60.0))
    run, tries = runtime.truth.run, []

    def away(clip, targets, progress, **kwargs):
        if targets[0].words == "away":
            tries.append(time.monotonic())
            raise TransientError("the host did not answer in time")
        return run(clip, targets, **kwargs)

    monkeypatch.setattr(runtime.truth, "run", away)
    started = time.monotonic()
    results = predict(runtime, task(1, "away"), task(2))
    assert time.monotonic() - started < 25
    assert len(tries) == 2, "what is tried again before the deadline is"
    assert "result" in results[1]
    assert "the host did not answer in time" in results[0]["error"]
    assert "is tried again in" in results[0]["error"]
    assert "stored when it is finished" in results[0]["error"]
    predict(runtime, task(1, "away"))  # by itself, as when its page is opened: that is more urgent, and tried at once
    assert len(tries) == 3


def test_nothing_is_pushed_for_a_deleted_task(runtime, fake_studio, monkeypatch):
    slow_down(runtime, monkeypatch, {"slow": 1})
    assert "error" in predict(runtime, task(1, "slow"))[0]
    fake_studio.deleted.add(1)
    wait_until(lambda: all_delivered(runtime))
    assert fake_studio.stored == []
    (record,) = runtime.queue.records()
    assert runtime.queue.delivered(record.id)[0] == "not pushed: the task was deleted"


def test_nothing_is_pushed_where_this_version_is_stored(runtime, fake_studio, monkeypatch):
    slow_down(runtime, monkeypatch, {"slow": 1})
    assert "error" in predict(runtime, task(1, "slow"))[0]
    fake_studio.stored.append({"id": 9, "task": 1, "model_version": runtime.model_version, "result": []})
    wait_until(lambda: all_delivered(runtime))
    assert len(fake_studio.stored) == 1


def test_two_requests_for_one_task_store_one_prediction(runtime, monkeypatch):
    runtime.settings.__dict__["deadline_s"] = runtime.settings.__dict__["page_deadline_s"] = 90.0
    slow_down(runtime, monkeypatch, {"slow": 0.3})
    answers = []
    threads = [threading.Thread(target=lambda: answers.append(predict(runtime, task(1, "slow"))[0])) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sum("result" in answer for answer in answers) == 1
    said = {answer["error"] for answer in answers if "error" in answer}
    assert said == {"task 1 was answered just now, and the answer had its prediction; retrieve again in 5 s"}
    assert len(answers) == 3
    monkeypatch.setattr("backend.service.predict._JUST_NOW_S", 0.0)
    assert "result" in predict(runtime, task(1, "slow"))[0], "it is given again later"
    runtime.queue.set_delivered(next(iter(runtime.queue.records())).id, "pushing")
    said_now = predict(runtime, task(1, "slow"))[0]["error"]
    assert said_now == "the prediction of task 1 is being stored in Label Studio just now"


@pytest.mark.parametrize("status", [401, 500, 503])
def test_a_failed_push_is_retried(status, runtime, fake_studio, monkeypatch):
    monkeypatch.setattr("backend.jobs.push._FIRST_WAIT_S", 0.3)
    slow_down(runtime, monkeypatch, {"slow": 0.7})
    fake_studio.status = status
    assert "error" in predict(runtime, task(1, "slow"))[0]
    wait_until(lambda: any("cannot be pushed" in p for p in runtime.ready()["problems"]))
    assert all(TOKEN not in p for p in runtime.ready()["problems"])
    fake_studio.status = 200
    wait_until(lambda: all_delivered(runtime))
    assert [p["task"] for p in fake_studio.stored] == [1]
    assert not any("cannot be pushed" in p for p in runtime.ready()["problems"])


def test_a_restarted_server_pushes_what_was_unfinished(runtime, fake_studio, monkeypatch):
    slow_down(runtime, monkeypatch, {"slow": 1.0})
    ended = threading.Thread(target=runtime.close)
    answers = []
    asking = threading.Thread(target=lambda: answers.extend(predict(runtime, task(1, "slow"), task(2, "slow"))))
    asking.start()
    time.sleep(0.3)
    ended.start()
    asking.join(5)
    ended.join(15)
    assert all("error" in answer for answer in answers)
    assert fake_studio.stored == []
    again = TruthRuntime(runtime.settings)
    assert again.queue  # which starts its worker
    wait_until(lambda: all_delivered(again))
    assert sorted(p["task"] for p in fake_studio.stored) == [1, 2]
    again.close()


def test_a_late_interactive_answer_is_returned_by_the_next_call(runtime, fake_studio, monkeypatch):
    slow_down(runtime, monkeypatch, {"the ring": 1.5})
    typed = {"result": [{"type": "textarea", "from_name": "say", "value": {"text": ["the ring"]}}]}
    assert predict(runtime, task(1), context=typed) == []
    assert [record.title for record in runtime.queue.records()] == ["the ring"], "the jobs page says how far it is"
    wait_until(lambda: all_delivered(runtime))
    (result,) = predict(runtime, task(1), context=typed)
    assert result["result"]
    time.sleep(0.5)
    assert fake_studio.stored == []  # it belongs to what was typed, not to the task


TYPED = {"id": "text", "type": "textarea", "from_name": "say", "value": {"text": ["the ring"]}}


def _draft(stamp, *keyframes, identity=3, user="a@example.com", text=TYPED):
    region = {"id": "mine", "type": "videorectangle", "from_name": "box", "value": {"sequence": list(keyframes)}}
    return {"id": identity, "user": user, "updated_at": stamp, "result": [region, text]}


def test_an_interactive_call_waits_for_the_latest_draft(runtime, fake_studio, monkeypatch):
    runtime.settings.__dict__.update(draft_wait_s=30.0, deadline_s=60.0)
    slow_down(runtime, monkeypatch, {"the ring": 0.2})
    drawn = {"frame": 4, "enabled": True, "x": 11.5, "y": 12.25, "width": 13.0, "height": 14.0, "rotation": 0}
    old, new = _draft("10:00"), _draft("10:05", drawn)
    others = _draft("10:06", drawn | {"x": 60.0}, identity=4, user="b@example.com", text={**TYPED, "id": "theirs"})
    fake_studio.drafts = [old, others]  # Label Studio lists those of all people here
    threading.Timer(0.5, lambda: fake_studio.drafts.__setitem__(0, new)).start()
    typed = {"result": [TYPED]}
    began = time.monotonic()
    (result,) = predict(runtime, {**task(1, "the star"), "drafts": [old]}, context=typed)
    assert 0.5 < time.monotonic() - began < 25
    (region,) = result["result"]
    assert region["id"] == "mine"
    (kept,) = [k for k in region["value"]["sequence"] if k["frame"] == 4]
    assert {name: kept[name] for name in ("x", "y", "width", "height")} == {
        name: drawn[name] for name in ("x", "y", "width", "height")
    }
    assert runtime.truth.asked[-1][1][0].prompts[0].box == pytest.approx((0.115, 0.1225, 0.245, 0.2625))


def test_a_job_outdated_by_a_newer_draft_is_cancelled(runtime, fake_studio, monkeypatch):
    runtime.settings.__dict__.update(draft_wait_s=30.0, deadline_s=60.0)
    run = runtime.truth.run
    drawn = {"frame": 4, "enabled": True, "x": 11.5, "y": 12.25, "width": 13.0, "height": 14.0, "rotation": 0}

    def run_until_outdated(clip, targets, progress, **kwargs):
        """The stroke arrives while the first answer is computed, which goes on until somebody cancels it."""
        if not fake_studio.drafts:
            fake_studio.drafts.append(_draft("10:05", drawn))
            for _ in range(1200):
                progress("track", 0.5)
                time.sleep(0.05)
        return run(clip, targets, progress=progress, **kwargs)

    monkeypatch.setattr(runtime.truth, "run", run_until_outdated)
    typed = {"result": [TYPED]}
    (result,) = predict(runtime, task(1, "the star"), context=typed)
    assert result["result"][0]["id"] == "mine"
    after, before = runtime.queue.records()
    assert (after.state, before.state) == (JobState.DONE, JobState.CANCELLED)
    assert before.error == "asked again with what was drawn since"


def test_without_a_token_predictions_must_be_retrieved_again(media, tmp_path, monkeypatch):
    settings = load_settings(
        media_root=media, cache_dir=tmp_path / "c", data_dir=tmp_path / "d", deadline_s=0.5, page_deadline_s=0.5
    )
    runtime = TruthRuntime(settings)
    slow_down(runtime, monkeypatch, {"slow": 1})
    assert "retrieve again later" in predict(runtime, task(1, "slow"))[0]["error"]
    assert any("cannot be pushed" in problem for problem in runtime.ready()["problems"])
    wait_until(lambda: all(record.state is JobState.DONE for record in runtime.queue.records()))
    assert "result" in predict(runtime, task(1, "slow"))[0]
    runtime.close()


def test_a_queue_that_cannot_be_written_is_reported(runtime, monkeypatch):
    import sqlite3

    def full(*_, **__):
        raise sqlite3.OperationalError("database or disk is full")

    monkeypatch.setattr(runtime.queue, "submit", full)
    results = predict(runtime, task(1), task(2))
    assert all("queue cannot be written" in result["error"] for result in results)


def test_the_grace_is_longer_than_label_studio_needs_to_store():
    assert GRACE_S >= 2
