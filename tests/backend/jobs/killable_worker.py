"""A worker in a process of its own, to be killed: python -m tests.backend.jobs.killable_worker QUEUE DATA_DIR JOURNAL

Its jobs have three stages of a third of a second, whose results are kept; every stage that is really computed is
written to the journal.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path

from backend.jobs.queue import JobQueue
from backend.jobs.worker import JobResult, Worker

STAGES = ("decode", "ground", "track")


class Staged:
    def __init__(self, data_dir, journal, *, stage_s=0.3):
        self._folder, self._journal, self._stage_s = data_dir / "kept", journal, stage_s

    def __call__(self, spec, tell):
        self._folder.mkdir(exist_ok=True)
        for i, stage in enumerate(STAGES):
            tell(stage, i / 3)
            kept = self._folder / f"{spec.id}-{stage}"
            if not kept.exists():
                for step in range(3):
                    time.sleep(self._stage_s / 3)
                    tell(stage, (i + step / 3) / 3)
                kept.touch()
                with self._journal.open("a") as file:
                    file.write(f"{spec.id} {stage}\n")
        return JobResult({"result": [spec.id], "score": 0.5, "model_version": spec.model_version}, ("a note",), b"jpeg")


def main(queue, data_dir, journal):
    queue = JobQueue(queue, Path(data_dir))
    worker = Worker(queue, Staged(Path(data_dir), Path(journal)), data_dir=Path(data_dir), accelerator="cpu")
    worker.recover()
    worker.start()
    print("up", flush=True)
    time.sleep(120)


if __name__ == "__main__":
    main(*sys.argv[1:])
