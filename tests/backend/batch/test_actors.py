"""`refam curate` on Ray: a cluster that loses a node, a driver that is killed, videos that kill their workers."""

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
# A run in a process of its own, as it is in life. Arguments: OUT, JOURNAL, ADDRESS or "", the expressions as JSON.
DRIVER = """
import json, sys
from backend.batch.manifest import Manifest, ManifestRow
from backend.batch.run import WorkerPlan, run
from pathlib import Path
out, journal, address, words, workers = sys.argv[1:]
rows = tuple(ManifestRow(i, "", f"/v/{i}.mp4", (w,), (w,)) for i, w in enumerate(json.loads(words), 1))
plan = WorkerPlan(int(workers), cpus=1, worker="tests.backend.batch.fake_worker:Scripted", tries=2, limit_s=30)
run(Manifest(rows, 0, ()), "m", Path(out), plan=plan, settings={"journal": journal, "slow_s": 0.4},
    model_version="v", part_s=2, address=address or None, progress=lambda done, failed, of: print(done, flush=True))
"""


def start(tmp_path, words, *, address="", workers=2):
    env = {**os.environ, "PYTHONPATH": str(ROOT), "RAY_USAGE_STATS_ENABLED": "0"}
    given = [str(tmp_path / "out"), str(tmp_path / "journal"), address, json.dumps(words), str(workers)]
    log = (tmp_path / "log").open("a")
    return subprocess.Popen(
        [sys.executable, "-c", DRIVER, *given], env=env, cwd=ROOT, stdout=subprocess.PIPE, stderr=log, text=True
    )


def done_at_least(process, n):
    for line in process.stdout:
        if int(line) >= n:
            return
    pytest.fail(f"the run ended before {n} rows were done")


def results(tmp_path):
    return list(read_parts(tmp_path / "out", ["key", "row", "status", "error", "tries"]))


def begun(tmp_path):
    return Counter(line.split()[0] for line in (tmp_path / "journal").read_text().splitlines())


@pytest.mark.timeout(240)
def test_a_node_is_killed_and_every_row_comes_once(tmp_path, monkeypatch):
    from ray.cluster_utils import Cluster

    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    monkeypatch.setenv("RAY_USAGE_STATS_ENABLED", "0")
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "object_store_memory": 100 << 20})
    try:
        second = cluster.add_node(num_cpus=1, object_store_memory=100 << 20)
        words = ["fine"] * 20 + ["killed", "bad"]
        process = start(tmp_path, words, address=cluster.address)
        done_at_least(process, 6)
        workers = {line.split()[1] for line in (tmp_path / "journal").read_text().splitlines()}
        assert len(workers) == 2, "both nodes had work"
        cluster.remove_node(second, allow_graceful=False)
        assert process.wait(200) == 0, (tmp_path / "log").read_text()[-2000:]
    finally:
        cluster.shutdown()
    found = results(tmp_path)
    assert Counter(item["row"] for item in found) == Counter(range(1, 23))
    by_row = {item["row"]: item for item in found}
    assert all(by_row[i]["status"] == "done" for i in range(1, 21))
    assert by_row[21]["error"] == "the worker was killed by SIGKILL on this video"
    assert by_row[21]["tries"] == 2
    assert by_row[22]["error"] == "the clip is damaged"


@pytest.mark.timeout(240)
def test_a_killed_driver_goes_on_where_it_was(tmp_path):
    words = ["fine"] * 60
    first = start(tmp_path, words)
    done_at_least(first, 4)
    until = time.monotonic() + 60
    while not list((tmp_path / "out" / "parts").glob("part-*.parquet")) and time.monotonic() < until:
        time.sleep(0.1)
    first.send_signal(signal.SIGKILL)
    first.wait()
    kept = read_keys(tmp_path / "out")
    assert 0 < len(kept) < 60
    before = begun(tmp_path)
    second = start(tmp_path, words)
    assert second.wait(150) == 0, (tmp_path / "log").read_text()[-2000:]
    assert Counter(item["row"] for item in results(tmp_path)) == Counter(range(1, 61))
    again = begun(tmp_path) - before
    assert not kept & again.keys(), "what was written is not done again"
