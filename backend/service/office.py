"""Board, desk, worker and delivery of one process, put together."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from backend.jobs.push import PredictionPusher
from backend.jobs.queue import JobQueue
from backend.jobs.runner import JobRunner
from backend.jobs.worker import Worker
from backend.service.predict import PredictService

if TYPE_CHECKING:
    from backend.runtime import Services

log = logging.getLogger("refam.jobs")


class JobServices:
    """All that has to do with long work. Opening it loads no model."""

    def __init__(self, services: Services) -> None:
        settings = services.settings
        self.board = JobQueue(settings.queue, settings.data_dir)
        self.delivery = PredictionPusher(settings, self.board)
        self.desk = PredictService(settings, self.board, can_push=self.delivery.possible)
        self.worker: Worker | None = None
        if settings.work:
            self.worker = self.new_worker(services)
            self.worker.start()

    def new_worker(self, services: Services) -> Worker:
        """A worker over this board; it takes up what an earlier process left."""
        worker = Worker(
            self.board,
            JobRunner(services, self.board),
            data_dir=services.settings.data_dir,
            accelerator=services.settings.device,
            care=self.delivery.care,
        )
        worker.recover()
        return worker

    def problems(self) -> list[str]:
        """What does not work at present, in sentences."""
        return [*self.board.damage, *([self.delivery.problem] if self.delivery.problem else [])]

    def close(self) -> None:
        """Requests that wait are answered, the job under way goes back to the queue."""
        self.desk.close()
        if self.worker is not None:
            self.worker.stop()
        self.board.close()
