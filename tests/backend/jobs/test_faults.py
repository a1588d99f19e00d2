"""Rotten databases, full disks, a Label Studio in trouble: what was accepted ends done, or failed with a reason."""

from __future__ import annotations

import contextlib
import random
import shutil
import sqlite3
import threading

import pytest
from redis.exceptions import ConnectionError as RedisConnectionError

from backend.jobs.models import JobState, Priority
from backend.jobs.queue import JobQueue
from backend.jobs.worker import JobResult, Worker, transient_reason
from refam.pipeline.stage_cache import StageCache
from tests.backend.jobs.queues import spec
from tests.backend.predict_requests import predict, slow_down, task, wait_until
from tests.refam.pipeline.ground_truth import random_heatmap

FILES = ("refam.db", "refam-results.db")


def worker_of(queue, folder, do=None):
    do = do or (lambda spec, tell: JobResult({"result": [spec.id], "score": 1.0, "model_version": "v1"}))
    return Worker(queue, do, data_dir=folder, accelerator="cpu")


def filled(folder, n=30):
    """A data directory with jobs done, failed and waiting."""
    queue = JobQueue("sqlite", folder)
    worker = worker_of(queue, folder)
    for i in range(n):
        queue.submit(spec(f"job{i}", task_id=i, words="words " * 40), Priority.BATCH, fresh_s=0)
        if i % 3:
            worker.work_once()
    queue.close()


def ends_well(folder, name="fresh"):
    """A new job is accepted and done."""
    queue = JobQueue("sqlite", folder)
    try:
        queue.submit(spec(name), Priority.INTERACTIVE, fresh_s=0)
        worker = worker_of(queue, folder)
        worker.recover()
        while worker.work_once():
            pass
        assert queue.record(name).state is JobState.DONE
        assert queue.prediction(name)["result"] == [name]
        assert all(run.state.final and (run.state is JobState.DONE or run.error) for run in queue.records())
        return queue.damage
    finally:
        queue.close()


DAMAGE = {
    "rubbish": lambda content: b"This is no database. " * 100,
    "its head is gone": lambda content: bytes(100) + content[100:],
    "half of it is gone": lambda content: content[: len(content) // 2],
    "a page is rubbish": lambda content: content[:8192] + b"\xff" * 4096 + content[12288:],
}


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("damage", DAMAGE)
def test_a_database_that_cannot_be_read_is_said_and_set_aside(damage, name, tmp_path):
    filled(tmp_path)
    broken = DAMAGE[damage]((tmp_path / name).read_bytes())
    (tmp_path / name).write_bytes(broken)
    (said,) = ends_well(tmp_path)
    assert said.startswith(f"{name} was damaged")
    (aside,) = (path for path in tmp_path.glob(f"{name}.damaged-*") if path.suffix[-3:] not in ("wal", "shm"))
    assert aside.read_bytes() == broken
    assert ends_well(tmp_path, "later") == []


def test_two_that_start_at_once_set_it_aside_once(tmp_path):
    filled(tmp_path, 3)
    (tmp_path / "refam.db").write_bytes(b"rubbish" * 1000)
    queues = []
    threads = [threading.Thread(target=lambda: queues.append(JobQueue("sqlite", tmp_path))) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(list(tmp_path.glob("refam.db.damaged-*"))) == 1
    assert sum(len(queue.damage) for queue in queues) == 1
    for queue in queues:
        queue.close()
    ends_well(tmp_path)


@pytest.mark.parametrize("name", FILES)
def test_flipped_bits_anywhere_never_stop_the_queue(name, tmp_path):
    filled(tmp_path / "whole")
    rng, aside = random.Random(7), 0
    for i in range(12):
        folder = tmp_path / str(i)
        shutil.copytree(tmp_path / "whole", folder)
        content = bytearray((folder / name).read_bytes())
        for _ in range(8):
            content[rng.randrange(len(content))] ^= 1 << rng.randrange(8)
        (folder / name).write_bytes(content)
        aside += bool(ends_well(folder))
    assert aside < 12  # most flips hit one record: that one is told of, the others stay


@pytest.mark.parametrize("name", FILES)
def test_a_database_of_an_earlier_version_is_set_aside(name, tmp_path):
    with contextlib.closing(sqlite3.connect(tmp_path / name)) as database:  # as Huey made it
        database.execute("create table kv (queue text, key text, value blob)")
        database.execute("insert into kv values ('refam', 'job:a', x'7b7d')")
        database.commit()
    (message,) = ends_well(tmp_path)
    assert message.startswith(f"{name} was written by an earlier version and is kept as {name}.old-")
    assert ends_well(tmp_path, "later") == []


def test_a_database_that_is_only_busy_is_left_alone(tmp_path, monkeypatch):
    filled(tmp_path, 3)

    def busy(*_, **__):
        raise sqlite3.OperationalError("database is locked")

    with monkeypatch.context() as patch:
        patch.setattr("backend.jobs.storage.sqlite3.connect", busy)
        with pytest.raises(sqlite3.OperationalError):
            JobQueue("sqlite", tmp_path)
    assert not list(tmp_path.glob("*damaged*"))


def test_what_was_asked_is_lost_the_job_fails_in_words(tmp_path):
    queue = JobQueue("sqlite", tmp_path)
    queue.submit(spec("a"), Priority.BATCH, fresh_s=0)
    queue._storage.write_blob("spec:a", b"{rubbish")
    assert not worker_of(queue, tmp_path).work_once()
    assert queue.record("a").state is JobState.FAILED
    assert "ask for it again" in queue.record("a").error
    queue.submit(spec("a"), Priority.BATCH, fresh_s=3600)
    assert worker_of(queue, tmp_path).work_once()
    assert queue.record("a").state is JobState.DONE


def test_a_result_that_is_lost_is_said_and_computed_again(runtime):
    (first,) = predict(runtime, task(1))
    queue = runtime.queue
    (run,) = queue.records()
    queue._storage.write_blob(f"result:{run.id}", b"\x00")
    (said,) = predict(runtime, task(1))
    assert "damaged" in said["error"]
    (again,) = predict(runtime, task(1))
    assert [r["value"] for r in again["result"]] == [r["value"] for r in first["result"]]


# --- full disks -------------------------------------------------------------------------------------------------


def fill_up(queue, *, full):
    """The databases may not grow any more: SQLite's own way to a full disk."""
    for database in (queue._storage._jobs, queue._storage._blobs):
        pages = database.value("pragma page_count") if full else 1 << 30
        database.connection.execute(f"pragma max_page_count={pages}")


def test_a_full_disk_costs_no_job_that_was_accepted(tmp_path, monkeypatch):
    monkeypatch.setattr("backend.jobs.worker._REWRITE_AFTER_S", 0.05)
    queue = JobQueue("sqlite", tmp_path)
    for i in range(3):
        queue.submit(spec(f"job{i}"), Priority.BATCH, fresh_s=0)
    refused = []

    def large(spec, tell):
        return JobResult({"result": ["x" * 100_000], "score": 1.0, "model_version": "v1"})

    worker = worker_of(queue, tmp_path, large)
    surely = worker._write_outcome

    def counted(write):
        fill_up(queue, full=True)  # in this thread's connection, which is the one that writes

        def tried():
            try:
                return write()
            except sqlite3.OperationalError as error:
                refused.append(str(error))
                if len(refused) % 3 == 0:
                    fill_up(queue, full=False)
                raise

        surely(tried)

    monkeypatch.setattr(worker, "_write_outcome", counted)
    for _ in range(3):
        assert worker.work_once()
    assert {run.state for run in queue.records()} == {JobState.DONE}
    assert all(queue.prediction(f"job{i}")["result"] == ["x" * 100_000] for i in range(3))
    assert set(refused) == {"database or disk is full"}
    queue.close()


def test_what_does_not_fit_the_queue_is_not_accepted_and_said(runtime, monkeypatch):
    queue = runtime.queue

    def full(*_, **__):
        raise sqlite3.OperationalError("database or disk is full")

    monkeypatch.setattr(queue._storage, "write_blob", full)
    (answer,) = predict(runtime, task(1))
    assert "queue cannot be written" in answer["error"]
    assert queue.records() == []


@pytest.mark.parametrize(
    "error",
    [
        sqlite3.OperationalError("disk I/O error"),
        OSError(28, "No space left on device"),
        RedisConnectionError("connection refused"),
    ],
)
def test_a_disk_that_fills_up_in_mid_job_is_waited_for(error, tmp_path, monkeypatch):
    monkeypatch.setattr("backend.jobs.worker.RETRY_AFTER_S", (0.01, 0.01))
    queue, tries = JobQueue("sqlite", tmp_path), []

    def do(spec, tell):
        tries.append(1)
        if len(tries) < 3:
            raise error
        return JobResult({"result": [], "score": 0.0, "model_version": "v1"})

    queue.submit(spec("a"), Priority.BATCH, fresh_s=0)
    worker = worker_of(queue, tmp_path, do)
    wait_until(lambda: (worker.work_once(), queue.record("a").state.final)[1])
    assert queue.record("a").state is JobState.DONE
    assert len(tries) == 3
    assert transient_reason(error)
    queue.close()


def test_results_of_stages_that_cannot_be_kept_cost_nothing_else(tmp_path, caplog):
    (tmp_path / "stages").write_text("a file, where a folder should be")
    cache = StageCache(tmp_path / "stages", "content")
    cache.save_heatmap(("key",), random_heatmap())
    assert "cannot be kept" in caplog.text


def test_a_queue_that_is_away_while_it_is_waited_for_costs_the_other_tasks_nothing(patient_runtime, monkeypatch):
    runtime, queue = patient_runtime, patient_runtime.queue
    real, failing = queue.prediction, []

    def prediction(job):
        if not failing:
            failing.append(job)
        if job == failing[0]:
            raise sqlite3.OperationalError("disk I/O error")
        return real(job)

    monkeypatch.setattr(queue, "prediction", prediction)
    first, second = predict(runtime, task(1), task(2))
    assert "cannot be used" in first["error"]
    assert second["result"]


# --- Label Studio ---------------------------------------------------------------------------------------------


def test_a_slow_label_studio_holds_up_no_answer(runtime, fake_studio, monkeypatch):
    """It answers nothing of a push; who asks meanwhile is answered all the same."""
    handler, answers = fake_studio.RequestHandlerClass, threading.Event()
    say = handler._say
    monkeypatch.setattr(handler, "_say", lambda self, *args: (answers.wait(60), say(self, *args))[1])
    slow_down(runtime, monkeypatch, {"late": 1.2})
    predict(runtime, task(1, words="late"))
    wait_until(lambda: any(method == "GET" for method, *_ in fake_studio.seen))
    runtime.settings.__dict__["page_deadline_s"] = 60.0
    (answer,) = predict(runtime, task(2))
    assert answer["result"]
    assert not fake_studio.stored
    answers.set()
    wait_until(lambda: len(fake_studio.stored) == 1)
    assert fake_studio.stored[0]["task"] == 1
