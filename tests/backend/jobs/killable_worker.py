"""A worker in a process of its own, to be killed: python -m tests.backend.jobs.killable_worker QUEUE DATA_DIR LOG

Its jobs have three stages of a third of a second, whose results are cached; a stage that is computed is written to LOG.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path

from backend.jobs.queue import JobQueue
from backend.jobs.worker import JobResult, Worker

STAGES = ("decode", "ground", "track")


class StagedHandler:
    """Sleeps for each stage of a job that is not cached."""

    def __init__(self, data_dir, computed_log, *, stage_s=0.3):
        self._cache, self._computed_log, self._stage_s = data_dir / "cache", computed_log, stage_s

    def __call__(self, spec, progress):
        self._cache.mkdir(exist_ok=True)
        for i, stage in enumerate(STAGES):
            progress(stage, i / 3)
            cached = self._cache / f"{spec.id}-{stage}"
            if not cached.exists():
                for step in range(3):
                    time.sleep(self._stage_s / 3)
                    progress(stage, (i + step / 3) / 3)
                cached.touch()
                with self._computed_log.open("a") as file:
                    file.write(f"{spec.id} {stage}\n")
        return JobResult({"result": [spec.id], "score": 0.5, "model_version": spec.model_version}, ("a note",), b"jpeg")


def main(address, data_dir, computed_log):
    queue = JobQueue(address, Path(data_dir))
    handler = StagedHandler(Path(data_dir), Path(computed_log))
    worker = Worker(queue, handler, data_dir=Path(data_dir), accelerator="cpu")
    worker.recover()
    worker.start()
    print("up", flush=True)
    time.sleep(120)


if __name__ == "__main__":
    main(*sys.argv[1:])
