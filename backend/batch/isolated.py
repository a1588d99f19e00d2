"""Process rows in a child process, so that a video that crashes or blocks it costs that row alone.

If a decoder crashes, memory runs out or a video takes too long, the child dies or is killed and a new one is started;
after several tries the result of the row is the error. `python -m backend.batch.isolated FD` is the child.
"""

from __future__ import annotations

import contextlib
import importlib
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Mapping
from multiprocessing.connection import Connection, Pipe
from typing import Any

from backend.batch.manifest import ManifestRow

_START_S = 1800.0  # to load models, which may have to be downloaded
_BETWEEN_TRIES_S = 2.0


class StartError(RuntimeError):
    """The worker cannot start: a model cannot be loaded, or a setting is wrong."""


class IsolatedWorker:
    """Processes rows in a child that is started at first use and again whenever it died. Not thread-safe.

    Args:
        worker: "module:Class"; it is made with `settings`, and called with a row it returns the fields of a result.
        settings: The worker's settings.
        tries: How often a row may kill the child or fail for a transient reason.
        limit_s: The most seconds that a row may take.
    """

    def __init__(self, worker: str, settings: Mapping[str, Any], *, tries: int = 2, limit_s: float = 3600.0) -> None:
        self._worker, self._settings = worker, dict(settings)
        self._tries, self._limit_s = tries, limit_s
        self._child: subprocess.Popen[bytes] | None = None
        self._connection: Connection | None = None

    def start(self) -> None:
        """Start the child and wait until its models are loaded. Raises StartError."""
        if self._child is not None:
            return
        ours, theirs = Pipe()
        env = {**os.environ, "PYTHONPATH": os.pathsep.join(p for p in sys.path if p)}
        command = [sys.executable, "-m", "backend.batch.isolated", str(theirs.fileno())]
        with theirs:
            self._child = subprocess.Popen(command, pass_fds=[theirs.fileno()], env=env, stdin=subprocess.DEVNULL)  # noqa: S603
        self._connection = ours
        try:
            ours.send((self._worker, self._settings))
            if not ours.poll(_START_S):
                self.stop()
                raise StartError(f"the models were not loaded in {_START_S:g} s")
            kind, text = ours.recv()
        except (EOFError, OSError):
            raise StartError(f"the worker {self._end()} while its models were loaded") from None
        if kind != "ready":
            self.stop()
            raise StartError(text)

    def __call__(self, row: ManifestRow) -> dict[str, Any]:
        """Process a row and return the fields of its result; its status is "error" if it failed. Raises StartError."""
        began = time.perf_counter()
        for attempt in range(1, self._tries + 1):
            self.start()
            kind, content = self._request(row)
            if kind == "done" or kind == "failed" or attempt == self._tries:
                break
            time.sleep(_BETWEEN_TRIES_S)
        fields = content if kind == "done" else {"status": "error", "error": content}
        return {**fields, "tries": attempt, "seconds": time.perf_counter() - began}

    def stop(self) -> None:
        """Kill the child, if there is one."""
        if self._child is not None:
            self._end()

    def _request(self, row: ManifestRow) -> tuple[str, Any]:
        assert self._connection is not None
        try:
            self._connection.send(row.to_json())
            if not self._connection.poll(self._limit_s):
                self._end()
                return "transient", f"it took longer than {self._limit_s:g} s"
            return self._connection.recv()
        except (EOFError, OSError):
            return "transient", f"the worker {self._end()} on this video"

    def _end(self) -> str:
        """Kill the child if it is alive, and return how it ended."""
        assert self._child is not None
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._child.wait(1.0)  # the connection breaks just before the process ends
        if self._child.poll() is None:
            self._child.kill()
        code = self._child.wait()
        if self._connection is not None:
            self._connection.close()
        self._child = self._connection = None
        return f"was killed by {signal.Signals(-code).name}" if code < 0 else f"ended with code {code}"


def main(descriptor: int) -> None:
    """Process rows in the child until the connection is closed."""
    connection, parent = Connection(descriptor), os.getppid()
    threading.Thread(target=_exit_with, args=(parent,), daemon=True).start()
    name, settings = connection.recv()
    try:
        module, _, kind = name.partition(":")
        work = getattr(importlib.import_module(module), kind)(settings)
    except Exception as error:
        connection.send(("cannot start", f"{type(error).__name__}: {error}"))
        return
    connection.send(("ready", ""))
    with contextlib.suppress(EOFError):
        while True:
            row = ManifestRow.from_json(connection.recv())
            try:
                answer: tuple[str, Any] = ("done", work(row))
            except Exception as error:  # the error becomes the row's result
                kind = "transient" if getattr(error, "transient", False) else "failed"
                text = str(error) if isinstance(error, ValueError) else f"{type(error).__name__}: {error}"
                answer = (kind, " ".join(text.split()))
            connection.send(answer)


def _exit_with(parent: int) -> None:
    """Exit once the parent is gone."""
    while os.getppid() == parent:
        time.sleep(1.0)
    os._exit(1)


if __name__ == "__main__":
    main(int(sys.argv[1]))
