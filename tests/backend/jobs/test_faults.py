"""Damaged databases, full disks, a slow Label Studio: every accepted job ends done, or failed with a reason."""

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


def make_worker(queue, folder, handler=None):
    handler = handler or (lambda spec, progress: JobResult({"result": [spec.id], "score": 1.0, "model_version": "v1"}))
    return Worker(queue, handler, data_dir=folder, accelerator="cpu")


def fill_queue(folder, n=30):
    """Make a data directory with finished and waiting jobs."""
    queue = JobQueue("sqlite", folder)
    worker = make_worker(queue, folder)
    for i in range(n):
        queue.submit(spec(f"job{i}", task_id=i, words="words " * 40), Priority.BATCH, fresh_s=0)
        if i % 3:
            worker.work_once()
    queue.close()


def assert_queue_works(folder, name="fresh"):
    """Submit a job and run it; return what the queue says of damage."""
    queue = JobQueue("sqlite", folder)
    try:
        queue.submit(spec(name), Priority.INTERACTIVE, fresh_s=0)
        worker = make_worker(queue, folder)
        worker.recover()
        while worker.work_once():
            pass
        assert queue.record(name).state is JobState.DONE
        assert queue.prediction(name)["result"] == [name]
        assert all(record.state.final and (record.state is JobState.DONE or record.error) for record in queue.records())
        return queue.damage
    finally:
        queue.close()


DAMAGE = {
    "not a database": lambda content: b"This is no database. " * 100,
    "header missing": lambda content: bytes(100) + content[100:],
    "truncated": lambda content: content[: len(content) // 2],
    "page overwritten": lambda content: content[:8192] + b"\xff" * 4096 + content[12288:],
}


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("damage", DAMAGE)
def test_a_damaged_database_is_set_aside_and_reported(damage, name, tmp_path):
    fill_queue(tmp_path)
    broken = DAMAGE[damage]((tmp_path / name).read_bytes())
    (tmp_path / name).write_bytes(broken)
    (message,) = assert_queue_works(tmp_path)
    assert message.startswith(f"{name} was damaged")
    (aside,) = (path for path in tmp_path.glob(f"{name}.damaged-*") if path.suffix[-3:] not in ("wal", "shm"))
    assert aside.read_bytes() == broken
    assert assert_queue_works(tmp_path, "later") == []


def test_concurrent_starts_set_a_damaged_database_aside_once(tmp_path):
    fill_queue(tmp_path, 3)
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
    assert_queue_works(tmp_path)


@pytest.mark.parametrize("name", FILES)
def test_flipped_bits_never_stop_the_queue(name, tmp_path):
    fill_queue(tmp_path / "whole")
    rng, aside = random.Random(7), 0
    for i in range(12):
        folder = tmp_path / str(i)
        shutil.copytree(tmp_path / "whole", folder)
        content = bytearray((folder / name).read_bytes())
        for _ in range(8):
            content[rng.randrange(len(content))] ^= 1 << rng.randrange(8)
        (folder / name).write_bytes(content)
        aside += bool(assert_queue_works(folder))
    assert aside < 12  # most flips hit one record: that one is told of, the others stay


@pytest.mark.parametrize("name", FILES)
def test_a_database_of_an_earlier_version_is_set_aside(name, tmp_path):
    with contextlib.closing(sqlite3.connect(tmp_path / name)) as database:  # as Huey made it
        database.execute("create table kv (queue text, key text, value blob)")
        database.execute("insert into kv values ('refam', 'job:a', x'7b7d')")
        database.commit()
    (message,) = assert_queue_works(tmp_path)
    assert message.startswith(f"{name} was written by an earlier version and is kept as {name}.old-")
    assert assert_queue_works(tmp_path, "later") == []


def test_a_busy_database_is_not_set_aside(tmp_path, monkeypatch):
    fill_queue(tmp_path, 3)

    def busy(*_, **__):
        raise sqlite3.OperationalError("database is locked")

    with monkeypatch.context() as patch:
        patch.setattr("backend.jobs.storage.sqlite3.connect", busy)
        with pytest.raises(sqlite3.OperationalError):
            JobQueue("sqlite", tmp_path)
    assert not list(tmp_path.glob("*damaged*"))


def test_a_job_with_a_damaged_spec_fails_with_a_reason(tmp_path):
    queue = JobQueue("sqlite", tmp_path)
    queue.submit(spec("a"), Priority.BATCH, fresh_s=0)
    queue._storage.write_blob("spec:a", b"{rubbish")
    assert not make_worker(queue, tmp_path).work_once()
    assert queue.record("a").state is JobState.FAILED
    assert "ask for it again" in queue.record("a").error
    queue.submit(spec("a"), Priority.BATCH, fresh_s=3600)
    assert make_worker(queue, tmp_path).work_once()
    assert queue.record("a").state is JobState.DONE


def test_a_damaged_result_is_reported_and_computed_again(patient_runtime):
    (first,) = predict(patient_runtime, task(1))
    queue = patient_runtime.queue
    (record,) = queue.records()
    queue._storage.write_blob(f"result:{record.id}", b"\x00")
    (answer,) = predict(patient_runtime, task(1))
    assert "damaged" in answer["error"]
    (again,) = predict(patient_runtime, task(1))
    assert [r["value"] for r in again["result"]] == [r["value"] for r in first["result"]]


# --- full disks -------------------------------------------------------------------------------------------------


def fill_up(queue, *, full):
    """The databases may not grow any more: SQLite's own way to a full disk."""
    for database in (queue._storage._jobs, queue._storage._blobs):
        pages = database.value("pragma page_count") if full else 1 << 30
        database.connection.execute(f"pragma max_page_count={pages}")


def test_a_full_disk_loses_no_accepted_job(tmp_path, monkeypatch):
    monkeypatch.setattr("backend.jobs.worker._REWRITE_AFTER_S", 0.05)
    queue = JobQueue("sqlite", tmp_path)
    for i in range(3):
        queue.submit(spec(f"job{i}"), Priority.BATCH, fresh_s=0)
    refused = []

    def large(spec, progress):
        return JobResult({"result": ["x" * 100_000], "score": 1.0, "model_version": "v1"})

    worker = make_worker(queue, tmp_path, large)
    write_outcome = worker._write_outcome

    def write_on_full_disk(write):
        fill_up(queue, full=True)  # in this thread's connection, which is the one that writes

        def attempt():
            try:
                return write()
            except sqlite3.OperationalError as error:
                refused.append(str(error))
                if len(refused) % 3 == 0:
                    fill_up(queue, full=False)
                raise

        write_outcome(attempt)

    monkeypatch.setattr(worker, "_write_outcome", write_on_full_disk)
    for _ in range(3):
        assert worker.work_once()
    assert {record.state for record in queue.records()} == {JobState.DONE}
    assert all(queue.prediction(f"job{i}")["result"] == ["x" * 100_000] for i in range(3))
    assert set(refused) == {"database or disk is full"}
    queue.close()


def test_a_job_that_does_not_fit_on_the_disk_is_refused_with_a_reason(runtime, monkeypatch):
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
def test_a_job_is_retried_when_the_disk_fills_up_under_way(error, tmp_path, monkeypatch):
    monkeypatch.setattr("backend.jobs.worker.RETRY_AFTER_S", (0.01, 0.01))
    queue, tries = JobQueue("sqlite", tmp_path), []

    def run_job(spec, progress):
        tries.append(1)
        if len(tries) < 3:
            raise error
        return JobResult({"result": [], "score": 0.0, "model_version": "v1"})

    queue.submit(spec("a"), Priority.BATCH, fresh_s=0)
    worker = make_worker(queue, tmp_path, run_job)
    wait_until(lambda: (worker.work_once(), queue.record("a").state.final)[1])
    assert queue.record("a").state is JobState.DONE
    assert len(tries) == 3
    assert transient_reason(error)
    queue.close()


def test_a_stage_that_cannot_be_cached_is_only_logged(tmp_path, caplog):
    (tmp_path / "stages").write_text("a file, where a folder should be")
    cache = StageCache(tmp_path / "stages", "content")
    cache.save_heatmap(("key",), random_heatmap())
    assert "cannot be kept" in caplog.text


def test_a_queue_error_for_one_task_leaves_the_other_answers(patient_runtime, monkeypatch):
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


def test_slow_pushes_do_not_delay_answers(runtime, fake_studio, monkeypatch):
    """It answers nothing of a push; who asks meanwhile is answered all the same."""
    handler, answers = fake_studio.RequestHandlerClass, threading.Event()
    say = handler._say
    monkeypatch.setattr(handler, "_say", lambda self, *args: (answers.wait(60), say(self, *args))[1])
    slow_down(runtime, monkeypatch, {"late": 1.2})
    predict(runtime, task(1, words="late"))
    wait_until(lambda: any(method == "GET" for method, *_ in fake_studio.seen))
    runtime.settings.__dict__.update(deadline_s=60.0, page_deadline_s=60.0)
    (answer,) = predict(runtime, task(2))
    assert answer["result"]
    assert not fake_studio.stored
    answers.set()
    wait_until(lambda: len(fake_studio.stored) == 1)
    assert fake_studio.stored[0]["task"] == 1
