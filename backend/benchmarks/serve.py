"""How fast the backend answers what it has done already, and whether it loses anything while all goes wrong around it.

    python -m backend.benchmarks.serve [--clients 32] [--seconds 60] [--new 12]

Two real `refam serve` with the small model share one data directory, before a stand-in for Label Studio that serves the
video and takes pushed predictions. Threads ask for predictions that are known and for what Label Studio asks on every
page; new tasks keep coming in. First for `--seconds` in peace, then for as long while, one after another: a server is
killed (SIGKILL) and started again, no file can be written beyond 100 kB (a full disk), bits flip in the media cache and
in the kept stages, and Label Studio answers 401, 500, and after 3 s. Then everything heals, and every job that was
accepted must be done, or failed with a reason.
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
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import httpx

from refam.evaluation.synthetic import RED, red_star_and_blue_ring, write_video

XML = """<View><TextArea name="words" toName="v" value="$prompt"/><Labels name="l" toName="v"><Label value="Object"/>
</Labels><Video name="v" value="$video" frameRate="25"/><VideoRectangle name="box" toName="v"/></View>"""
N_KNOWN = 20
LOGIN = ("anna", "bench")


class Studio(BaseHTTPRequestHandler):
    """Label Studio as far as it is needed. `server.mood`: ok, 401, 500 or slow."""

    def do_GET(self):
        body = (
            self.server.clip if self.path.startswith("/data/upload/") else b"[]" if "predictions" in self.path else b""
        )
        kind = "video/mp4" if body is self.server.clip else "application/json"
        self._say(body or b'{"id": 1, "data": {}, "project": 1}', kind)

    def do_POST(self):
        self.rfile.read(int(self.headers["Content-Length"]))
        self._say(b'{"id": 1, "task": 1, "result": []}', "application/json")

    def _say(self, body, kind):
        mood = self.server.mood
        if mood == "slow":
            time.sleep(3)
        self.send_response(int(mood) if mood.isdigit() else 200)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


class Server:
    """One `refam serve`."""

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


def body(identity, words):
    task = {"id": identity, "data": {"video": "/data/upload/1/clip.mp4", "prompt": words}}
    return {"tasks": [task], "project": "1.1", "label_config": XML, "params": {"context": None}}


def http_client(timeout_s=100):
    login = base64.b64encode(":".join(LOGIN).encode()).decode()
    return httpx.Client(trust_env=False, timeout=timeout_s, headers={"Authorization": f"Basic {login}"})


def ask_and_ask(servers, until, spent, broken, seed):
    rng = random.Random(seed)
    with http_client() as http:
        while time.monotonic() < until:
            what = rng.choices(["predict, known", "health", "setup", "jobs"], [6, 2, 2, 1])[0]
            url = rng.choice(servers).url
            began = time.perf_counter()
            try:
                if what == "predict, known":
                    answer = http.post(url + "/predict", json=body(rng.randrange(N_KNOWN), RED))
                elif what == "setup":
                    answer = http.post(url + "/setup", json={})
                else:
                    answer = http.get(f"{url}/{what}")
            except httpx.HTTPError:  # it was being killed just then
                broken["met a killed server"] += 1
                time.sleep(0.2)
                continue
            spent[what].append(time.perf_counter() - began)
            if answer.status_code != 200:
                broken[f"{what}: {answer.status_code}"] += 1
            elif what == "predict, known" and "error" in answer.text and "stored already" not in answer.text:
                broken[answer.json()["results"][0]["error"][:110]] += 1
            time.sleep(rng.random() * 0.2)


def flip_bits(folder, rng):
    for path in [*(folder / "jobs" / "stages").glob("*"), *(folder / "cache").glob("*.mp4")]:
        try:
            content = bytearray(path.read_bytes())
            content[rng.randrange(len(content))] ^= 0x10
            path.write_bytes(content)
        except (OSError, ValueError):  # it went just now
            continue


def faults(servers, studio, folder, until, done):
    """One after another, for as long as there is time; everything is well again afterwards."""
    rng, n = random.Random(1), 0
    while time.monotonic() < until:
        kind = ("kill", "disk full", "rot", "401", "kill", "500", "slow")[n % 7]
        n, done[kind] = n + 1, done[kind] + 1
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
            studio.mood = kind
            time.sleep(4)
            studio.mood = "ok"
        time.sleep(1)


def one_phase(args, servers, first_task, trouble=None):
    """-> seconds by request, what was answered wrong, ids of the new tasks that were accepted and that were refused."""
    spent, broken, accepted, refused = defaultdict(list), Counter(), [], []
    until = time.monotonic() + args.seconds
    threads = [
        threading.Thread(target=ask_and_ask, args=(servers, until, spent, broken, i)) for i in range(args.clients)
    ]
    threads += [threading.Thread(target=trouble, args=(until,))] if trouble else []
    for thread in threads:
        thread.start()
    with http_client(timeout_s=20) as http:
        for i in range(args.new):
            try:
                answer = http.post(servers[i % 2].url + "/predict", json=body(first_task + i, f"the star number {i}"))
                (refused if "cannot be" in answer.text else accepted).append(first_task + i)
            except httpx.HTTPError:
                refused.append(first_task + i)  # nobody said that it was taken
            time.sleep(max(0.0, min(args.seconds / args.new, until - time.monotonic())))
    for thread in threads:
        thread.join()
    return spent, broken, accepted, refused


def settled(server, *, most_s=400):
    """Waits until every job is final -> all jobs."""
    with http_client() as http:
        end = time.monotonic() + most_s
        while True:
            found = http.get(server.url + "/jobs").json()
            waiting = [job for job in found["jobs"] if job["state"] in ("queued", "running")]
            if not waiting or time.monotonic() > end:
                return found["jobs"]
            time.sleep(1)


def show(title, spent, broken):
    print(f"\n{title}\n{'request':18s} {'count':>6s} {'p50 ms':>8s} {'p95 ms':>8s} {'max ms':>8s}")
    for what, seconds in sorted(spent.items()):
        cuts = statistics.quantiles(seconds, n=20) if len(seconds) > 1 else seconds * 20
        p50, p95, most = (1e3 * x for x in (statistics.median(seconds), cuts[-1], max(seconds)))
        print(f"{what:18s} {len(seconds):6d} {p50:8.1f} {p95:8.1f} {most:8.1f}")
    for what, n in broken.most_common(6):
        print(f"{n:6d} x {what}")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--clients", type=int, default=32)
    parser.add_argument("--seconds", type=float, default=60, help="of each of the two phases")
    parser.add_argument("--new", type=int, default=12, help="new tasks that come in in each phase")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        studio = ThreadingHTTPServer(("127.0.0.1", 0), Studio)
        clip = write_video(folder / "clip.mp4", red_star_and_blue_ring(24, size=(320, 180))[0], fps=25)
        studio.clip, studio.mood = clip.read_bytes(), "ok"
        threading.Thread(target=studio.serve_forever, daemon=True).start()
        servers, happened = [Server(folder, studio) for _ in range(2)], Counter()
        try:
            with http_client() as http:
                for i in range(N_KNOWN):
                    http.post(servers[0].url + "/predict", json=body(i, RED))
            settled(servers[0])
            print(f"{args.clients} clients, two servers on one data directory, {N_KNOWN} tasks known")
            peace = one_phase(args, servers, 1000)
            settled(servers[0])
            show(f"in peace, {args.seconds:.0f} s", *peace[:2])
            war = one_phase(args, servers, 2000, lambda until: faults(servers, studio, folder, until, happened))
            jobs = {job["task_id"]: job for job in settled(servers[1])}
            show("with " + ", ".join(f"{n} x {kind}" for kind, n in happened.items()), *war[:2])
        finally:
            for server in servers:
                server.kill()
            studio.shutdown()
    accepted, refused = peace[2] + war[2], peace[3] + war[3]
    lost = [task for task in accepted if task not in jobs]
    silent = [task for task, job in jobs.items() if job["state"] != "done" and not job["error"]]
    states = Counter(job["state"] for job in jobs.values())
    print(
        f"\nnew tasks: {len(accepted)} accepted, {len(refused)} refused or cut off; of the accepted, lost: {len(lost)}"
    )
    print(
        "all jobs: " + ", ".join(f"{n} {state}" for state, n in states.items()) + f"; without a reason: {len(silent)}"
    )
    for job in [job for job in jobs.values() if job["state"] == "failed"][:3]:
        print(f"  failed: {job['error'][:150]}")
    if lost or silent:
        raise SystemExit("something was lost")


if __name__ == "__main__":
    main()
