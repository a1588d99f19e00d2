"""How fast the backend answers what it has done already, under load and through restarts.

    python -m tests.bench.bench_serve [--clients 32] [--seconds 60] [--restart-s 15]

A real `refam serve` with the small model; `--clients` threads ask for cached predictions and for what Label Studio asks
on every page, for `--seconds`; every `--restart-s` the server is killed (SIGKILL) and started again. Beside them, new
tasks keep coming in; at the end every accepted job must be done or failed with a reason.
"""

from __future__ import annotations

import argparse
import os
import random
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections import defaultdict
from pathlib import Path

import httpx

from tests.media import cfr
from tests.scenes import RED, red_star_and_blue_ring

XML = """<View><TextArea name="words" toName="v" value="$prompt"/><Labels name="l" toName="v"><Label value="Object"/>
</Labels><Video name="v" value="$video" frameRate="25"/><VideoRectangle name="box" toName="v"/></View>"""


class Server:
    def __init__(self, folder):
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}"
        self._environment = {
            **os.environ,
            "REFAM_PORT": str(self.port),
            "REFAM_MEDIA_ROOT": str(folder),
            "REFAM_CACHE_DIR": str(folder / "cache"),
            "REFAM_DATA_DIR": str(folder / "jobs"),
            "REFAM_DEADLINE_S": "90",
            "REFAM_PAGE_DEADLINE_S": "90",
            "REFAM_LOG_LEVEL": "WARNING",
        }
        self._log = (folder / "log").open("a")
        self.start()

    def start(self):
        command = [sys.executable, "-m", "backend.cli", "serve"]
        self.process = subprocess.Popen(command, env=self._environment, stdout=self._log, stderr=self._log)
        with httpx.Client(trust_env=False) as http:
            for _ in range(600):
                try:
                    if http.get(self.url + "/health").status_code == 200:
                        return
                except httpx.HTTPError:
                    time.sleep(0.1)
        raise SystemExit("the server did not start")

    def kill(self):
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()


def body(identity, words):
    task = {"id": identity, "data": {"video": "clip.mp4", "prompt": words}}
    return {"tasks": [task], "project": "1.1", "label_config": XML, "params": {"context": None}}


def client(server, until, spent, broken, seed, n_cached):
    rng = random.Random(seed)
    with httpx.Client(trust_env=False, timeout=100) as http:
        while time.monotonic() < until:
            what = rng.choices(["predict, cached", "health", "setup", "jobs"], [6, 2, 2, 1])[0]
            began = time.perf_counter()
            try:
                if what == "predict, cached":
                    answer = http.post(server.url + "/predict", json=body(rng.randrange(n_cached), RED))
                    good = "error" not in answer.text or "stored already" in answer.text
                elif what == "jobs":
                    good = http.get(server.url + "/jobs").status_code == 200
                elif what == "health":
                    good = http.get(server.url + "/health").status_code == 200
                else:
                    good = http.post(server.url + "/setup", json={}).status_code == 200
            except httpx.HTTPError:  # it was being killed just then
                broken.append(what)
                time.sleep(0.2)
                continue
            spent[what].append(time.perf_counter() - began)
            if not good:
                broken.append(f"{what}: {answer.text[:200]}")
            time.sleep(rng.random() * 0.2)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--clients", type=int, default=32)
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--restart-s", type=float, default=0, help="0: never")
    parser.add_argument("--new", type=int, default=10, help="new tasks that come in meanwhile, five seconds apart")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        cfr(folder / "clip.mp4", red_star_and_blue_ring(24, size=(320, 180))[0])
        server = Server(folder)
        n_cached = 20
        with httpx.Client(trust_env=False, timeout=100) as http:
            for i in range(n_cached):
                http.post(server.url + "/predict", json=body(i, RED))
        spent, broken = defaultdict(list), []
        until = time.monotonic() + args.seconds
        threads = [
            threading.Thread(target=client, args=(server, until, spent, broken, seed, n_cached))
            for seed in range(args.clients)
        ]
        for thread in threads:
            thread.start()
        sent, restarts, last = 0, 0, time.monotonic()
        with httpx.Client(trust_env=False, timeout=1) as http:
            while time.monotonic() < until:
                if sent < args.new:
                    try:
                        http.post(server.url + "/predict", json=body(1000 + sent, f"the star number {sent}"))
                    except httpx.TimeoutException:
                        sent += 1  # accepted, and not waited for
                    except httpx.HTTPError:
                        pass
                    else:
                        sent += 1
                if args.restart_s and time.monotonic() - last > args.restart_s:
                    server.kill()
                    server.start()
                    restarts, last = restarts + 1, time.monotonic()
                time.sleep(min(5, args.seconds / 10))
        for thread in threads:
            thread.join()
        with httpx.Client(trust_env=False, timeout=30) as http:
            end = time.monotonic() + 300
            while time.monotonic() < end:
                counts = http.get(server.url + "/jobs").json()["counts"]
                if not counts.get("queued") and not counts.get("running"):
                    break
                time.sleep(1)
        server.kill()
    print(f"{args.clients} clients, {args.seconds:.0f} s, {restarts} restarts by SIGKILL, {sent} new tasks meanwhile")
    print(f"{'request':18s} {'count':>6s} {'p50 ms':>8s} {'p95 ms':>8s} {'max ms':>8s}")
    for what, seconds in sorted(spent.items()):
        cuts = statistics.quantiles(seconds, n=20) if len(seconds) > 1 else seconds * 20
        p50, p95, most = (1e3 * x for x in (statistics.median(seconds), cuts[-1], max(seconds)))
        print(f"{what:18s} {len(seconds):6d} {p50:8.1f} {p95:8.1f} {most:8.1f}")
    print(f"requests that met a killed server: {len([b for b in broken if ':' not in b])}; wrong answers: ", end="")
    print(len([b for b in broken if ":" in b]), *[b for b in broken if ":" in b][:3])
    print("jobs at the end:", ", ".join(f"{n} {state}" for state, n in sorted(counts.items())))


if __name__ == "__main__":
    main()
