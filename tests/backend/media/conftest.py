"""Two web servers on loopback."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.backend.media.site import Site


@pytest.fixture
def site() -> Iterator[Site]:
    site = Site()
    yield site
    site.close()


@pytest.fixture
def other_site() -> Iterator[Site]:
    site = Site()
    yield site
    site.close()
