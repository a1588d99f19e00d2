"""Rows through Ray Data: as many workers as there are accelerators, each with its models loaded once.

What Ray may lose (a node, an actor) is asked for once more; what kills its process on a video is no matter for Ray, see
`backend.batch.isolated`. Rows go in by windows, so that the driver holds a bounded number of them.
"""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # read when Ray is imported: nobody is told of this run

import ray
import ray.data
from ray.data import ActorPoolStrategy, DataContext

from backend.batch.isolated import IsolatedWorker
from backend.batch.rows import ManifestRow
from video.errors import UserError

if TYPE_CHECKING:
    import pyarrow

log = logging.getLogger("refam.curate")

_WINDOW = 10_000  # rows at a time; the models are loaded once in each
_STORE_BYTES = 512 << 20  # of one machine's object store: results are run-length codes, not pixels


class WorkersError(UserError):
    """The workers cannot begin, or Ray cannot; a sentence for people."""


@dataclass(frozen=True)
class WorkerPlan:
    """workers: how many, None: one for each GPU, else one for `cpus` processors. cpus, gpus: what each may have."""

    workers: int | None = None
    cpus: float = 2
    gpus: float | None = None
    worker: str = "backend.batch.clips:ClipWorker"
    tries: int = 2
    limit_s: float = 3600.0

    def on(self, resources: Mapping[str, float]) -> tuple[int, float, float]:
        """(workers, processors each, GPUs each) for what a cluster has. Raises WorkersError."""
        n_gpus, n_cpus = resources.get("GPU", 0.0), resources.get("CPU", 0.0)
        gpus = (1.0 if n_gpus else 0.0) if self.gpus is None else self.gpus
        cpus = min(self.cpus, n_cpus)
        fit = int(n_gpus / gpus) if gpus else int(n_cpus / cpus) if cpus else 0
        if fit < 1:
            raise WorkersError(f"the cluster has {n_cpus:g} processors and {n_gpus:g} GPUs: no worker fits")
        return self.workers or fit, cpus if self.workers is None else min(cpus, max(n_cpus / self.workers, 0.1)), gpus


class Actor:
    """One worker in Ray's hands."""

    def __init__(self, worker: str, settings: Mapping[str, Any], tries: int, limit_s: float) -> None:
        self._isolated = IsolatedWorker(worker, settings, tries=tries, limit_s=limit_s)
        self._isolated.start()

    def __call__(self, item: dict[str, Any]) -> dict[str, Any]:
        """A row -> its key and the result's fields, as JSON."""
        row = ManifestRow.from_json(item["row"])
        return {"key": row.key, "result": json.dumps(self._isolated(row))}


@contextmanager
def cluster(address: str | None) -> Iterator[dict[str, float]]:
    """This machine, or a cluster that is there -> its resources. Raises WorkersError."""
    own: dict[str, Any] = {} if address else {"include_dashboard": False, "object_store_memory": _STORE_BYTES}
    ours = not ray.is_initialized()
    try:
        if ours:
            ray.init(address=address or "local", log_to_driver=False, logging_level=logging.ERROR, **own)
        context = DataContext.get_current()
        context.enable_progress_bars = False  # ours counts clips
        context.max_errored_blocks = -1  # a row that was lost is asked for again, by us
        logging.getLogger("ray.data").setLevel(logging.ERROR)
        yield dict(ray.cluster_resources())
    except ConnectionError as error:
        raise WorkersError(f"no Ray cluster answers at {address}: {error}") from None
    finally:
        if ours:
            ray.shutdown()


def results(
    rows: Sequence[ManifestRow], crew: WorkerPlan, settings: Mapping[str, Any], resources: Mapping[str, float]
) -> Iterator[tuple[str, str]]:
    """(key, JSON of the result's fields) as they come. Every row has one, unless it was lost three times.

    A row may come twice when a node died just then: whoever keeps them looks at the key. Raises WorkersError.
    """
    for first in range(0, len(rows), _WINDOW):
        yield from _window(rows[first : first + _WINDOW], crew, settings, resources)


def _window(
    rows: Sequence[ManifestRow], crew: WorkerPlan, settings: Mapping[str, Any], resources: Mapping[str, float]
) -> Iterator[tuple[str, str]]:
    missing = {row.key: row for row in rows}
    lost = 0
    while missing:
        before, why = len(missing), "its worker was lost"
        try:
            for key, text in _once(list(missing.values()), crew, settings, resources):
                missing.pop(key, None)
                yield key, text
        except ray.exceptions.RayError as error:
            why = _reason(error)
            log.warning("some rows are asked for again: %s", why)
            if "StartError" in why:
                raise WorkersError(why.partition("StartError: ")[2]) from None
        lost = lost + 1 if len(missing) == before else 0
        if lost == crew.tries:
            for key in missing:
                yield key, json.dumps({"status": "error", "error": f"{why}, {lost} times", "tries": lost})
            return


def _once(
    rows: Sequence[ManifestRow], crew: WorkerPlan, settings: Mapping[str, Any], resources: Mapping[str, float]
) -> Iterator[tuple[str, str]]:
    workers, cpus, gpus = crew.on(resources)
    # One row a block: each comes back as soon as it is done, and a lost node costs what it was at, no more.
    found = ray.data.from_items([{"row": row.as_json()} for row in rows], override_num_blocks=len(rows)).map(
        cast("Any", Actor),  # Ray makes it on each worker
        fn_constructor_args=(crew.worker, dict(settings), crew.tries, crew.limit_s),
        compute=ActorPoolStrategy(size=min(workers, len(rows)), max_tasks_in_flight_per_actor=2),
        num_cpus=cpus,
        num_gpus=gpus,
    )
    for batch in found.iter_batches(batch_size=None, batch_format="pyarrow", prefetch_batches=0):
        block = cast("pyarrow.Table", batch)
        yield from zip(block["key"].to_pylist(), block["result"].to_pylist(), strict=True)


def _reason(error: Exception) -> str:
    """The line of Ray's report that says what happened."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    told = [line for line in lines if "Error" in line]
    return (told or lines or [type(error).__name__])[-1]
