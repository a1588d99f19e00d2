"""Who tells Label Studio of a finished job: the request that waits for it, or a push afterwards; never both."""

from __future__ import annotations

import json

from backend.jobs.storage import JobStorage


class Deliveries(JobStorage):
    """What requests wait for, until when, and how each job was delivered."""

    def schedule_push(self, job: str, until: float) -> None:
        """A request waits for this job until then (Unix seconds); later it has to be pushed."""
        self._put(f"wait:{job}", max(until, self.push_scheduled_at(job) or 0.0))

    def scheduled_pushes(self) -> list[tuple[str, float]]:
        """Jobs that a request waits or waited for, and until when."""
        items = self._huey.storage.result_items().items()
        return [(key[5:], float(json.loads(bytes(value)))) for key, value in items if key.startswith("wait:")]

    def cancel_push(self, job: str) -> None:
        """Nobody is to be told of this job (any longer)."""
        self._forget(job, "wait")

    def push_scheduled_at(self, job: str) -> float | None:
        """Until when the last request that asked for a job waits; None when none did."""
        return self._get(f"wait:{job}")

    def claim_delivery(self, job: str, how: str) -> bool:
        """True for exactly one caller per round of a job: whoever gets it tells Label Studio."""
        return bool(self._huey.storage.put_if_empty(f"delivered:{job}", json.dumps([how, self._clock()]).encode()))

    def delivered(self, job: str) -> tuple[str, float] | None:
        """How a job was delivered ("answered", "pushed", or why not) and when; None when it was not yet."""
        found = self._get(f"delivered:{job}")
        return (str(found[0]), float(found[1])) if found else None

    def set_delivered(self, job: str, how: str | None) -> None:
        """Writes how a claimed delivery ended; None frees it for another try."""
        if how is None:
            self._forget(job, "delivered")
        else:
            self._put(f"delivered:{job}", [how, self._clock()])
