"""What tests of several rooms share: one real Label Studio for all that need one (markers e2e and browser)."""

from __future__ import annotations

import os
from collections.abc import Iterator
from functools import cache
from itertools import count
from pathlib import Path

import pytest
from hypothesis import settings
from typer.main import get_command

from backend.demo.local_studio import LocalStudio
from backend.settings import ALIASES

# The same examples in every run; `--hypothesis-profile default` draws others.
# No deadline: an example may take long on a machine that does other work.
settings.register_profile("fixed", derandomize=True, deadline=None)
settings.load_profile("fixed")


def pytest_configure() -> None:
    """One thread for each process, which would only wait for the others', and no width but what a test asks for."""
    os.environ.pop("COLUMNS", None)
    for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "OPENCV_FOR_THREADS_NUM"):
        os.environ.setdefault(name, "1")


@pytest.fixture(autouse=True, scope="session")
def _own_wishes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """No test finds weights that somebody pulled here or what somebody prefers, and none fetches weights."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("REFAM_DATA_DIR", str(tmp_path_factory.mktemp("data")))
        patch.setenv("REFAM_OFFLINE", "1")
        for name in ("REFAM_SAM2", "REFAM_TRACKER", "REFAM_DOWNLOAD", *ALIASES.values(), "WORKERS", "THREADS"):
            patch.delenv(name, raising=False)
        yield


@pytest.fixture(autouse=True, scope="session")
def _one_command_tree() -> Iterator[None]:
    """Build the command line's tree once: it takes 70 ms, which every call of a CliRunner would spend again."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("typer.testing._get_command", cache(get_command))
        yield


@pytest.fixture(autouse=True)
def _own_data(data_dirs: Iterator[Path], monkeypatch: pytest.MonkeyPatch) -> None:
    """No test finds another's jobs."""
    monkeypatch.setenv("REFAM_DATA_DIR", str(next(data_dirs)))


@pytest.fixture(scope="session")
def data_dirs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """New folders, counted here: mktemp looks through all earlier ones for the next number."""
    root = tmp_path_factory.mktemp("data-dirs")

    def new(number: int) -> Path:
        folder = root / str(number)
        folder.mkdir()
        return folder

    return map(new, count())


@pytest.fixture(scope="session")
def studio(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalStudio]:
    """A Label Studio of its own, started once. It is not skipped when there is none: whoever asks for it wants it."""
    with pytest.MonkeyPatch.context() as patch, LocalStudio(tmp_path_factory.mktemp("label-studio")) as studio:
        patch.setattr("backend.jobs.worker._NICENESS", 0)  # or a busy machine seldom comes to the jobs
        yield studio
