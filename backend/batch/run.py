"""Process a manifest with Ray Data: as many workers as there are accelerators, each with models loaded once.

Rows that Ray loses with a node or an actor are submitted again; what kills a process on a video does not reach Ray, see
`backend.batch.isolated`. Rows are submitted by windows, so that the driver holds a bounded number of them.
"""

from __future__ import annotations

import json
import logging
import os
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # read when Ray is imported

import ray
import ray.data
from ray.data import ActorPoolStrategy, DataContext

from backend.batch.isolated import IsolatedWorker
from backend.batch.manifest import Manifest, ManifestRow
from backend.batch.results import ResultFolderInfo, ResultSink, lock_folder, remove_errors, write_info
from video.errors import UserError

if TYPE_CHECKING:
    import pyarrow

log = logging.getLogger("refam.curate")

_WINDOW = 10_000  # rows at a time; the models are loaded once in each
_STORE_BYTES = 512 << 20  # of one machine's object store: results are run-length codes, not pixels


class WorkersError(UserError):
    """The workers or Ray cannot start."""


@dataclass(frozen=True)
class WorkerPlan:
    """How many workers there are, and what each may use.

    Attributes:
        workers: Their number; None for one for each GPU, else one for each `cpus` processors.
        cpus: Processors of each.
        gpus: GPUs of each; None for 1 if the cluster has any.
        worker: "module:Class", see `IsolatedWorker`.
        tries: How often a row is tried.
        limit_s: Seconds after which a row is given up.
    """

    workers: int | None = None
    cpus: float = 2
    gpus: float | None = None
    worker: str = "backend.batch.clips:ClipWorker"
    tries: int = 2
    limit_s: float = 3600.0

    def fit(self, resources: Mapping[str, float]) -> tuple[int, float, float]:
        """Return (workers, processors each, GPUs each) for a cluster's resources. Raises WorkersError if none fits."""
        n_gpus, n_cpus = resources.get("GPU", 0.0), resources.get("CPU", 0.0)
        gpus = (1.0 if n_gpus else 0.0) if self.gpus is None else self.gpus
        cpus = min(self.cpus, n_cpus)
        fitting = int(n_gpus / gpus) if gpus else int(n_cpus / cpus) if cpus else 0
        if fitting < 1:
            raise WorkersError(f"the cluster has {n_cpus:g} processors and {n_gpus:g} GPUs: no worker fits")
        return (
            self.workers or fitting,
            cpus if self.workers is None else min(cpus, max(n_cpus / self.workers, 0.1)),
            gpus,
        )


class RayWorker:
    """A Ray actor that processes rows in a child process."""

    def __init__(self, worker: str, settings: Mapping[str, Any], tries: int, limit_s: float) -> None:
        self._isolated = IsolatedWorker(worker, settings, tries=tries, limit_s=limit_s)
        self._isolated.start()

    def __call__(self, item: dict[str, Any]) -> dict[str, Any]:
        """Process a row; return its key and the fields of its result as JSON."""
        row = ManifestRow.from_json(item["row"])
        return {"key": row.key, "result": json.dumps(self._isolated(row))}


@contextmanager
def _hold_stderr() -> Iterator[None]:
    """Keep what native code writes on standard error from people, unless the block raises."""
    with tempfile.TemporaryFile() as held:
        stderr = os.dup(2)
        os.dup2(held.fileno(), 2)
        try:
            yield
        except BaseException:
            held.seek(0)
            os.write(stderr, held.read())
            raise
        finally:
            os.dup2(stderr, 2)
            os.close(stderr)


@contextmanager
def ray_cluster(address: str | None) -> Iterator[dict[str, float]]:
    """Start Ray on this machine, or connect to a cluster, and yield its resources. Raises WorkersError."""
    options: dict[str, Any] = {} if address else {"include_dashboard": False, "object_store_memory": _STORE_BYTES}
    started_here = not ray.is_initialized()
    try:
        if started_here:
            # Ray writes a line of level ERROR about its own actors at each start (ray-project/ray#53727), which people
            # take for a failure. What fails is raised as an exception, and is not in this log.
            os.environ.setdefault("RAY_BACKEND_LOG_LEVEL", "fatal")
            with _hold_stderr():  # a line on the level of the log
                ray.init(address=address or "local", log_to_driver=False, logging_level=logging.ERROR, **options)
        context = DataContext.get_current()
        context.enable_progress_bars = False  # the command line has its own
        context.max_errored_blocks = -1  # lost rows are submitted again below
        logging.getLogger("ray.data").setLevel(logging.ERROR)
        yield dict(ray.cluster_resources())
    except ConnectionError as error:
        raise WorkersError(f"no Ray cluster answers at {address}: {error}") from None
    finally:
        if started_here:
            ray.shutdown()


def process_rows(
    rows: Sequence[ManifestRow], plan: WorkerPlan, settings: Mapping[str, Any], resources: Mapping[str, float]
) -> Iterator[tuple[str, str]]:
    """Yield (key, JSON of the result's fields) as they come, at least one for each row.

    A row may come twice if a node dies at that moment. One that is lost `plan.tries` times in a row is an error.

    Args:
        rows: The rows to process.
        plan: The workers.
        settings: The worker's settings.
        resources: What the cluster has.

    Raises:
        WorkersError: If the workers cannot start.
    """
    for first in range(0, len(rows), _WINDOW):
        yield from _process_window(rows[first : first + _WINDOW], plan, settings, resources)


def _process_window(
    rows: Sequence[ManifestRow], plan: WorkerPlan, settings: Mapping[str, Any], resources: Mapping[str, float]
) -> Iterator[tuple[str, str]]:
    missing = {row.key: row for row in rows}
    lost = 0
    while missing:
        before, reason = len(missing), "its worker was lost"
        try:
            for key, text in _process_once(list(missing.values()), plan, settings, resources):
                missing.pop(key, None)
                yield key, text
        except ray.exceptions.RayError as error:
            reason = _find_reason(error)
            log.warning("some rows are asked for again: %s", reason)
            if "StartError" in reason:
                raise WorkersError(reason.partition("StartError: ")[2]) from None
        lost = lost + 1 if len(missing) == before else 0
        if lost == plan.tries:
            for key in missing:
                yield key, json.dumps({"status": "error", "error": f"{reason}, {lost} times", "tries": lost})
            return


def _process_once(
    rows: Sequence[ManifestRow], plan: WorkerPlan, settings: Mapping[str, Any], resources: Mapping[str, float]
) -> Iterator[tuple[str, str]]:
    workers, cpus, gpus = plan.fit(resources)
    # One row a block: each is returned as soon as it is done, and a lost node costs only its current rows.
    dataset = ray.data.from_items([{"row": row.to_json()} for row in rows], override_num_blocks=len(rows)).map(
        cast("Any", RayWorker),  # Ray creates it on each worker
        fn_constructor_args=(plan.worker, dict(settings), plan.tries, plan.limit_s),
        compute=ActorPoolStrategy(size=min(workers, len(rows)), max_tasks_in_flight_per_actor=2),
        num_cpus=cpus,
        num_gpus=gpus,
    )
    for batch in dataset.iter_batches(batch_size=None, batch_format="pyarrow", prefetch_batches=0):
        block = cast("pyarrow.Table", batch)
        yield from zip(block["key"].to_pylist(), block["result"].to_pylist(), strict=True)


def _find_reason(error: Exception) -> str:
    """Return the last line of Ray's report that names an error."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    errors = [line for line in lines if "Error" in line]
    return (errors or lines or [type(error).__name__])[-1]


def run(
    manifest: Manifest,
    source: str,
    out: Path,
    *,
    plan: WorkerPlan,
    settings: Mapping[str, Any],
    model_version: str,
    address: str | None = None,
    retry_errors: bool = False,
    find_fault: Callable[[ManifestRow], str | None] | None = None,
    part_s: float = 20.0,
    progress: Callable[[int, int, int], None] = lambda done, failed, total: None,
) -> None:
    """Process the rows of a manifest that have no result yet.

    Args:
        manifest: The manifest.
        source: Its path, to be recorded.
        out: The folder of results.
        plan: The workers.
        settings: The workers' settings, see `backend.batch.clips.worker_settings`.
        model_version: The models' version; it must equal that of the results in the folder.
        address: A Ray cluster; None for this machine.
        retry_errors: Whether rows with an error are tried again.
        find_fault: Says why a row cannot be used, where that is known before Ray and the models start.
        part_s: Results are written at least this often, in seconds; a driver that is killed loses no more.
        progress: Called with the number of rows done, of those that failed in this run, and of all rows.

    Raises:
        ResultFolderError: If the folder cannot be used.
        WorkersError: If the workers or Ray cannot start.
        OSError: If a part cannot be written.
    """
    with lock_folder(out):
        write_info(out, ResultFolderInfo(source, len(manifest.rows), manifest.repeated, model_version))
        if retry_errors:
            remove_errors(out)
        sink = ResultSink(out, part_s=part_s)
        by_key = {row.key: row for row in manifest.rows}
        todo = [row for row in manifest.rows if row.key not in sink.done]
        done, failed = len(by_key) - len(todo), 0
        progress(done, failed, len(by_key))
        usable = []
        for row in todo:
            if find_fault is None or (fault := find_fault(row)) is None:
                usable.append(row)
                continue
            sink.add(row, {"status": "error", "error": fault, "tries": 1, "seconds": 0.0})
            done, failed = done + 1, failed + 1
            progress(done, failed, len(by_key))
        if not usable:
            sink.flush()
            return
        with ray_cluster(address) as resources:
            try:
                for key, text in process_rows(usable, plan, settings, resources):
                    fields = json.loads(text)
                    if sink.add(by_key[key], fields, size=len(text)):
                        done, failed = done + 1, failed + (fields["status"] == "error")
                        progress(done, failed, len(by_key))
            finally:
                sink.flush()
