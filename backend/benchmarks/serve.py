"""Measure the latency of the backend under load, and check that no job is lost under injected faults.

    make bench-serve [ARGS="--clients 32 --seconds 60 --new 12"]

Two `refam serve` processes with the small model share one data directory; a fake Label Studio serves the video and
accepts pushed predictions. Client threads request predictions that are already computed, and what Label Studio requests
on every page, while new tasks keep arriving. The first phase of `--seconds` has no faults. In the second, one after
another, a server is killed (SIGKILL) and restarted, files cannot grow beyond 100 kB (a full disk), bits flip in the
media cache and in the stored stages, and Label Studio answers 401, 500, or after 3 s.

Prints the latency of each request in both phases, then how many jobs were lost. Every accepted job must be done, or
failed with a reason; otherwise the exit code is 1.
"""

from __future__ import annotations

import argparse
import base64
import os
import random
import resource
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter, defaultdict
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import httpx

from refam.evaluation.synthetic import RED, red_star_and_blue_ring, write_video

XML = """<View><TextArea name="words" toName="v" value="$prompt"/><Labels name="l" toName="v"><Label value="Object"/>
</Labels><Video name="v" value="$video" frameRate="25"/><VideoRectangle name="box" toName="v"/></View>"""
N_KNOWN = 20
LOGIN = ("anna", "bench")


class FakeLabelStudio(BaseHTTPRequestHandler):
    """The parts of Label Studio that the backend uses. `server.mode` is "ok", "401", "500" or "slow"."""

    def do_GET(self):
        content = (
            self.server.clip if self.path.startswith("/data/upload/") else b"[]" if "predictions" in self.path else b""
        )
        content_type = "video/mp4" if content is self.server.clip else "application/json"
        self._respond(content or b'{"id": 1, "data": {}, "project": 1}', content_type)

    def do_POST(self):
        self.rfile.read(int(self.headers["Content-Length"]))
        self._respond(b'{"id": 1, "task": 1, "result": []}', "application/json")

    def _respond(self, content, content_type):
        mode = self.server.mode
        if mode == "slow":
            time.sleep(3)
        self.send_response(int(mode) if mode.isdigit() else 200)
        self.send_header("Content-Type", content_type)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *_):
        pass


class ServeProcess:
    """One `refam serve` process."""

    def __init__(self, folder, studio):
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.url = f"http://127.0.0.1:{free.getsockname()[1]}"
        self._environment = {
            **os.environ,
            "REFAM_PORT": self.url.rpartition(":")[2],
            "REFAM_CACHE_DIR": str(folder / "cache"),
            "REFAM_DATA_DIR": str(folder / "jobs"),
            "REFAM_DEADLINE_S": "90",
            "REFAM_PAGE_DEADLINE_S": "1",
            "REFAM_LOG_LEVEL": "WARNING",
            "REFAM_RATE_PER_MINUTE": "0",  # all clients have one address here
            "REFAM_BASIC_AUTH_USER": LOGIN[0],
            "REFAM_BASIC_AUTH_PASS": LOGIN[1],
            "LABEL_STUDIO_URL": f"http://127.0.0.1:{studio.server_port}",
            "LABEL_STUDIO_API_KEY": "0" * 40,
        }
        self._log = (folder / "log").open("a")
        self.start()

    def start(self):
        command = [sys.executable, "-m", "backend.cli.main", "serve"]
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
        self.process.kill()
        self.process.wait()

    def write_no_more_than(self, size):
        resource.prlimit(self.process.pid, resource.RLIMIT_FSIZE, (size, resource.RLIM_INFINITY))


def request_body(identity, words):
    task = {"id": identity, "data": {"video": "/data/upload/1/clip.mp4", "prompt": words}}
    return {"tasks": [task], "project": "1.1", "label_config": XML, "params": {"context": None}}


def http_client(timeout_s=100):
    login = base64.b64encode(":".join(LOGIN).encode()).decode()
    return httpx.Client(trust_env=False, timeout=timeout_s, headers={"Authorization": f"Basic {login}"})


def send_requests(servers, deadline, spent, errors, seed):
    rng = random.Random(seed)
    with http_client() as http:
        while time.monotonic() < deadline:
            what = rng.choices(["predict, known", "health", "setup", "jobs"], [6, 2, 2, 1])[0]
            url = rng.choice(servers).url
            began = time.perf_counter()
            try:
                if what == "predict, known":
                    answer = http.post(url + "/predict", json=request_body(rng.randrange(N_KNOWN), RED))
                elif what == "setup":
                    answer = http.post(url + "/setup", json={})
                else:
                    answer = http.get(f"{url}/{what}")
            except httpx.HTTPError:  # the server is being killed
                errors["met a killed server"] += 1
                time.sleep(0.2)
                continue
            spent[what].append(time.perf_counter() - began)
            if answer.status_code != 200:
                errors[f"{what}: {answer.status_code}"] += 1
            elif what == "predict, known" and "error" in answer.text and "answered just now" not in answer.text:
                errors[answer.json()["results"][0]["error"][:110]] += 1
            time.sleep(rng.random() * 0.2)


def flip_bits(folder, rng):
    for path in [*(folder / "jobs" / "stages").glob("*"), *(folder / "cache").glob("*.mp4")]:
        try:
            content = bytearray(path.read_bytes())
            content[rng.randrange(len(content))] ^= 0x10
            path.write_bytes(content)
        except (OSError, ValueError):  # deleted meanwhile
            continue


def inject_faults(servers, studio, folder, deadline, *, counts):
    """Inject one fault after another until the deadline; each is undone before the next."""
    rng, n = random.Random(1), 0
    while time.monotonic() < deadline:
        kind = ("kill", "disk full", "rot", "401", "kill", "500", "slow")[n % 7]
        n, counts[kind] = n + 1, counts[kind] + 1
        if kind == "kill":
            server = servers[n % 2]
            server.kill()
            server.start()
        elif kind == "disk full":
            for server in servers:
                server.write_no_more_than(100_000)
            time.sleep(4)
            for server in servers:
                server.write_no_more_than(resource.RLIM_INFINITY)
        elif kind == "rot":
            flip_bits(folder, rng)
        else:
            studio.mode = kind
            time.sleep(4)
            studio.mode = "ok"
        time.sleep(1)


def run_phase(args, servers, first_task, fault_injector=None):
    """Run the clients for one phase.

    Returns:
        Seconds by kind of request, error counts, and the ids of the new tasks that were accepted and refused.
    """
    spent, errors, accepted, refused = defaultdict(list), Counter(), [], []
    deadline = time.monotonic() + args.seconds
    threads = [
        threading.Thread(target=send_requests, args=(servers, deadline, spent, errors, i)) for i in range(args.clients)
    ]
    threads += [threading.Thread(target=fault_injector, args=(deadline,))] if fault_injector else []
    for thread in threads:
        thread.start()
    with http_client(timeout_s=20) as http:
        for i in range(args.new):
            try:
                answer = http.post(
                    servers[i % 2].url + "/predict", json=request_body(first_task + i, f"the star number {i}")
                )
                (refused if "cannot be" in answer.text else accepted).append(first_task + i)
            except httpx.HTTPError:
                refused.append(first_task + i)  # never acknowledged
            time.sleep(max(0.0, min(args.seconds / args.new, deadline - time.monotonic())))
    for thread in threads:
        thread.join()
    return spent, errors, accepted, refused


def wait_until_final(server, *, timeout_s=400):
    """Wait until every job is final and return all jobs."""
    with http_client() as http:
        end = time.monotonic() + timeout_s
        while True:
            jobs = http.get(server.url + "/jobs").json()["jobs"]
            waiting = [job for job in jobs if job["state"] in ("queued", "running")]
            if not waiting or time.monotonic() > end:
                return jobs
            time.sleep(1)


def print_latencies(title, spent, errors):
    print(f"\n{title}\n{'request':18s} {'count':>6s} {'p50 ms':>8s} {'p95 ms':>8s} {'max ms':>8s}")
    for what, seconds in sorted(spent.items()):
        cuts = statistics.quantiles(seconds, n=20) if len(seconds) > 1 else seconds * 20
        p50, p95, most = (1e3 * x for x in (statistics.median(seconds), cuts[-1], max(seconds)))
        print(f"{what:18s} {len(seconds):6d} {p50:8.1f} {p95:8.1f} {most:8.1f}")
    for what, n in errors.most_common(6):
        print(f"{n:6d} x {what}")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--clients", type=int, default=32)
    parser.add_argument("--seconds", type=float, default=60, help="of each of the two phases")
    parser.add_argument("--new", type=int, default=12, help="new tasks in each phase")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        studio = ThreadingHTTPServer(("127.0.0.1", 0), FakeLabelStudio)
        clip = write_video(folder / "clip.mp4", red_star_and_blue_ring(24, size=(320, 180))[0], fps=25)
        studio.clip, studio.mode = clip.read_bytes(), "ok"
        threading.Thread(target=studio.serve_forever, daemon=True).start()
        servers, injected = [ServeProcess(folder, studio) for _ in range(2)], Counter()
        try:
            with http_client() as http:
                for i in range(N_KNOWN):
                    http.post(servers[0].url + "/predict", json=request_body(i, RED))
            wait_until_final(servers[0])
            print(f"{args.clients} clients, two servers on one data directory, {N_KNOWN} tasks known")
            healthy_phase = run_phase(args, servers, 1000)
            wait_until_final(servers[0])
            print_latencies(f"in peace, {args.seconds:.0f} s", *healthy_phase[:2])
            inject = partial(inject_faults, servers, studio, folder, counts=injected)
            faulty_phase = run_phase(args, servers, 2000, inject)
            jobs = {job["task_id"]: job for job in wait_until_final(servers[1])}
            print_latencies("with " + ", ".join(f"{n} x {kind}" for kind, n in injected.items()), *faulty_phase[:2])
        finally:
            for server in servers:
                server.kill()
            studio.shutdown()
    accepted, refused = healthy_phase[2] + faulty_phase[2], healthy_phase[3] + faulty_phase[3]
    lost = [task for task in accepted if task not in jobs]
    no_reason = [task for task, job in jobs.items() if job["state"] != "done" and not job["error"]]
    states = Counter(job["state"] for job in jobs.values())
    print(
        f"\nnew tasks: {len(accepted)} accepted, {len(refused)} refused or cut off; of the accepted, lost: {len(lost)}"
    )
    print(
        "all jobs: "
        + ", ".join(f"{n} {state}" for state, n in states.items())
        + f"; without a reason: {len(no_reason)}"
    )
    for job in [job for job in jobs.values() if job["state"] == "failed"][:3]:
        print(f"  failed: {job['error'][:150]}")
    if lost or no_reason:
        raise SystemExit("something was lost")


if __name__ == "__main__":
    main()
