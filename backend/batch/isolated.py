"""The work in a process of its own: whatever a clip does to it, its row gets a result and the run goes on.

A decoder that crashes, memory that runs out, a clip that never ends: the process dies or is killed, a new one is
started, and after so many tries the row's result is the error. `python -m backend.batch.isolated FD` is that process.
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

from backend.batch.rows import ManifestRow

_START_S = 1800.0  # to load models, which may have to be downloaded
_BETWEEN_TRIES_S = 2.0


class StartError(RuntimeError):
    """The work cannot begin, whatever the row: a model that cannot be loaded, a setting that is wrong."""


class IsolatedWorker:
    """Row -> result, in a child that is started at first use and whenever it died.

    worker: "module:Class", made with `settings`; called with a Row it returns the fields of a result. tries: how often
    a row may kill the child, or fail for a reason that may pass. limit_s: for one row. Not thread-safe.
    """

    def __init__(self, worker: str, settings: Mapping[str, Any], *, tries: int = 2, limit_s: float = 3600.0) -> None:
        self._worker, self._settings = worker, dict(settings)
        self._tries, self._limit_s = tries, limit_s
        self._child: subprocess.Popen[bytes] | None = None
        self._line: Connection | None = None

    def start(self) -> None:
        """Loads the models. Raises StartError."""
        if self._child is not None:
            return
        ours, theirs = Pipe()
        env = {**os.environ, "PYTHONPATH": os.pathsep.join(p for p in sys.path if p)}
        command = [sys.executable, "-m", "backend.batch.isolated", str(theirs.fileno())]
        with theirs:
            self._child = subprocess.Popen(command, pass_fds=[theirs.fileno()], env=env, stdin=subprocess.DEVNULL)  # noqa: S603
        self._line = ours
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
        """The result's fields; with status "error" where it failed. Raises StartError."""
        began = time.perf_counter()
        for attempt in range(1, self._tries + 1):
            self.start()
            kind, content = self._ask(row)
            if kind == "done" or kind == "failed" or attempt == self._tries:
                break
            time.sleep(_BETWEEN_TRIES_S)
        fields = content if kind == "done" else {"status": "error", "error": content}
        return {**fields, "tries": attempt, "seconds": time.perf_counter() - began}

    def stop(self) -> None:
        """Ends the child."""
        if self._child is not None:
            self._end()

    def _ask(self, row: ManifestRow) -> tuple[str, Any]:
        assert self._line is not None
        try:
            self._line.send(row.as_json())
            if not self._line.poll(self._limit_s):
                self._end()
                return "passing", f"it took longer than {self._limit_s:g} s"
            return self._line.recv()
        except (EOFError, OSError):
            return "passing", f"the worker {self._end()} on this video"

    def _end(self) -> str:
        """Kills the child where it lives; says how it ended."""
        assert self._child is not None
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._child.wait(1.0)  # a broken line comes just before the end
        if self._child.poll() is None:
            self._child.kill()
        code = self._child.wait()
        if self._line is not None:
            self._line.close()
        self._child = self._line = None
        return f"was killed by {signal.Signals(-code).name}" if code < 0 else f"ended with code {code}"


def main(descriptor: int) -> None:
    """The child: answers rows until the line ends."""
    line, parent = Connection(descriptor), os.getppid()
    threading.Thread(target=_die_with, args=(parent,), daemon=True).start()
    name, settings = line.recv()
    try:
        module, _, kind = name.partition(":")
        work = getattr(importlib.import_module(module), kind)(settings)
    except Exception as error:
        line.send(("cannot start", f"{type(error).__name__}: {error}"))
        return
    line.send(("ready", ""))
    with contextlib.suppress(EOFError):
        while True:
            row = ManifestRow.from_json(line.recv())
            try:
                answer: tuple[str, Any] = ("done", work(row))
            except Exception as error:  # a bad clip is a row with its error
                kind = "passing" if getattr(error, "passing", False) else "failed"
                text = str(error) if isinstance(error, ValueError) else f"{type(error).__name__}: {error}"
                answer = (kind, " ".join(text.split()))
            line.send(answer)


def _die_with(parent: int) -> None:
    """A child whose parent was killed would work on for nobody."""
    while os.getppid() == parent:
        time.sleep(1.0)
    os._exit(1)


if __name__ == "__main__":
    main(int(sys.argv[1]))
