"""`refam curate` on Ray: a node is lost, the driver is killed, a video kills its worker."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import pytest

pytest.importorskip("ray", reason="pip install 'refam-label-studio[curate]'")

from backend.batch.results import read_keys, read_parts

pytestmark = pytest.mark.slow  # half a minute each; .ci/run runs them
ROOT = Path(__file__).parents[3]
# The driver runs in its own process, as in production.
# Arguments: output folder, call log, Ray address or "", expressions as JSON, number of workers.
DRIVER = """
import json, sys
from backend.batch.manifest import Manifest, ManifestRow
from backend.batch.run import WorkerPlan, run
from pathlib import Path
out, call_log, address, words, workers = sys.argv[1:]
rows = tuple(ManifestRow(i, "", f"/v/{i}.mp4", (w,), (w,)) for i, w in enumerate(json.loads(words), 1))
plan = WorkerPlan(int(workers), cpus=1, worker="tests.backend.batch.fake_worker:FakeWorker", tries=2, limit_s=30)
run(Manifest(rows, 0, ()), "m", Path(out), plan=plan, settings={"call_log": call_log, "slow_s": 0.4},
    model_version="v", part_s=2, address=address or None, progress=lambda done, failed, of: print(done, flush=True))
"""


def start_driver(tmp_path, words, *, address="", workers=2):
    env = {**os.environ, "PYTHONPATH": str(ROOT), "RAY_USAGE_STATS_ENABLED": "0"}
    arguments = [str(tmp_path / "out"), str(tmp_path / "call_log"), address, json.dumps(words), str(workers)]
    log = (tmp_path / "log").open("a")
    return subprocess.Popen(
        [sys.executable, "-c", DRIVER, *arguments], env=env, cwd=ROOT, stdout=subprocess.PIPE, stderr=log, text=True
    )


def wait_until_done(process, n):
    for line in process.stdout:
        if int(line) >= n:
            return
    pytest.fail(f"the run ended before {n} rows were done")


def read_results(tmp_path):
    return list(read_parts(tmp_path / "out", ["key", "row", "status", "error", "tries"]))


def count_calls(tmp_path):
    return Counter(line.split()[0] for line in (tmp_path / "call_log").read_text().splitlines())


@pytest.mark.timeout(900)
def test_every_row_has_one_result_after_a_node_is_killed(tmp_path, monkeypatch):
    from ray.cluster_utils import Cluster

    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    monkeypatch.setenv("RAY_USAGE_STATS_ENABLED", "0")
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "object_store_memory": 100 << 20})
    try:
        second = cluster.add_node(num_cpus=1, object_store_memory=100 << 20)
        words = ["fine"] * 20 + ["killed", "bad"]
        process = start_driver(tmp_path, words, address=cluster.address)
        wait_until_done(process, 6)
        workers = {line.split()[1] for line in (tmp_path / "call_log").read_text().splitlines()}
        assert len(workers) == 2, "both nodes run workers"
        cluster.remove_node(second, allow_graceful=False)
        assert process.wait(600) == 0, (tmp_path / "log").read_text()[-2000:]
    finally:
        cluster.shutdown()
    items = read_results(tmp_path)
    assert Counter(item["row"] for item in items) == Counter(range(1, 23))
    by_row = {item["row"]: item for item in items}
    assert all(by_row[i]["status"] == "done" for i in range(1, 21))
    assert by_row[21]["error"] == "the worker was killed by SIGKILL on this video"
    assert by_row[21]["tries"] == 2
    assert by_row[22]["error"] == "the clip is damaged"


@pytest.mark.timeout(900)
def test_a_run_resumes_after_its_driver_is_killed(tmp_path):
    words = ["fine"] * 60
    first = start_driver(tmp_path, words)
    wait_until_done(first, 4)
    deadline = time.monotonic() + 60
    while not list((tmp_path / "out" / "parts").glob("part-*.parquet")) and time.monotonic() < deadline:
        time.sleep(0.1)
    first.send_signal(signal.SIGKILL)
    first.wait()
    written_keys = read_keys(tmp_path / "out")
    assert 0 < len(written_keys) < 60
    calls_before = count_calls(tmp_path)
    second = start_driver(tmp_path, words)
    assert second.wait(600) == 0, (tmp_path / "log").read_text()[-2000:]
    assert Counter(item["row"] for item in read_results(tmp_path)) == Counter(range(1, 61))
    new_calls = count_calls(tmp_path) - calls_before
    assert not written_keys & new_calls.keys(), "rows that have a result are not processed again"


def test_a_run_writes_nothing_on_stderr(tmp_path):
    """Ray's own lines about its start look like failures to people."""
    process = start_driver(tmp_path, ["a", "b"])
    assert process.communicate(timeout=120)[0].split()[-1] == "2"
    assert (tmp_path / "log").read_text() == ""
