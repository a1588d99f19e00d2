"""The job queue and its workers, on SQLite and on a real Redis."""

from __future__ import annotations

import itertools
import os
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from pathlib import Path
from queue import SimpleQueue

import pytest

from backend.jobs.models import JobState, Priority
from backend.jobs.queue import MOST_CRASHES, JobQueue
from backend.jobs.worker import RETRY_AFTER_S, JobResult, TransientError, Worker
from tests.backend.jobs.killable_worker import STAGES
from tests.backend.jobs.queues import redis_server, spec

ANSWER = {"result": [1], "score": 0.5, "model_version": "v1"}


@pytest.fixture(scope="module")
def redis(tmp_path_factory):
    with redis_server(tmp_path_factory.mktemp("redis")) as address:
        yield address


@pytest.fixture(params=["sqlite", "redis"])
def address(request):
    if request.param == "sqlite":
        return "sqlite"
    address = request.getfixturevalue("redis")
    from redis import Redis

    Redis.from_url(address).flushall()
    return address


@pytest.fixture
def queue(address, tmp_path):
    queue = JobQueue(address, tmp_path)
    yield queue
    queue.close()


def make_worker(queue, tmp_path, handler):
    return Worker(queue, handler, data_dir=tmp_path, accelerator="cpu")


def succeed(spec, progress):
    progress("track", 0.5)
    return JobResult(ANSWER, ("seen",), b"jpeg")


def wait_until(condition, *, timeout_s=60.0):
    end = time.monotonic() + timeout_s
    while time.monotonic() < end:
        if condition():
            return True
        time.sleep(0.02)
    return False


def test_a_finished_job_has_its_record_prediction_and_thumbnail(queue, tmp_path):
    assert queue.submit(spec(), Priority.BATCH, fresh_s=60).state is JobState.QUEUED
    assert queue.waiting() == 1
    assert make_worker(queue, tmp_path, succeed).work_once()
    record = queue.record("a")
    assert (record.state, record.fraction, record.title, record.notes, record.score) == (
        JobState.DONE,
        1.0,
        "the star",
        ("seen",),
        0.5,
    )
    assert record.stages_s.keys() == {"track"}
    assert queue.prediction("a") == ANSWER
    assert queue.thumbnail("a") == b"jpeg"
    assert queue.spec("a") == spec()
    assert queue.waiting() == 0


def test_an_unknown_job_has_nothing(queue):
    assert queue.record("x") is queue.spec("x") is queue.prediction("x") is queue.thumbnail("x") is None
    assert queue.records() == []
    assert not queue.cancel("x")
    assert not queue.retry("x")


def test_a_fresh_result_is_not_computed_again(queue, tmp_path):
    queue.submit(spec(), Priority.BATCH, fresh_s=60)
    worker = make_worker(queue, tmp_path, succeed)
    worker.work_once()
    assert queue.submit(spec(), Priority.PAGE, fresh_s=60).state is JobState.DONE
    assert not worker.work_once()
    again = queue.submit(spec(), Priority.PAGE, fresh_s=0)
    assert (again.state, again.attempt) == (JobState.QUEUED, 2)
    assert worker.work_once()


def test_jobs_run_by_priority_and_then_in_order_of_submission(queue, tmp_path):
    done = []

    def run_job(spec, progress):
        done.append(spec.id)
        return JobResult(ANSWER)

    for name, priority in [("b1", 0), ("p1", 50), ("b2", 0), ("i1", 100), ("p2", 50)]:
        queue.submit(spec(name), Priority(priority), fresh_s=60)
    queue.submit(spec("b2"), Priority.INTERACTIVE, fresh_s=60)  # somebody wants it now
    worker = make_worker(queue, tmp_path, run_job)
    while worker.work_once():
        pass
    assert done == ["i1", "b2", "p1", "p2", "b1"]


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere a niceness is the whole process's")
def test_jobs_run_at_a_lower_cpu_priority(queue, tmp_path):
    found = SimpleQueue()

    def niceness():
        return os.getpriority(os.PRIO_PROCESS, 0)

    def run_job(spec, progress):
        found.put(niceness())
        helper = threading.Thread(target=lambda: found.put(niceness()))
        helper.start()
        helper.join()
        return JobResult(ANSWER)

    before = niceness()
    queue.submit(spec("a"), Priority.PAGE, fresh_s=60)
    worker = make_worker(queue, tmp_path, run_job)
    worker.start()
    assert found.get(timeout=60) > before
    assert found.get(timeout=60) > before
    worker.stop()
    assert niceness() == before


def test_an_interactive_job_runs_within_a_long_one(queue, tmp_path):
    order = []

    def run_job(spec, progress):
        order.append(f"{spec.id} begins")
        if spec.id == "long":
            progress("track", 0.1)
            queue.submit(urgent, Priority.INTERACTIVE, fresh_s=60)
            queue.submit(globals()["spec"]("later"), Priority.BATCH, fresh_s=60)
            time.sleep(0.5)  # longer than progress is told apart
            progress("track", 0.5)
        order.append(f"{spec.id} ends")
        return JobResult(ANSWER)

    urgent = spec("now")
    queue.submit(spec("long"), Priority.BATCH, fresh_s=60)
    make_worker(queue, tmp_path, run_job).work_once()
    assert order == ["long begins", "now begins", "now ends", "long ends"]
    assert queue.record("long").stages_s["track"] >= 0.4
    assert queue.record("later").state is JobState.QUEUED


@pytest.mark.parametrize("when", ["before", "during"])
def test_a_cancelled_job_ends_and_can_be_retried(when, queue, tmp_path):
    def run_job(spec, progress):
        progress("track", 0.1)
        assert queue.cancel("a")
        time.sleep(0.5)
        progress("track", 0.2)
        raise AssertionError("it went on")

    queue.submit(spec(), Priority.BATCH, fresh_s=60)
    if when == "before":
        assert queue.cancel("a")
    make_worker(queue, tmp_path, run_job).work_once()
    assert queue.record("a").state is JobState.CANCELLED
    assert not queue.cancel("a")
    assert queue.retry("a")
    assert queue.record("a").state is JobState.QUEUED
    assert make_worker(queue, tmp_path, succeed).work_once()
    assert queue.record("a").state is JobState.DONE


def test_a_transient_failure_is_retried_a_limited_number_of_times(queue, tmp_path, monkeypatch):
    monkeypatch.setattr("backend.jobs.worker.RETRY_AFTER_S", (0.1,) * len(RETRY_AFTER_S))
    tries = []

    def run_job(spec, progress):
        tries.append(time.monotonic())
        raise TransientError("the host did not answer in time")

    queue.submit(spec(), Priority.BATCH, fresh_s=60)
    worker = make_worker(queue, tmp_path, run_job)
    assert worker.work_once()
    waiting = queue.record("a")
    assert (waiting.state, waiting.error) == (JobState.QUEUED, "the host did not answer in time")
    assert waiting.retry_at is not None
    worker.recover()  # which must not take a job that waits for a lost one
    assert wait_until(lambda: worker.work_once() and queue.record("a").state is JobState.FAILED)
    assert len(tries) == 1 + len(RETRY_AFTER_S)
    assert all(b - a >= 0.1 for a, b in itertools.pairwise(tries))
    assert queue.record("a").error == f"the host did not answer in time (tried {len(tries)} times)"


@pytest.mark.parametrize("kind", ["ours", "bug"])
def test_any_other_failure_fails_the_job_at_once_with_a_reason(kind, queue, tmp_path):
    from refam.pipeline.pipeline import PipelineError

    def run_job(spec, progress):
        raise PipelineError("no star in sight") if kind == "ours" else ZeroDivisionError("secret detail")

    queue.submit(spec(), Priority.BATCH, fresh_s=60)
    worker = make_worker(queue, tmp_path, run_job)
    worker.work_once()
    assert not worker.work_once()
    record = queue.record("a")
    assert record.state is JobState.FAILED
    assert record.error == "no star in sight" if kind == "ours" else "unexpectedly" in record.error
    assert "secret" not in record.error


def test_concurrent_submissions_of_one_job_run_it_once(queue, address, tmp_path):
    done = Counter()

    def run_job(spec, progress):
        done[spec.id] += 1
        return JobResult(ANSWER)

    queues = [JobQueue(address, tmp_path) for _ in range(4)]
    arguments = {"args": (spec(), Priority.BATCH), "kwargs": {"fresh_s": 60}}
    threads = [threading.Thread(target=other.submit, **arguments) for other in queues]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    worker = make_worker(queue, tmp_path, run_job)
    while worker.work_once():
        pass
    assert done == {"a": 1}
    for other in queues:
        other.close()


def test_two_workers_share_the_jobs_and_run_none_twice(queue, address, tmp_path):
    done = Counter()

    def run_job(spec, progress):
        time.sleep(0.01)
        done[spec.id] += 1
        return JobResult(ANSWER)

    for i in range(20):
        queue.submit(spec(f"j{i}"), Priority.BATCH, fresh_s=60)
    workers = [
        Worker(JobQueue(address, tmp_path), run_job, data_dir=tmp_path, accelerator=f"cuda:{i}") for i in range(2)
    ]
    for worker in workers:
        worker.start()
    assert wait_until(lambda: all(record.state is JobState.DONE for record in queue.records()))
    for worker in workers:
        worker.stop()
    assert done == {f"j{i}": 1 for i in range(20)}


def test_one_job_at_a_time_on_each_accelerator(queue, address, tmp_path):
    at_once, most = [], []

    def run_job(spec, progress):
        at_once.append(1)
        most.append(len(at_once))
        time.sleep(0.03)
        at_once.pop()
        return JobResult(ANSWER)

    for i in range(6):
        queue.submit(spec(f"j{i}"), Priority.BATCH, fresh_s=60)
    workers = [Worker(JobQueue(address, tmp_path), run_job, data_dir=tmp_path, accelerator="cuda:0") for _ in range(3)]
    for worker in workers:
        worker.start()
    assert wait_until(lambda: all(record.state is JobState.DONE for record in queue.records()))
    for worker in workers:
        worker.stop()
    assert max(most) == 1


def test_a_stopping_worker_queues_its_job_again(queue, tmp_path):
    begun = threading.Event()

    def run_job(spec, progress):
        for i in range(1000):
            progress("track", i / 1000)
            begun.set()
            time.sleep(0.01)
        raise AssertionError("it was not stopped")

    queue.submit(spec(), Priority.BATCH, fresh_s=60)
    worker = make_worker(queue, tmp_path, run_job)
    worker.start()
    assert begun.wait(60)
    worker.stop()
    record = queue.record("a")
    assert (record.state, record.crashes) == (JobState.QUEUED, 0)
    assert make_worker(queue, tmp_path, succeed).work_once()


def test_a_worker_that_stops_in_a_long_step_gives_its_job_back(queue, tmp_path):
    begun, end_step = threading.Event(), threading.Event()

    def run_job(spec, progress):
        progress("track", 0.4)
        begun.set()
        assert end_step.wait(60)
        return JobResult(ANSWER)  # the step ends after all: this attempt has lost its job

    queue.submit(spec(), Priority.BATCH, fresh_s=60)
    worker = make_worker(queue, tmp_path, run_job)
    worker.start()
    assert begun.wait(60)
    worker.stop(wait_s=0.1)
    record = queue.record("a")
    assert (record.state, record.crashes, record.attempt, record.fraction) == (JobState.QUEUED, 0, 2, 0.4)
    assert queue.recover(lambda name: True) == []
    end_step.set()
    worker.stop(wait_s=60)
    assert queue.record("a") == record


def test_a_process_ends_after_the_step_that_its_worker_is_in(tmp_path):
    """A thread that Python ends within C++ aborts the process: Error 134."""
    program = """
import sys, time
from pathlib import Path
from tests.backend.jobs.queues import spec
from backend.jobs.models import Priority
from backend.jobs.queue import JobQueue
from backend.jobs.worker import JobResult, Worker

folder = Path(sys.argv[1])

def run_job(spec, progress):
    (folder / "begun").touch()
    time.sleep(1.5)
    (folder / "ended").touch()
    return JobResult({"result": []})

queue = JobQueue("sqlite", folder)
queue.submit(spec(), Priority.BATCH, fresh_s=60)
worker = Worker(queue, run_job, data_dir=folder, accelerator="cpu")
worker.start()
while not (folder / "begun").exists():
    time.sleep(0.01)
if sys.argv[2] == "stop":
    worker.stop(wait_s=0.0)
"""
    for how in ("stop", "leave"):
        folder = tmp_path / how
        folder.mkdir()
        command = [sys.executable, "-c", program, str(folder), how]
        assert subprocess.run(command, cwd=Path(__file__).parents[3], timeout=60).returncode == 0
        assert (folder / "ended").exists()


def _start_killable_worker(address, tmp_path):
    command = [
        sys.executable,
        "-m",
        "tests.backend.jobs.killable_worker",
        address,
        str(tmp_path),
        str(tmp_path / "computed.log"),
    ]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=Path(__file__).parents[3])
    assert process.stdout.readline() == "up\n"
    return process


@pytest.mark.slow
def test_kill_9_loses_no_job_and_no_finished_stage(queue, address, tmp_path):
    for i in range(3):
        queue.submit(spec(f"j{i}"), Priority.BATCH, fresh_s=60)
    kills, computed_log = 0, tmp_path / "computed.log"
    while kills < 2:
        process = _start_killable_worker(address, tmp_path)
        lines = computed_log.read_text().count("\n") if computed_log.exists() else 0
        # in the middle of a stage: one more is finished, the next is under way
        assert wait_until(lambda n=lines: computed_log.exists() and computed_log.read_text().count("\n") > n)
        time.sleep(0.15)
        process.send_signal(signal.SIGKILL)
        process.wait(10)
        kills += 1
        assert any(record.state is JobState.RUNNING for record in queue.records())
    process = _start_killable_worker(address, tmp_path)
    try:
        assert wait_until(lambda: all(record.state is JobState.DONE for record in queue.records()))
    finally:
        process.kill()
        process.wait(10)
    computed = Counter((tmp_path / "computed.log").read_text().split("\n")[:-1])
    assert computed == {f"j{i} {stage}": 1 for i in range(3) for stage in STAGES}
    assert sum(record.crashes for record in queue.records()) == 2
    assert all(queue.prediction(f"j{i}")["result"] == [f"j{i}"] for i in range(3))


def test_a_job_that_crashes_every_worker_fails(queue, tmp_path):
    queue.submit(spec(), Priority.BATCH, fresh_s=60)
    for _ in range(MOST_CRASHES):
        assert queue.claim_next("dead") is not None
        queue.recover(lambda name: name == "dead")
    record = queue.record("a")
    assert record.state is JobState.FAILED
    assert "memory" in record.error
    assert queue.claim_next("dead") is None


def test_a_crash_while_a_job_is_submitted_leaves_nothing_or_a_queued_job(queue, monkeypatch):
    def crash(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(queue._storage, "change", crash)
        with pytest.raises(KeyboardInterrupt):
            queue.submit(spec(), Priority.BATCH, fresh_s=60)
    assert queue.record("a") is None
    assert queue.claim_next("w") is None
    assert queue.recover(lambda name: False) == []
    queue.submit(spec(), Priority.BATCH, fresh_s=60)
    assert queue.recover(lambda name: False) == []
    assert queue.claim_next("w")[0].id == "a"


def test_a_worker_that_lost_its_job_to_another_writes_nothing(queue):
    queue.submit(spec(), Priority.BATCH, fresh_s=60)
    _, lost = queue.claim_next("silent")
    queue.recover(lambda name: True)
    _, current = queue.claim_next("other")
    queue.update(lost.but(fraction=0.9))
    queue.fail(lost, "too late")
    queue.requeue(lost)
    assert queue.record("a") == current


def test_a_higher_priority_ends_the_wait_of_a_retry(queue):
    queue.submit(spec(), Priority.BATCH, fresh_s=60)
    queue.requeue(queue.claim_next("w")[1], delay_s=60)
    assert (queue.waiting(), queue.claim_next("w")) == (0, None)
    queue.submit(spec(), Priority.PAGE, fresh_s=60)
    assert queue.waiting() == 1
    record = queue.claim_next("w")[1]
    assert (record.urgency, record.attempt, record.retry_at) == (Priority.PAGE, 2, None)


def test_a_delivery_is_claimed_once(queue):
    queue.submit(spec(), Priority.BATCH, fresh_s=60)
    assert queue.claim_delivery("a", "answered")
    assert not queue.claim_delivery("a", "pushing")
    assert queue.delivered("a")[0] == "answered"
    queue.set_delivered("a", None)
    assert queue.claim_delivery("a", "pushing")


def test_the_oldest_final_jobs_are_pruned(queue, tmp_path):
    worker = make_worker(queue, tmp_path, succeed)
    for i in range(5):
        queue.submit(spec(f"j{i}"), Priority.BATCH, fresh_s=60)
        worker.work_once()
    queue.submit(spec("open"), Priority.BATCH, fresh_s=60)
    assert queue.prune(keep=2) == 3
    assert [record.id for record in queue.records()] == ["open", "j4", "j3"]
    assert queue.prediction("j0") is None
    assert queue.submit(spec("j0"), Priority.BATCH, fresh_s=60).attempt == 1
    assert worker.work_once()
